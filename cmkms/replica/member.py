"""One replica among several: takes what peers say to the parts that it concerns, and tells the peers of itself.

Driven from outside: the peer link calls its handlers, a clock its `tick` and `beat`. It decides nothing about safety:
whatever arrives here, in whatever order, ends at a guard's decision or in a count of guards' answers.
"""

from __future__ import annotations

from typing import Final

from cmkms.cluster.coordination import Coordination
from cmkms.cluster.timing import Timing
from cmkms.errors import PeerError
from cmkms.guard.change import Change
from cmkms.guard.claims import GuardClaim, GuardPhase
from cmkms.guard.record import RecordTooLargeError
from cmkms.guard.rpc import Accept, Answered, Peek, Peeked
from cmkms.peers.messages import Blow, Goodbye, Hello, Message, Propose, Raft, Status
from cmkms.privval import SignBytesError
from cmkms.replica.chain import ReplicaChain, Surroundings
from cmkms.replica.neighbours import Neighbour, Neighbours, differences
from cmkms.replica.placement import Placement
from cmkms.replica.ports import ChainPlan, Ports, Who
from cmkms.replica.releases import Releases
from cmkms.replica.rollback import RollbackWatch, Watermark
from cmkms.replica.twins import Twins
from cmkms.signing.forwarding import Forward, Forwarded, NotHolder
from cmkms.telemetry.repetition import Repeats

__all__ = ["BEAT_SECONDS", "PROTOCOL_VERSION", "Replica"]

PROTOCOL_VERSION: Final = 1
BEAT_SECONDS: Final = 0.1
"""How often a replica tells of itself. A neighbour that misses three beats does not count as heard any more."""
QUIET_BEATS: Final = 3.5
"""Beats may come late by half of one."""


