"""What a cluster does when something happens to it, one thing at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmkms.guard.claims import GuardPhase
from cmkms.guard.hrs import HRS, Step
from cmkms.privval import vote_sign_bytes
from cmkms.signing import Rejected, RejectedBecause, SignedProposal, SignedVote
from tests.sim.cluster.cluster import Cluster
from tests.sim.cluster.sentries import Asked
from tests.unit.signing.messages import BLOCK_B, CHAIN, at, is_signature, precommit, prevote, proposal


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path).up()


@pytest.fixture
def five(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path, 5).up()


@pytest.fixture
def two_sentries(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path, sentries=2).up()


def vote(asked: Asked) -> SignedVote:
    assert isinstance(asked.answer, SignedVote), asked.answer
    return asked.answer


def because(asked: Asked) -> RejectedBecause:
    assert isinstance(asked.answer, Rejected), asked.answer
    return asked.answer.because


def attach(cluster: Cluster, name: str, sentry: int = 0) -> None:
    cluster.sentries[sentry].connect(name)


class TestBirth:
    def test_replicas_started_minutes_apart_are_born_when_the_last_has_come(self, tmp_path: Path) -> None:
        cluster = Cluster(tmp_path)
        cluster.start("node-1")
        cluster.run(60)
        cluster.start("node-0")
        cluster.run(60)
        phases = [cluster.process(name).chain.phase for name in ("node-0", "node-1")]
        assert phases == [GuardPhase.UNBOUND, GuardPhase.UNBOUND]
        cluster.start("node-2")
        assert cluster.run(5, until=lambda: cluster.born)

    def test_a_request_before_birth_is_held_and_answered_after_it(self, tmp_path: Path) -> None:
        cluster = Cluster(tmp_path)
        cluster.start("node-0", "node-1")
        asked = cluster.sentries[0].ask(prevote(10))
        cluster.run(20)
        assert asked.answer is None
        assert cluster.judge.signed == {}
        cluster.start("node-2")
        assert cluster.run(10, until=lambda: asked.signed)

    @pytest.mark.parametrize("operation", range(1, 40, 3))
    def test_a_replica_killed_anywhere_in_its_birth_is_born_with_the_others(
        self, tmp_path: Path, operation: int
    ) -> None:
        cluster = Cluster(tmp_path)
        host = cluster.hosts["node-1"]
        host.disk.kill_at = operation
        cluster.start()
        cluster.run(3)
        host.disk.kill_at = 0
        host.disk.cut_power() if host.process is None and operation % 2 else None
        if host.process is None:
            cluster.start("node-1")
        assert cluster.run(10, until=lambda: cluster.born)
        assert cluster.ask(prevote(10)).signed

    def test_an_empty_guard_in_the_place_of_a_born_one_answers_nothing(self, cluster: Cluster) -> None:
        """The home of one replica is made anew: it has no marker, and the generation has no place for it."""
        cluster.ask(precommit(10))
        name = cluster.others[0]
        cluster.kill(name)
        host = cluster.hosts[name]
        host.disk.lose(host.site.path)
        for path in (host.home.born_marker(CHAIN), host.site.founders_file, host.home.released_file(CHAIN)):
            path.unlink(missing_ok=True)
        cluster.start(name)
        cluster.run(5)
        assert cluster.process(name).chain.phase is GuardPhase.UNBOUND
        assert cluster.ask(precommit(11)).signed
        assert host.watermark == (HRS(0, 0, Step.NONE), None)
        assert because(cluster.ask(precommit(10, block=BLOCK_B))) is RejectedBecause.REGRESSION

    def test_with_an_empty_guard_and_one_other_there_is_no_majority(self, cluster: Cluster) -> None:
        cluster.ask(precommit(10))
        one, other = cluster.others
        cluster.kill(one)
        host = cluster.hosts[one]
        host.disk.lose(host.site.path)
        for path in (host.home.born_marker(CHAIN), host.site.founders_file, host.home.released_file(CHAIN)):
            path.unlink(missing_ok=True)
        cluster.start(one)
        cluster.kill(other)
        asked = cluster.sentries[0].ask(precommit(11))
        cluster.run(20)
        assert asked.answer is None


class TestTheHolderDies:
    def test_the_next_holder_answers_the_same_request(self, cluster: Cluster) -> None:
        attach(cluster, cluster.others[0])
        cluster.ask(prevote(10))
        cluster.kill(cluster.holder)
        asked = cluster.ask(precommit(10))
        assert asked.signed
        assert asked.took < 1.0

    def test_with_the_nodes_own_connection_the_node_finds_the_next(self, cluster: Cluster) -> None:
        attach(cluster, cluster.holder)
        cluster.ask(prevote(10))
        asked = cluster.sentries[0].ask(precommit(10))
        cluster.kill(cluster.holder)
        assert cluster.run(1.5, until=lambda: asked.signed)

    @pytest.mark.parametrize("step", range(24))
    def test_at_each_step_of_a_request_another_timestamp_gets_one_signature(
        self, two_sentries: Cluster, step: int
    ) -> None:
        """The first sentry asks at the holder, which dies `step` events later; the second asks with its own time."""
        cluster, holder = two_sentries, two_sentries.holder
        attach(cluster, holder)
        attach(cluster, cluster.others[0], sentry=1)
        first = cluster.sentries[0].ask(prevote(10, seconds=1))
        begun = cluster.links.sent
        cluster.run(1.0, until=lambda: cluster.links.sent - begun >= step)
        cluster.kill(holder)
        second = cluster.ask(prevote(10, seconds=2), sentry=1)
        assert cluster.run(10, until=lambda: first.answer is not None)
        assert vote(first).signature == vote(second).signature
        assert len(cluster.judge.signed) == 1

    @pytest.mark.parametrize("operation", range(1, 8))
    @pytest.mark.parametrize("power", [False, True], ids=["killed", "power lost"])
    def test_in_the_middle_of_its_own_write_and_comes_back(
        self, two_sentries: Cluster, operation: int, *, power: bool
    ) -> None:
        cluster, holder = two_sentries, two_sentries.holder
        attach(cluster, holder)
        disk = cluster.hosts[holder].disk
        disk.kill_at = disk.operations + operation
        first = cluster.sentries[0].ask(precommit(10, seconds=1))
        cluster.run(0.2)
        if cluster.hosts[holder].process is None:
            if power:
                disk.cut_power()
            cluster.start(holder)
        disk.kill_at = 0
        second = cluster.ask(precommit(10, seconds=2), sentry=1)
        assert cluster.run(10, until=lambda: first.signed)
        assert second.signed
        assert len(cluster.judge.signed) == 1

    def test_two_of_five_in_a_row(self, five: Cluster) -> None:
        for height in (10, 11):
            five.ask(prevote(height))
            five.kill(five.holder)
            assert five.ask(precommit(height)).signed

    def test_two_of_three_are_no_majority_and_nobody_is_told_no(self, cluster: Cluster) -> None:
        cluster.ask(prevote(10))
        cluster.kill(*cluster.others)
        asked = cluster.sentries[0].ask(precommit(10))
        cluster.run(60)
        assert asked.answer is None
        cluster.heal()
        assert cluster.run(10, until=lambda: asked.signed)


class TestTheHolderIsStopped:
    def test_a_holder_stopped_beyond_its_lease_signs_nothing_of_its_own_when_it_goes_on(
        self, two_sentries: Cluster
    ) -> None:
        """The stale coordinator: it has asked its guards for one block; the others have signed another meanwhile."""
        cluster, stale = two_sentries, two_sentries.holder
        attach(cluster, stale)
        attach(cluster, cluster.others[0], sentry=1)
        cluster.stop(stale)
        first = cluster.sentries[0].ask(precommit(10))
        second = cluster.ask(precommit(10, block=BLOCK_B), sentry=1)
        assert second.signed
        cluster.resume(stale)
        assert cluster.run(10, until=lambda: first.answer is not None)
        assert because(first) is RejectedBecause.CONFLICT
        assert len(cluster.judge.signed) == 1

    @pytest.mark.parametrize("messages", range(1, 10))
    def test_a_holder_stopped_within_a_request_gives_the_same_signature_as_the_next(
        self, two_sentries: Cluster, messages: int
    ) -> None:
        cluster, stale = two_sentries, two_sentries.holder
        attach(cluster, stale)
        attach(cluster, cluster.others[0], sentry=1)
        first = cluster.sentries[0].ask(prevote(10, seconds=1))
        begun = cluster.links.sent
        cluster.run(1.0, until=lambda: cluster.links.sent - begun >= messages)
        cluster.stop(stale)
        second = cluster.ask(prevote(10, seconds=2), sentry=1)
        cluster.run(1.0)
        cluster.resume(stale)
        assert cluster.run(10, until=lambda: first.answer is not None)
        assert vote(first).signature == vote(second).signature

    def test_it_does_not_hold_the_lease_any_more_when_it_goes_on(self, cluster: Cluster) -> None:
        stale = cluster.holder
        cluster.stop(stale)
        cluster.run(2)
        process = cluster.process(stale)
        process.stopped = False
        assert not process.holds
        process.stopped = True
        cluster.resume(stale)
        cluster.run(1)
        assert cluster.holder not in {"", stale}


class TestPartitions:
    def test_a_replica_without_a_link_to_the_holder_forwards_through_the_third(self, cluster: Cluster) -> None:
        holder = cluster.holder
        near, third = cluster.others
        cluster.links.block(cluster.links.ways(near, holder))
        cluster.run(3)
        assert cluster.holder == holder
        attach(cluster, near)
        asked = cluster.ask(prevote(10))
        assert asked.signed
        assert asked.tries == 1
        assert asked.took < 0.1
        assert third in cluster.hosts

    def test_such_a_replica_does_not_disturb_a_holder_that_a_majority_hears(self, cluster: Cluster) -> None:
        holder, term = cluster.holder, cluster.process(cluster.holder).replica.coordination.term
        cluster.links.block(cluster.links.ways(cluster.others[0], holder))
        cluster.run(60)
        assert cluster.holder == holder
        assert cluster.process(holder).replica.coordination.term == term

    def test_a_replica_cut_off_from_all_hangs_up_on_its_node_which_is_served_elsewhere(self, cluster: Cluster) -> None:
        name = cluster.others[0]
        attach(cluster, name)
        cluster.ask(prevote(10))
        cluster.isolate(name)
        cluster.run(2)
        asked = cluster.ask(precommit(10))
        assert asked.signed
        assert asked.took < 1.0
        assert cluster.sentries[0].hung_up == 1

    def test_the_holder_cut_off_from_all_hangs_up_too(self, cluster: Cluster) -> None:
        holder = cluster.holder
        attach(cluster, holder)
        cluster.ask(prevote(10))
        cluster.isolate(holder)
        asked = cluster.ask(precommit(10))
        assert asked.signed
        assert asked.took < 2.0

    def test_with_every_link_cut_each_replica_hangs_up_once_for_a_place_and_then_holds(self, cluster: Cluster) -> None:
        for name in cluster.hosts:
            cluster.isolate(name)
        cluster.run(3)
        asked = cluster.sentries[0].ask(prevote(10))
        cluster.run(30)
        assert asked.answer is None
        assert cluster.sentries[0].hung_up == 3
        cluster.heal()
        assert cluster.run(10, until=lambda: asked.signed)

    @pytest.mark.parametrize("deaf", [True, False], ids=["hears nobody", "is heard by nobody"])
    def test_a_holder_cut_in_one_direction_is_followed_by_another(self, cluster: Cluster, *, deaf: bool) -> None:
        holder = cluster.holder
        cluster.links.block([(other, holder) if deaf else (holder, other) for other in cluster.others])
        assert cluster.run(5, until=lambda: cluster.holder not in {"", holder})
        attach(cluster, cluster.holder)
        assert cluster.ask(prevote(10)).signed

    def test_a_request_under_way_to_a_holder_that_is_cut_off_goes_to_the_next_at_once(self, cluster: Cluster) -> None:
        holder = cluster.holder
        attach(cluster, cluster.others[0])
        cluster.isolate(holder)
        asked = cluster.ask(prevote(10))
        assert asked.signed
        assert asked.tries == 1
        assert asked.took < 1.5

    def test_three_against_two_of_five(self, five: Cluster) -> None:
        few = [five.holder, five.others[0]]
        many = [name for name in five.hosts if name not in few]
        five.links.block([way for one in few for other in many for way in five.links.ways(one, other)])
        assert five.run(5, until=lambda: any(five.process(name).holds for name in many))
        attach(five, many[0])
        assert five.ask(prevote(10)).signed

    def test_conflicting_requests_on_both_sides_of_a_cut_sign_one(self, two_sentries: Cluster) -> None:
        cluster, holder = two_sentries, two_sentries.holder
        attach(cluster, holder)
        attach(cluster, cluster.others[0], sentry=1)
        cluster.sentries[0].unreachable |= set(cluster.others)
        cluster.isolate(holder)
        first = cluster.sentries[0].ask(precommit(10))
        second = cluster.ask(precommit(10, block=BLOCK_B), sentry=1)
        assert second.signed
        cluster.heal()
        assert cluster.run(15, until=lambda: first.answer is not None)
        assert because(first) is RejectedBecause.CONFLICT


class TestPower:
    @pytest.mark.parametrize("kept", [True, False], ids=["the cache made it to the disk", "the cache is lost"])
    def test_power_loss_of_all_forgets_nothing_that_was_signed(self, cluster: Cluster, *, kept: bool) -> None:
        first = cluster.ask(precommit(10))
        cluster.cut_power(*cluster.hosts, chance=lambda: kept)
        cluster.start()
        again = cluster.ask(precommit(10))
        assert vote(again).signature == vote(first).signature
        assert because(cluster.ask(precommit(10, block=BLOCK_B))) is RejectedBecause.CONFLICT

    def test_power_loss_of_one_is_a_replica_less_for_a_while(self, cluster: Cluster) -> None:
        cluster.ask(prevote(10))
        name = cluster.others[0]
        cluster.cut_power(name)
        assert cluster.ask(precommit(10)).signed
        cluster.start(name)
        cluster.run(3)
        assert cluster.ask(prevote(11)).signed
        assert cluster.run(1, until=lambda: cluster.hosts[name].watermark[0] == HRS(11, 0, Step.PREVOTE))

    @pytest.mark.parametrize("operation", range(1, 8))
    def test_power_loss_of_all_in_the_middle_of_a_write_signs_one_message(
        self, two_sentries: Cluster, operation: int
    ) -> None:
        cluster = two_sentries
        for host in cluster.hosts.values():
            host.disk.kill_at = host.disk.operations + operation
        first = cluster.sentries[0].ask(precommit(10))
        cluster.run(0.2)
        running = [one.host.name for one in cluster.running]
        cluster.kill(*running)
        for host in cluster.hosts.values():
            host.disk.kill_at = 0
            host.disk.cut_power()
        cluster.start()
        second = cluster.ask(precommit(10, block=BLOCK_B), sentry=1)
        assert cluster.run(10, until=lambda: first.answer is not None)
        assert [first.signed, second.signed].count(True) <= 1


class TestRestarts:
    def test_a_restart_of_all_goes_on_where_it_was(self, cluster: Cluster) -> None:
        first = cluster.ask(precommit(10))
        cluster.kill(*cluster.hosts)
        cluster.run(1)
        cluster.start()
        assert vote(cluster.ask(precommit(10))).signature == vote(first).signature
        assert because(cluster.ask(prevote(10))) is RejectedBecause.REGRESSION
        assert cluster.ask(prevote(11)).signed

    def test_a_rolling_restart_answers_every_request(self, cluster: Cluster) -> None:
        sentry = cluster.sentries[0]
        sentry.strange = 0.0
        sentry.begin()
        for name in cluster.hosts:
            cluster.run(1)
            cluster.leave(name)
            cluster.run(1)
            cluster.start(name)
        cluster.run(1)
        answered = [one for one in sentry.asked if one.answer is not None]
        assert len(answered) > 50
        assert all(one.signed for one in answered)
        assert max(one.took for one in answered) < 1.0

    def test_a_holder_that_is_told_to_stop_hands_over_without_a_pause(self, cluster: Cluster) -> None:
        holder = cluster.holder
        attach(cluster, cluster.others[0])
        cluster.ask(prevote(10))
        cluster.leave(holder)
        asked = cluster.ask(precommit(10))
        assert asked.took < 0.05
        assert cluster.holder not in {"", holder}


class TestTwoSentries:
    def test_both_get_the_same_signature_with_the_same_timestamp(self, two_sentries: Cluster) -> None:
        cluster = two_sentries
        attach(cluster, "node-0")
        attach(cluster, "node-1", sentry=1)
        first = cluster.sentries[0].ask(prevote(10, seconds=1))
        second = cluster.ask(prevote(10, seconds=2), sentry=1)
        assert cluster.run(1, until=lambda: first.answer is not None)
        assert vote(first).signature == vote(second).signature
        assert vote(first).vote.timestamp == vote(second).vote.timestamp
        assert is_signature(vote_sign_bytes(CHAIN, vote(second).vote), vote(second).signature)

    def test_a_later_one_gets_the_stored_timestamp(self, two_sentries: Cluster) -> None:
        two_sentries.ask(prevote(10, seconds=1))
        assert vote(two_sentries.ask(prevote(10, seconds=9), sentry=1)).vote.timestamp == at(1)

    def test_each_has_its_own_extension_signed(self, two_sentries: Cluster) -> None:
        first = two_sentries.sentries[0].ask(precommit(10, extension=b"one"))
        second = two_sentries.ask(precommit(10, extension=b"two"), sentry=1)
        assert two_sentries.run(1, until=lambda: first.signed)
        assert vote(first).extension_signature != vote(second).extension_signature

    def test_a_proposal_at_another_time_is_an_error_and_the_same_is_answered(self, two_sentries: Cluster) -> None:
        cluster = two_sentries
        assert isinstance(cluster.ask(proposal(10, seconds=1)).answer, SignedProposal)
        assert because(cluster.ask(proposal(10, seconds=2), sentry=1)) is RejectedBecause.HELD
        assert isinstance(cluster.ask(proposal(10, seconds=1), sentry=1).answer, SignedProposal)

    def test_of_two_blocks_one_is_signed(self, two_sentries: Cluster) -> None:
        cluster = two_sentries
        attach(cluster, "node-0")
        attach(cluster, "node-1", sentry=1)
        first = cluster.sentries[0].ask(precommit(10))
        second = cluster.ask(precommit(10, block=BLOCK_B), sentry=1)
        assert cluster.run(5, until=lambda: first.answer is not None)
        assert sorted([first.signed, second.signed]) == [False, True]


class TestClocks:
    @pytest.mark.parametrize("jump", [-10.0 * 365 * 86_400, 10.0 * 365 * 86_400])
    def test_a_jump_of_a_wall_clock_changes_nothing(self, cluster: Cluster, jump: float) -> None:
        cluster.ask(prevote(10))
        holder = cluster.holder
        cluster.hosts[holder].wall_jump = jump
        cluster.run(5)
        assert cluster.holder == holder
        assert cluster.ask(precommit(10)).signed
        assert because(cluster.ask(prevote(10))) is RejectedBecause.REGRESSION

    def test_hosts_that_were_started_at_different_times_agree(self, cluster: Cluster) -> None:
        """Their clocks of leases have nothing in common."""
        assert len({host.boot for host in cluster.hosts.values()}) == len(cluster.hosts)
        assert sum(one.holds for one in cluster.running) == 1


class TestBrokenDisks:
    def test_a_holder_whose_disk_fails_leaves_the_lease_to_another(self, cluster: Cluster) -> None:
        holder = cluster.holder
        attach(cluster, holder)
        cluster.hosts[holder].disk.sync_error = OSError(5, "Input/output error")
        assert cluster.ask(prevote(10)).signed
        assert cluster.run(2, until=lambda: cluster.holder not in {"", holder})
        assert cluster.ask(precommit(10)).signed
        assert cluster.process(holder).chain.phase is GuardPhase.FUSED

    def test_two_broken_disks_are_an_outage_and_no_error(self, cluster: Cluster) -> None:
        for name in cluster.others:
            cluster.hosts[name].disk.sync_error = OSError(5, "Input/output error")
        asked = cluster.sentries[0].ask(prevote(10))
        cluster.run(30)
        assert asked.answer is None
        assert cluster.judge.signed == {}

    def test_a_guard_that_went_back_to_a_snapshot_is_not_counted_any_more(self, cluster: Cluster) -> None:
        """Its machine was restored: it has forgotten what it accepted. One such disk is caught by the others."""
        cluster.ask(prevote(10))
        name = cluster.others[0]
        old = cluster.image(name)
        for height in (11, 12, 13):
            cluster.ask(prevote(height))
        cluster.run(0.5)
        cluster.kill(name)
        cluster.roll_back(name, old)
        cluster.start(name)
        assert cluster.run(3, until=lambda: cluster.process(name).chain.phase is GuardPhase.FUSED)
