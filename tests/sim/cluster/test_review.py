"""What a review broke a cluster with: one replica that lies or forgets, guards that are gone, links that are cut.

Each test goes as far as the cluster would have gone wrong. What a single part does by itself is tested with that part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cmkms.chains import LoadedChain
from cmkms.cluster.codec import ShareView, encode
from cmkms.cluster.view import View
from cmkms.config import ChainConfig, OnOutage
from cmkms.errors import BrokenInvariantError, PeerError
from cmkms.guard.claims import GuardClaim, GuardPhase
from cmkms.guard.decide import AcceptRequest, Verdict
from cmkms.guard.hrs import HRS, Step
from cmkms.guard.record import GuardRecord
from cmkms.guard.rpc import Accept, Peek
from cmkms.guard.state_file import SignState
from cmkms.keys import Ed25519Key
from cmkms.peers.messages import Blow, Message, Raft, Status
from cmkms.privval import SignVoteRequest, decode_request, vote_sign_bytes
from cmkms.served import OpenedChain, chain_status, serve_together
from cmkms.status import LastSigned
from tests.sim.cluster.cluster import Cluster
from tests.sim.cluster.lives import Process
from tests.unit.peers.test_forwarded_size import longest_request
from tests.unit.signing.messages import CHAIN, KEY, prevote

OTHER_KEY = Ed25519Key(bytes(range(1, 33)))
OTHER_CHAIN = "nobody-signs-for-this-1"


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Three replicas; the node is connected to the lease holder, and has one signature."""
    return ready(Cluster(tmp_path, sentries=2))


def ready(cluster: Cluster) -> Cluster:
    cluster.up()
    cluster.sentries[0].connect(cluster.holder)
    assert cluster.ask(prevote(5)).signed
    cluster.run(0.5)
    return cluster


@dataclass
class Tap:
    """Keeps what a process sends, with the time; kinds in `lost` never leave it."""

    process: Process
    lost: tuple[type[Message], ...] = ()
    sent: list[tuple[float, str, Message]] = field(default_factory=list[tuple[float, str, Message]])

    def __post_init__(self) -> None:
        inner = self.process._send

        def send(process: Process, member: str, message: Message) -> bool:
            self.sent.append((process.host.events.now, member, message))
            return True if isinstance(message, self.lost) else inner(process, member, message)

        self.process._send = send

    def blows(self, member: str) -> list[tuple[float, Blow]]:
        return [(at, said) for at, to, said in self.sent if to == member and isinstance(said, Blow)]


def blow_fuses(cluster: Cluster, names: Iterable[str]) -> None:
    for name in names:
        guard = cluster.process(name).chain.guard
        assert guard is not None
        guard.blow_fuse("its file is gone")


def says_of_itself(process: Process, member: str, **changes: object) -> None:
    """Let a process hear a heartbeat of another replica with other words in it."""
    neighbour = process.replica.neighbours.get(member)
    assert neighbour is not None
    assert neighbour.status is not None
    process.replica.received(member, replace(neighbour.status, **changes))  # type: ignore[arg-type]


def claims(process: Process, member: str, *told: GuardClaim) -> None:
    """Let a process hear what a replica claims of its guards, in its order."""
    for claim in told:
        says_of_itself(process, member, guards=(claim,))


def claim_of(process: Process, member: str) -> GuardClaim:
    """What a replica claimed of its guard last."""
    neighbour = process.replica.neighbours.get(member)
    assert neighbour is not None
    return neighbour.guards[CHAIN]


def accepted_by(process: Process) -> list[list[str]]:
    assert process.chain.majority is not None
    return [sorted(ballot.accepted) for ballot in process.chain.majority._ballots.values()]


class TestTheLongestRequest:
    def test_a_node_of_another_replica_than_the_holder_has_its_answer(self, cluster: Cluster) -> None:
        request = decode_request(longest_request())
        assert isinstance(request, SignVoteRequest)
        other = cluster.others[0]
        cluster.sentries[1].connect(other)
        asked = cluster.ask(request, sentry=1)
        assert asked.signed
        assert cluster.process(other).measured.results["signed"] == 1


