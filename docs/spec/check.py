"""Checks the models of this folder with Spin, exhaustively, and says in words how each broken variant fails.

`make spec` runs everything. Owns the running of the tools and the table of results; what is checked stands in cases.py,
the rules in the .pml files. It never takes a search that was cut short for an answer.
"""

# ruff: noqa: INP001, T201, S603 - a script: it speaks to the terminal, and starts the tools that it found itself

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cases import CASES, Case, Expected

__all__ = ["Result", "check", "main", "missing_tools"]

HERE: Final = Path(__file__).resolve().parent
SECONDS: Final = 1800
"""For one search; the longest takes a few minutes."""
MEGABYTES: Final = 12_000
"""Of memory for one search; more is cut short, and an error."""
DEPTH: Final = 1_000_000
"""Steps of one path; the longest are below a thousand."""
FOR_ALL: Final = ("-w", "-DSAFETY", "-DNOREDUCE", "-DNOFAIR", f"-DMEMLIM={MEGABYTES}")
"""No partial order reduction, no compression: each state is visited, and kept as it is."""
SHORTEST: Final = "-DBFS"
FAST: Final = "-O1"
"""For the larger cases; the small ones are compiled longer than they are searched."""
CUT_SHORT: Final = ("max search depth too small", "out of memory", "resource limit", "hash table full", "aborting")


class SpecError(Exception):
    """A tool did not do what it is run for."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one case: states visited, steps of the longest path, and the way to a violation, in words."""

    case: Case
    violated: bool
    states: int
    depth: int
    seconds: float
    trace: tuple[str, ...]

    @property
    def as_expected(self) -> bool:
        """Whether it came as it must."""
        return self.violated == (self.case.expected is not Expected.HOLDS)

    @property
    def verdict(self) -> str:
        """What is so, in a word."""
        if self.violated:
            return "reached" if self.case.expected is Expected.REACHED else "VIOLATED"
        return "holds"


def missing_tools() -> str:
    """Return what is not there that is needed, and where it comes from; empty if all is there."""
    wanted = {"spin": "spin (Debian, Ubuntu: apt install spin)", "cc": "a C compiler (Debian, Ubuntu: apt install gcc)"}
    return " and ".join(text for tool, text in wanted.items() if shutil.which(tool) is None)


def check(case: Case, folder: Path) -> Result:
    """Check one case in an empty folder. Raises SpecError if a tool fails, or the search was not exhaustive."""
    shutil.copy(HERE / f"{case.model}.pml", folder)
    (folder / "instance.pml").write_text(case.instance)
    _run(folder, "spin", "-a", f"{case.model}.pml")
    # Whatever can be violated is searched breadth first: what is found is as short as it gets.
    order = () if case.expected is Expected.HOLDS else (SHORTEST,)
    speed = () if case.quick else (FAST,)
    _run(folder, "cc", *FOR_ALL, *order, *speed, "-o", "pan", "pan.c")
    begun = time.monotonic()
    output = _run(folder, str(folder / "pan"), f"-m{DEPTH}")
    seconds = time.monotonic() - begun
    errors = _number(output, r"errors: (\d+)")
    if any(sign in output for sign in CUT_SHORT) or (errors and "assertion violated" not in output):
        raise SpecError(f"{case.name}: the search did not come to its end:\n{output}")
    trace = _told(_run(folder, str(folder / "pan"), "-r", "-S", lenient=True)) if errors else ()
    states, depth = _number(output, r"(\d+) states, stored"), _number(output, r"depth reached (\d+)")
    return Result(case, bool(errors), states, depth, seconds, trace)


def _run(folder: Path, *command: str, lenient: bool = False) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
    )
    # pan ends with 0 whatever it finds, but not when it replays what it found.
    if done.returncode != 0 and not lenient:
        raise SpecError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def _number(output: str, pattern: str) -> int:
    found = re.search(pattern, output)
    if found is None:
        raise SpecError(f"expected {pattern!r} in:\n{output[-2000:]}")
    return int(found[1])


