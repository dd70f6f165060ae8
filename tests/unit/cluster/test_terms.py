"""Term and vote on disk: durable before a vote leaves, and no reason to stop when they are lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmkms.cluster.codec import GrantVote, Message, RequestVote, decode
from cmkms.cluster.terms import FileTermStore, MemoryTermStore, TermVote
from tests.unit.cluster.world import World


def store(path: Path) -> tuple[FileTermStore, list[str]]:
    warnings: list[str] = []
    return FileTermStore(path, warnings.append), warnings


@pytest.mark.parametrize("kept", [TermVote(7, "node-1"), TermVote(2**63 - 1, None), TermVote(0, "ü")])
def test_what_was_stored_is_loaded(tmp_path: Path, kept: TermVote) -> None:
    first, warnings = store(tmp_path / "terms")
    first.store(kept)
    assert store(tmp_path / "terms")[0].load() == kept
    assert not warnings


def test_no_file_is_term_0_and_no_trouble(tmp_path: Path) -> None:
    terms, warnings = store(tmp_path / "terms")
    assert terms.load() == TermVote(0, None)
    assert not warnings


def test_every_damaged_byte_is_noticed_and_only_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "terms"
    store(path)[0].store(TermVote(7, "node-1"))
    good = path.read_bytes()
    damaged = [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))]
    for data in [*damaged, *(good[:length] for length in range(len(good))), good + b"\x00", bytes(64), bytes(4096)]:
        path.write_bytes(data)
        terms, warnings = store(path)
        assert terms.load() == TermVote(0, None)
        assert len(warnings) == 1
        assert "elections begin anew" in warnings[0]


def test_a_file_that_cannot_be_written_is_warned_of(tmp_path: Path) -> None:
    terms, warnings = store(tmp_path / "missing" / "terms")
    terms.store(TermVote(7, "node-1"))
    assert len(warnings) == 1
    assert "forget the election of term 7" in warnings[0]


def test_a_file_that_is_no_file_is_warned_of(tmp_path: Path) -> None:
    terms, warnings = store(tmp_path)
    assert terms.load() == TermVote(0, None)
    assert warnings


class _Watched(MemoryTermStore):
    """Remembers in which order things were stored and said."""

    def __init__(self, order: list[object]) -> None:
        super().__init__()
        self._order = order

    def store(self, kept: TermVote) -> None:
        super().store(kept)
        self._order.append(kept)


def watched(*names: str) -> tuple[World, dict[str, list[object]]]:
    world = World()
    orders: dict[str, list[object]] = {name: [] for name in names}
    for name, order in orders.items():
        world.members[name].terms = _Watched(order)

    def note(sender: str, _: str, data: bytes) -> bool:
        message = decode(data)
        if sender in orders and isinstance(message, GrantVote | RequestVote):
            orders[sender].append(message)
        return False

    world.drop = note
    world.boot()
    world.elect()
    return world, orders


def test_a_vote_is_durable_before_it_leaves_and_stored_once() -> None:
    _, orders = watched("node-1")
    assert orders["node-1"] == [TermVote(1, "node-0"), GrantVote(1)]


def test_a_candidacy_is_durable_before_it_is_announced() -> None:
    _, orders = watched("node-0")
    assert orders["node-0"][0] == TermVote(1, "node-0")
    assert all(isinstance(said, RequestVote) for said in orders["node-0"][1:])


def test_heartbeats_and_changes_store_nothing() -> None:
    world, orders = watched("node-0", "node-1", "node-2")
    before = {name: len(order) for name, order in orders.items()}
    world.run(3)
    assert {name: len(order) for name, order in orders.items()} == before


def test_after_a_restart_nobody_votes_twice_in_one_term() -> None:
    world = World()
    world.boot("node-0", "node-1", "node-2", link=False)
    world.link("node-1", "node-0")
    world.elect()
    world.kill("node-1")
    world.restart("node-1")
    assert world["node-1"].term == 1
    said: list[Message] = []

    def deliver(_: str, message: Message) -> bool:
        said.append(message)
        return True

    engine = world["node-1"]._engine
    engine._transport._deliver = deliver
    assert not engine.vote("node-2", RequestVote(1, engine.end, transfer=False))
    assert engine.vote("node-2", RequestVote(2, engine.end, transfer=False))
    assert said == [GrantVote(2)]


def test_terms_go_on_after_a_restart_of_all() -> None:
    world = World()
    world.boot()
    world.elect()
    for name in world.members:
        world.kill(name)
    for name in world.members:
        world.restart(name)
    assert world.run_until(lambda: world.holder is not None, 3) < 0.75
    assert world[world.elect()].term == 2


def test_after_a_restart_no_vote_before_a_lease_that_was_acknowledged_has_run_out() -> None:
    """node-0 holds by the word of node-2, which restarts; node-1 has lost its link and would be elected at once."""
    world = World()
    world.boot()
    world.elect()
    world.run(0.5)
    world.isolate("node-0")
    world.unlink("node-0", "node-1")
    world.kill("node-2")
    world.restart("node-2")
    world["node-1"].peer_refused("node-0")
    world.run(0.3)
    assert world["node-0"].holds
    assert world.run_until(lambda: world.holder == "node-1", 3) < 0.75


def test_lost_terms_cost_an_election_at_most() -> None:
    world = World()
    world.boot()
    world.elect()
    for _ in range(3):
        world.kill("node-2")
        world.members["node-2"].terms = MemoryTermStore()
        world.restart("node-2")
        world.run(2)
    assert world.holder is not None
    assert len({world[name].term for name in world.members}) == 1