class TestAcknowledgementsOfBefore:
    def test_what_a_peers_guard_accepted_before_it_went_backwards_is_no_part_of_a_majority(
        self, tmp_path: Path
    ) -> None:
        cluster = ready(Cluster(tmp_path, size=5))
        holder = cluster.process(cluster.holder)
        back, third, *rest = cluster.others
        cluster.links.block([(name, cluster.holder) for name in (third, *rest)])
        asked = cluster.sentries[0].ask(prevote(6))
        both = sorted((holder.host.name, back))
        assert cluster.run(0.05, until=lambda: accepted_by(holder) == [both])
        claim = claim_of(holder, back)
        claims(holder, back, replace(claim, sequence=claim.sequence - 1))
        cluster.links.unblock([(third, holder.host.name)])
        cluster.run(0.02)
        assert asked.answer is None
        assert accepted_by(holder) == [sorted((holder.host.name, third))]
        cluster.heal()
        assert cluster.run(5, until=lambda: asked.signed)

    def test_what_the_own_guard_accepted_before_it_was_told_to_have_gone_backwards_is_none_either(
        self, cluster: Cluster
    ) -> None:
        holder = cluster.process(cluster.holder)
        second, third = cluster.others
        cluster.links.block([(second, holder.host.name), (third, holder.host.name)])
        asked = cluster.sentries[0].ask(prevote(6))
        assert cluster.run(0.05, until=lambda: accepted_by(holder) == [[holder.host.name]])
        guard = holder.chain.guard
        assert guard is not None
        assert guard.record is not None
        holder.replica.received(second, Blow(CHAIN, guard.record.nonce, guard.record.sequence + 1))
        assert holder.chain.phase is GuardPhase.FUSED
        assert not any(holder.host.name in names for names in accepted_by(holder))
        cluster.links.unblock([(second, holder.host.name)])
        cluster.run(0.005)
        assert asked.answer is None
        cluster.heal()
        assert cluster.run(10, until=lambda: asked.signed)


class TestAGuardThatWentBackwards:
    def test_word_of_it_counts_however_far_the_guard_has_moved_on(self, cluster: Cluster) -> None:
        holder = cluster.process(cluster.holder)
        guard = holder.chain.guard
        assert guard is not None
        assert guard.record is not None
        holder.replica.received(cluster.others[0], Blow(CHAIN, guard.record.nonce, guard.record.sequence - 1))
        assert holder.chain.phase is GuardPhase.FUSED

    def test_word_of_another_file_concerns_nobody(self, cluster: Cluster) -> None:
        holder = cluster.process(cluster.holder)
        holder.replica.received(cluster.others[0], Blow(CHAIN, bytes(16), 2**40))
        assert holder.chain.phase is GuardPhase.ARMED

    def test_it_is_told_once_however_often_it_answers(self, cluster: Cluster) -> None:
        holder = cluster.process(cluster.holder)
        back = cluster.others[0]
        tap = Tap(holder)
        guard = cluster.process(back).chain.guard
        assert guard is not None
        assert guard.record is not None
        holder.replica._watch.see(back, CHAIN, guard.record.nonce, guard.record.sequence + 1_000)
        for height in range(6, 16):
            assert cluster.ask(prevote(height)).signed
        assert len([line for line in cluster.lines if "WENT BACKWARDS" in line[2]]) == 1
        assert len(tap.blows(back)) == 1
        assert cluster.process(back).chain.phase is GuardPhase.FUSED

    def test_it_is_told_again_when_its_replica_comes_back(self, cluster: Cluster) -> None:
        """The word of it may be lost with the session, and a guard that was not told answers on."""
        holder = cluster.process(cluster.holder)
        back = cluster.others[0]
        guard = cluster.process(back).chain.guard
        assert guard is not None
        assert guard.record is not None
        tap = Tap(holder, lost=(Blow,))
        holder.replica._watch.see(back, CHAIN, guard.record.nonce, guard.record.sequence + 1_000)
        assert cluster.ask(prevote(6)).signed
        cluster.run(1)
        assert len(tap.blows(back)) == 1
        cluster.links.end(frozenset((holder.host.name, back)))
        cluster.run(1)
        (_, first), (_, again) = tap.blows(back)
        assert again == first
        assert cluster.process(back).chain.phase is GuardPhase.ARMED
        cluster.process(back).replica.received(holder.host.name, again)
        assert cluster.process(back).chain.phase is GuardPhase.FUSED

    def test_a_chain_that_is_not_configured_here_is_nobodys_business(self, cluster: Cluster) -> None:
        holder = cluster.process(cluster.holder)
        other = cluster.others[0]
        tap = Tap(holder)
        claim = replace(claim_of(holder, other), chain_id=OTHER_CHAIN)
        claims(holder, other, claim, replace(claim, sequence=claim.sequence - 1))
        assert tap.blows(other) == []
        assert not any("WENT BACKWARDS" in line for _, _, line in cluster.lines)
        assert all(chain_id == CHAIN for _, chain_id in holder.replica._watch._seen)


