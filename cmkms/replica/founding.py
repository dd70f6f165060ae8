"""The birth of one chain's guards, as one replica takes part in it: agrees, binds, arms, and says what it waits for.

What comes next is `guard/founding.py`'s; here it is done, as far as the claims of the others allow.
"""

from __future__ import annotations

from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from cmkms.errors import DiskError
from cmkms.guard.claims import FloorClaim, GuardPhase
from cmkms.guard.founding import Agree, Arm, Bind, Born, Candidate, FoundingStep, Stuck, Wait, next_step
from cmkms.guard.guard import Guard
from cmkms.replica.neighbours import Neighbours

__all__ = ["Founding", "Unborn"]

_MOST_STEPS: Final = 8
"""A birth takes three steps at one replica; more in one go would be a bug that turns in circles."""


class Unborn(Protocol):
    """The chain that is to be born."""

    @property
    def chain_id(self) -> str:
        """Its id."""
        ...

    @property
    def guard(self) -> Guard | None:
        """The own guard; None where it is refused."""
        ...

    @property
    def candidate(self) -> Candidate:
        """The own guard, as its claim tells of it."""
        ...

    @property
    def is_born(self) -> bool:
        """Whether it is known whom to ask."""
        ...

    def hold(self, why: str) -> None:
        """Propose nothing."""
        ...

    def born(self) -> None:
        """The own guard is armed: ask it and the other members from now on."""
        ...


class Founding:
    """`floor` is this replica's word of where to begin; None for a guard that takes part in no birth."""

    def __init__(
        self,
        unborn: Unborn,
        members: tuple[str, ...],
        neighbours: Neighbours,
        floor: FloorClaim | None,
        log: FilteringBoundLogger,
        waiting: str,
    ) -> None:
        self._unborn = unborn
        self._members = members
        self._neighbours = neighbours
        self._log = log
        self.floor = floor
        self.agrees = b""
        """The digest of the proposal that this replica announces; empty if there is none."""
        self.waiting = waiting
        """What the birth waits for, for people."""

    def step(self) -> bool:
        """Go on as far as the claims of the others allow; returns whether the own claim changed."""
        guard = self._unborn.guard
        if guard is None or self.floor is None:
            return False
        changed = False
        for _ in range(_MOST_STEPS):
            if self._unborn.is_born or not self._take(guard, self._next(guard)):
                break
            changed = True
        return changed

    def say(self, why: str, *, progress: bool) -> None:
        """Say what is waited for, where that is news. Of a birth that goes on by itself nobody has to take notice."""
        if why != self.waiting:
            self.waiting = why
            self._unborn.hold(why)
            tell = self._log.info if progress else self._log.warning
            tell("not born yet: sign requests are held", chain=self._unborn.chain_id, waiting_for=why)

    def _next(self, guard: Guard) -> FoundingStep:
        chain_id = self._unborn.chain_id
        others, absent = self._neighbours.candidates(chain_id), self._neighbours.absent()
        return next_step(chain_id, self._members, self._unborn.candidate, others, known=guard.members, absent=absent)

    def _take(self, guard: Guard, step: FoundingStep) -> bool:
        """Take one step; returns whether the own claim changed, and another step may follow."""
        match step:
            case Wait(why=why):
                return self._wait(why, b"")
            case Stuck(what_to_do=why):
                return self._wait(why, b"", progress=False)
            case Agree(digest=digest, why=why):
                return self._wait(why, digest)
            case Bind() as bind:
                self.say(bind.why, progress=True)
                return self._bind(guard, bind)
            case Arm() as arm:
                return self._arm(guard, arm)
            case Born():
                self._unborn.born()
                return False

    def _wait(self, why: str, agrees: bytes, *, progress: bool = True) -> bool:
        bound = self._unborn.candidate.claim.phase is GuardPhase.BOUND
        self.say(why, progress=progress and (bool(agrees) or bound))
        changed = agrees != self.agrees
        self.agrees = agrees
        return changed

    def _bind(self, guard: Guard, bind: Bind) -> bool:
        try:
            guard.bind(bind.generation, bind.members, bind.hrs, bind.sign_bytes, bind.accepted_at)
        except DiskError as error:
            return self._wait(str(error), b"")
        return True

    def _arm(self, guard: Guard, arm: Arm) -> bool:
        try:
            guard.arm(arm.members)
        except DiskError as error:
            return self._wait(str(error), b"")
        hrs = guard.record.hrs if guard.record is not None else None
        self._log.info("born", chain=self._unborn.chain_id, generation=str(arm.generation), watermark=str(hrs))
        self._unborn.born()
        return True
