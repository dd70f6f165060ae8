"""What is checked: who is a member of which generation, which rule is left out, and what has to come of it.

Owns the instances of the two models (quorum.pml, takeover.pml). It never says how a rule works: the models do.
"""

# ruff: noqa: INP001 - a script's own module, not a package

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import Final

__all__ = ["CASES", "Case", "Expected"]


class Expected(Enum):
    """What a run must come to."""

    HOLDS = "holds"
    VIOLATED = "violated"
    REACHED = "reached"
    """An assertion that something never happens is refuted: the model does have the steps that it speaks about."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The files that are members, and the generation that they follow; files are counted from 0, and shown from g1."""

    members: tuple[int, ...]
    after: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """One run: a model, its instance, the rules left out or watched, and what must come of it."""

    name: str
    about: str
    expected: Expected
    model: str
    instance: str
    flags: tuple[str, ...] = ()
    quick: bool = False


THREE: Final = (Generation((0, 1, 2)),)
REPLACED: Final = (*THREE, Generation((3, 1, 2)))
TWICE: Final = (*REPLACED, Generation((3, 4, 2), after=1))
COMPETING: Final = (*REPLACED, Generation((0, 4, 2)))
COMPETING_ON: Final = (*COMPETING, Generation((3, 4, 2), after=1), Generation((3, 4, 2), after=2))
GROWN: Final = (Generation((0,)), Generation((0, 1, 2)))
SHRUNK: Final = (*THREE, Generation((0,)))
GROWN_SHRUNK: Final = (*GROWN, Generation((1,), after=1))
SHRUNK_GROWN: Final = (*SHRUNK, Generation((0, 1, 2), after=1))
SHRUNK_GROWN_ANEW: Final = (*SHRUNK, Generation((0, 3, 4), after=1))
FIVE: Final = (*THREE, Generation((0, 1, 2, 3, 4)))
FIVE_TO_THREE: Final = (Generation((0, 1, 2, 3, 4)), Generation((0, 1, 2)))
LEFT_ALONE: Final = (*GROWN, Generation((3,)))
PAIRS: Final = (Generation((0, 1)), Generation((0, 2)), Generation((1, 3)))


def _table(values: list[int]) -> str:
    """Return a Promela expression that looks `k` up in `values`."""
    text = str(values[-1])
    for number in reversed(range(len(values) - 1)):
        text = f"((k) == {number} -> {values[number]} : {text})"
    return text


def _options(step: str, *arguments: Iterable[object]) -> str:
    """Return `step` with every combination of arguments, as options of a Promela `do`."""
    return " ".join(f":: {step}({', '.join(map(str, chosen))})" for chosen in product(*arguments))


def _quorum_instance(generations: tuple[Generation, ...], hrs: int, values: int, flags: tuple[str, ...]) -> str:
    numbers: list[int] = []
    for number, one in enumerate(generations):
        numbers.append(0 if number == 0 else numbers[one.after] + 1)
    changes, at, say = range(1, len(generations)), range(1, hrs + 1), range(1, values + 1)
    breaks = _options("report", changes) if "BREAK_REPORT" in flags else ""
    breaks += _options("held", at, say) if "BREAK_HELD" in flags else ""
    # Of a replaced guard, the new file has the old one's member id.
    stands = "((f) == 0 -> 3 : (f))" if generations == REPLACED else "(f)"
    defined = {
        "FILES": 1 + max(file for one in generations for file in one.members),
        "GENERATIONS": len(generations),
        "HRS": hrs,
        "VALUES": values,
        "LOSSES": 1,
        "MEMBERS(k)": _table([sum(1 << file for file in one.members) for one in generations]),
        "PARENT(k)": _table([one.after for one in generations]),
        "NUMBER(k)": _table(numbers),
        "STANDS(f, k)": stands,
        "EVERY_ACCEPT": _options("accept", at, say),
        "EVERY_CHANGE": f"{_options('move', changes)} {_options('seal', changes, range(hrs + 1))}" if changes else "",
        "EVERY_BREAK": breaks,
    }
    return _defines(defined, flags)


def _takeover_instance(guards: int, flags: tuple[str, ...]) -> str:
    # By the old holder v1 is asked, by the new one either.
    questions = ("1, false", "1, true", "2, true")
    defined = {
        "GUARDS": guards,
        "EVERY_PEEK": _options("peek", range(guards)),
        "EVERY_ANSWER": _options("hear", range(guards)),
        "EVERY_QUESTION": _options("reach", range(guards), questions),
    }
    return _defines(defined, flags)


def _defines(defined: Mapping[str, object], flags: tuple[str, ...]) -> str:
    lines = [f"#define {name} {text}" for name, text in defined.items()]
    return "\n".join([*lines, *(f"#define {flag}" for flag in flags), ""])


def _quorum(
    name: str,
    about: str,
    generations: tuple[Generation, ...],
    *flags: str,
    hrs: int = 2,
    values: int = 2,
    quick: bool = False,
) -> Case:
    shape = " / ".join(
        ("" if number == 0 else f"after {one.after}: ") + " ".join(f"g{file + 1}" for file in one.members)
        for number, one in enumerate(generations)
    )
    instance = _quorum_instance(generations, hrs, values, flags)
    size = f"{hrs} HRS, {values} values" + (", page cache" if "PAGE_CACHE" in flags else "")
    return Case(name, f"{about} ({shape}; {size})", _expected(flags), "quorum", instance, flags, quick)


