"""How a generation of guards is followed by another: what one replica does next, given every claim it can see. Pure.

Theory of operation
-------------------
A **change** names a generation and its members, and the members of the one that follows it. It serves everything that
happens to guards after their birth: a lost file, a replaced machine, more replicas, fewer (design section 2).

1. Replicas agree to it. The lease holder finishes what is under way and begins nothing new, so that the node has the
   signature of the highest place (the change **drains**). Nothing is fixed yet, and after a while it is forgotten.
2. Every guard of the old generation **moves**, durably and once: from then on it answers nothing for the old one. As
   soon as one has moved there is no way back, and whoever hears of it follows.
3. Whoever sees that a majority of the old generation has moved **seals** its own guard strictly at the highest place
   that any of these tells: nothing at or below is accepted again, not even the bytes it holds. Then it arms.

Nobody drives this: each step is a guard's own, taken from its own record and the claims of others, in any order, as
often as one likes. A guard that missed changes joins the last one directly, for it is sealed like a new one. One that
moved to a change which never got its majority joins the one that did: each guard moves once, so both never do.

A chain that begins anew under its old id (a test net) is the one reason to **lower** a watermark. All guards do it at
once, as they move or are sealed: those of the generation that follows begin where its operator said, and the
generation's hash holds that word, so that no guard of another mind is ever of it.

Safety rests on three things. A guard moves once, so two followers of one generation never both have a majority. The
old generation's majorities share a guard with those who moved, which told its watermark after its last answer. And the
seal is strict, so no old answer is ever completed by a new one. It rests on no clock, and on no claim being recent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cmkms.guard.claims import FloorKind, GuardClaim, GuardPhase
from cmkms.guard.founding import Candidate
from cmkms.guard.generation import FIRST_GENERATION, GenerationId, Member, generation_hash, lowered_link
from cmkms.guard.hrs import HRS

__all__ = [
    "Armed",
    "Change",
    "ChangeStep",
    "Hold",
    "Move",
    "Seal",
    "Superseded",
    "left_behind",
    "majority",
    "next_change_step",
]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one chain's guards: `leaving` are the members of `before`, `members` those of `after`.

    `previous` is what the hash of `before` links to, so that both generations can be worked out again here.
    `lowers_to`: where all guards begin, below what was signed, by the word of an operator whose chain began anew. None,
    as nearly always: above all that was signed.
    """

    chain_id: str
    key_hash: bytes
    number: int
    previous: bytes
    leaving: tuple[Member, ...]
    members: tuple[Member, ...]
    lowers_to: HRS | None = None

    @property
    def before(self) -> GenerationId:
        """The generation that ends."""
        return GenerationId(self.number, generation_hash(self.chain_id, self.key_hash, self.previous, self.leaving))

    @property
    def link(self) -> bytes:
        """What the hash of `after` links to: `before`, and, where the watermark is lowered, to what."""
        return self.before.hash if self.lowers_to is None else lowered_link(self.before, self.lowers_to)

    @property
    def after(self) -> GenerationId:
        """The generation that begins."""
        return GenerationId(self.number + 1, generation_hash(self.chain_id, self.key_hash, self.link, self.members))

    def joins(self, member: Member) -> bool:
        """Tell whether this very guard file is a member of the generation that begins."""
        return member in self.members

    def leaves(self, member: Member) -> bool:
        """Tell whether this very guard file is a member of the generation that ends."""
        return member in self.leaving


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing to do yet; `why` is for people."""

    why: str


@dataclass(frozen=True, slots=True)
class Move:
    """Move the own guard to the new generation, unarmed: it answers nothing for the old one from then on."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Seal the own guard strictly at `hrs`, and arm it. `accepted_at`: Unix seconds, 0 where nobody tells."""

    hrs: HRS
    accepted_at: int


