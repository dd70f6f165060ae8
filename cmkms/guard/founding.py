"""How several guards are born together: what one replica does next, given every claim that it can see. Pure.

Theory of operation
-------------------
A birth names one guard *file* of every member, by its nonce, and the point where all of them begin. Each replica works
out the same proposal from the same claims, and announces its digest. A guard **binds**, durably and once in the life
of its file, when every other member announces the very same digest; it **arms**, and answers from then on, when every
other member is known to be bound to that birth, or when one is armed in it, which none is before all are bound.

Claims may be old, and homes may be made anew at any time. Safety rests on three things, and none of them is the age of
a claim: a file binds once; it arms only when all files that the generation's hash names are bound; and its own nonce is
among these. So two births that share one file never both arm, and two that share none need every home to be made anew.

A bound guard claims the floor that it is bound to, and a floor joined with what went into it stays the same
(`agreed_floor.py`). So a proposal stands while some are bound and some are not, even where a replica is not told its
state file a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from cmkms.guard.agreed_floor import AgreedFloor, agreed_floor, unknown_floor, unusable_floor
from cmkms.guard.claims import NO_NONCE, FloorKind, GuardClaim, GuardPhase
from cmkms.guard.generation import NO_GENERATION, GenerationId, Member, birth_digest, first_generation
from cmkms.guard.hrs import HRS

__all__ = ["Agree", "Arm", "Bind", "Born", "Candidate", "FoundingStep", "Stuck", "Wait", "next_step"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One member as it is seen now: `identity`, as the channel has proven it, and its latest claim."""

    member_id: str
    identity: bytes
    claim: GuardClaim

    @property
    def member(self) -> Member:
        """The member that it is, with the guard file that it has now."""
        return Member(self.member_id, self.identity, self.claim.nonce)


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be agreed on yet; `why` is for people. Announce no digest."""

    why: str


@dataclass(frozen=True, slots=True)
class Agree:
    """Announce `digest`, and wait for those that do not announce it yet."""

    digest: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Bind:
    """All announce this birth: bind to it, durably. `sign_bytes` None: a seal. `accepted_at`: Unix seconds."""

    generation: GenerationId
    members: tuple[Member, ...]
    hrs: HRS
    sign_bytes: bytes | None
    accepted_at: int
    why: str


@dataclass(frozen=True, slots=True)
class Arm:
    """All are bound to this generation: begin to answer."""

    generation: GenerationId
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Born:
    """The guard is armed; there is nothing left to do."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """This birth cannot be finished, or not by this replica, until somebody acts; `what_to_do` says who, and how."""

    what_to_do: str


_CHANGE_OF_GENERATION: Final = (
    "It becomes a member by a change of generation: run `cmkms cluster change` on a replica that signs. Until then the "
    "others go on without it, as long as they are a majority"
)

FoundingStep = Wait | Agree | Bind | Arm | Born | Stuck


def next_step(
    chain_id: str,
    members: tuple[str, ...],
    mine: Candidate,
    others: Mapping[str, Candidate],
    *,
    known: tuple[Member, ...] = (),
    absent: Mapping[str, str] | None = None,
) -> FoundingStep:
    """Return what this replica does next for the birth of the guards of `members`, the configured ids.

    `others` are those that are connected right now. `known` are the members of the generation that the own guard is
    bound to, where they are remembered (`Guard.members`); `absent` says, for people, how it stands with a member that
    is not connected.
    """
    here = {member: others[member] for member in members if member in others and member != mine.member_id}
    founding = _Founding(chain_id, members, mine, here, known, absent or {})
    match mine.claim.phase:
        case GuardPhase.ARMED:
            return Born()
        case GuardPhase.REFUSED | GuardPhase.FUSED:
            return Stuck(_trouble(mine.claim))
        case GuardPhase.BOUND:
            return founding.bound()
        case GuardPhase.UNBOUND:
            return founding.unbound()


class _Founding:
    """One look at all claims."""

    def __init__(
        self,
        chain_id: str,
        members: tuple[str, ...],
        mine: Candidate,
        others: Mapping[str, Candidate],
        known: tuple[Member, ...],
        absent: Mapping[str, str],
    ) -> None:
        self._chain_id = chain_id
        self._members = members
        self._mine = mine
        self._others = others
        self._known = known
        self._absent = absent
        everyone = {**others, mine.member_id: mine}
        self._here = {member: everyone[member] for member in members if member in everyone}
        self._missing = [member for member in members if member not in everyone]

    def unbound(self) -> FoundingStep:
        """The own guard is bound to nothing."""
        if why := self._foreign() or self._outlived() or self._bad_floors():
            return Stuck(why)
        if waits := self._waits():
            return Wait(waits)
        floor = self._floor()
        if floor is None:
            return Wait(unknown_floor(self._chain_id))
        members, generation = self._candidates(), self._candidate_generation()
        digest = birth_digest(generation, floor.hrs, floor.sign_bytes, floor.accepted_at)
        if why := self._bound_elsewhere(generation, digest):
            return Stuck(why)
        late = [member for member, one in self._others.items() if one.claim.agrees != digest]
        if late:
            return Agree(
                digest, f"the birth of generation {generation}, which begins {floor}, waits for {_and(late)} to agree"
            )
        why = f"{_and(self._members)} agree on generation {generation}, which begins {floor}"
        return Bind(generation, members, floor.hrs, floor.sign_bytes, floor.accepted_at, why)

    def bound(self) -> FoundingStep:
        """The own guard is bound to a birth: it arms in that one or never."""
        generation, digest = self._mine.claim.generation, self._mine.claim.agrees
        armed = [one for one in self._others.values() if _came_to(one.claim) is GuardPhase.ARMED]
        if any(one.claim.generation == generation for one in armed):
            return self._arm(generation)
        if why := self._foreign() or self._outlived():
            return Stuck(why)
        if waits := self._waits():
            # Whoever is not there may be armed, and then this guard arms too: to begin anew now would lose it.
            return Wait(waits)
        if why := self._bound_elsewhere(generation, digest) or self._made_anew():
            return Stuck(why)
        if self._candidate_generation() != generation:
            return Stuck(self._unfinishable("another replica came back with another guard file"))
        late = [member for member, one in self._others.items() if _came_to(one.claim) is not GuardPhase.BOUND]
        if not late:
            return self._arm(generation)
        floor = None if self._bad_floors() else self._floor()
        if floor is None or birth_digest(generation, floor.hrs, floor.sign_bytes, floor.accepted_at) != digest:
            return Stuck(self._unfinishable(f"{_and(late)} would now begin elsewhere"))
        return Wait(f"bound to generation {generation}; waiting for {_and(late)} to bind")

    def _arm(self, generation: GenerationId) -> FoundingStep:
        for members in (self._known, self._candidates()):
            if self._generation_of(members) == generation:
                return Arm(generation, members)
        if self._missing:
            return Wait(
                f"generation {generation} is born; this replica has forgotten the members of it over a restart, and "
                f"must see {self._described(self._missing)} once more"
            )
        return Stuck(
            f"generation {generation} is born, but this replica has forgotten the members of it, and one of the others "
            f"has another guard file since. {_CHANGE_OF_GENERATION}"
        )

    # ---------------------------------------------------------------------------------- what stands against a birth

    def _foreign(self) -> str:
        """Two replicas that cannot be members of one generation."""
        mine = self._mine
        for member, one in self._others.items():
            same = (one.claim.chain_id, one.claim.key_hash) == (self._chain_id, mine.claim.key_hash)
            if not same and one.claim.phase is not GuardPhase.REFUSED:
                return (
                    f"{member} has another consensus key for chain {self._chain_id} than {mine.member_id}: every "
                    f"replica needs the same key. Put the right one in its place, and start that replica again"
                )
        for (first, one), (second, other) in combinations(self._here.items(), 2):
            what = "identity" if one.identity == other.identity else ""
            if one.claim.nonce == other.claim.nonce != NO_NONCE:
                what = what or "guard file"
            if what:
                return (
                    f"{first} and {second} have the same {what}: the home of one is a copy of the other's. Make a new "
                    f"home for one of them with cmkms init"
                )
        return ""

    def _outlived(self) -> str:
        """Others are armed in a generation of which the own guard file is no member."""
        armed = [member for member, one in self._others.items() if _came_to(one.claim) is GuardPhase.ARMED]
        if not armed:
            return ""
        return (
            f"{_are(armed)} armed in generation {self._others[armed[0]].claim.generation}, of which the guard file of "
            f"{self._mine.member_id} is no member: it is new, or was lost or made anew since. {_CHANGE_OF_GENERATION}"
        )

    def _bound_elsewhere(self, generation: GenerationId, digest: bytes) -> str:
        """Somebody is bound to another birth than this one."""
        for member, one in self._others.items():
            if _came_to(one.claim) is not GuardPhase.BOUND:
                continue
            if one.claim.generation != generation:
                return self._unfinishable(f"{member} is bound to generation {one.claim.generation}, not {generation}")
            if one.claim.agrees != digest:
                return self._unfinishable(f"{member} is bound to begin at {one.claim.hrs}, where not all would")
        return ""

    def _made_anew(self) -> str:
        """A member whose file is not the one that this guard is bound together with."""
        expected = {member.id: member for member in self._known}
        for member, one in self._others.items():
            founder = expected.get(member)
            if founder is None or one.claim.nonce == NO_NONCE:
                continue
            if (founder.identity, founder.nonce) != (one.identity, one.claim.nonce):
                return self._unfinishable(f"{member} came back with another identity or guard file")
        return ""

    def _unfinishable(self, because: str) -> str:
        fused = [member for member, one in self._here.items() if one.claim.phase is GuardPhase.FUSED]
        stopped = [member for member in self._bound_ones() if member not in fused]
        ways: list[str] = []
        if stopped:
            command = f"cmkms cluster birth --restart --home HOME {self._chain_id}"
            ways.append(f"stop {_and(stopped)}, run there: {command}, and start again")
        if fused:
            ways.append(f"make new homes with cmkms init for those whose fuse is blown ({_and(fused)})")
        anew = "; ".join(ways)
        return f"a birth was begun that can never be finished: {because}. Nothing was signed. To begin anew, {anew}"

    def _bound_ones(self) -> list[str]:
        return [member for member, one in self._here.items() if _came_to(one.claim) is GuardPhase.BOUND]

    # ------------------------------------------------------------------------------------------------ where to begin

    def _floor(self) -> AgreedFloor | None:
        return agreed_floor(one.claim.floor for one in self._here.values())

    def _bad_floors(self) -> str:
        """A floor that no guard can hold, or two that contradict each other."""
        for member, one in self._here.items():
            if why := unusable_floor(one.claim.floor, self._chain_id):
                return f"the state that {member} gives for chain {self._chain_id} cannot be used: {why}"
        states, never = self._giving(FloorKind.STATE), self._giving(FloorKind.NEVER_SIGNED)
        if not states or not never:
            return ""
        given = self._here[states[0]].claim.floor.hrs
        wrong = (
            f"by {_and(never)}, this key has never signed on {self._chain_id}, but {states[0]} has a state at {given}"
        )
        if self._bound_ones():
            return "" if self._missing else self._unfinishable(wrong)
        return f"{wrong}: one of them is wrong. Correct it and start that replica again; nothing is fixed yet"

    def _giving(self, kind: FloorKind) -> list[str]:
        return [member for member, one in self._here.items() if one.claim.floor.kind is kind]

    # ------------------------------------------------------------------------------------------------- who is there

    def _waits(self) -> str:
        """Say for whom this waits, and how far the others have come; empty when all are there and well."""
        unwell = {
            member: _trouble(one.claim)
            for member, one in self._others.items()
            if _came_to(one.claim) in {GuardPhase.REFUSED, GuardPhase.FUSED}
        }
        parts = [f"waiting for {self._described(self._missing)}"] if self._missing else []
        parts += [f"{member} cannot use its guard: {reason}" for member, reason in unwell.items()]
        if not parts:
            return ""
        if bound := self._bound_ones():
            return "; ".join([*parts, f"{_are(bound)} bound"])
        well = [member for member in self._here if member not in unwell]
        if len(well) > 1:
            parts.append(f"{_and(well)} agree")
        if self._floor() is None:
            parts.append("none of them knows yet what this key has signed")
        return "; ".join([*parts, "nothing is fixed yet"])

    def _described(self, members: Iterable[str]) -> str:
        return _and([f"{member} ({self._absent.get(member, 'not connected')})" for member in members])

    def _candidates(self) -> tuple[Member, ...]:
        return tuple(one.member for _, one in sorted(self._here.items()))

    def _candidate_generation(self) -> GenerationId:
        return self._generation_of(self._candidates())

    def _generation_of(self, members: tuple[Member, ...]) -> GenerationId:
        return first_generation(self._chain_id, self._mine.claim.key_hash, *members)


def _came_to(claim: GuardClaim) -> GuardPhase:
    """Return how far a guard has come for its birth, its fuse apart: what was bound or armed is so for good.

    A fused guard that was bound and not armed still announces the digest of its birth; one that was armed does not.
    """
    if claim.phase is not GuardPhase.FUSED or claim.generation == NO_GENERATION:
        return claim.phase
    return GuardPhase.BOUND if claim.agrees else GuardPhase.ARMED


def _trouble(claim: GuardClaim) -> str:
    """Say what is wrong with a guard that is refused or fused, and what its operator does about it."""
    match _came_to(claim):
        case GuardPhase.FUSED:
            return f"{claim.reason}. It was bound to nothing yet: mend its disk, and make a new home with cmkms init"
        case GuardPhase.BOUND | GuardPhase.ARMED:
            return f"{claim.reason}. {_CHANGE_OF_GENERATION}"
        case _:
            return claim.reason


def _are(members: list[str]) -> str:
    return f"{_and(members)} {'is' if len(members) == 1 else 'are'}"


def _and(members: Iterable[str]) -> str:
    *most, last = members
    return f"{', '.join(most)} and {last}" if most else last
