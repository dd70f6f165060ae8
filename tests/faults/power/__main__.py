"""`python -m tests.faults.power --scenario all --replicas 3 --cuts 50`: cuts of power, and what came of them as JSON.

Needs root, for mounts and loop devices, which it makes in namespaces of its own. Ends with 4 as soon as anything was
violated, and with 3 and the reason where this kernel lets nobody cut the power.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.faults.power.apart import run_apart, why_not_apart, workplace
from tests.faults.power.blackouts import Blackouts, Tally
from tests.faults.power.drive import Drive, DriveError
from tests.faults.power.scenarios import SCENARIOS

NOT_HERE: Final = 3
"""Exit code: power cannot be cut on this machine."""
VIOLATED: Final = 4
"""Exit code; not 1, which is a traceback's."""

_WITHOUT_SYNC: Final = Path(__file__).with_name("without_sync.py")


def main(arguments: Sequence[str]) -> int:
    """Run what the command line says, apart."""
    given = _parse(arguments)
    if given.inside is not None:
        return _inside(given)
    why = why_not_apart()
    if why:
        sys.stderr.write(f"power is not cut here: {why}\n")
        return NOT_HERE
    with workplace() as folder:
        done = run_apart("tests.faults.power", [*arguments, "--inside", str(folder)])
    sys.stdout.write(done.stdout)
    return done.returncode


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.power", description=__doc__)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="all")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-sync", action="store_true", help="break the signer: it never syncs once it is born")
    parser.add_argument("--lying", action="append", default=[], metavar="REPLICA", help="its drive ignores flushes")
    parser.add_argument("--out", type=Path, help="write the tally there after each cut, too")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _inside(given: argparse.Namespace) -> int:
    folder = Path(given.inside)
    why = _why_not(folder / "trial")
    if why:
        sys.stderr.write(f"power is not cut here: {why}\n")
        return NOT_HERE
    tally = asyncio.run(_play(given, folder))
    sys.stdout.write(_rendered(tally))
    return VIOLATED if tally.violations else 0


def _why_not(folder: Path) -> str:
    """Why no power can be cut here; empty where it can. Tries it once."""
    try:
        drive = Drive(folder, folder / "home")
        drive.cut()
        drive.restore()
    except (DriveError, OSError) as error:
        return str(error)
    return "" if drive.unsynced_lost else "a cut takes nothing away on this kernel"


async def _play(given: argparse.Namespace, folder: Path) -> Tally:
    broken = given.without_sync
    async with Blackouts(folder, given.replicas, given.seed, lying=given.lying, nothing_survives=broken) as stage:
        if broken:
            for member in stage.members:
                stage.cluster.kill(member)
                stage.cluster.replica(member).program = (sys.executable, str(_WITHOUT_SYNC))
            stage.cluster.start_all()
            await stage.sign_next()
        for _ in range(given.cuts):
            await SCENARIOS[given.scenario](stage)
            tally = stage.result()
            if given.out is not None:
                given.out.write_text(_rendered(tally), encoding="utf-8")
            if tally.violations:
                break
        return stage.result()


def _rendered(tally: Tally) -> str:
    return json.dumps(asdict(tally), indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
