"""Works out a change of generation from what an operator wants and what the replicas tell of their guards. Pure.

Nothing is decided here: a plan that is out of date when it is proposed is refused, or holds nobody up for long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cmkms.guard.change import Change, majority
from cmkms.guard.claims import NO_NONCE, GuardPhase
from cmkms.guard.founding import Candidate
from cmkms.guard.generation import FIRST_GENERATION, Electorate, Member
from cmkms.guard.hrs import HRS

__all__ = ["NoPlan", "Plan", "plan_change", "plan_lowering"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A change that can be proposed, and what an operator should know of it.

    `kept` go on with the guard file that they have, `new` bring another one, `away` are members that are not there or
    out of order, and join when they are well again; `dropped` are members no more.
    """

    change: Change
    kept: tuple[str, ...]
    new: tuple[str, ...]
    away: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoPlan:
    """There is nothing to propose; `why` says what stands in the way and what to do about it."""

    why: str


def plan_change(
    present: Electorate, previous: bytes, wanted: tuple[str, ...], candidates: Mapping[str, Candidate]
) -> Plan | NoPlan:
    """Plan the change from the generation in force to one whose members are the replicas `wanted`.

    `previous` is what the hash of the present one links to (`Change.link`); `candidates` are all connected replicas and
    this.
    """
    planning = _Planning(present, wanted, candidates)
    members: list[Member] = []
    for member_id in wanted:
        found = planning.member(member_id)
        if isinstance(found, NoPlan):
            return found
        members.append(found)
    # In the order of the hash, so that the same members are the same change, whoever plans it.
    ordered = tuple(sorted(members, key=lambda one: one.id))
    if why := planning.against(ordered):
        return NoPlan(why)
    change = Change(present.chain_id, present.key_hash, present.generation.number, previous, present.members, ordered)
    dropped = tuple(member.id for member in present.members if member.id not in wanted)
    return Plan(change, tuple(planning.kept), tuple(planning.new), tuple(planning.away), dropped)


def plan_lowering(
    present: Electorate, previous: bytes, lowers_to: HRS, candidates: Mapping[str, Candidate]
) -> Plan | NoPlan:
    """Plan the change in which the guards that there are, all of them at once, begin again at `lowers_to`."""
    number, planning = present.generation.number, _Planning(present, (), candidates)
    gone = [member.id for member in present.members if not planning.answers(member)]
    if gone:
        return NoPlan(
            f"a watermark is lowered by all guards of generation {number} at once, and of these one is not "
            f"there or out of order: {_and(gone)}. Bring them back, or replace them first"
        )
    highest = max(candidates[member.id].claim.hrs for member in present.members)
    if highest <= lowers_to:
        return NoPlan(f"the guards stand at {highest} at most, which is not above {lowers_to}: nothing to lower")
    members = tuple(sorted(present.members, key=lambda one: one.id))
    change = Change(present.chain_id, present.key_hash, number, previous, present.members, members, lowers_to)
    return Plan(change, tuple(one.id for one in members), (), (), ())


class _Planning:
    def __init__(self, present: Electorate, wanted: tuple[str, ...], candidates: Mapping[str, Candidate]) -> None:
        self._present = present
        self._members = {member.id: member for member in present.members}
        self._wanted = wanted
        self._candidates = candidates
        self.kept: list[str] = []
        self.new: list[str] = []
        self.away: list[str] = []

    def member(self, member_id: str) -> Member | NoPlan:
        """Return this replica's entry in the new generation."""
        one, former = self._candidates.get(member_id), self._members.get(member_id)
        if one is None:
            if former is None:
                return NoPlan(
                    f"{member_id} is not connected, and a new member must be there: start it, with the same peer list "
                    f"as the others, and run this again"
                )
            self.away.append(member_id)
            return former
        claim = one.claim
        if claim.phase in {GuardPhase.REFUSED, GuardPhase.FUSED} or claim.nonce == NO_NONCE:
            if former is None or former.identity != one.identity:
                return NoPlan(f"the guard of {member_id} cannot be used: {claim.reason or claim.phase.name.lower()}")
            self.away.append(member_id)
            return former
        if claim.key_hash != self._present.key_hash:
            return NoPlan(f"{member_id} has another consensus key for chain {self._present.chain_id}")
        member = one.member
        if member == former:
            self.kept.append(member_id)
            return member
        if why := _not_fresh(one):
            return NoPlan(f"the guard of {member_id} {why}")
        self.new.append(member_id)
        return member

    def against(self, members: tuple[Member, ...]) -> str:
        """Say what stands against it; empty if nothing does."""
        chain_id, number = self._present.chain_id, self._present.generation.number
        if members == tuple(sorted(self._present.members, key=lambda one: one.id)):
            gone = f"; {_and(self.away)} cannot be used or reached, and would stay so" if self.away else ""
            return f"generation {number} of chain {chain_id} has these very guards already: nothing to change{gone}"
        if len({member.identity for member in members}) != len(members):
            return "two of the members have the same identity: one home is a copy of another"
        there, needed = len(self.kept) + len(self.new), majority(len(members))
        if there < needed:
            return (
                f"only {there} of {len(members)} members of the new generation are there, and {needed} are needed to "
                f"sign: wait for the others ({_and(self.away)})"
            )
        old = sum(self.answers(member) for member in self._present.members)
        if old < (needed := majority(len(self._present.members))):
            return (
                f"{old} of the {len(self._present.members)} guards of generation {number} are there, and {needed} must "
                f"leave it together: without them nothing tells what was signed. Bring them back first"
            )
        return ""

    def answers(self, member: Member) -> bool:
        """Whether this guard of the present generation is there, and armed in it."""
        one = self._candidates.get(member.id)
        return one is not None and one.member == member and one.claim.answers_for(self._present.generation)


def _not_fresh(one: Candidate) -> str:
    """Say why a guard file of another nonce than the known one cannot become a member; empty if it can."""
    claim = one.claim
    match claim.phase:
        case GuardPhase.ARMED:
            return (
                f"is armed in generation {claim.generation}, which is not the one in force: if that was given up on "
                f"purpose, stop the replica and run `cmkms guard replace {claim.chain_id}` there"
            )
        case GuardPhase.BOUND if claim.generation.number == FIRST_GENERATION:
            return (
                f"is bound to a birth that was never finished: stop the replica and run `cmkms cluster birth --restart "
                f"{claim.chain_id}` there"
            )
        case _:
            return ""


def _and(names: list[str]) -> str:
    return ", ".join(sorted(names))