def _told(replay: str) -> tuple[str, ...]:
    """Return what the model itself says of each step."""
    return tuple(line.strip()[2:] for line in replay.splitlines() if line.strip().startswith("@ "))


def _check_all(cases: Iterable[Case], say: Callable[[str], object]) -> list[Result]:
    results: list[Result] = []
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="cmkms-spec-") as folder:
            result = check(case, Path(folder))
        results.append(result)
        wrong = "" if result.as_expected else f"   <<< expected: {case.expected.value}"
        say(
            f"{case.name:<24} {result.verdict:<9} {result.states:>11,} states  depth {result.depth:>4}  "
            f"{result.seconds:7.1f} s{wrong}"
        )
        say(f"    {case.about}")
        if not result.as_expected or case.expected is Expected.VIOLATED:
            for number, step in enumerate(result.trace, 1):
                say(f"    {number:2}. {step}")
    return results


# ---------------------------------------------------------------------------------------------------- the results' page

_HEAD: Final = """# Results of the model

Written by `make spec`; what it means stands in [README.md](README.md). Every state was visited and kept exactly; the
seconds are those of the search alone, on the machine that ran it last. `g1`, `g2`... are files of guards, `v1`, `v2`...
values. In brackets: the members of each generation, and the generation that it follows.
"""


def _page(results: list[Result]) -> str:
    by_kind = {kind: [one for one in results if one.case.expected is kind] for kind in Expected}
    lines = [_HEAD, "## It holds", ""]
    lines += ["| case | what happens | states | depth | s | result |", "|---|---|---|---|---|---|"]
    lines += [_row(one) for one in by_kind[Expected.HOLDS]]
    lines += ["", "## It is not idle", "", "What must be possible, is: the shortest way there has so many steps.", ""]
    lines += ["| case | what happens | states | steps | s | result |", "|---|---|---|---|---|---|"]
    lines += [_row(one) for one in by_kind[Expected.REACHED]]
    lines += ["", "## Without one rule it breaks", "", "The shortest way to break it, in the model's own words.", ""]
    lines += ["| case | the rule that is broken | states | steps | s | result |", "|---|---|---|---|---|---|"]
    lines += [_row(one) for one in by_kind[Expected.VIOLATED]]
    for one in by_kind[Expected.VIOLATED]:
        lines += ["", f"### {one.case.name}: {one.case.about}", "", "```text"]
        lines += [f"{number:2}. {step}" for number, step in enumerate(one.trace, 1)]
        lines += ["```"]
    return "\n".join([*lines, ""])


def _row(one: Result) -> str:
    verdict = one.verdict if one.as_expected else f"**{one.verdict}: not as expected**"
    return f"| {one.case.name} | {one.case.about} | {one.states:,} | {one.depth} | {one.seconds:.0f} | {verdict} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check the models with Spin.")
    parser.add_argument("--quick", action="store_true", help="only the small cases: seconds")
    parser.add_argument("--only", action="append", metavar="CASE", help="only this case; repeat")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the page of results there")
    return parser.parse_args()


def main() -> int:
    """Check what was asked for; 0 if all came as it must, or the tools are not there, which is said."""
    given = _arguments()
    if missing := missing_tools():
        print(f"skipped: the model is checked with {missing}, which is not here")
        return 0
    cases = [case for case in CASES if (case.quick or not given.quick) and (not given.only or case.name in given.only)]
    if not cases:
        print(f"no such case; there are: {', '.join(case.name for case in CASES)}")
        return 2
    results = _check_all(cases, lambda line: print(line, flush=True))
    if given.results is not None:
        given.results.write_text(_page(results))
    wrong = [one.case.name for one in results if not one.as_expected]
    states = sum(one.states for one in results if one.case.expected is Expected.HOLDS)
    print(f"{len(results) - len(wrong)} cases as expected, {len(wrong)} not; it holds in {states:,} states")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