class TestTheLeaseGoesToWhoReachesTheGuards:
    def test_a_fused_guard_and_a_cut_link_elsewhere_stop_nothing(self, cluster: Cluster) -> None:
        """A reaches its own guard only, C its own and nobody else's; B, whose guard is fused, reaches both."""
        a = cluster.holder
        b, c = cluster.others
        blow_fuses(cluster, [b])
        cluster.run(1)
        assert cluster.holder == a
        cluster.links.block(cluster.links.ways(a, c))
        cluster.run(0.1)
        asked = cluster.sentries[0].ask(prevote(6))
        assert cluster.run(5, until=lambda: asked.signed)
        assert cluster.run(2, until=lambda: cluster.holder == b)
        cluster.run(2)
        for height in range(7, 17):
            assert cluster.ask(prevote(height)).took < 0.1
        assert cluster.holder == b

    @pytest.mark.parametrize("seed", [1, 2, 3, 22])
    def test_it_takes_no_election(self, tmp_path: Path, seed: int) -> None:
        """Heartbeats that have just grown old name other replicas that were fitter: they must not be in the way."""
        cluster = ready(Cluster(tmp_path, seed=seed))
        a = cluster.holder
        b, c = cluster.others
        blow_fuses(cluster, [b])
        cluster.run(1)
        cluster.links.block(cluster.links.ways(a, c))
        assert cluster.run(1, until=lambda: cluster.holder != a)
        assert cluster.run(0.1, until=lambda: cluster.holder == b)

    def test_a_replica_that_has_resigned_takes_it_from_nobody(self, cluster: Cluster) -> None:
        """Not even where another one would be fitter than itself: it is about to stop."""
        holder = cluster.process(cluster.holder)
        leaving = cluster.others[0]
        blow_fuses(cluster, [leaving])
        cluster.run(1)
        cluster.process(leaving).replica.resign()
        begun = len(cluster.lines)
        assert holder.replica.coordination.hand_over(leaving)
        cluster.run(3)
        assert (leaving, "this replica holds the lease") not in [line[1:] for line in cluster.lines[begun:]]

    @pytest.mark.parametrize("fit", [0, 1])
    def test_it_goes_at_once_to_the_fitter_of_two(self, cluster: Cluster, fit: int) -> None:
        first, heir, unfit = cluster.holder, cluster.others[fit], cluster.others[1 - fit]
        blow_fuses(cluster, [unfit])
        cluster.run(1)
        begun = len(cluster.lines)
        blow_fuses(cluster, [first])
        assert cluster.run(0.1, until=lambda: cluster.holder == heir)
        assert [name for _, name, line in cluster.lines[begun:] if line == "this replica holds the lease"] == [heir]

    def test_without_any_guard_somebody_holds_it_all_the_same(self, cluster: Cluster) -> None:
        """A replica stands aside for a fitter one only: with nobody to lead, nobody would be found fitter later."""
        blow_fuses(cluster, cluster.hosts)
        cluster.run(2)
        for _ in range(50):
            cluster.run(0.1)
            assert cluster.holder

    def test_a_replica_whose_guard_is_fused_leads_until_a_fitter_one_is_there(self, cluster: Cluster) -> None:
        first = cluster.holder
        second, third = cluster.others
        cluster.kill(second, third)
        cluster.run(1)
        blow_fuses(cluster, [first])
        cluster.run(1)
        cluster.start(second, third)
        assert cluster.run(5, until=lambda: cluster.holder in {second, third})
        cluster.run(2)
        assert cluster.holder in {second, third}
        assert not cluster.process(first).holds


class TestATermThatNobodyHasReached:
    def test_a_peek_of_one_replica_stops_no_accepts_of_the_present_term(self, cluster: Cluster) -> None:
        liar = cluster.others[0]
        for name in cluster.hosts:
            if name != liar:
                cluster.process(name).replica.received(liar, Peek(1, 2**62, CHAIN))
        for height in range(6, 9):
            assert cluster.ask(prevote(height)).took < 0.1
        cluster.kill(cluster.holder)
        assert cluster.ask(prevote(9), within=5).signed


