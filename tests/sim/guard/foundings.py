"""Births of several guards as states to search: what every guard file is bound to, and who claims what, ever.

The adversary is stronger than any network. A file that is unbound, or once was, may be seen so at any time, with any
floor that its replica could give, agreeing with whatever it is asked for; what was bound or armed once may be seen so
for ever, in any mixture with the rest; a process may forget with whom its guard is bound. Every move is the real
`next_step`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Final

from cmkms.guard.claims import NO_FLOOR, FloorClaim, FloorKind, GuardClaim, GuardPhase
from cmkms.guard.founding import Agree, Arm, Bind, Candidate, FoundingStep, next_step
from cmkms.guard.generation import NO_GENERATION, Member, birth_digest
from cmkms.guard.hrs import NEVER
from tests.unit.guard.world import CHAIN, KEY_HASH, hrs, precommit

__all__ = [
    "LOW",
    "NEVER_SIGNED",
    "NOTHING",
    "OTHER",
    "STATE",
    "File",
    "Founding",
    "Home",
    "fair_run",
    "made_anew",
    "moves",
    "started_over",
]

NOTHING: Final = NO_FLOOR
NEVER_SIGNED: Final = FloorClaim(FloorKind.NEVER_SIGNED, NEVER, None, 0)
LOW: Final = FloorClaim(FloorKind.STATE, hrs(4, 0, 3), precommit(4), 6)
STATE: Final = FloorClaim(FloorKind.STATE, hrs(5, 0, 3), precommit(5), 7)
OTHER: Final = FloorClaim(FloorKind.STATE, hrs(5, 0, 3), precommit(5, number=2), 8)


_BIRTHS: Final[list[Bind]] = []
"""Every birth that anything was ever bound to; states name them by number, which compares a thousand times faster."""


@dataclass(frozen=True, slots=True)
class File:
    """One guard file, of a home's first nonce (0) or a later one. `birth` is what it is bound to, for good."""

    birth: int = -1
    armed: bool = False

    @classmethod
    def bound_to(cls, bind: Bind) -> File:
        bind = replace(bind, why="")
        if bind not in _BIRTHS:
            _BIRTHS.append(bind)
        return cls(_BIRTHS.index(bind))

    @property
    def bound(self) -> Bind | None:
        return None if self.birth < 0 else _BIRTHS[self.birth]


@dataclass(frozen=True, slots=True)
class Home:
    """Every file that a home ever had; the last is the one it has."""

    files: tuple[File, ...] = (File(),)

    @property
    def file(self) -> File:
        return self.files[-1]

    @property
    def nonce(self) -> int:
        return len(self.files) - 1

    def with_file(self, file: File) -> Home:
        return replace(self, files=(*self.files[:-1], file))


Founding = tuple[Home, ...]
"""The homes node-0, node-1, and so on."""


def name(number: int) -> str:
    return f"node-{number}"


@cache
def identity(number: int) -> bytes:
    return hashlib.sha256(name(number).encode()).digest()


@cache
def candidate(number: int, nonce: int, file: File, floor: FloorClaim, agrees: bytes = b"") -> Candidate:
    """What a replica claims of that file; made once, so that candidates can be told apart by identity."""
    phase, generation, at = GuardPhase.UNBOUND, NO_GENERATION, NEVER
    bound = file.bound
    if bound is not None:
        phase, generation, at = GuardPhase.BOUND, bound.generation, bound.hrs
        kind = FloorKind.NEVER_SIGNED if bound.hrs == NEVER else FloorKind.STATE
        floor = FloorClaim(kind, bound.hrs, bound.sign_bytes, bound.accepted_at)
        agrees = birth_digest(bound.generation, bound.hrs, bound.sign_bytes, bound.accepted_at)
    if file.armed:
        phase, floor, agrees = GuardPhase.ARMED, NO_FLOOR, b""
    made = f"{number}.{nonce}".encode().ljust(16)
    claim = GuardClaim(CHAIN, KEY_HASH, phase, generation, made, 1, at, floor, agrees)
    return Candidate(name(number), identity(number), claim)


_STEPS: Final[dict[tuple[int, ...], FoundingStep]] = {}
_AGREEING: Final[dict[tuple[int, bytes], Candidate]] = {}


def step(members: int, mine: Candidate, others: tuple[Candidate, ...], known: tuple[Member, ...]) -> FoundingStep:
    """Ask `next_step` once for each set of candidates, which are made once (`candidate`) and told apart by identity."""
    key = (members, id(known), id(mine), *map(id, others))
    if key not in _STEPS:
        names = tuple(name(number) for number in range(members))
        here = {other.member_id: other for other in others}
        _STEPS[key] = next_step(CHAIN, names, mine, here, known=known)
    return _STEPS[key]


