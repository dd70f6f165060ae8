"""How the view gets from one replica to all: through pysyncobj's log, past deaths, restarts and lost entries."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from cmkms.cluster.codec import AppendEntries, InstallView, ShareView, decode
from cmkms.cluster.view import View
from tests.unit.cluster.world import World, released


def settled(count: int = 3, *, seed: int = 1) -> World:
    world = World(count, seed=seed)
    world.boot()
    world.elect()
    world.run(0.5)
    return world


def heights(world: World, chain: str = "chain") -> list[int]:
    states = [world[name].view.released(chain) for name in world.members if world.members[name].coordination]
    return [state.hrs.height if state else 0 for state in states]


@pytest.mark.parametrize("name", ["node-0", "node-1"])
def test_what_one_replica_released_is_known_to_all_within_a_moment(name: str) -> None:
    world = settled()
    world[name].release(View({"chain": released(5)}))
    assert world.run_until(lambda: heights(world) == [5, 5, 5], 1) < 0.3


def test_what_is_released_often_is_said_seldom() -> None:
    world = settled()
    proposed = 0

    def count(sender: str, to: str, data: bytes) -> bool:
        nonlocal proposed
        message = decode(data)
        if sender == "node-0" and to == "node-1" and isinstance(message, AppendEntries):
            proposed += len(message.entries)
        return False

    world.drop = count
    for height in range(1, 101):
        world["node-0"].release(View({"chain": released(height)}))
        world.run(0.01)
    assert proposed <= 12
    world.run(0.2)
    assert heights(world) == [100, 100, 100]


def test_all_know_who_held_the_lease() -> None:
    world = settled()
    world.kill("node-0")
    world.run(1)
    world.restart("node-0")
    world.run(1)
    for name in world.members:
        assert [entry.holder for entry in world[name].view.leases][1:] == ["node-0"]


def test_a_new_leader_says_what_the_dead_one_could_not() -> None:
    """The dead leader's news reached one follower, in no log."""
    world = settled()
    world["node-2"].view.merge(View({"chain": released(7)}))
    world.kill("node-0")
    world.run(1)
    assert heights(world) == [7, 7]


def test_a_replica_that_comes_back_empty_is_told_everything_at_once() -> None:
    world = settled()
    world["node-0"].release(View({"chain": released(5)}))
    world.run(0.5)
    world.kill("node-2")
    world.run(0.5)
    world.restart("node-2")
    world.run(0.05)
    assert heights(world) == [5, 5, 5]


def test_what_a_replica_knew_before_all_others_is_known_to_all_once_it_is_linked() -> None:
    world = settled()
    world.kill("node-2")
    world.run(0.5)
    world.restart("node-2")
    world["node-2"].view.merge(View({"chain": released(9)}))  # from its own disk
    world.run(0.5)
    assert heights(world) == [9, 9, 9]


def test_what_a_minority_learned_is_known_to_all_once_it_is_healed() -> None:
    world = settled()
    world.isolate("node-2")
    world.run(1)
    world["node-2"].release(View({"chain": released(9)}))
    world.run(1)
    world.heal()
    world.run(1)
    assert heights(world) == [9, 9, 9]


def test_news_of_a_leader_that_lost_its_majority_is_told_by_it_as_a_follower() -> None:
    world = settled()
    world.isolate("node-0")
    world["node-0"].release(View({"chain": released(9)}))
    world.run(3)
    world.heal()
    world.run(1)
    assert heights(world) == [9, 9, 9]


def test_the_log_stays_short() -> None:
    world = settled()
    for height in range(1, 400):
        world["node-0"].release(View({"chain": released(height)}))
        world.run(0.11)
    world.run(0.5)
    assert heights(world) == [399, 399, 399]
    assert all(len(world[name]._engine._journal) <= 260 for name in world.members)


