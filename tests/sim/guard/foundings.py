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
    "candidate",
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


@dataclass(frozen=True, slots=True)
class File:
    """One guard file, of a home's first nonce (0) or a later one. `bound` is what it is bound to, for good."""

    bound: Bind | None = None
    armed: bool = False


@dataclass(frozen=True, slots=True)
class Home:
    """Every file that a home ever had; the last is the one it has."""

    files: tuple[File, ...] = (File(),)

    @property
    def file(self) -> File:
        return self.files[-1]

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
def claim(number: int, nonce: int, file: File, floor: FloorClaim, agrees: bytes) -> GuardClaim:
    phase, generation, at = GuardPhase.UNBOUND, NO_GENERATION, NEVER
    if file.bound is not None:
        bound = file.bound
        phase, generation, at = GuardPhase.BOUND, bound.generation, bound.hrs
        kind = FloorKind.NEVER_SIGNED if bound.hrs == NEVER else FloorKind.STATE
        floor = FloorClaim(kind, bound.hrs, bound.sign_bytes, bound.accepted_at)
        agrees = birth_digest(bound.generation, bound.hrs, bound.sign_bytes, bound.accepted_at)
    if file.armed:
        phase, floor, agrees = GuardPhase.ARMED, NO_FLOOR, b""
    made = f"{number}.{nonce}".encode().ljust(16)
    return GuardClaim(CHAIN, KEY_HASH, phase, generation, made, 1, at, floor, agrees)


def candidate(
    number: int, home: Home, floor: FloorClaim, agrees: bytes = b"", *, nonce: int | None = None
) -> Candidate:
    nonce = len(home.files) - 1 if nonce is None else nonce
    return Candidate(name(number), identity(number), claim(number, nonce, home.files[nonce], floor, agrees))


@cache
def step(members: int, mine: Candidate, others: tuple[Candidate, ...], known: tuple[Member, ...]) -> FoundingStep:
    names = tuple(name(number) for number in range(members))
    return next_step(CHAIN, names, mine, {other.member_id: other for other in others}, known=known)


def ever_claimed(number: int, home: Home, floors: Iterable[FloorClaim]) -> Iterator[Candidate]:
    """Every claim of that home that may be under way: of each file, as it is and as it was."""
    for nonce, file in enumerate(home.files):
        past = [file, replace(file, armed=False)] if file.armed else [file] if file.bound is not None else []
        for was in past:
            yield Candidate(name(number), identity(number), claim(number, nonce, was, NO_FLOOR, b""))
        for floor in floors:
            yield Candidate(name(number), identity(number), claim(number, nonce, File(), floor, b""))


def moves(state: Founding, floors: tuple[FloorClaim, ...]) -> Iterator[Founding]:
    """Every state after one guard has bound or armed, whatever mixture of claims its replica sees."""
    for number, home in enumerate(state):
        if home.file.armed:
            continue
        seen = [tuple(ever_claimed(one, other, floors)) for one, other in enumerate(state) if one != number]
        found: set[File] = set()
        for floor in floors if home.file.bound is None else (NO_FLOOR,):
            mine = candidate(number, home, floor)
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
        # Those that are bound to nothing agree with whatever they are asked for.
        agreeing = tuple(
            replace(other, claim=replace(other.claim, agrees=done.digest))
            if other.claim.phase is GuardPhase.UNBOUND
            else other
            for other in others
        )
        done = step(members, mine, agreeing, known)
    match done:
        case Bind():
            return File(replace(done, why=""))
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
        seen = [candidate(number, home, floors[number], agrees[number]) for number, home in enumerate(state)]
        before = (state, list(agrees))
        said: list[FoundingStep] = []
        for number, home in enumerate(state):
            others = tuple(one for one in seen if one.member_id != name(number))
            done = step(len(state), seen[number], others, ())
            said.append(done)
            agrees[number] = done.digest if isinstance(done, Agree) else b""
            if isinstance(done, Bind):
                state = (*state[:number], home.with_file(File(replace(done, why=""))), *state[number + 1 :])
            elif isinstance(done, Arm):
                state = (*state[:number], home.with_file(replace(home.file, armed=True)), *state[number + 1 :])
        if (state, agrees) == before:
            return state, tuple(said)
