"""Two replicas that do not agree say so, on both sides, in one sentence that names both."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmkms.peers.messages import Declined, Hello, HelloMember
from cmkms.peers.observation import LinkState
from tests.ports import free_port
from tests.unit.peers.caller import Caller
from tests.unit.peers.replica import Replica, cluster, eventually, identity, meshed, running, with_pin


def disagree(one: Replica, two: Replica, case: str) -> tuple[str, str]:
    """Make node-1 differ from node-0; returns what node-0 says of it, and what node-1 does."""
    pin = "ab" * 32
    match case:
        case "ttl":
            two.ttl_ms = 150
            return (
                "default_ttl differs: node-1 has 150 ms, node-0 has 400 ms",
                "default_ttl differs: node-0 has 400 ms, node-1 has 150 ms",
            )
        case "members":
            two.peers += (replace(two.peers[1], id="node-2", pin=pin),)
            return (
                "the peer lists differ: node-1 has node-0, node-1, node-2, node-0 has node-0, node-1",
                "the peer lists differ: node-0 has node-0, node-1, node-1 has node-0, node-1, node-2",
            )
        case "versions":
            two.versions = (2, 3)
            return (
                "no protocol version in common: node-1 speaks 2 to 3, node-0 speaks 1",
                "no protocol version in common: node-0 speaks 1, node-1 speaks 2 to 3",
            )
        case _:
            raise ValueError(case)


@pytest.mark.parametrize("case", ["ttl", "members", "versions"])
async def test_replicas_that_differ_both_say_in_what(case: str) -> None:
    one, two = cluster()
    texts = disagree(one, two, case)
    async with running(one, two):
        await eventually(lambda: any(one.told(text) for text in texts))
        await eventually(lambda: any(two.told(text) for text in texts))
        assert not one.connected()
        assert not two.connected()
        assert {state for _, state, _ in one.connections} <= {LinkState.REFUSED, LinkState.UNREACHABLE}
    assert ("up", "node-1") not in one.events
    assert ("up", "node-0") not in two.events


async def declined(hello: Hello, one: Replica, two: Replica) -> str:
    """Say this with node-0's identity to node-1; returns why it declines."""
    async with running(two):
        caller = await Caller.being(one.identity, two)
        await caller.say(hello)
        answer = await caller.hear()
        await caller.gone()
        assert isinstance(answer, Declined)
        assert (two.hellos, two.messages) == ([], [])
        assert ("node-0", LinkState.REFUSED, answer.reason) in two.connections
        return answer.reason


async def test_an_unknown_id_is_refused() -> None:
    one, two = cluster()
    why = await declined(replace(one.hello(), member_id="node-7"), one, two)
    assert why == "the replica with the identity of node-0 calls itself 'node-7'; node-1 knows node-0, node-1"


async def test_ones_own_id_is_refused() -> None:
    one, two = cluster()
    why = await declined(replace(one.hello(), member_id="node-1"), one, two)
    assert "calls itself node-1, which is this replica's own id" in why


async def test_the_id_of_another_member_is_refused() -> None:
    one, _, three = cluster(3)
    why = await declined(replace(one.hello(), member_id="node-1"), one, three)
    assert "the replica with the identity of node-0 calls itself node-1: ids or pins are mixed up" in why


async def test_other_pins_are_refused() -> None:
    one, two = cluster()
    theirs = tuple(replace(member, pin="ab" * 32) for member in one.hello().members)
    why = await declined(replace(one.hello(), members=theirs), one, two)
    assert why.startswith(f"the pins of node-0 differ: node-0 has {'ab' * 32}, node-1 has {one.pin}; `cmkms identity")


async def test_ones_own_pin_for_another_member_is_named() -> None:
    one, _ = cluster()
    one.peers = with_pin((one.peers[0], replace(one.peers[1], addr=one.address)), "node-1", one.pin)
    async with running(one):
        await eventually(lambda: one.told("the identity of node-1 is this replica's own: its pin in the peer list"))
        assert one.events == []


async def test_a_pin_that_one_side_does_not_have_is_no_difference() -> None:
    one, two = cluster()
    theirs = tuple(replace(member, pin="") for member in one.hello().members)
    one.says = lambda hello: replace(hello, members=theirs)
    async with meshed(one, two):
        assert not two.strangers


async def test_a_member_named_twice_is_refused() -> None:
    one, two = cluster()
    theirs = (*one.hello().members, HelloMember("node-0", ""))
    why = await declined(replace(one.hello(), members=theirs), one, two)
    assert "node-0 has node-0, node-0, node-1, node-1 has node-0, node-1" in why


async def test_a_newer_release_that_still_speaks_our_version_is_met() -> None:
    one, two = cluster()
    two.versions = (1, 2)
    async with meshed(one, two):
        pass


async def test_a_replica_whose_pin_is_wrong_here_is_named_with_it() -> None:
    one, two = cluster()
    wrong = identity().public_key.hex()
    one.peers = with_pin(one.peers, "node-1", wrong)
    async with running(one, two):
        await eventually(lambda: one.told(f"does not have the identity pinned for node-1 ({wrong})"))
        assert not one.connected()


async def test_a_replica_that_is_not_known_there_is_told_what_to_look_at() -> None:
    one, two = cluster()
    two.peers = with_pin(two.peers, "node-0", identity().public_key.hex())
    async with running(one, two):
        await eventually(lambda: one.told("it may not know this replica's identity"))
        await eventually(lambda: two.strangers)
        assert two.strangers[0] == (
            "127.0.0.1",
            "its certificate proves no identity that is pinned here: another cluster's replica, or a wrong pin",
        )


# --------------------------------------------------------------------------------------------------- one session a pair


async def test_a_new_connection_takes_the_place_of_the_old() -> None:
    one, two = cluster()
    async with running(two):
        old = await Caller.greeted(one, two)
        new = await Caller.greeted(one, two)
        await old.gone()
        assert [event for event, _ in two.events] == ["up", "down", "up"]
        assert two.told("superseded by a new connection")
        assert two.connected() == {"node-0"}
        new.close()


async def test_a_life_that_was_followed_by_another_and_speaks_again_is_a_twin() -> None:
    one, two = cluster()
    async with running(two):
        old = await Caller.greeted(one, two)
        new = await Caller.greeted(one.again(), two)
        await old.gone()
        back = await Caller.being(one.identity, two)
        await back.say(one.hello())
        answer = await back.hear()
        assert isinstance(answer, Declined)
        assert "two processes have the identity of node-0" in answer.reason
        assert two.twins == [one.boot]
        assert two.connected() == {"node-0"}
        assert ("node-0", LinkState.TWIN, answer.reason) in two.connections
        new.close()


async def test_a_reconnect_of_the_same_life_is_no_twin() -> None:
    one, two = cluster()
    async with running(two):
        for _ in range(3):
            (await Caller.greeted(one, two)).close()
        assert not two.twins


async def test_two_processes_with_one_identity_are_found() -> None:
    one, two = cluster()
    async with meshed(one, two):
        twin = one.again()
        twin.peers = (replace(one.peers[0], addr=replace(one.address, port=free_port())), one.peers[1])
        async with running(twin):
            await eventually(lambda: two.twins)
            assert two.twins[0] in {one.boot, twin.boot}


async def test_who_declines_is_believed_and_asked_again() -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.greeted(one, two)
        await caller.say(Declined("we are through"))
        await caller.gone()
        assert two.told("node-0 declines: we are through")