class Replica:
    """One replica of several. Implements `PeerHandlers`."""

    def __init__(self, who: Who, ports: Ports, plans: tuple[ChainPlan, ...]) -> None:
        self._who = who
        self._ports = ports
        self._log = ports.log
        self._watch = RollbackWatch()
        self._leaving: set[str] = set()
        self._differences: dict[str, Repeats] = {}
        self._announcing = False
        self._held: int | None = None
        self._twins = Twins()
        self._backwards: dict[str, Repeats] = {}
        self.chains: Final[dict[str, ReplicaChain]] = {}
        known = {plan.place.site.chain_id: plan.place.released for plan in plans}
        self._releases = Releases(self.chains, {chain: state for chain, state in known.items() if state is not None})
        self.view: Final = self._releases.view
        self.coordination: Final = Coordination(
            who.me,
            who.ids,
            Timing.of(who.ttl_seconds),
            clock=ports.clock,
            send=lambda member, data: ports.send(member, Raft(data)),
            terms=ports.terms,
            view=self.view,
            changed=self._lease_changed,
            random=ports.random,
        )
        self.neighbours: Final = Neighbours(
            who.me,
            who.ids,
            self.coordination,
            ports.clock,
            max(QUIET_BEATS * BEAT_SECONDS, who.ttl_seconds),
            self._watch.trusts,
        )
        around = Surroundings(
            who.me,
            who.identity,
            who.ids,
            ports.send,
            ports.soon,
            ports.timer,
            ports.clock,
            ports.log,
            ports.observer,
            ports.random.getrandbits(60),
            self.announce,
        )
        for plan in plans:
            self.chains[plan.place.site.chain_id] = ReplicaChain(
                plan.place, around, self.neighbours, refuse_after=plan.refuse_after
            )
        self._placement = Placement(self.chains.values(), self.neighbours, ports.clock)

    # ------------------------------------------------------------------------------------------- by the peer link

    def hello(self) -> Hello:
        """See `PeerHandlers.hello`."""
        who = self._who
        ttl_ms = round(who.ttl_seconds * 1000)
        return Hello(
            PROTOCOL_VERSION, PROTOCOL_VERSION, who.release, who.me, who.boot, ttl_ms, who.members, self._claims()
        )

    def peer_up(self, member: str, identity: bytes, hello: Hello) -> None:
        """See `PeerHandlers.peer_up`."""
        self._leaving.discard(member)
        neighbour = self.neighbours.up(member, identity, hello)
        ours = {chain_id: chain.claim.key_hash for chain_id, chain in self.chains.items()}
        neighbour.differences = differences(hello, ours)
        told = self._differences.setdefault(member, Repeats())
        for difference in neighbour.differences:
            if told.tell(difference, self._ports.clock()):
                self._log.warning("replicas are configured differently", peer=member, difference=difference)
        self._check_claims(neighbour)
        for chain_id, back in self._watch.found(member):
            self._ports.send(member, Blow(chain_id, back.nonce, back.seen))
        self.coordination.peer_up(member)
        for chain in self.chains.values():
            if chain.majority is not None:
                chain.majority.peer_up(member)
            chain.changing.peer_up(member)
            chain.changing.tell()
        self._go_on()

    def peer_down(self, member: str, why: str) -> None:  # noqa: ARG002 - the link logs it
        """See `PeerHandlers.peer_down`."""
        self.neighbours.down(member)
        for chain in self.chains.values():
            if chain.majority is not None:
                chain.majority.peer_down(member)
            chain.dispatch.peer_down(member)
        self.coordination.peer_down(member, goodbye=member in self._leaving)
        self._go_on()
        # Whom this replica reaches tells the others whether it is the one to lead.
        self.announce()

    def peer_refused(self, member: str) -> None:
        """See `PeerHandlers.peer_refused`."""
        self.coordination.peer_refused(member)

    def twin(self, member: str, boot: bytes) -> None:
        """See `PeerHandlers.twin`: two processes with one identity. If both live, neither may answer any more."""
        if self._twins.live(member, boot, self._ports.clock()):
            self._log.critical("two live processes use the identity of one replica", peer=member)
            self._ports.send(member, Blow("", boot, 0))

    def received(self, member: str, message: Message) -> None:
        """See `PeerHandlers.received`. Raises PeerError for what no honest replica says."""
        neighbour = self.neighbours.get(member)
        if neighbour is None:
            return
        neighbour.heard = self._ports.clock()
        match message:
            case Accept() | Peek():
                self._serve_guard(member, message)
            case Answered() | Peeked():
                self._count(neighbour, message)
            case Forward() | Forwarded():
                self._forward(member, message)
            case _:
                self._take_notice(neighbour, message)

    def _take_notice(self, neighbour: Neighbour, message: Message) -> None:
        member = neighbour.member
        match message:
            case Raft(data=data):
                self.coordination.received(member, data)
            case Status():
                self._take_status(neighbour, message)
            case Blow():
                self._blow(member, message)
            case Propose(change=change):
                self._take_change(change)
            case Goodbye():
                self._leaving.add(member)
            case _:
                raise PeerError(f"{member} says {type(message).__name__} out of turn")

    # --------------------------------------------------------------------------------------------------- by the clock

    def tick(self) -> None:
        """Drive elections, lease and view; every `Timing.tick` seconds."""
        self._releases.tell(self.coordination.release)
        self.coordination.tick()
        if self._is_out_of_step():
            self._lease_changed()

    def beat(self) -> None:
        """Tell the others of this replica; every `BEAT_SECONDS`."""
        self._send_status()
        for chain in self.chains.values():
            chain.changing.tell()
        self._go_on()
        self._placement.stand_aside()
        self._ports.observer.leader(self.neighbours.holder()[0])
        if better := self._placement.offer():
            self._log.info("the lease is offered to a replica that is better placed", to=better)

    def announce(self) -> None:
        """Tell the others at once that something changed; several changes in a row are told together."""
        if not self._announcing:
            self._announcing = True
            self._ports.soon(self._send_status)

    # ----------------------------------------------------------------------------------------------------- by the node

    def fuse_blown(self) -> None:
        """The own guard stopped answering: its flights end, the lease goes to another replica, everybody is told."""
        self.announce()
        for chain in self.chains.values():
            # What the own guard said before counts no more: what waits is asked anew, here or at the next holder.
            chain.dispatch.begin_anew()
        self._placement.stand_aside()

    def close(self) -> None:
        """Begin nothing here any more; what is under way is finished."""
        for chain in self.chains.values():
            chain.dispatch.close()

    def resign(self) -> bool:
        """Never lead again in this life; returns whether a lease held is being handed over."""
        return self._placement.resign()

    @property
    def busy(self) -> bool:
        """Whether anybody waits for an answer from this replica."""
        return any(chain.signer.flights or chain.dispatch.serving for chain in self.chains.values())

    # ------------------------------------------------------------------------------------------------- by the operator

    def propose(self, change: Change) -> str:
        """Begin a change of generation, as its driver; returns why not."""
        why = self.chains[change.chain_id].changing.propose(change, driver=True)
        if not why:
            self.chains[change.chain_id].changing.tell()
            self._go_on()
        return why

    # --------------------------------------------------------------------------------------------------------- inside

    def _take_change(self, change: Change) -> None:
        chain = self.chains.get(change.chain_id)
        if chain is not None and not chain.changing.propose(change, driver=False):
            self._go_on()

    def _claims(self) -> tuple[GuardClaim, ...]:
        return tuple(chain.claim for chain in self.chains.values())

    def _send_status(self) -> None:
        self._announcing = False
        holder, term = self.neighbours.holder()
        # What is only known from others is not passed on: two replicas would keep a dead holder alive between them.
        if holder and holder != self._who.me:
            lease = self.coordination.lease
            holder, term = (lease.holder, lease.term) if lease is not None else ("", 0)
        able = tuple(chain_id for chain_id, chain in self.chains.items() if chain.is_able)
        status = Status(term, holder, self.neighbours.names, self._ports.nodes(), able, self._claims())
        for member in self.neighbours.names:
            self._ports.send(member, status)

    def _take_status(self, neighbour: Neighbour, status: Status) -> None:
        before = neighbour.status
        if status is before:
            return
        neighbour.status = status
        guards = {claim.chain_id: claim for claim in status.guards}
        news = guards != neighbour.guards
        neighbour.guards = guards
        if news:
            self._check_claims(neighbour)
        if news or before is None or _ways(before) != _ways(status):
            self._go_on()

    def _check_claims(self, neighbour: Neighbour) -> None:
        for claim in neighbour.guards.values():
            if claim.chain_id in self.chains and claim.phase in {GuardPhase.BOUND, GuardPhase.ARMED}:
                self._see(neighbour.member, claim, Watermark(claim.generation, claim.hrs))
        for chain in self.chains.values():
            chain.tell_who_is_missing(neighbour)

    def _see(self, member: str, told: GuardClaim | Answered | Peeked, mark: Watermark | None) -> None:
        chain_id = told.chain_id
        back = self._watch.see(member, chain_id, told.nonce, told.sequence, mark)
        if back is not None:
            # A hostile replica can make up files without an end; an honest one has one.
            if self._backwards.setdefault(member, Repeats()).tell(back, self._ports.clock()):
                self._log.critical(
                    "A GUARD WENT BACKWARDS: it forgot what it answered for, and is not counted any more",
                    peer=member,
                    chain=chain_id,
                    seen=back.seen,
                    told=back.told,
                )
            self._ports.send(member, Blow(chain_id, back.nonce, back.seen))
            chain = self.chains[chain_id]
            if chain.majority is not None:
                chain.majority.distrust(member)

    def _go_on(self) -> None:
        """Links, claims or ways changed: births go on, and requests find their way."""
        news = [chain.found() for chain in self.chains.values()]
        if any(news):
            self.announce()
        for chain in self.chains.values():
            chain.dispatch.route_changed()
        self._placement.look_again()

    def _is_out_of_step(self) -> bool:
        """Whether a chain does not lead, or not in this term, though this replica holds the lease; or the reverse.

        A lease may lapse and come back between two ticks. Nobody tells of that, and a chain that was born, or changed
        its generation, in just that moment was not told to lead.
        """
        holds, term = self.coordination.holds, self.coordination.term
        leading = {chain.majority.term for chain in self.chains.values() if chain.majority is not None}
        return leading - {term if holds else None} != set() or (self._held is not None) != holds

    def _lease_changed(self) -> None:
        """Lead with the quorums of every chain, or leave them to whoever holds the lease now."""
        holds, term = self.coordination.holds, self.coordination.term
        if holds and self._held != term:
            self._held = term
            self._log.info("this replica holds the lease", epoch=term)
        elif not holds and self._held is not None:
            self._held = None
            holder, _ = self.neighbours.holder()
            self._log.info("this replica does not hold the lease any more", holder=holder or "nobody")
        for chain in self.chains.values():
            if holds and chain.majority is not None and chain.majority.term != term:
                chain.majority.lead(term)
            chain.dispatch.route_changed()
            if not holds and chain.majority is not None:
                chain.majority.rest()
        self.announce()

    def _serve_guard(self, member: str, message: Accept | Peek) -> None:
        chain = self.chains.get(message.chain_id)
        if chain is None:
            return
        if isinstance(message, Peek):
            self._ports.send(member, chain.service.peek(message))
            return
        try:
            answer = chain.service.accept(message)
        except (SignBytesError, RecordTooLargeError) as error:
            raise PeerError(f"{member} asks to accept what is no vote or proposal: {error}") from error
        self._ports.send(member, answer)

    def _count(self, neighbour: Neighbour, answer: Answered | Peeked) -> None:
        chain = self.chains.get(answer.chain_id)
        if chain is None:
            return
        # An answer to an accept names what was asked, and only a peek's the guard's own watermark.
        self._see(
            neighbour.member,
            answer,
            Watermark(answer.generation, answer.hrs) if isinstance(answer, Peeked) else None,
        )
        if self._watch.trusts(neighbour.member, answer.chain_id, answer.nonce):
            chain.answered(neighbour.member, neighbour.identity, answer)

    def _forward(self, member: str, message: Forward | Forwarded) -> None:
        chain = self.chains.get(message.chain_id)
        if isinstance(message, Forwarded):
            if chain is not None:
                chain.dispatch.answered(member, message)
        elif chain is None:
            self._ports.send(member, Forwarded(message.rpc, message.chain_id, NotHolder("", 0)))
        else:
            chain.dispatch.serve(member, message)

    def _blow(self, member: str, blow: Blow) -> None:
        """Another replica has seen our guard go backwards, or another process speak with our identity."""
        for chain in self.chains.values():
            guard = chain.guard
            record = guard.record if guard is not None else None
            if guard is None or record is None:
                continue
            if not blow.chain_id:
                guard.blow_fuse(f"{member} hears two live processes with the identity of this replica")
            elif blow.chain_id == chain.chain_id and blow.nonce == record.nonce:
                # Taken at the other's word: this guard may have moved on since, and cannot tell what it forgot.
                guard.blow_fuse(
                    f"this guard went backwards: {member} has seen it at {blow.sequence}, it stands at "
                    f"{record.sequence}. It was restored, or its disk loses what was flushed"
                )


def _ways(status: Status) -> tuple[int, str, tuple[str, ...], tuple[str, ...]]:
    return status.term, status.holder, status.hears, status.able
