"""The long mode: campaigns, births and changes until thousands of kills have fallen, and the file that says so.

    python -m tests.faults.kills.long_mode --kills 5000 --hits 20

Each campaign has a new cluster and the next number of the seed; the file holds the sums of what all have seen, those of
earlier runs with it, until it is deleted. The first that condemns ends the run, and its reason stands in the file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.faults.kills.births import births
from tests.faults.kills.campaign import CondemnedError, Goal, Tally, campaign
from tests.faults.kills.changes import changes
from tests.faults.kills.places import Place

__all__ = ["RESULT", "long_run", "write_result"]

RESULT: Final = Path(__file__).parents[3] / "docs" / "proof" / "kills.json"

_KILLS: Final = 100
"""By one campaign: its recording is judged at its end, and thrown away."""
_BIRTH_KILLS: Final = 25
"""After each campaign, in births."""
_CHANGE_KILLS: Final = 15
"""And in changes of generation, which take longer."""


async def long_run(
    kills: int, hits: int, seed: int, seconds: float, seen: Callable[[Tally], None] = lambda _: None
) -> Tally:
    """Until all have fallen, and each place was hit so often, or the time is over; `seen` is told of each campaign.

    Raises CondemnedError. SIGTERM or SIGINT ends it when the round is over that it is in, some minutes later.
    """
    deadline = time.monotonic() + seconds
    rng = random.Random(seed)
    total = Tally()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    while time.monotonic() < deadline and not (told.is_set() or _reached(total, kills, hits)):
        for fewest, run in ((_KILLS, campaign), (_BIRTH_KILLS, births), (_CHANGE_KILLS, changes)):
            goal = Goal(min(fewest, kills), 0, max(deadline - time.monotonic(), 1.0))
            with tempfile.TemporaryDirectory(prefix="cmkms-kills-") as directory:
                tally = await run(Path(directory), rng.randrange(2**32), goal)
            seen(tally)
            total.add(tally)
            print(f"{total.kills} kills, {total.signatures} signatures, {total.seconds:.0f} s", flush=True)  # noqa: T201
    return total


def _reached(total: Tally, kills: int, hits: int) -> bool:
    return total.kills >= kills and all(total.hits[place] >= hits for place in Place)


def write_result(tally: Tally, seed: int, path: Path = RESULT, condemned: str = "") -> None:
    """Add to the file what was seen, or why the replicas were condemned."""
    total, seeds, reasons = Tally(), [seed], []
    if path.exists():
        before = json.loads(path.read_text())
        total, seeds, reasons = _tally(before), sorted({*before["seeds"], seed}), before["condemned"]
    total.add(tally)
    fields: dict[str, Any] = {
        "command": "python -m tests.faults.kills.long_mode",
        "seeds": seeds,
        "kills": total.kills,
        "condemned": [*reasons, f"seed {seed}: {condemned}"] if condemned else reasons,
        "signatures": total.signatures,
        "refused": total.refused,
        "rounds": total.rounds,
        "births": total.births,
        "changes": total.changes,
        "seconds": round(total.seconds),
        "hits": {place.value: total.hits[place] for place in Place},
        "harm": dict(sorted(total.harm.items())),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields, indent=2) + "\n")


def _tally(fields: dict[str, Any]) -> Tally:
    counts = {name: fields[name] for name in ("rounds", "births", "changes", "kills", "signatures", "refused")}
    hits = Counter({Place(place): count for place, count in fields["hits"].items()})
    return Tally(**counts, seconds=fields["seconds"], hits=hits, harm=Counter(fields["harm"]))


def main() -> None:
    """Run it, and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5000, help="at least so many (%(default)s)")
    parser.add_argument("--hits", type=int, default=20, help="at least so many at each named place (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4 * 3600.0, help="no longer than that (%(default)s)")
    parser.add_argument("--result", type=Path, default=RESULT, help="where to add what was seen (%(default)s)")
    given = parser.parse_args()

    def seen(tally: Tally, condemned: str = "") -> None:
        write_result(tally, given.seed, given.result, condemned)

    try:
        asyncio.run(long_run(given.kills, given.hits, given.seed, given.seconds, seen))
    except CondemnedError as error:
        seen(Tally(), str(error).partition("\n")[0])
        raise


if __name__ == "__main__":
    main()
