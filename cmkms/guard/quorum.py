"""The quorum: a majority of a generation's guards that ACCEPTED exactly the same bytes.

`Quorum` is what the signing path sees, for any number of replicas. `SoleQuorum` is the case of one replica, whose own
guard is the majority. A transient trouble (birth, a blown fuse, a pause) is never an outcome: the proposal stays
pending, the request is held, and the node asks again (design section 2, "Answers to the node"). Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from cmkms.errors import BrokenInvariantError
from cmkms.guard.decide import (
    Accepted,
    AcceptRequest,
    Conflict,
    Held,
    Refused,
    RefusedBecause,
    Regression,
    Sealed,
    Verdict,
)
from cmkms.guard.generation import GenerationId
from cmkms.guard.hrs import HRS
from cmkms.privval.signbytes import differ_only_in_timestamp

__all__ = ["Acceptor", "Granted", "Handle", "NoGuard", "Outcome", "Quorum", "SoleQuorum", "Split", "Timer"]


@dataclass(frozen=True, slots=True)
class Granted:
    """A majority ACCEPTED exactly `sign_bytes`: a signature over them, and only over them, may leave."""

    sign_bytes: bytes


@dataclass(frozen=True, slots=True)
class Split:
    """The guards hold so many variants of this vote that none can get a majority any more. `detail` says who what."""

    detail: str


Outcome = Granted | Held | Conflict | Sealed | Regression | Refused | Split
"""What a proposal ends with. Everything but `Granted` is final: this request will never be signed as it is."""

_TRANSIENT: Final = frozenset(
    {RefusedBecause.NOT_ARMED, RefusedBecause.FUSE, RefusedBecause.PAUSED, RefusedBecause.GENERATION}
)


class Handle(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> None:
        """Call it off; harmless once it has run."""
        ...


class Timer(Protocol):
    """Runs a function later; asyncio's `loop.call_later` is one."""

    def __call__(self, delay: float, callback: Callable[[], None], /) -> Handle:
        """Run `callback` after `delay` seconds."""
        ...


class Acceptor(Protocol):
    """A guard, as its quorum sees it."""

    def accept(self, request: AcceptRequest) -> Verdict:
        """Decide one request; ACCEPTED means durable."""
        ...

    @property
    def blown(self) -> str:
        """Why the guard's fuse is blown; empty while it is whole."""
        ...


class Quorum(Protocol):
    """Gets sign-bytes accepted by a majority of the guards of one chain and key."""

    def propose(self, sign_bytes: bytes, *, adopt_held: bool, decided: Callable[[Outcome], None]) -> None:
        """Ask for canonical `sign_bytes`; calls `decided` once, before returning or later, or never while it waits.

        With `adopt_held`, bytes that a guard holds already and that differ only in the timestamp are asked for in
        their place, and are what `Granted` names then.
        """
        ...

    def forget(self, hrs: HRS) -> None:
        """Nobody waits for the proposal at this HRS any more. What guards have accepted stays theirs."""
        ...

    @property
    def waiting_for(self) -> str:
        """Why proposals are pending, for people; empty while a majority answers."""
        ...


class NoGuard:
    """The quorum of a chain whose guard is not born: every proposal waits."""

    def __init__(self, waiting_for: str) -> None:
        self._waiting_for = waiting_for

    def propose(self, sign_bytes: bytes, *, adopt_held: bool, decided: Callable[[Outcome], None]) -> None:
        """See `Quorum.propose`. The answer comes after birth, by another quorum."""

    def forget(self, hrs: HRS) -> None:
        """See `Quorum.forget`."""

    @property
    def waiting_for(self) -> str:
        """See `Quorum.waiting_for`."""
        return self._waiting_for


class SoleQuorum:
    """The quorum of a generation with a single member: its own guard decides, at once."""

    def __init__(self, guard: Acceptor, key_hash: bytes, generation: GenerationId) -> None:
        self._guard = guard
        self._key_hash = key_hash
        self._generation = generation

    def propose(self, sign_bytes: bytes, *, adopt_held: bool, decided: Callable[[Outcome], None]) -> None:
        """See `Quorum.propose`. Raises SignBytesError if the bytes are not canonical."""
        verdict = self._accept(sign_bytes)
        if isinstance(verdict, Held) and adopt_held:
            # The guard's word is not taken for it: these bytes are about to be signed in the place of those asked.
            if not differ_only_in_timestamp(sign_bytes, verdict.sign_bytes):
                raise BrokenInvariantError("a guard HELD bytes that differ in more than the timestamp")
            sign_bytes = verdict.sign_bytes
            verdict = self._accept(sign_bytes)
        match verdict:
            case Accepted():
                decided(Granted(sign_bytes))
            case Refused(because=because) if because in _TRANSIENT:
                return
            case _:
                decided(verdict)

    def forget(self, hrs: HRS) -> None:
        """See `Quorum.forget`. Nothing is kept here: the repeat is proposed anew."""

    @property
    def waiting_for(self) -> str:
        """See `Quorum.waiting_for`."""
        blown = self._guard.blown
        return f"the guard's fuse is blown: {blown}" if blown else ""

    def _accept(self, sign_bytes: bytes) -> Verdict:
        return self._guard.accept(AcceptRequest.of(self._key_hash, self._generation, sign_bytes))
