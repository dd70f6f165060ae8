"""Replicas find each other, talk, part and meet again."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace
from functools import partial

import pytest

from cmkms.config import HostPort
from cmkms.errors import BrokenInvariantError, OperatorError, PeerError, UnavailableError
from cmkms.guard.rpc import Peek
from cmkms.peers import dialling, links, tls
from cmkms.peers.messages import Goodbye, Message, Raft
from cmkms.peers.observation import LinkState
from tests.patience import within
from tests.unit.peers.replica import Replica, cluster, eventually, identity, meshed, running


async def test_three_members_are_fully_meshed() -> None:
    replicas = cluster(3)
    async with meshed(*replicas):
        for one in replicas:
            others = {other.me for other in replicas if other is not one}
            assert {member for event, member in one.events if event == "up"} == others
            assert not one.strangers


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "learned"])
@pytest.mark.parametrize("host", ["::1", "localhost"])
async def test_members_meet_by_name_and_over_ipv6(host: str, *, pinned: bool) -> None:
    replicas = cluster(3, host=host, pinned=pinned)
    async with meshed(*replicas):
        assert [one.strangers for one in replicas] == [[], [], []]


async def test_a_name_that_does_not_resolve_is_told_and_asked_again() -> None:
    one, two = cluster()
    one.peers = (one.peers[0], replace(two.peers[1], addr=HostPort("node-1.invalid", 9430)))
    async with running(one):
        await eventually(lambda: one.told("the name node-1.invalid does not resolve"))
        assert one.count("refused", "node-1") == 0


async def test_what_a_peer_is_told_to_be_is_what_tls_has_proven() -> None:
    one, two = cluster()
    async with meshed(one, two):
        [(member, proven, hello)] = one.hellos
        assert (member, hello) == ("node-1", two.hello())
        assert proven == hashlib.sha256(two.identity.public_key).digest()


async def test_messages_arrive_all_and_in_order() -> None:
    one, two = cluster()
    async with meshed(one, two):
        for number in range(500):
            assert one.net.send("node-1", Raft(bytes(number)))
        await eventually(lambda: len(two.messages) == 500)
        assert two.messages == [("node-0", Raft(bytes(number))) for number in range(500)]


async def test_the_longest_message_arrives() -> None:
    one, two = cluster()
    longest = Raft(bytes(1_100_000))
    async with meshed(one, two):
        assert two.net.send("node-0", longest)
        await eventually(lambda: one.messages == [("node-1", longest)])


async def test_an_answer_may_be_sent_while_a_message_is_received() -> None:
    one, two = cluster()

    def answer(_member: str, message: Message) -> Message | None:
        return Raft(b"pong") if message == Raft(b"ping") else None

    two.answers = answer
    async with meshed(one, two):
        one.net.send("node-1", Raft(b"ping"))
        await eventually(lambda: one.messages == [("node-1", Raft(b"pong"))])


async def test_nothing_is_sent_where_there_is_no_session() -> None:
    one, _ = cluster()
    async with running(one):
        assert not one.net.send("node-1", Goodbye())
        assert not one.net.send("node-9", Goodbye())


async def test_a_message_that_no_peer_would_take_is_a_bug_and_not_an_exception() -> None:
    one, two = cluster()
    async with meshed(one, two):
        assert not one.net.send("node-1", Peek(1, 1, "c" * 51))
        assert isinstance(one.bugs.pop(), BrokenInvariantError)
        assert one.connected() == {"node-1"}


async def test_a_bug_in_a_handler_is_not_swallowed() -> None:
    one, two = cluster()
    bug = RuntimeError("a bug")

    def stumble(_member: str, _message: Message) -> None:
        raise bug

    two.answers = stumble
    async with meshed(one, two):
        one.net.send("node-1", Raft(b""))
        await eventually(lambda: two.bugs)
        assert two.bugs == [bug]
        two.bugs.clear()


async def test_a_message_that_makes_no_sense_ends_its_session_and_no_other() -> None:
    one, two, three = cluster(3)

    def refuse(_member: str, _message: Message) -> None:
        raise PeerError("term 5 does not follow term 6")

    three.answers = refuse
    async with meshed(one, two, three):
        one.net.send("node-2", Raft(b""))
        await eventually(lambda: three.count("down", "node-0") == 1)
        assert three.told("term 5 does not follow term 6")
        await eventually(lambda: three.count("up", "node-0") == 2)
        assert three.count("down", "node-1") == 0


async def test_a_stop_says_goodbye_and_takes_no_time() -> None:
    one, two, three = cluster(3)
    async with meshed(one, two, three):
        before = time.monotonic()
        await three.stop()
        assert time.monotonic() - before < within(0.2)
        for other in (one, two):
            await eventually(partial(other.count, "down", "node-2"))
            assert ("node-2", LinkState.LEFT, "stopped in good order") in other.connections
            assert ("node-2", Goodbye()) in other.messages


@pytest.mark.parametrize("leaver", [0, 1], ids=["the one that dials", "the one that listens"])
async def test_a_peer_that_listens_no_more_is_seen_at_once_by_both_kinds(leaver: int) -> None:
    replicas = cluster()
    gone, left = replicas[leaver], replicas[1 - leaver]
    async with meshed(*replicas):
        await gone.stop()
        await eventually(lambda: left.count("refused", gone.me), seconds=within(0.5))
        assert left.events.index(("down", gone.me)) < left.events.index(("refused", gone.me))


@pytest.mark.parametrize("leaver", [0, 1])
async def test_a_restarted_peer_is_met_again(leaver: int) -> None:
    replicas = cluster()
    left = replicas[1 - leaver]
    async with meshed(*replicas):
        await replicas[leaver].stop()
        await eventually(lambda: not left.connected())
        back = replicas[leaver].again()
        async with running(back):
            await eventually(lambda: back.connected() and left.connected())
            assert left.hellos[-1][2].boot == back.boot


async def test_each_up_has_one_down() -> None:
    one, two = cluster()
    async with meshed(one, two):
        for _ in range(3):
            await two.stop()
            await eventually(lambda: not one.connected())
            await two.start()
            await eventually(lambda: one.connected() and two.connected())
    for replica in (one, two):
        steps = [event for event, _ in replica.events if event in {"up", "down"}]
        assert steps == ["up", "down"] * 4


async def test_a_peer_that_says_nothing_is_left() -> None:
    one, two = cluster()
    async with meshed(one, two):
        before = time.monotonic()
        two.fall_silent()
        await eventually(lambda: one.count("down", "node-1"))
        assert 0.5 < time.monotonic() - before < within(2.0)
        assert one.told("silent: nothing received for 1.0 s")


async def test_a_status_tells_of_the_link() -> None:
    one, two = cluster()
    async with running(one):
        await eventually(lambda: "nobody listens" in one.last_detail("node-1"))
        [status] = one.net.statuses()
        assert (status.connected, status.last_seen, status.release) == (False, None, "")
        async with running(two):
            await eventually(one.connected)
            [status] = one.net.statuses()
            assert (status.id, status.address) == ("node-1", str(two.address))
            assert (status.detail, status.release) == ("", "0.0.0")
            assert status.last_seen is not None
            assert abs(status.since - time.time()) < 5
        await eventually(lambda: not one.connected())
        [status] = one.net.statuses()
        assert status.last_seen is not None


async def test_an_address_that_another_process_has_is_unavailable() -> None:
    one, _ = cluster()
    async with running(one):
        with pytest.raises(UnavailableError, match=f"raft_addr {one.address}: .*another process listens there"):
            await one.again().start()


async def test_an_address_of_another_machine_is_the_operators_affair() -> None:
    one, two = cluster()
    one.peers = (replace(one.peers[0], addr=HostPort("192.0.2.1", 9430)), two.peers[1])
    with pytest.raises(OperatorError, match="no interface of this machine has that address"):
        await one.start()


# -------------------------------------------------------------------------------------------------- learned identities


async def test_without_pins_identities_are_learned_on_loopback() -> None:
    replicas = cluster(3, pinned=False)
    async with meshed(*replicas):
        for one in replicas:
            proven = {member: key for member, key, _ in one.hellos}
            for other in replicas:
                if other is not one:
                    assert proven[other.me] == hashlib.sha256(other.identity.public_key).digest()
            assert not one.strangers


@pytest.mark.parametrize("renewed", [0, 1], ids=["the one that dials", "the one that listens"])
async def test_a_peer_that_was_made_anew_is_learned_anew(renewed: int) -> None:
    replicas = cluster(pinned=False)
    left = replicas[1 - renewed]
    async with meshed(*replicas):
        await replicas[renewed].stop()
        replicas[renewed].identity = identity()
        await replicas[renewed].start()
        await eventually(lambda: replicas[renewed].connected() and left.connected())
        assert left.hellos[-1][1] == hashlib.sha256(replicas[renewed].identity.public_key).digest()
        assert not left.strangers


async def test_a_learned_identity_holds_while_its_session_lasts() -> None:
    one, two = cluster(pinned=False)
    async with meshed(one, two):
        _, writer = await asyncio.open_connection(*two_address(two), ssl=tls.Credentials(identity()).asking_who())
        await asyncio.sleep(0.3)
        assert two.count("down", "node-0") == one.count("down", "node-1") == 0
        writer.close()


async def test_nothing_is_learned_from_another_machine() -> None:
    peer = replace(cluster(pinned=False)[1].peers[1], addr=HostPort("192.0.2.1", 9430))
    link = links.PeerLink(peer, dials=True)
    with pytest.raises(PeerError, match=r"192\.0\.2\.1:9430 is on another machine, so it needs a pin: write --peer"):
        await dialling.learn(link, tls.Credentials(identity()))


async def test_a_replica_does_not_learn_its_own_identity_as_a_peers() -> None:
    one, _ = cluster(pinned=False)
    one.peers = (one.peers[0], replace(one.peers[1], addr=one.address))
    async with running(one):
        await eventually(lambda: one.told("this replica itself answers"))


def two_address(replica: Replica) -> tuple[str, int]:
    return replica.address.host, replica.address.port
