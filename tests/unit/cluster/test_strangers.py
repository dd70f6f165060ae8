"""What a member must not be made to believe, by whoever: a stranger, a liar, a late message, a call from inside."""

from __future__ import annotations

from random import Random

import pytest

from cmkms.cluster.codec import (
    Acknowledge,
    AnswerPreVote,
    AppendEntries,
    Entry,
    GrantVote,
    InstallView,
    NewerTerm,
    RequestPreVote,
    RequestVote,
    ShareView,
    decode,
    encode,
)
from cmkms.cluster.coordination import Coordination
from cmkms.cluster.elections import LogEnd
from cmkms.cluster.terms import MemoryTermStore
from cmkms.cluster.timing import Timing
from cmkms.cluster.view import View
from cmkms.errors import BrokenInvariantError, PeerError
from tests.unit.cluster.world import NAMES, World, released


def settled(count: int = 3) -> World:
    world = World(count)
    world.boot()
    world.elect()
    world.run(0.5)
    return world


def alone(count: int, clock: list[float]) -> tuple[Coordination, list[tuple[str, bytes]]]:
    """One member with links to all others, who never answer but by the test."""
    sent: list[tuple[str, bytes]] = []

    def send(to: str, data: bytes) -> bool:
        sent.append((to, data))
        return True

    coordination = Coordination(
        "node-0",
        NAMES[:count],
        Timing.of(0.4),
        clock=lambda: clock[0],
        send=send,
        terms=MemoryTermStore(),
        view=View(),
        changed=lambda: None,
        random=Random(1),
    )
    for name in NAMES[1:count]:
        coordination.peer_up(name)
    return coordination, sent


def test_a_stranger_is_refused() -> None:
    world = settled()
    with pytest.raises(PeerError, match="node-7: is not a member"):
        world["node-0"].received("node-7", encode(GrantVote(1)))


def test_nor_does_anybody_speak_in_this_members_own_name() -> None:
    world = settled()
    with pytest.raises(PeerError):
        world["node-0"].received("node-0", encode(GrantVote(1)))


def test_garbage_is_refused_and_changes_nothing() -> None:
    world = settled()
    with pytest.raises(PeerError):
        world["node-0"].received("node-1", b"garbage")
    world.run(1)
    assert world["node-0"].holds


@pytest.mark.parametrize(
    "message", [ShareView(b"no view"), InstallView(1, 1.0, 1, 1, Entry(0, b"\x01"), Entry(1, b"\x01"), b"no view")]
)
def test_a_damaged_view_is_refused_before_pysyncobj_hears_of_it(message: ShareView | InstallView) -> None:
    """Stock pysyncobj acknowledges a snapshot that it could not read (audit S8)."""
    world = settled()
    end = world["node-1"]._engine.end
    with pytest.raises(PeerError, match="a view: "):
        world["node-1"].received("node-0", encode(message))
    assert world["node-1"]._engine.end == end


def test_one_vote_given_twice_makes_no_leader_of_five() -> None:
    """Stock pysyncobj counts votes without asking whose they are (audit S12)."""
    coordination, _ = alone(5, [100.0])
    coordination._engine.stand()
    for _ in range(4):
        coordination.received("node-1", encode(GrantVote(1)))
    assert not coordination._engine.leads
    coordination.received("node-2", encode(GrantVote(1)))
    assert coordination._engine.leads


def test_a_vote_of_an_earlier_term_does_not_count() -> None:
    coordination, _ = alone(3, [100.0])
    coordination._engine.stand()
    coordination._engine.stand()
    coordination.received("node-1", encode(GrantVote(1)))
    assert not coordination._engine.leads


def elected(count: int, clock: list[float]) -> tuple[Coordination, list[tuple[str, bytes]]]:
    coordination, sent = alone(count, clock)
    coordination._engine.stand()
    for name in NAMES[1:count]:
        coordination.received(name, encode(GrantVote(1)))
    assert coordination._engine.leads
    return coordination, sent


def test_an_acknowledgement_of_another_term_neither_renews_the_lease_nor_commits() -> None:
    """Stock pysyncobj's acknowledgements name no term (audit S11)."""
    coordination, _ = elected(3, [100.0])
    for term in (0, 2):
        coordination.received("node-1", encode(Acknowledge(term, 100.0, 3, reset=False, success=True)))
    coordination.tick()
    assert (coordination.holds, coordination._engine._raft.raftCommitIndex) == (False, 1)
    coordination.received("node-1", encode(Acknowledge(1, 100.0, 3, reset=False, success=True)))
    coordination.tick()
    assert (coordination.holds, coordination._engine._raft.raftCommitIndex) == (True, 2)