def agreeing(other: Candidate, digest: bytes) -> Candidate:
    """A guard that is bound to nothing agrees with whatever it is asked for."""
    if other.claim.phase is not GuardPhase.UNBOUND:
        return other
    key = (id(other), digest)
    if key not in _AGREEING:
        _AGREEING[key] = replace(other, claim=replace(other.claim, agrees=digest))
    return _AGREEING[key]


def ever_claimed(number: int, home: Home, floors: Iterable[FloorClaim]) -> Iterator[Candidate]:
    """Every claim of that home that may be under way: of each file, as it is and as it was."""
    for nonce, file in enumerate(home.files):
        past = [file, replace(file, armed=False)] if file.armed else [file] if file.birth >= 0 else []
        for was in past:
            yield candidate(number, nonce, was, NO_FLOOR)
        for floor in floors:
            yield candidate(number, nonce, File(), floor)


def moves(state: Founding, floors: tuple[FloorClaim, ...]) -> Iterator[Founding]:
    """Every state after one guard has bound or armed, whatever mixture of claims its replica sees."""
    for number, home in enumerate(state):
        if home.file.armed:
            continue
        seen = [tuple(ever_claimed(one, other, floors)) for one, other in enumerate(state) if one != number]
        found: set[File] = set()
        for floor in floors if home.file.birth < 0 else (NO_FLOOR,):
            mine = candidate(number, home.nonce, home.file, floor)
            memories = ((), home.file.bound.members) if home.file.bound is not None else ((),)
            for known, others in product(memories, product(*seen)):
                file = _after(len(state), home.file, mine, others, known)
                if file is not None:
                    found.add(file)
        for file in found:
            yield (*state[:number], home.with_file(file), *state[number + 1 :])


def _after(
    members: int, file: File, mine: Candidate, others: tuple[Candidate, ...], known: tuple[Member, ...]
) -> File | None:
    done = step(members, mine, others, known)
    if isinstance(done, Agree):
        digest = done.digest
        done = step(members, mine, tuple(agreeing(other, digest) for other in others), known)
    match done:
        case Bind():
            return File.bound_to(done)
        case Arm(generation=generation, members=named):
            assert file.bound is not None
            assert (file.bound.generation, file.bound.members) == (generation, named)
            return replace(file, armed=True)
        case _:
            return None


def made_anew(state: Founding, *, files: int, homes: int) -> Iterator[Founding]:
    """Every state after one home was made anew, as long as no more than `homes` of them are.

    No home has more than `files` files in its life.
    """
    already = sum(len(home.files) > 1 for home in state)
    for number, home in enumerate(state):
        if len(home.files) < files and (len(home.files) > 1 or already < homes):
            yield (*state[:number], Home((*home.files, File())), *state[number + 1 :])


def started_over(state: Founding, *, files: int, armed_lost: int) -> Iterator[Founding]:
    """Every state after one guard was started over, which is for unarmed ones; `armed_lost` armed ones are, too."""
    lost = sum(file.armed for home in state for file in home.files[:-1])
    for number, home in enumerate(state):
        if len(home.files) < files and (not home.file.armed or lost < armed_lost):
            yield (*state[:number], Home((*home.files, File())), *state[number + 1 :])


def fair_run(state: Founding, floors: tuple[FloorClaim, ...]) -> tuple[Founding, tuple[FoundingStep, ...]]:
    """Let all be connected and see each other as they are, until nothing changes any more; what each says at last."""
    agrees = [b""] * len(state)
    while True:
        seen = [
            candidate(number, home.nonce, home.file, floors[number], agrees[number])
            for number, home in enumerate(state)
        ]
        before = (state, list(agrees))
        said: list[FoundingStep] = []
        for number, home in enumerate(state):
            others = tuple(one for one in seen if one.member_id != name(number))
            done = step(len(state), seen[number], others, ())
            said.append(done)
            agrees[number] = done.digest if isinstance(done, Agree) else b""
            if isinstance(done, Bind):
                state = (*state[:number], home.with_file(File.bound_to(done)), *state[number + 1 :])
            elif isinstance(done, Arm):
                state = (*state[:number], home.with_file(replace(home.file, armed=True)), *state[number + 1 :])
        if (state, agrees) == before:
            return state, tuple(said)
