"""`python -m tests.sim.mutations`: hunts seeded bugs, shows one, or writes the table of docs/proof/mutations.md."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from tests.sim.mutations.bug import SeededBug
from tests.sim.mutations.catalogue import BUGS, HARMLESS, NOT_YET
from tests.sim.mutations.hunt import Hunt, hunt_again_and_again, show
from tests.sim.mutations.table import document

TABLE = Path(__file__).parents[3] / "docs" / "proof" / "mutations.md"


def main(arguments: list[str] | None = None) -> int:
    """Return 1 where a bug was not caught."""
    parser = ArgumentParser(prog="python -m tests.sim.mutations", description=__doc__)
    parser.add_argument("name", nargs="*", help="seeded bugs, by a part of their name; without any, all of them")
    parser.add_argument("--table", action="store_true", help=f"write {TABLE.name}")
    parser.add_argument("--hunts", type=int, default=5, help="hunts for each bug, each over seeds of its own")
    parser.add_argument("--seed", type=int, help="run this one seed, and tell its story")
    given = parser.parse_args(arguments)
    bugs = [bug for bug in BUGS if not given.name or any(part in bug.name for part in given.name)]
    if given.seed is not None:
        return _tell(bugs, given.seed)
    hunts = [_hunted(bug, given.hunts) for bug in bugs]
    if given.table:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(document(hunts, HARMLESS, NOT_YET, given.hunts), encoding="utf-8")
    return int(any(hunt.missed for hunt in hunts))


def _hunted(bug: SeededBug, times: int) -> Hunt:
    hunt = hunt_again_and_again(bug, times)
    seeds = ", ".join(str(catch.seed) for catch in hunt.catches)
    _say(f"{bug.name}: {hunt.seeds_needed:g} seeds ({seeds}; {hunt.missed} in vain); {'; '.join(hunt.checks)}")
    return hunt


def _tell(bugs: list[SeededBug], seed: int) -> int:
    for bug in bugs:
        outcome = show(bug, seed)
        _say(f"== {bug.name}, seed {seed}")
        for line in (*outcome.story, *(outcome.violations or ["nothing was noticed"])):
            _say(line)
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