def test_an_acknowledgement_of_what_does_not_exist_commits_nothing() -> None:
    coordination, _ = elected(3, [100.0])
    coordination.received("node-1", encode(Acknowledge(1, 100.0, 2**40, reset=False, success=True)))
    coordination.tick()
    assert coordination._engine._raft.raftCommitIndex == 1


def test_a_follower_that_wants_what_does_not_exist_gets_the_view() -> None:
    clock = [100.0]
    coordination, sent = elected(3, clock)
    coordination.received("node-1", encode(Acknowledge(1, 100.0, 2**40, reset=True, success=False)))
    sent.clear()
    clock[0] += 0.1
    coordination.tick()
    assert isinstance(next(decode(data) for to, data in sent if to == "node-1"), InstallView)


def test_a_request_for_a_vote_does_not_depose_a_holder() -> None:
    world = settled()
    for name in world.members:
        if name != "node-2":
            world[name].received("node-2", encode(RequestVote(9, LogEnd(9, 99), transfer=False)))
    world.run(1)
    assert world.holder == "node-0"
    assert world["node-0"].term == world["node-1"].term == 1


def test_a_transfer_of_a_term_far_ahead_is_a_request_like_any_other() -> None:
    world = settled()
    world["node-1"].received("node-2", encode(RequestVote(9, LogEnd(9, 99), transfer=True)))
    assert world["node-1"].term == 1


def test_a_leader_of_an_old_term_is_told_and_not_followed() -> None:
    clock = [100.0]
    coordination, sent = alone(3, clock)
    coordination._engine.outrank(5)
    coordination.received("node-1", encode(AppendEntries(4, 1.0, 1, 1, 0, ())))
    assert coordination.lease is None
    assert sent[-1] == ("node-1", encode(NewerTerm(5)))


def test_a_late_message_of_an_old_leader_cuts_nothing_off_the_view() -> None:
    """Stock pysyncobj drops applied entries then (audit S4). What they said stays."""
    world = settled()
    world["node-0"].release(View({"chain": released(5)}))
    world.run(0.5)
    end = world["node-1"]._engine.end
    world["node-1"].received("node-0", encode(AppendEntries(1, 1.0, end.index, 1, 0, ())))
    assert world["node-1"]._engine.end.index == 1
    assert world["node-1"].view.released("chain") == released(5)
    world.run(0.5)
    assert world["node-1"]._engine.end == end
    assert world["node-1"]._engine._raft.raftLastApplied == end.index


def test_a_call_from_inside_a_call_waits_for_its_end() -> None:
    """The peer link never does that; should it ever, pysyncobj must not be entered twice."""
    clock = [100.0]
    coordination, _ = alone(3, clock)
    order: list[str] = []

    def answer_at_once(to: str, _: bytes) -> bool:
        order.append("said")
        coordination.received(to, encode(GrantVote(1)))
        order.append("returned")
        return True

    coordination._send = answer_at_once
    coordination._enter(coordination._engine.stand)
    assert order[:4] == ["said", "returned", "said", "returned"]
    assert coordination._engine.leads


def test_a_bug_in_what_the_owner_gave_is_not_swallowed() -> None:
    world = settled()

    def broken(_: str) -> None:
        raise ZeroDivisionError

    world["node-1"].view._risen = broken
    with pytest.raises(ZeroDivisionError):
        world["node-1"].release(View({"chain": released(5)}))


def test_who_is_no_member_cannot_take_part() -> None:
    with pytest.raises(BrokenInvariantError, match="node-9 is not once among the members"):
        Coordination(
            "node-9",
            NAMES[:3],
            Timing.of(0.4),
            clock=lambda: 1.0,
            send=lambda _to, _data: True,
            terms=MemoryTermStore(),
            view=View(),
            changed=lambda: None,
            random=Random(1),
        )


def test_a_term_that_no_cluster_reaches_is_refused() -> None:
    world = settled()
    for message in (NewerTerm(2**33), AnswerPreVote(1, granted=False, own_term=2**33), GrantVote(2**63 - 1)):
        with pytest.raises(PeerError, match="where 1 is the newest known here"):
            world["node-0"].received("node-1", encode(message))


def test_a_leader_whose_port_refused_a_candidate_is_believed_in_no_more() -> None:
    clock = [100.0]
    coordination, sent = alone(3, clock)
    coordination.received("node-1", encode(AppendEntries(1, 1.0, 1, 1, 0, ())))
    coordination.peer_down("node-1")
    before = coordination.lease
    coordination.received("node-2", encode(RequestPreVote(2, LogEnd(1, 1), "node-1")))
    assert (before is None, coordination.lease is None) == (False, True)
    assert decode(sent[-1][1]) == AnswerPreVote(2, granted=True, own_term=1)
