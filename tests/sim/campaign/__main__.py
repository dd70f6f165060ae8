"""`make sim`: one seed with its story, or many with their sums; a failing one can be made small."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from tests.sim.campaign.plan import ALL_KINDS, replicas_of
from tests.sim.campaign.shrinking import Case, shrink
from tests.sim.campaign.sweep import Totals, sweep

__all__ = ["main"]

_TOLD_SECONDS = 30.0
"""How often a long run says how far it is, and writes what it has."""


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if every promise was kept, 1 if one was broken, 2 for what cannot be asked."""
    given = _parser().parse_args(arguments)
    without = tuple(sorted(kind for kind in given.without.split(",") if kind))
    unknown = sorted(set(without) - ALL_KINDS)
    if unknown:
        say(f"no such kinds of faults: {', '.join(unknown)}. There are: {', '.join(sorted(ALL_KINDS))}")
        return 2
    if given.seed is not None:
        return _one(Case(given.seed, given.replicas, given.seconds, without), given.lines, smaller=given.shrink)
    first, _, last = given.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    return _many(seeds, Totals(given.replicas, given.seconds, without), given.jobs, given.out)


def say(line: str) -> None:
    """Speak to the terminal."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _one(case: Case, lines: int, *, smaller: bool) -> int:
    if smaller:
        case = shrink(case, say)
    outcome = case.run(lines)
    for line in outcome.story:
        say(line)
    size = case.replicas or replicas_of(case.seed)
    faults = ", ".join(f"{kind} {count}" for kind, count in outcome.faults.items()) or "none"
    say(f"\n{case.command}: {size} replicas, {outcome.simulated:.1f} simulated seconds, run {outcome.digest[:16]}")
    say(f"{outcome.requests} requests, {outcome.signed} places signed, {outcome.refused} refused; faults: {faults}")
    for violation in outcome.violations:
        say(f"VIOLATION: {violation}")
    if not outcome.violations:
        say("every promise was kept")
    return 1 if outcome.violations else 0


def _many(seeds: range, totals: Totals, jobs: int, out: Path | None) -> int:
    told = time.monotonic()
    for outcome in sweep(seeds, jobs=jobs, replicas=totals.replicas, seconds=totals.seconds, without=totals.without):
        totals.add(outcome)
        for violation in outcome.violations:
            case = Case(outcome.seed, totals.replicas, totals.seconds, totals.without)
            say(f"seed {outcome.seed}: {violation}\n  {case.command}")
        if time.monotonic() - told > _TOLD_SECONDS:
            told = time.monotonic()
            say(
                f"{len(totals.seeds)} of {len(seeds)} seeds, {totals.signed} places signed, {len(totals.failed)} failed"
            )
            if out is not None:
                totals.write(out)
    if out is not None:
        totals.write(out)
    say(
        f"{len(totals.seeds)} seeds, {totals.simulated / 3600:.2f} simulated hours, {totals.requests} requests, "
        f"{totals.signed} places signed, {sum(totals.faults.values())} faults, {len(totals.failed)} failed"
    )
    return 1 if totals.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.campaign", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and tell its story")
    parser.add_argument("--seeds", default="1-20", help="run these: FROM-TO")
    parser.add_argument("--replicas", type=int, choices=(3, 5), help="of every fourth seed five, else three")
    parser.add_argument("--seconds", type=float, default=30.0, help="simulated seconds under faults")
    parser.add_argument("--without", default="", help="kinds of faults to leave out, with commas between")
    parser.add_argument("--shrink", action="store_true", help="make a failing seed as small as it gets")
    parser.add_argument("--lines", type=int, default=80, help="how much of the story's end is told")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--out", type=Path, help="write the sums there, as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