def _takeover(name: str, about: str, guards: int, *flags: str, quick: bool = False) -> Case:
    instance = _takeover_instance(guards, flags)
    return Case(name, f"{about} ({guards} guards)", _expected(flags), "takeover", instance, flags, quick)


def _expected(flags: tuple[str, ...]) -> Expected:
    if any(flag.startswith("BREAK_") for flag in flags):
        return Expected.VIOLATED
    return Expected.REACHED if any(flag.startswith("WITNESS_") for flag in flags) else Expected.HOLDS


CACHE: Final = "PAGE_CACHE"

CASES: Final = (
    # -------------------------------------------------------------------------------------------------- it holds
    _quorum("three", "no change; kills and power loss", THREE, CACHE, quick=True),
    _quorum("three, wider", "no change", THREE, hrs=3, values=3),
    _quorum("three, conflicts", "no change; the third value is a CONFLICT", THREE, CACHE, values=3),
    _quorum("replace", "one guard lost and replaced", REPLACED, quick=True),
    _quorum("replace, conflicts", "the same", REPLACED, values=3),
    _quorum("replace, power", "the same; kills and power loss at any write", REPLACED, CACHE),
    _quorum("replace twice", "two changes in a row, a guard lost each time; stragglers two behind", TWICE),
    _quorum("replace twice, power", "the same; kills and power loss at any write", TWICE, CACHE, hrs=1),
    _quorum("two operators", "two changes at once; the losing one's movers join", COMPETING),
    _quorum("two operators, power", "the same; kills and power loss at any write", COMPETING, CACHE, hrs=1),
    _quorum("two operators, and on", "and each of them goes on", COMPETING_ON, hrs=1),
    _quorum("1 to 3", "growth", GROWN, CACHE),
    _quorum("3 to 1", "shrinking", SHRUNK, CACHE),
    _quorum("1 to 3 to 1", "and back, to another guard", GROWN_SHRUNK, quick=True),
    _quorum("3 to 1 to 3", "and back, with the old files, which may have missed all", SHRUNK_GROWN),
    _quorum("3 to 1 to 3 anew", "and back, with new files", SHRUNK_GROWN_ANEW),
    _quorum("3 to 5", "growth", FIVE, hrs=1),
    _quorum("5 to 3", "shrinking", FIVE_TO_THREE, hrs=1),
    _quorum("pairs", "two of two are a majority; two changes at once", PAIRS),
    _takeover("takeover of 3", "the holder dies, the next one peeks", 3, quick=True),
    _takeover("takeover of 5", "the same", 5),
    # --------------------------------------------------------------- it does what it is said to do, so it is not idle
    _quorum("it signs on", "a value is signed in the second generation after a change", TWICE, "WITNESS_SIGNED", hrs=1),
    _quorum("sibling", "one that moved to a losing sibling joins the winner", COMPETING, "WITNESS_SIBLING", hrs=1),
    _quorum("behind", "one still armed two generations behind joins the last", TWICE, "WITNESS_BEHIND", hrs=1),
    _quorum("old claim", "a seal by claims of long ago, when more was signed", REPLACED, "WITNESS_OLD_CLAIM", hrs=1),
    # ---------------------------------------------------------------------------------- a rule is left out: it breaks
    _quorum("sign first", "sign before the quorum", THREE, "BREAK_SIGN_FIRST", quick=True),
    _quorum("count twice", "count a member twice", THREE, "BREAK_TWICE"),
    _quorum("held is no yes", "count HELD as ACCEPTED", THREE, "BREAK_HELD"),
    _quorum("log only", "commit through the log only, without durable guards", THREE, CACHE, "BREAK_LOG"),
    _quorum("pending", "answer a repeat from the write under way", THREE, CACHE, "BREAK_PENDING"),
    _quorum("page cache", "trust the page cache at a restart", THREE, CACHE, "BREAK_PAGE_CACHE", quick=True),
    _quorum("failed sync", "try a failed sync again", THREE, CACHE, "BREAK_EIO"),
    _quorum("empty", "make a lost file anew, empty", THREE, "BREAK_EMPTY"),
    _quorum("naive growth", "start new replicas with a longer list", GROWN, "BREAK_GROWTH"),
    _quorum("unsealed", "change without a seal", REPLACED, "BREAK_SEAL", hrs=1, quick=True),
    _quorum("not strict", "a seal that keeps the bytes held", SHRUNK, "BREAK_STRICT", hrs=1),
    _quorum("older answers", "count answers of the older generation", REPLACED, "BREAK_OLDER", hrs=1),
    _quorum("too early", "arm before a majority has moved", REPLACED, "BREAK_MAJORITY", hrs=1),
    _quorum("early report", "report before the move", REPLACED, "BREAK_REPORT", hrs=1),
    _quorum("move twice", "let a mover of one change move for another", COMPETING, "BREAK_ONCE", hrs=1),
    _quorum("go back", "let a mover join an older generation", TWICE, "BREAK_FORWARD", hrs=1),
    _quorum("alone again", "replace a lost mover by a guard that signs alone", LEFT_ALONE, "BREAK_ALONE", hrs=1),
    _quorum("half", "take half of the old members for enough", PAIRS, "BREAK_HALF", hrs=1),
    _takeover("no peek", "write before a majority was peeked", 3, "BREAK_PEEK"),
    _takeover("not deaf", "take old questions after a peek", 3, "BREAK_DEAF"),
    _takeover("impatient", "change to other bytes at the first HELD", 3, "BREAK_PATIENCE"),
    _takeover("impatient of 5", "the same", 5, "BREAK_PATIENCE"),
    _takeover("no lease", "begin a question after another replica leads", 3, "BREAK_LEASE"),
)
