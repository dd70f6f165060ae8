"""One chain at one replica of several: its guard from birth on, its quorum, its signer, and where its requests go.

Owns what belongs to one chain and key. It must never let a signer work with anything but the quorum of the generation
that its guard is armed for, or that its born marker names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from cmkms.errors import BrokenInvariantError
from cmkms.guard.accepting import GuardService
from cmkms.guard.birth import JoiningGuard, UnarmedGuard, after_arming
from cmkms.guard.born import BornMarker
from cmkms.guard.change import Change
from cmkms.guard.claims import GuardClaim, GuardPhase, refused_claim
from cmkms.guard.decide import AcceptRequest, Refused, RefusedBecause, Verdict
from cmkms.guard.disk import Disk
from cmkms.guard.founding import Candidate
from cmkms.guard.generation import NO_GENERATION, GenerationId, Member
from cmkms.guard.guard import Guard
from cmkms.guard.majority import Electorate, MajorityQuorum
from cmkms.guard.quorum import NoGuard, Timer
from cmkms.guard.record import GuardRecord
from cmkms.guard.rpc import Accept, Answered, Peek, Peeked
from cmkms.guard.site import GuardSite
from cmkms.guard.state_file import SignState
from cmkms.keys.consensus import ConsensusKey
from cmkms.peers.messages import Message
from cmkms.replica.changing import Changing
from cmkms.replica.founding import Founding
from cmkms.replica.neighbours import Neighbour, Neighbours
from cmkms.signing import Dispatch, ForwardResult, Here, Nowhere, Signer, Through, Ways
from cmkms.telemetry.repetition import Repeats

__all__ = ["Place", "ReplicaChain", "ReplicaObserver", "Surroundings"]

_RPC_RANGE: Final = 1 << 40
"""No quorum asks so often: questions to one generation's guards are never taken for those to another's."""


class ReplicaObserver(Protocol):
    """Is told what is measured, after it has happened; `telemetry.metrics.Metrics` is one."""

    def quorum(self, chain_id: str, seconds: float) -> None:
        """A majority of the guards had a proposal after so many seconds."""
        ...

    def forwarded(self, chain_id: str, result: ForwardResult) -> None:
        """What came of a request that was sent on to the lease holder."""
        ...

    def leader(self, replica_id: str) -> None:
        """Who is known to hold the lease now; empty: nobody."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a replica's parts are given: who it is, and how it sends, waits and tells.

    `identity` is the SHA-256 of its public identity key. `send` never answers before it returns; `soon` runs something
    after what was sent has left. `first_rpc` is random for each process. `changed` is called when claims changed.
    `clock` is CLOCK_BOOTTIME.
    """

    me: str
    identity: bytes
    members: tuple[str, ...]
    send: Callable[[str, Message], bool]
    soon: Callable[[Callable[[], None]], object]
    timer: Timer
    clock: Callable[[], float]
    log: FilteringBoundLogger
    observer: ReplicaObserver
    first_rpc: int
    changed: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Place:
    """A chain as it was opened at the start: its guard, or why it is refused, and what its born marker says."""

    site: GuardSite
    key: ConsensusKey
    guard: Guard | UnarmedGuard | JoiningGuard | None
    marker: BornMarker | None
    refused: str
    released: SignState | None
    disk: Disk


class _Unusable:
    """Stands for a guard that this replica refuses to use: answers that it does not answer."""

    record: GuardRecord | None = None

    def __init__(self, why: str) -> None:
        self.blown = why

    def accept(self, _request: AcceptRequest) -> Verdict:
        """See `ServiceGuard.accept`."""
        return Refused(RefusedBecause.FUSE, self.blown)


class ReplicaChain:
    """One chain at one replica of several."""

    def __init__(
        self, place: Place, around: Surroundings, neighbours: Neighbours, *, refuse_after: float | None = None
    ) -> None:
        opened = place.guard
        self._place = place
        self._around = around
        self._neighbours = neighbours
        self._missed: dict[str, str] = {}
        self._flaps: dict[str, Repeats] = {}
        self._previous = b""
        self._generations = 0
        self._own_turns = 0
        self.chain_id: Final = place.site.chain_id
        self.guard: Final = opened.guard if isinstance(opened, UnarmedGuard | JoiningGuard) else opened
        self.service: Final = GuardService(
            self.chain_id, self.guard or _Unusable(place.refused), lambda: neighbours.coordination.term
        )
        self.electorate: Electorate | None = None
        """The guards that are asked; None while the chain is not born."""
        self.majority: MajorityQuorum | None = None
        self.signer: Final = Signer(
            self.chain_id, place.key, NoGuard(place.refused or "not born yet"), released=place.released
        )
        ways = Ways(neighbours, around.send, place.site.verify)
        self.dispatch: Final = Dispatch(
            self.chain_id, self.signer, around.timer, ways, refuse_after=refuse_after, first_rpc=around.first_rpc
        )
        self.dispatch.on_forwarded = lambda result: around.observer.forwarded(self.chain_id, result)
        floor = opened.floor if isinstance(opened, UnarmedGuard) else None
        self._founding = Founding(self, around.members, neighbours, floor, around.log, place.refused)
        self.changing: Final = Changing(self, neighbours, around.send, around.clock, around.log)
        self._begin_with_what_is_known()

    # ------------------------------------------------------------------------------------------------------- telling

    @property
    def claim(self) -> GuardClaim:
        """What this replica tells the others of this guard."""
        site, agrees = self._place.site, self.changing.agrees
        if self.guard is None:
            return refused_claim(self.chain_id, site.key_hash, self._place.refused, agrees)
        founding = self._founding
        if founding.floor is None or agrees:
            return self.guard.claim(self.chain_id, site.key_hash, agrees=agrees)
        return self.guard.claim(self.chain_id, site.key_hash, floor=founding.floor, agrees=founding.agrees)

    @property
    def candidate(self) -> Candidate:
        """This replica's guard, as its own claim tells of it."""
        return Candidate(self._around.me, self._around.identity, self.claim)

    def verify(self, sign_bytes: bytes, signature: bytes) -> bool:
        """Tell whether this chain's key made `signature`."""
        return self._place.site.verify(sign_bytes, signature)

    @property
    def phase(self) -> GuardPhase:
        """How far the own guard has come."""
        return GuardPhase.REFUSED if self.guard is None else self.guard.phase

    @property
    def waiting_for(self) -> str:
        """What keeps this chain from being signed for, as far as this replica knows; empty if nothing does."""
        if self.changing.under_way:
            return f"a change of generation is under way: {self.changing.why}"
        if self.majority is None:
            return self._founding.waiting
        match self._neighbours.route():
            case Here():
                return "" if self.is_able else self.majority.waiting_for or self._missing()
            case Through(holder=holder):
                # What counts is whom the holder reaches; where it cannot be asked, our own sight has to do.
                told = self._neighbours.is_able(holder, self.chain_id)
                if told or (told is None and self.is_able):
                    return ""
                return self._missing() or f"{holder} holds the lease, and does not reach enough guards"
            case Nowhere(why=why):
                return self._missing() or why

    @property
    def is_able(self) -> bool:
        """Whether this replica would reach a majority of guards that answer for this chain."""
        if self.majority is None or (self._neighbours.coordination.holds and self.majority.waiting_for):
            return False
        return self._answering >= self._needed

    @property
    def can_sign(self) -> bool:
        """Whether, as far as this replica sees, the cluster would sign for this chain now."""
        return not self.waiting_for

    @property
    def drained(self) -> bool:
        """See `Subject.drained`."""
        return self.majority is None or not self.majority.busy

    @property
    def previous(self) -> bytes:
        """The hash of the generation before the present one; empty while the chain is not born."""
        return self._previous

    @property
    def _answering(self) -> int:
        return 0 if self.electorate is None else self._neighbours.answering(self.electorate, self.claim)

    @property
    def _needed(self) -> int:
        return len(self._asked) // 2 + 1

    @property
    def _asked(self) -> tuple[str, ...]:
        """The replicas whose guards are asked: of the generation, or else those of the peer list."""
        members = self.electorate.members if self.electorate is not None else ()
        return tuple(member.id for member in members) or self._around.members

    @property
    def healthy(self) -> bool:
        """Whether the own guard gives this replica no reason to leave the lease to another."""
        return self.phase is not GuardPhase.REFUSED and self.phase is not GuardPhase.FUSED

    def _missing(self) -> str:
        if self._answering >= self._needed:
            return ""
        troubles: list[str] = []
        if not self.healthy and self.guard is not None:
            troubles.append(f"{self._around.me}: {self.guard.blown}")
        elif self.guard is None:
            troubles.append(f"{self._around.me}: {self._place.refused}")
        for member in self._asked:
            neighbour = self._neighbours.get(member)
            if member == self._around.me:
                continue
            claim = neighbour.guards.get(self.chain_id) if neighbour is not None else None
            if neighbour is None:
                troubles.append(f"{member} is not connected")
            elif claim is None:
                troubles.append(f"{member} does not sign for this chain")
            elif claim.phase is not GuardPhase.ARMED:
                why = f": {claim.reason}" if claim.reason else ""
                troubles.append(f"the guard of {member} is {claim.phase.name.lower()}{why}")
        return f"{self._needed} of {len(self._asked)} guards are needed; " + "; ".join(troubles)

    def tell_who_is_missing(self, neighbour: Neighbour) -> None:
        """Say it, once, when the guard of a connected replica does not count: the cluster has one less to lose."""
        why = self._why_it_does_not_count(neighbour)
        if why == self._missed.get(neighbour.member, ""):
            return
        self._missed[neighbour.member] = why
        if not self._flaps.setdefault(neighbour.member, Repeats()).tell(why, self._around.clock()):
            return
        if why:
            self._around.log.warning(
                "a replica's guard does not count", chain=self.chain_id, peer=neighbour.member, why=why
            )
        else:
            self._around.log.info("a replica's guard counts again", chain=self.chain_id, peer=neighbour.member)

    def _why_it_does_not_count(self, neighbour: Neighbour) -> str:
        claim = neighbour.guards.get(self.chain_id)
        if self.majority is None or claim is None:  # a birth tells of itself; other chains are told as a difference
            return ""
        match claim.phase:
            case GuardPhase.UNBOUND:
                return "it is of no generation: new, or made anew; `cmkms cluster change` makes it a member"
            case GuardPhase.REFUSED | GuardPhase.FUSED:
                return claim.reason or claim.phase.name.lower()
            case GuardPhase.BOUND | GuardPhase.ARMED:
                return ""

    # --------------------------------------------------------------------------------------------------------- birth

    def found(self) -> bool:
        """Go on with birth or change, as far as the others' claims allow; returns whether the own claim changed."""
        if self.changing.step():
            return True
        return not self.is_born and not self.changing.under_way and self._founding.step()

    @property
    def is_born(self) -> bool:
        """See `Unborn.is_born`."""
        return self.majority is not None

    def born(self) -> None:
        """See `Unborn.born`."""
        guard = self.guard
        if self.is_born or guard is None or guard.record is None:
            raise BrokenInvariantError(f"the guards of {self.chain_id} are born twice, or without this one")
        self._tell_after_arming(guard)
        self._ask_from_now_on(guard.record.generation, NO_GENERATION.hash, guard.members)

    def _tell_after_arming(self, guard: Guard) -> None:
        for note in after_arming(self._place.site, self._place.disk, guard):
            self._around.log.warning(note, chain=self.chain_id)

    def _begin_with_what_is_known(self) -> None:
        guard, marker = self.guard, self._place.marker
        record = guard.record if guard is not None else None
        if guard is not None and record is not None and record.armed and guard.members:
            previous = marker.previous if marker is not None else NO_GENERATION.hash
            self._ask_from_now_on(record.generation, previous, guard.members)
        elif marker is not None and (guard is None or guard.blown):
            # The own guard does not answer, but who the others are is known: they can be asked.
            self._ask_from_now_on(marker.generation, marker.previous, marker.members)
        elif isinstance(self._place.guard, JoiningGuard):
            why = "this guard joins by a change of generation: run `cmkms cluster change` on a replica that signs"
            self._founding.say(why, progress=False)

    def _ask_from_now_on(self, generation: GenerationId, previous: bytes, members: tuple[Member, ...]) -> None:
        around, site = self._around, self._place.site
        self.electorate, self._previous = Electorate(self.chain_id, site.key_hash, generation, members), previous
        if self.majority is not None:
            self.majority.rest()
        self._generations += 1
        self.majority = MajorityQuorum(
            around.me,
            self.electorate,
            self,
            around.timer,
            first_rpc=around.first_rpc + self._generations * _RPC_RANGE,
            clock=around.clock,
        )
        self.majority.on_granted = lambda seconds: around.observer.quorum(self.chain_id, seconds)
        self.signer.quorum, self.signer.generation = self.majority, generation.number
        for one in self._neighbours:
            self.majority.peer_up(one.member)
        coordination = self._neighbours.coordination
        if coordination.holds:
            self.majority.lead(coordination.term)
        self.dispatch.begin_anew()

    # ----------------------------------------------------------------------------------------- change of generation

    def hold(self, why: str) -> None:
        """See `Subject.hold`. What was proposed before is still decided, signed and answered."""
        self.signer.quorum = NoGuard(why)

    def go_on(self) -> None:
        """See `Subject.go_on`."""
        if self.majority is not None:
            self.signer.quorum = self.majority
            self.dispatch.begin_anew()

    def follow(self, change: Change) -> None:
        """See `Subject.follow`."""
        self._founding.floor = None
        self._ask_from_now_on(change.after, change.link, change.members)
        if self.guard is not None:
            self._tell_after_arming(self.guard)

    # -------------------------------------------------------------------------------------------- the way to guards

    def ask(self, member: str, message: Accept | Peek) -> bool:
        """See `GuardPort.ask`. The own guard answers in its turn, when what goes to those before it has left.

        Who is asked after it is asked when it has written: a majority needs fewer than all, and the own disk is not
        kept waiting for the others.
        """
        if member == self._around.me:
            self._own_turns += 1
            self._around.soon(lambda: self._ask_own_guard(message))
            return True
        if not self._own_turns:
            return self._around.send(member, message)

        def send() -> None:
            self._around.send(member, message)

        self._around.soon(send)
        return True

    def _ask_own_guard(self, message: Accept | Peek) -> None:
        self._own_turns -= 1
        answer = self.service.accept(message) if isinstance(message, Accept) else self.service.peek(message)
        self.answered(self._around.me, self._around.identity, answer)

    def answered(self, member: str, identity: bytes, answer: Answered | Peeked) -> None:
        """Count what a guard answered, the own one included."""
        if self.majority is not None:
            self.majority.answered(member, identity, answer)
