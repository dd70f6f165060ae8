"""Bugs of a change of generation: what a guard still answers for that has left, and when the next generation begins."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cmkms.guard import decide, guard
from cmkms.guard.change import Change, Seal, _Look
from cmkms.guard.decide import Accepted, AcceptRequest, GuardState, Refused, Sealed, Verdict
from cmkms.guard.guard import Guard
from cmkms.guard.hrs import HRS
from cmkms.guard.majority import MajorityQuorum
from cmkms.guard.record import GuardRecord
from tests.sim.mutations.bug import Harmless, SeededBug, swapped
from tests.sim.mutations.bugs.deciding import decided_otherwise, lax_file
from tests.sim.mutations.profiles import BRIDGED, BRIDGED_LATE, CHANGES, HALVED

__all__ = ["CHANGING", "HARMLESS"]


@contextmanager
def seals_where_it_stands() -> Generator[None]:
    def too_low(look: _Look) -> Seal:
        return Seal(look._mine.claim.hrs, 0)

    with swapped(_Look, "_seal", too_low):
        yield


@contextmanager
def seal_keeps_its_bytes() -> Generator[None]:
    """The second lock is open, too: a guard that is not strictly sealed would not arm."""
    seal, write = Guard.seal, Guard._write

    def lax(one: Guard, change: Change, hrs: HRS, accepted_at: int) -> None:
        record = one._usable_record()
        held = record.sign_bytes if hrs <= record.hrs else None

        def with_bytes(one: Guard, sealed: GuardRecord) -> None:
            write(one, replace(sealed, sign_bytes=held))

        with swapped(Guard, "_write", with_bytes):
            seal(one, change, hrs, accepted_at)

    def arm(one: Guard) -> None:
        record, change = one._usable_record(), one._change
        if change is not None and not record.armed:
            one._arm(record, change.link, guard._in_order(change.members))

    with swapped(Guard, "seal", lax), swapped(Guard, "arm_sealed", arm):
        yield


@contextmanager
def seal_is_open_at_its_place() -> Generator[None]:
    def once_more(_state: GuardState, _request: AcceptRequest, verdict: Verdict) -> Verdict:
        return Accepted(advances=True) if isinstance(verdict, Sealed) else verdict

    with lax_file(), decided_otherwise(once_more):
        yield


@contextmanager
def refusing_as_if(seen: Callable[[GuardState, AcceptRequest], GuardState]) -> Generator[None]:
    """A guard refuses by another state than it is in."""
    refusal = decide._refusal

    def lax(state: GuardState, request: AcceptRequest) -> Refused | None:
        return refusal(seen(state, request), request)

    with swapped(decide, "_refusal", lax):
        yield


@contextmanager
def older_generations_are_answered() -> Generator[None]:
    def seen(state: GuardState, request: AcceptRequest) -> GuardState:
        older = request.generation.number < state.generation.number
        return replace(state, generation=request.generation) if older else state

    with refusing_as_if(seen):
        yield


@contextmanager
def moved_guards_answer_on() -> Generator[None]:
    def seen(state: GuardState, request: AcceptRequest) -> GuardState:
        left = request.generation.number + 1 == state.generation.number and not state.armed
        return replace(state, generation=request.generation, armed=True) if left else state

    with refusing_as_if(seen):
        yield


@contextmanager
def generation_of_an_answer_is_not_looked_at() -> Generator[None]:
    echoes = MajorityQuorum._echoes

    def whatever(quorum: MajorityQuorum, ballot: Any, answer: Any) -> bool:
        return echoes(quorum, ballot, replace(answer, generation=quorum._generation))

    with swapped(MajorityQuorum, "_echoes", whatever):
        yield


@contextmanager
def the_first_mover_is_enough() -> Generator[None]:
    begin = _Look.__init__

    def many(look: _Look, *args: Any, **kwargs: Any) -> None:
        begin(look, *args, **kwargs)
        look._movers *= len(look._change.leaving)

    with swapped(_Look, "__init__", many):
        yield


CHANGING = (
    SeededBug("seal too low", "a guard of the next generation is sealed where it stands, and not at the highest told",
              "every guard of k+1 is strictly sealed to the highest report", seals_where_it_stands, CHANGES),
    SeededBug("a seal that is not strict", "what a guard held at its seal it accepts once more in the next generation",
              "nothing at or below the seal is ever accepted again, not even the bytes it holds", seal_keeps_its_bytes,
              HALVED),
    SeededBug("accept at a seal", "a sealed guard accepts whatever is asked first at the place of its seal",
              "same HRS, stored is a seal (no bytes): SEALED", seal_is_open_at_its_place, HALVED),
    SeededBug("answer for an older generation", "a guard that answers for the next generation answers for older ones",
              "a moved guard answers nothing for k from then on", older_generations_are_answered, BRIDGED),
    SeededBug("answer after moving", "a guard that has moved, and is not sealed yet, still answers for what it left",
              "a moved guard answers nothing for k from then on; each reports its watermark after the move",
              moved_guards_answer_on, BRIDGED_LATE),
    SeededBug("arm at the first mover", "a guard is sealed and armed as soon as one has left the old generation",
              "a majority of k's guards durably moves to k+1", the_first_mover_is_enough, BRIDGED),
)  # fmt: skip

HARMLESS = (
    Harmless("count whatever generation an answer names", "a coordinator does not compare the generation of an answer",
             "The guard refuses what is asked for another generation, and no question to one generation's guards ever"
             " has the number of one to another's",
             generation_of_an_answer_is_not_looked_at, BRIDGED),
)  # fmt: skip