class TestTheView:
    """What one replica tells of signatures is believed by what it proves."""

    @staticmethod
    def shown(process: Process) -> LastSigned | None:
        """The signature that /status shows."""
        site = process.host.site
        config = ChainConfig(CHAIN, (), Path("key"), site.state_file, OnOutage.HOLD, 10.0)
        opened = OpenedChain(LoadedChain(config, KEY, site), None, None, None)
        return chain_status(serve_together(opened, process.chain)).last_signed

    @pytest.mark.parametrize("what", ["another place", "another key", "other bytes", "no vote", "no chain of ours"])
    def test_what_does_not_verify_is_neither_shown_nor_in_the_way_of_what_does(
        self, cluster: Cluster, what: str
    ) -> None:
        liar = cluster.others[0]
        honest = [cluster.process(name) for name in cluster.hosts if name != liar]
        released = honest[0].chain.signer.released
        assert released is not None
        above = HRS(2**40, 0, Step.PREVOTE)
        above_bytes = vote_sign_bytes(CHAIN, prevote(2**40).vote)
        chain_id, lie = {
            "another place": (CHAIN, replace(released, hrs=above)),
            "another key": (CHAIN, SignState(above, above_bytes, OTHER_KEY.sign(above_bytes))),
            "other bytes": (CHAIN, SignState(above, above_bytes, released.signature)),
            "no vote": (CHAIN, SignState(above, b"\x00\x01", KEY.sign(b"\x00\x01"))),
            "no chain of ours": (OTHER_CHAIN, released),
        }[what]
        share = Raft(encode(ShareView(View({chain_id: lie}).encode())))
        before = [self.shown(process) for process in honest]
        assert None not in before
        for process in honest:
            known = process.replica.view.released(chain_id)
            process.replica.received(liar, share)
            assert process.replica.view.released(chain_id) == known
        assert [self.shown(process) for process in honest] == before
        assert cluster.ask(prevote(6)).signed
        cluster.run(1)
        seen = [shown.height for process in honest if (shown := self.shown(process)) is not None]
        assert seen == [6, 6]

    def test_what_does_verify_is_taken(self, cluster: Cluster) -> None:
        """So that the tests above are about the lie, and not about the way it came."""
        holder = cluster.holder
        behind = cluster.others[0]
        cluster.links.block([(name, behind) for name in cluster.hosts if name != behind])
        assert cluster.ask(prevote(6)).signed
        released = cluster.process(holder).chain.signer.released
        assert released is not None
        process = cluster.process(behind)
        process.replica.received(holder, Raft(encode(ShareView(View({CHAIN: released}).encode()))))
        assert process.chain.signer.released == released


@dataclass
class BrokenGuard:
    """Implements `ServiceGuard`: a guard in which a bug is found."""

    record: GuardRecord | None
    blown: str = ""

    def accept(self, _request: AcceptRequest) -> Verdict:
        raise BrokenInvariantError("it wrote one thing and holds another")


class TestWhoseFaultItIs:
    @staticmethod
    def accept(process: Process, sign_bytes: bytes) -> Accept:
        guard = process.chain.guard
        assert guard is not None
        assert guard.record is not None
        return Accept(
            1, process.replica.coordination.term, CHAIN, guard.record.key_hash, guard.record.generation, sign_bytes
        )

    def test_a_bug_of_the_own_guard_is_not_the_peers_who_asked(self, cluster: Cluster) -> None:
        process = cluster.process(cluster.others[0])
        released = process.chain.signer.released
        assert released is not None
        assert released.sign_bytes is not None
        accept = self.accept(process, released.sign_bytes)
        process.chain.service._guard = BrokenGuard(process.chain.service._guard.record)
        with pytest.raises(BrokenInvariantError):
            process.replica.received(cluster.holder, accept)

    @pytest.mark.parametrize("sign_bytes", [b"", b"\xff", b"\x08\x01", bytes(200)])
    def test_bytes_of_no_vote_are_the_peers_fault(self, cluster: Cluster, sign_bytes: bytes) -> None:
        process = cluster.process(cluster.others[0])
        with pytest.raises(PeerError, match=f"{cluster.holder} asks to accept"):
            process.replica.received(cluster.holder, self.accept(process, sign_bytes))
        assert process.chain.phase is GuardPhase.ARMED


class TestWhetherItCouldSign:
    """What /status says of a chain at a replica that does not hold the lease."""

    def test_the_holders_word_counts_and_not_the_own_sight(self, cluster: Cluster) -> None:
        process = cluster.process(cluster.others[0])
        seen: list[tuple[bool, str]] = []
        for able in ((CHAIN,), (), (CHAIN,)):
            says_of_itself(process, cluster.holder, able=able)
            seen.append((process.chain.can_sign, process.chain.waiting_for))
        unable = f"{cluster.holder} holds the lease, and does not reach enough guards"
        assert seen == [(True, ""), (False, unable), (True, "")]

    def test_a_replica_that_sees_one_guard_only_can_sign_through_the_holder(self, cluster: Cluster) -> None:
        one, other = cluster.others
        blow_fuses(cluster, [one])
        cluster.links.block(cluster.links.ways(one, other))
        cluster.run(2)
        process = cluster.process(one)
        assert not process.chain.is_able
        assert process.chain.can_sign
        cluster.sentries[1].connect(one)
        assert cluster.ask(prevote(6), sentry=1).signed

    def test_a_holder_that_reaches_one_guard_only_says_so_and_its_followers_do(self, cluster: Cluster) -> None:
        blow_fuses(cluster, cluster.others)
        cluster.run(1)
        for process in cluster.running:
            assert not process.chain.can_sign
            assert "2 of 3 guards are needed" in process.chain.waiting_for
        assert all(not status.able for status in self.heard(cluster))

    @staticmethod
    def heard(cluster: Cluster) -> list[Status]:
        """The last heartbeats that arrived anywhere."""
        return [
            one.status for process in cluster.running for one in process.replica.neighbours if one.status is not None
        ]
