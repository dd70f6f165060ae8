"""The long mode: `python -m tests.fuzz --minutes N [--jobs J] [--only NAME] [--seed S]`, to be repeated by anybody.

Goes round the list of decoders until time is up, each round with another seed, and writes what came of it to
docs/proof/fuzzing.json. Ends with 1 if anything was found; the inputs are printed as hex.
"""

# ruff: noqa: T201 - a command, which says what it does

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import count
from pathlib import Path
from typing import Final

from tests.fuzz.decoders import DECODERS
from tests.fuzz.kept import kept_for
from tests.fuzz.trial import Decoder, Verdict, judge, run

RESULT: Final = Path(__file__).parents[2] / "docs" / "proof" / "fuzzing.json"
ROUND: Final = 5000
"""Inputs of a decoder in one round, times its share."""
_MOST_TOLD: Final = 5
"""Failures of one decoder in one round that are printed: one fault shows itself a hundred times."""


def main() -> int:
    arguments = _arguments()
    chosen = [one for one in DECODERS if not arguments.only or one.name in arguments.only]
    if len(chosen) < len(set(arguments.only)):
        sys.exit(f"--only: there are {', '.join(one.name for one in DECODERS)}")
    verdicts = {one.name: _kept(one) for one in chosen}
    for name, kept in verdicts.items():
        _tell(name, kept)
    rounds = 0
    for found in _rounds([one.name for one in chosen], arguments.seed, 60 * arguments.minutes, arguments.jobs):
        rounds += 1
        for name, verdict in found.items():
            _tell(name, verdict)
            _add(verdicts[name], verdict)
        print(f"round {rounds}: {sum(one.inputs for one in verdicts.values())} inputs", flush=True)
    _write(Path(arguments.out), verdicts, arguments.seed, rounds)
    return int(any(one.failures for one in verdicts.values()))


def _rounds(names: Sequence[str], seed: int, seconds: float, jobs: int) -> Iterator[dict[str, Verdict]]:
    """So many rounds at once, each over a seed of its own, until time is up."""
    deadline = time.monotonic() + seconds
    seeds = count(seed)
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(_round, names, next(seeds), deadline) for _ in range(jobs)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                if time.monotonic() < deadline:
                    running.add(pool.submit(_round, names, next(seeds), deadline))
                yield one.result()


def _round(names: Sequence[str], seed: int, deadline: float) -> dict[str, Verdict]:
    def late() -> bool:
        return time.monotonic() > deadline

    return {
        one.name: run(one, seed, int(ROUND * one.share), late) for one in DECODERS if one.name in names and not late()
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz every decoder for a while.")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this decoder; may be repeated")
    parser.add_argument("--seed", type=int, default=1000, help="of the first round")
    parser.add_argument("--jobs", type=int, default=1, help="rounds at once")
    parser.add_argument("--out", default=str(RESULT), help="where the result is written")
    return parser.parse_args()


def _kept(decoder: Decoder) -> Verdict:
    verdict = Verdict()
    for data in kept_for(decoder):
        judge(decoder, data, verdict)
    return verdict


def _add(to: Verdict, more: Verdict) -> None:
    to.inputs += more.inputs
    to.outcomes += more.outcomes
    to.failures += more.failures


def _write(path: Path, verdicts: dict[str, Verdict], seed: int, rounds: int) -> None:
    document = {
        "command": f"python -m tests.fuzz --minutes N --seed {seed}",
        "first_seed": seed,
        "rounds": rounds,
        "inputs": sum(one.inputs for one in verdicts.values()),
        "failures": sum(len(one.failures) for one in verdicts.values()),
        "decoders": {
            name: {"inputs": one.inputs, "distinct_outcomes": len(one.outcomes), "failures": len(one.failures)}
            for name, one in verdicts.items()
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".json.new")
    unfinished.write_text(json.dumps(document, indent=2) + "\n")
    unfinished.replace(path)
    print(f"written: {path}")


def _tell(name: str, verdict: Verdict) -> None:
    for failure in verdict.failures[:_MOST_TOLD]:
        print(f"{name}: {failure.why}\n  {failure.data.hex()}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
