"""Leadership given away: in good order, at once, and with nobody holding the lease beside another."""

from __future__ import annotations

import pytest

from cmkms.cluster.codec import TimeoutNow, decode
from cmkms.cluster.view import View
from tests.unit.cluster.world import World, released


def settled(count: int = 3, *, seed: int = 1) -> World:
    world = World(count, seed=seed)
    world.boot()
    world.elect()
    world.run(0.5)
    return world


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_a_hand_over_takes_less_than_fifty_milliseconds(count: int, seed: int) -> None:
    world = settled(count, seed=seed)
    holder = world.elect()
    assert world[holder].hand_over()
    assert world.run_until(lambda: world.holder not in {None, holder}, 1) < 0.05


def test_the_lease_is_given_up_as_the_successor_is_asked() -> None:
    world = settled()
    assert world["node-0"].hand_over()
    assert not world["node-0"].holds
    assert world["node-0"].lease is None


def test_only_a_leader_with_a_follower_can_hand_over() -> None:
    world = settled()
    assert not world["node-1"].hand_over()
    world.unlink("node-0", "node-1")
    world.unlink("node-0", "node-2")
    world.run(0.01)
    assert not world["node-0"].hand_over()


def test_it_can_be_handed_to_a_certain_follower() -> None:
    for successor in ("node-1", "node-2"):
        world = settled()
        assert world["node-0"].hand_over(successor)
        world.run(0.05)
        assert world.holder == successor


def test_it_is_not_handed_to_one_without_a_link() -> None:
    world = settled()
    world.unlink("node-0", "node-1")
    world.run(0.01)
    assert not world["node-0"].hand_over("node-1")
    assert world["node-0"].holds


def test_a_follower_that_lacks_an_entry_gets_it_first() -> None:
    world = settled()
    world["node-0"].release(View({"chain": released(5)}))
    world["node-0"].tick()  # proposed, and on its way
    assert world["node-0"].hand_over()
    assert world["node-0"].holds
    assert world.run_until(lambda: world.holder not in {None, "node-0"}, 1) < 0.05
    world.run(0.5)
    assert all(world[name].view.released("chain") == released(5) for name in world.members)


def test_whoever_handed_over_does_not_take_it_back() -> None:
    world = settled()
    world["node-0"].hand_over()
    world.run(3)
    assert [holder for _, holder in world.log] == ["", "node-0", "", "node-2"]


def test_unless_the_successor_dies() -> None:
    world = settled()
    world["node-0"].hand_over()
    world.run_until(lambda: world.holder not in {None, "node-0"}, 1)
    world.kill(world.elect())
    assert world.run_until(lambda: world.holder is not None, 1) < 0.1


def test_a_lost_request_to_take_over_costs_an_election_and_no_more() -> None:
    world = settled()
    world.drop = lambda _from, _to, data: isinstance(decode(data), TimeoutNow)
    assert world["node-0"].hand_over()
    assert world.run_until(lambda: world.holder is not None, 3) < 0.8
    assert world.holder != "node-0"


def test_a_follower_that_never_catches_up_leaves_the_lease_where_it_is() -> None:
    world = settled(2)
    world.silence("node-1", "node-0", both=False)
    world["node-0"].release(View({"chain": released(5)}))
    world["node-0"].tick()
    world["node-0"].hand_over()
    world.run(0.26)
    assert world["node-0"].holds
    world.heal()
    world.run(1)
    assert world["node-0"].holds


def test_a_request_to_take_over_from_another_than_the_leader_is_ignored() -> None:
    world = settled()
    world["node-1"]._say("node-2", TimeoutNow(1))
    world.run(1)
    assert world["node-2"].term == 1
    assert world["node-0"].holds


def test_a_member_that_stands_aside_gives_the_lease_away_and_never_takes_it() -> None:
    world = settled()
    world["node-0"].stand_aside(aside=True)
    world.run(0.1)
    successor = world.elect()
    assert successor != "node-0"
    world.kill(successor)
    world.run(0.1)
    (left,) = {"node-1", "node-2"} - {successor}
    assert world.holder == left
    world[left].hand_over()
    world.run(3)
    assert world.holder == left
    world["node-0"].stand_aside(aside=False)
    world[left].hand_over()
    world.run(0.05)
    assert world.holder == "node-0"
