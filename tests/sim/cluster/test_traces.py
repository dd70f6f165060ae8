"""The traces by which a cluster would sign twice or stand still, each found by search over a design without a sentence.

Each test goes the steps of its trace on real replicas and ends where the broken design would have gone wrong. Which
trace is tested where stands in README.md beside this file.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cmkms.guard.claims import GuardPhase
from cmkms.guard.hrs import HRS, Step
from cmkms.privval import vote_sign_bytes
from cmkms.signing import Rejected, RejectedBecause
from tests.sim.cluster.cluster import Cluster
from tests.unit.signing.messages import BLOCK_B, CHAIN, precommit, prevote

ONE, TWO = precommit(10), precommit(10, block=BLOCK_B)
BYTES_OF_ONE = vote_sign_bytes(CHAIN, ONE.vote)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Three nodes, the first of them connected to the lease holder."""
    cluster = Cluster(tmp_path, sentries=3).up()
    cluster.sentries[0].connect(cluster.holder)
    return cluster


def only_one_signed(cluster: Cluster) -> None:
    assert len(cluster.judge.signed) <= 1


class TestAGuardForgets:
    """Acknowledgements are immortal; they become lethal when a guard forgets that it gave one."""

    def make_anew(self, cluster: Cluster, name: str) -> None:
        """As `init` on an empty volume would: no guard, no marker, nothing that was released."""
        host = cluster.hosts[name]
        host.disk.lose(host.site.path)
        for path in (host.home.born_marker(CHAIN), host.site.founders_file, host.home.released_file(CHAIN)):
            path.unlink(missing_ok=True)

    def test_recreated_empty_it_does_not_accept_again(self, cluster: Cluster) -> None:
        """g1 accepts v1; g1 is empty; g1 accepts v2; g2 accepts v1; g3 accepts v2."""
        holder = cluster.holder
        g1, g3 = cluster.others
        cluster.links.block([(g3, holder), (holder, g3)])
        cluster.links.block([(g1, holder)])
        cluster.sentries[0].ask(ONE)
        assert cluster.run(0.1, until=lambda: cluster.hosts[g1].watermark[1] == BYTES_OF_ONE)
        cluster.kill(g1)
        self.make_anew(cluster, g1)
        cluster.isolate(holder)
        cluster.start(g1)
        second = cluster.sentries[1]
        second.connect(g3)
        asked = second.ask(TWO)
        cluster.run(20)
        assert asked.answer is None
        cluster.links.unblock(tuple(cluster.links.cut))
        cluster.run(20)
        assert not asked.signed
        only_one_signed(cluster)
        assert cluster.ask(prevote(11), sentry=2).signed

    def test_rolled_back_it_is_not_counted_once_another_has_seen_it_ahead(self, cluster: Cluster) -> None:
        """g1 accepts v1 and so does g2; g1 goes back to a snapshot; g1 and g3 accept v2."""
        holder = cluster.holder
        g1, g3 = cluster.others
        before = cluster.image(g1)
        disk = cluster.hosts[g3].disk
        cluster.links.block([(holder, g3), (g3, holder)])
        assert cluster.ask(ONE).signed
        cluster.run(0.5)
        assert cluster.hosts[g3].watermark[0] == HRS(0, 0, Step.NONE)
        cluster.kill(g1)
        cluster.roll_back(g1, before)
        cluster.start(g1)
        cluster.isolate(holder)
        cluster.sentries[1].connect(g3)
        asked = cluster.sentries[1].ask(TWO)
        cluster.run(20)
        assert not asked.signed
        assert disk.operations
        assert cluster.process(g1).chain.phase is GuardPhase.FUSED
        only_one_signed(cluster)

    def test_two_processes_with_one_identity_are_heard_and_neither_answers(self, cluster: Cluster) -> None:
        """A copied home: two guards with one memory of the past, and two futures."""
        name = cluster.others[0]
        process = cluster.process(cluster.holder)
        process.run(lambda: process.replica.twin(name, b"t" * 16))
        cluster.run(1.5)
        process.run(lambda: process.replica.twin(name, b"t" * 16))
        assert cluster.run(1, until=lambda: cluster.process(name).chain.phase is GuardPhase.FUSED)
        assert cluster.ask(prevote(10)).signed

    def test_a_life_that_is_heard_once_after_its_successor_is_no_twin(self, cluster: Cluster) -> None:
        name = cluster.others[0]
        process = cluster.process(cluster.holder)
        process.run(lambda: process.replica.twin(name, b"t" * 16))
        cluster.run(2)
        assert cluster.process(name).chain.phase is GuardPhase.ARMED