@dataclass(frozen=True, slots=True)
class Armed:
    """The own guard answers for the new generation."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """The own guard is past this change."""


ChangeStep = Hold | Move | Seal | Armed | Superseded


def majority(count: int) -> int:
    """Return how many of `count` are a majority."""
    return count // 2 + 1


def next_change_step(
    change: Change, mine: Candidate, others: Mapping[str, Candidate], *, agreed: bool, holder: str
) -> ChangeStep:
    """Return what this replica does next for `change`.

    `others` are the connected replicas. `agreed`: this replica has announced the change and holds its requests.
    `holder` is who is known to hold the lease; empty if nobody is.
    """
    return _Look(change, mine, others, agreed=agreed, holder=holder).next()


def left_behind(change: Change, candidates: Iterable[Candidate]) -> list[str]:
    """Return the members of the new generation that are not known to be armed in it."""
    after = change.after
    armed = {one.member_id for one in candidates if one.claim.answers_for(after)}
    return [member.id for member in change.members if member.id not in armed]


class _Look:
    """One look at all claims."""

    def __init__(
        self, change: Change, mine: Candidate, others: Mapping[str, Candidate], *, agreed: bool, holder: str
    ) -> None:
        self._change = change
        self._mine = mine
        self._others = others
        self._agreed = agreed
        self._holder = holder
        self._before = change.before
        self._after = change.after
        self._everyone = (mine, *others.values())
        self._movers = [one for one in self._everyone if self._has_moved(one)]

    def next(self) -> ChangeStep:
        own = self._mine.claim
        if own.answers_for(self._after):
            return Armed()
        number = own.generation.number
        if number > self._after.number or (own.phase is GuardPhase.ARMED and number == self._after.number):
            return Superseded()
        if not _is_well(own):
            return Hold("the own guard is out of order")
        if self._may_join() and self._witnesses():
            return self._seal()
        if self._is_old(self._mine):
            why = "" if self._movers else self._waits()
            return Hold(why) if why else Move()
        return Hold(self._progress())

    # ------------------------------------------------------------------------------------------------ who is where

    def _has_moved(self, one: Candidate) -> bool:
        """Whether this guard of the old generation tells of the new one: it moved, or it joined under a seal."""
        return one.claim.has_entered(self._after) and self._change.leaves(one.member)

    def _is_old(self, one: Candidate) -> bool:
        """Whether this guard answers for the old generation."""
        return one.claim.answers_for(self._before) and self._change.leaves(one.member)

    def _may_join(self) -> bool:
        """Whether the own file is a member of the new generation, and free of a birth that others may count it for."""
        own = self._mine.claim
        in_birth = own.phase is GuardPhase.BOUND and own.generation.number == FIRST_GENERATION
        return self._change.joins(self._mine.member) and not in_birth

    def _witnesses(self) -> list[Candidate]:
        """Return those above whom the own guard may be sealed; nobody as long as they are not enough.

        A majority that left the old generation; or one that answers for the new one, each sealed above such a majority:
        then those that had to leave need not be there any more.
        """
        if len(self._movers) >= majority(len(self._change.leaving)):
            return self._movers
        armed = [one for one in self._others.values() if one.claim.answers_for(self._after)]
        armed = [one for one in armed if self._change.joins(one.member)]
        return armed if len(armed) >= majority(len(self._change.members)) else []

    def _seal(self) -> Seal:
        told = [one.claim for one in self._witnesses()]
        lowered = self._change.lowers_to
        highest = lowered if lowered is not None else max(claim.hrs for claim in (*told, self._mine.claim))
        # Of an armed guard only its watermark is told; the age bounds heights, and decides nothing about safety.
        times = [claim.floor.accepted_at for claim in told if claim.floor.kind is not FloorKind.NONE]
        return Seal(highest, max(times, default=0))

    # ------------------------------------------------------------------------------------------- before the first move

    def _agrees(self, one: Candidate) -> bool:
        if one is self._mine:
            return self._agreed
        return one.claim.agrees == self._after.hash

    def _waits(self) -> str:
        """Say what the first move waits for; empty when everybody who counts holds still for this change."""
        if not self._agreed:
            return "finishing what is under way"
        concerned = {member.id for member in (*self._change.leaving, *self._change.members)} | {self._holder}
        late = [
            one.member_id
            for one in self._others.values()
            if one.member_id in concerned and _is_well(one.claim) and not self._agrees(one)
        ]
        if late:
            return f"waiting for {_and(late)} to agree"
        here = {one.member: one for one in self._everyone if self._agrees(one)}
        new = [member for member in self._change.members if not self._change.leaves(member)]
        gone = [member.id for member in new if member not in here]
        if gone:
            return f"waiting for {_and(gone)}, whose guard is new and must be there"
        if self._change.lowers_to is not None and (gone := [one.id for one in self._change.members if one not in here]):
            return f"waiting for {_and(gone)}: a watermark is lowered by all guards at once"
        joining = sum(member in here for member in self._change.members)
        if joining < (needed := majority(len(self._change.members))):
            return f"{joining} of the {needed} guards are there that the new generation needs"
        leaving = sum(self._is_old(one) for one in here.values())
        if leaving < (needed := majority(len(self._change.leaving))):
            return f"{leaving} of the {needed} guards are there that must leave the old generation"
        return ""

    def _progress(self) -> str:
        needed = majority(len(self._change.leaving))
        names = ", ".join(one.member_id for one in self._movers) or "none"
        return f"{len(self._movers)} of {needed} needed guards have left generation {self._before.number} ({names})"


def _is_well(claim: GuardClaim) -> bool:
    return claim.phase not in {GuardPhase.REFUSED, GuardPhase.FUSED}


def _and(names: list[str]) -> str:
    return ", ".join(sorted(names))
