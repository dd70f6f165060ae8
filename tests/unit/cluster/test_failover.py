"""Real coordinations over real pysyncobj, under a virtual clock: how soon somebody holds the lease, and who never."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cmkms.cluster.terms import TermVote
from tests.unit.cluster.world import World


def settled(count: int = 3, *, seed: int = 1, delay: float = 0.0005) -> World:
    world = World(count, seed=seed, delay=delay)
    world.boot()
    world.elect()
    world.run(0.5)
    return world


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_at_the_start_somebody_holds_the_lease_within_a_tenth_of_a_second(count: int, seed: int) -> None:
    world = World(count, seed=seed)
    world.boot()
    assert world.run_until(lambda: world.holder is not None, 3) < 0.1
    world.run(1)
    assert all(world[name].lease is not None for name in world.members)
    assert {world[name].term for name in world.members} == {1}


def test_two_of_three_are_enough() -> None:
    world = World()
    world.boot("node-1", "node-2")
    assert world.elect() in {"node-1", "node-2"}


def test_one_of_three_is_not() -> None:
    world = World()
    world.boot("node-1")
    world.run(10)
    assert world.holder is None
    assert world["node-1"].term == 0


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("seed", range(10))
def test_a_killed_holder_is_succeeded_within_a_tenth_of_a_second(count: int, seed: int) -> None:
    world = settled(count, seed=seed)
    holder = world.elect()
    world.kill(holder)
    assert world.run_until(lambda: world.holder is not None, 3) < 0.1
    assert world.holder != holder


def test_also_where_a_message_takes_ten_milliseconds() -> None:
    world = settled(delay=0.01)
    world.kill(world.elect())
    assert world.run_until(lambda: world.holder is not None, 3) < 0.2


def test_it_is_enough_that_one_of_the_others_sees_the_port_refuse() -> None:
    world = settled()
    world.kill("node-0", refuses=False)
    world.run(0.002)
    world["node-2"].peer_refused("node-0")
    assert world.run_until(lambda: world.holder is not None, 3) < 0.1
    assert world.holder == "node-2"


def test_a_holder_that_dies_with_its_machine_is_succeeded_after_silence() -> None:
    """No port refuses, for nobody answers at all."""
    world = settled()
    world.isolate("node-0")
    assert world.run_until(lambda: world.holder not in {None, "node-0"}, 3) < 0.75


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("count", [3, 5])
def test_a_holder_that_is_cut_off_lost_its_lease_before_the_next_one_holds(count: int, seed: int) -> None:
    world = settled(count, seed=seed)
    holder = world.elect()
    world.isolate(holder)
    assert world.run_until(lambda: world.holder is None, 3) <= 0.4
    assert world.run_until(lambda: world.holder is not None, 3) <= 0.75
    # The world checks after each event that nobody holds beside another.
    assert world.holder != holder


def test_a_holder_that_hears_nobody_loses_the_lease_and_lets_others_lead() -> None:
    """What it says arrives; what the others answer does not."""
    world = settled()
    for other in ("node-1", "node-2"):
        world.silence(other, "node-0", both=False)
    assert world.run_until(lambda: world.holder is None, 3) <= 0.4
    assert world.run_until(lambda: world.holder is not None, 3) <= 1.5
    assert world.holder != "node-0"


def test_a_member_that_does_not_hear_the_holder_disturbs_nobody() -> None:
    world = settled()
    world.silence("node-0", "node-2", both=False)
    world.run(10)
    assert {holder for _, holder in world.log} == {"", "node-0"}
    assert world["node-0"].term == world["node-1"].term == 1
    assert world["node-2"].lease is None


def test_nor_does_one_that_the_holder_does_not_hear() -> None:
    world = settled()
    world.silence("node-2", "node-0", both=False)
    world.run(10)
    assert world.log[-1][1] == "node-0"
    assert len(world.log) == 2


@pytest.mark.parametrize("seed", range(5))
def test_a_member_that_was_cut_off_comes_back_without_disturbing(seed: int) -> None:
    world = settled(seed=seed)
    away = world.others(world.elect())[0]
    world.isolate(away)
    world.run(5)
    changes = len(world.log)
    world.heal()
    world.run(3)
    assert len(world.log) == changes
    assert world[away].term == 1
    assert world[away].lease is not None


@pytest.mark.parametrize("seed", range(10))
def test_nor_does_one_whose_links_had_ended(seed: int) -> None:
    """It has been due for long, and asks before it hears the next heartbeat."""
    world = settled(seed=seed)
    away = world.others(world.elect())[0]
    for other in world.others(away):
        world.unlink(away, other)
    world.run(5)
    changes = len(world.log)
    world.heal()
    world.run(1)
    assert len(world.log) == changes
    assert world[away].term == 1
    assert world[away].lease is not None


@pytest.mark.parametrize("seed", range(5))
def test_a_holder_that_was_cut_off_comes_back_as_a_follower(seed: int) -> None:
    world = settled(seed=seed)
    holder = world.elect()
    world.isolate(holder)
    world.run(3)
    successor = world.elect()
    world.heal()
    world.run(1)
    assert world.holder == successor
    lease = world[holder].lease
    assert lease is not None
    assert lease.holder == successor


def test_with_all_apart_nobody_holds_and_together_again_one_does() -> None:
    world = settled()
    for name in world.members:
        world.isolate(name)
    world.run(5)
    assert world.holder is None
    world.heal()
    assert world.run_until(lambda: world.holder is not None, 3) < 0.5


def test_a_link_that_ends_between_two_followers_changes_nothing() -> None:
    world = settled()
    world.unlink("node-1", "node-2")
    world.run(3)
    assert world.log[-1][1] == "node-0"


def test_a_link_that_ends_with_the_holder_changes_nothing_while_a_majority_hears_it() -> None:
    world = settled()
    world.unlink("node-0", "node-2")
    world.run(5)
    assert len(world.log) == 2
    assert world["node-0"].holds


def test_a_goodbye_is_as_good_as_a_refusing_port() -> None:
    world = settled()
    world.kill("node-0", goodbye=True, refuses=False)
    assert world.run_until(lambda: world.holder is not None, 3) < 0.1


def test_a_member_whose_term_is_ahead_gets_the_leader_to_catch_up() -> None:
    """A candidacy that raised the term of its candidate alone: the leader would never hear of it otherwise."""
    world = settled()
    world["node-2"]._engine.outrank(7)
    assert world.run_until(lambda: world["node-0"].term > 7 and world.holder is not None, 1) < 0.2
    world.run(1)
    assert {world[name].term for name in world.members} == {8}
    assert all(world[name].lease is not None for name in world.members)


def test_changed_is_called_for_each_change_and_no_other() -> None:
    world = settled()
    world.kill("node-0")
    world.run(1)
    changes = world.members["node-2"].changes
    assert [(holder, holds) for _, holder, _, holds in changes if holder] == [("node-0", False), ("node-1", False)]
    assert all(before[1:] != after[1:] for before, after in pairwise(changes))


def test_a_lease_is_there_one_round_trip_after_the_election_not_at_the_next_tick() -> None:
    world = World(delay=0.0001)
    world.boot()
    elected: list[float] = []

    def leads() -> bool:
        if not elected and any(world[name]._engine.leads for name in world.members):
            elected.append(world.now)
        return world.holder is not None

    world.run_until(leads, 1)
    assert world.now - elected[0] <= 2 * 0.0001 + 1e-9


def test_of_two_left_one_may_have_the_newer_term_and_the_other_the_longer_log() -> None:
    """The one with the log has to learn of the term, or neither would ever vote for the other."""
    world = settled()
    world.kill("node-0")
    world.kill("node-2")
    world.members["node-2"].terms.store(TermVote(5, None))
    world.restart("node-2")
    assert world.run_until(lambda: world.holder is not None, 3) < 1
    assert world.holder == "node-1"
    assert world["node-1"].term == 6