class TestTheFuse:
    def test_a_flight_does_not_count_what_the_own_guard_said_before_its_fuse_blew(self, cluster: Cluster) -> None:
        """The process whose file was lost lives on with its flights: a fuse aborts every one of them."""
        holder = cluster.holder
        g2, g3 = cluster.others
        cluster.isolate(g3)
        cluster.links.block([(g2, holder)])
        asked = cluster.sentries[0].ask(ONE)
        assert cluster.run(0.2, until=lambda: cluster.hosts[holder].watermark[1] == BYTES_OF_ONE)
        guard = cluster.process(holder).chain.guard
        assert guard is not None
        guard.blow_fuse("its file is gone")
        cluster.links.unblock([(g2, holder)])
        cluster.run(3)
        assert asked.answer is None
        assert cluster.judge.signed == {}
        cluster.heal()
        assert cluster.run(10, until=lambda: asked.signed)

    def test_it_gives_up_the_lease_and_goes_on_forwarding(self, cluster: Cluster) -> None:
        holder = cluster.holder
        guard = cluster.process(holder).chain.guard
        assert guard is not None
        guard.blow_fuse("its file is gone")
        assert cluster.run(2, until=lambda: cluster.holder not in {"", holder})
        cluster.sentries[0].connect(holder)
        asked = cluster.ask(ONE)
        assert asked.signed
        assert asked.tries == 1

    def test_a_restart_does_not_clear_it(self, cluster: Cluster) -> None:
        name = cluster.others[0]
        guard = cluster.process(name).chain.guard
        assert guard is not None
        guard.blow_fuse("its file is gone")
        cluster.kill(name)
        cluster.start(name)
        cluster.run(2)
        assert cluster.process(name).chain.phase is GuardPhase.FUSED
        assert cluster.ask(ONE).signed


class TestTwoCoordinators:
    def test_a_takeover_adopts_what_the_former_holder_left_at_one_guard(self, cluster: Cluster) -> None:
        """The write of the new holder's own guard, before it had heard the others, was what made the split."""
        holder = cluster.holder
        g2, g3 = cluster.others
        cluster.links.block([(holder, g3), (g2, holder)])
        first = cluster.sentries[0].ask(prevote(10, seconds=1))
        assert cluster.run(0.2, until=lambda: cluster.hosts[g2].watermark[0] == HRS(10, 0, Step.PREVOTE))
        cluster.kill(holder)
        cluster.links.unblock(tuple(cluster.links.cut))
        cluster.sentries[1].connect(g3)
        second = cluster.ask(prevote(10, seconds=2), sentry=1)
        assert second.signed
        assert cluster.run(10, until=lambda: first.signed)
        assert list(cluster.judge.signed.values()) == [vote_sign_bytes(CHAIN, prevote(10, seconds=1).vote)]

    def test_a_late_accept_of_the_former_holder_splits_nothing(self, cluster: Cluster) -> None:
        """Its messages are held up by the network, and arrive when the next holder is at work."""
        holder = cluster.holder
        g2, g3 = cluster.others
        cluster.links.block([(holder, g2), (holder, g3)])
        cluster.sentries[0].ask(prevote(10, seconds=1))
        cluster.run(0.9, until=lambda: cluster.holder not in {"", holder})
        cluster.sentries[1].connect(g3)
        second = cluster.sentries[1].ask(prevote(10, seconds=2))
        cluster.links.unblock(tuple(cluster.links.cut))
        assert cluster.run(10, until=lambda: second.signed)
        only_one_signed(cluster)

    @pytest.mark.parametrize("seconds", [0.3, 0.41, 0.6, 1.5])
    def test_a_holder_that_slept_beyond_its_lease_does_not_hold_it_when_it_wakes(
        self, cluster: Cluster, seconds: float
    ) -> None:
        holder = cluster.holder
        cluster.stop(holder)
        cluster.run(seconds)
        assert cluster.process(holder).holds == (seconds < 0.4)

    def test_at_no_moment_do_two_replicas_hold_the_lease(self, cluster: Cluster) -> None:
        for name in (cluster.holder, *cluster.others):
            cluster.stop(name)
            for _ in range(300):
                cluster.run(0.01)
                assert sum(one.holds for one in cluster.running) <= 1
            cluster.resume(name)
            cluster.run(1)


class TestOutagesAreNoAnswers:
    """A refusal can halt a chain: a node never asks again for what it was refused."""

    def test_neither_election_nor_partition_nor_power_loss_is_told_to_a_node(self, cluster: Cluster) -> None:
        asked = [cluster.sentries[0].ask(prevote(10))]
        cluster.kill(cluster.holder)
        cluster.run(8)
        cluster.heal()
        for name in cluster.hosts:
            cluster.isolate(name)
        asked.append(cluster.sentries[1].ask(prevote(10)))
        cluster.run(20)
        cluster.cut_power(*cluster.hosts)
        cluster.run(5)
        cluster.heal()
        assert cluster.run(15, until=lambda: all(one.answer is not None for one in asked))
        assert cluster.judge.rejected == []

    def test_what_was_accepted_in_an_outage_is_what_is_signed_after_it(self, cluster: Cluster) -> None:
        """The request may be given up by its node and still be in a guard: the repeat has its signature."""
        cluster.links.block([(other, cluster.holder) for other in cluster.others])
        cluster.sentries[0].ask(prevote(10, seconds=1))
        cluster.run(0.1)
        cluster.heal()
        second = cluster.ask(prevote(10, seconds=2), sentry=1)
        assert second.signed
        only_one_signed(cluster)

    def test_a_conflict_is_told_at_once(self, cluster: Cluster) -> None:
        cluster.ask(ONE)
        asked = cluster.ask(TWO, sentry=1)
        assert isinstance(asked.answer, Rejected)
        assert asked.answer.because is RejectedBecause.CONFLICT
        assert asked.took < 0.05


def test_every_test_that_the_list_of_traces_names_exists() -> None:
    here = Path(__file__).parent
    listed = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", (here / "README.md").read_text(encoding="utf-8"))
    assert len(listed) > 40
    missing = [
        f"{path}::{name}"
        for path, name in listed
        if not all(
            re.search(rf"(def|class) {part}\b", (here.parents[2] / path).read_text(encoding="utf-8"))
            for part in name.split("::")
        )
    ]
    assert missing == []