def test_a_replica_that_is_behind_a_compacted_log_gets_the_view_itself() -> None:
    world = settled()
    world.kill("node-2")
    for height in range(1, 300):
        world["node-0"].release(View({"chain": released(height)}))
        world.run(0.11)
    installed: list[InstallView] = []

    def note(_: str, to: str, data: bytes) -> bool:
        message = decode(data)
        if to == "node-2" and isinstance(message, InstallView):
            installed.append(message)
        return isinstance(message, ShareView)

    world.drop = note
    world.restart("node-2")
    world.run(1)
    assert installed
    assert View.decode(installed[0].view).released("chain") == released(299)
    assert heights(world) == [299, 299, 299]
    assert len({world[name]._engine.end for name in world.members}) == 1


def test_a_majority_that_lost_its_logs_overrules_the_one_that_did_not() -> None:
    """pysyncobj cuts the longer log back, which loses nothing: views only merge."""
    world = settled()
    for height in range(1, 300):
        world["node-0"].release(View({"chain": released(height)}))
        world.run(0.11)
    for name in ("node-0", "node-1"):
        world.kill(name)
    world.restart("node-0")
    world.restart("node-1")
    world.run(3)
    world[world.elect()].release(View({"chain": released(1000)}))
    world.run(1)
    assert heights(world) == [1000, 1000, 1000]
    assert len({world[name]._engine.end for name in world.members}) == 1
    assert len({world[name]._engine._raft.raftLastApplied for name in world.members}) == 1


def test_a_log_that_has_nothing_in_common_with_the_leaders_is_replaced_in_a_few_heartbeats() -> None:
    """Stock pysyncobj goes back one entry a heartbeat."""
    world = settled()
    world["node-2"].release(View({"chain": released(1)}))
    world.run(1)
    for name in ("node-0", "node-1"):
        world.kill(name)
    for name in ("node-0", "node-1"):
        world.restart(name)
        world.unlink(name, "node-2")
    world.run(2)
    for height in range(2, 60):
        world[world.elect()].release(View({"chain": released(height)}))
        world.run(0.11)
    world[world.elect()].hand_over()  # the next leader believes that all have what it has
    world.run(1)
    outdated = world["node-2"]._engine._journal
    for index in range(outdated.end.index + 1, 200):
        outdated.add(b"\x01", index, 1)
    world.heal()
    world.run_until(lambda: world["node-2"].lease is not None, 3)
    assert world.run_until(lambda: len({world[name]._engine.end for name in world.members}) == 1, 3) < 0.25


def test_all_logs_lost_at_once_lose_nothing_that_a_disk_knows() -> None:
    world = settled()
    world["node-0"].release(View({"chain": released(5)}))
    world.run(0.5)
    for name in world.members:
        world.kill(name)
    world.run(0.1)
    for name in world.members:
        world.restart(name)
    world["node-1"].view.merge(View({"chain": released(5)}))
    world.run(2)
    assert heights(world) == [5, 5, 5]


def test_an_entry_that_another_release_wrote_is_left_out_and_counted() -> None:
    world = settled()
    world["node-0"]._engine.propose(b"\x63 from the future")
    world["node-0"].release(View({"chain": released(5)}))
    world.run(1)
    assert heights(world) == [5, 5, 5]
    assert [world[name].skipped for name in world.members] == [1, 1, 1]


def test_the_owner_hears_of_a_rise_wherever_it_was_released() -> None:
    world = settled()
    heard: list[str] = []
    world["node-2"].view._risen = heard.append
    world["node-0"].release(View({"chain": released(5)}))
    world.run(0.5)
    assert heard == ["chain"]


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pickle was used")

    with monkeypatch.context() as patch:
        for name in ("dumps", "dump", "loads", "load", "_loads", "_load", "_Unpickler", "Unpickler", "Pickler"):
            patch.setattr(pickle, name, refuse)
        yield


def test_nothing_is_ever_pickled(no_pickle: None) -> None:
    """Elections, entries, compaction, snapshots, hand-overs: the whole life."""
    world = settled()
    world.kill("node-2")
    for height in range(1, 300):
        world[world.elect()].release(View({"chain": released(height)}))
        world.run(0.11)
    world.restart("node-2")
    world.run(1)
    world[world.elect()].hand_over()
    world.run(1)
    world.kill(world.elect())
    world.run(1)
    assert heights(world) == [299, 299]
