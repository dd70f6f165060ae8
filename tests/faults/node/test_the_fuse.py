"""A disk that fails under a running replica: it stays up, answers what needs no guard, and never signs again."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator

import pytest

from cmkms.harness.chain import block_id
from cmkms.harness.node import SimulatedNode
from cmkms.harness.values import MessageType, Time, Vote
from cmkms.harness.wire import PingReply, PingRequest, PubKeyReply, PubKeyRequest, SignVoteRequest, VoteReply
from tests.faults.node.process import CHAIN, Replica
from tests.unit.validators.peers import Listener, Peer

HALF_A_GUARD_FILE = 8192
"""A limit on the size of files: of the guard's two slots, the second cannot be written any more."""


def vote(height: int) -> SignVoteRequest:
    return SignVoteRequest(
        CHAIN, Vote(MessageType.PREVOTE, height, 0, block_id(height, 0), Time(1_700_000_000), bytes(20))
    )


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as listener:
        yield listener


@pytest.fixture
async def peer(replica: Replica, listener: Listener) -> Peer:
    """A validator whose signer signed height 10, and could then not write any more."""
    replica.chains = {CHAIN: [str(listener.where)]}
    replica.configure()
    await replica.start(never_signed=True)
    peer = await listener.meet()
    await peer.ask(vote(10))
    assert isinstance(await peer.answer(), VoteReply)
    await break_disk(replica, peer)
    return peer


async def break_disk(replica: Replica, peer: Peer) -> None:
    """From here on, one of any two writes of a guard fails; ask until one did."""
    resource.prlimit(replica.pid, resource.RLIMIT_FSIZE, (HALF_A_GUARD_FILE, HALF_A_GUARD_FILE))
    await peer.ask(vote(11), vote(12))
    await replica.logged("FUSE BLOWN")


async def test_the_vote_is_held(replica: Replica, peer: Peer) -> None:
    await asyncio.sleep(0.5)
    assert [line["hrs"] for line in replica.events("signed")] in (["10/0/2"], ["10/0/2", "11/0/2"])


async def test_the_log_says_why(replica: Replica, peer: Peer) -> None:
    (line,) = replica.events("FUSE BLOWN: nothing is signed any more")
    assert line["level"] == "critical"
    assert "guard" in line["reason"]


async def test_the_status_says_so(replica: Replica, peer: Peer) -> None:
    status = await replica.chain_status()
    assert status["guard"]["state"] == "fused"
    assert status["guard"]["fuse"]["reason"]
    assert status["guard"]["height"] in {10, 11}
    assert "fuse" in status["waiting_for"]


async def test_pings_and_the_public_key_are_answered_on(replica: Replica, peer: Peer, listener: Listener) -> None:
    peer.close()
    again = await listener.meet()
    await again.ask(PingRequest(), PubKeyRequest(CHAIN))
    assert await again.answer() == PingReply()
    assert isinstance(await again.answer(), PubKeyReply)


async def test_a_restart_does_not_clear_it(replica: Replica, peer: Peer, listener: Listener) -> None:
    peer.close()
    await replica.stop()
    await replica.start()
    again = await listener.meet()
    await again.ask(vote(12), vote(13))
    assert not await again.has_answer(1.0)
    assert (await replica.chain_status())["guard"]["state"] == "fused"
    assert "cmkms guard replace" in replica.log


@pytest.mark.slow
async def test_with_it_blown_a_replica_still_ends_in_order(replica: Replica, peer: Peer) -> None:
    assert await replica.stop() == 0


async def test_the_other_chains_of_the_disk_are_not_signed_for_either(replica: Replica, listener: Listener) -> None:
    async with SimulatedNode("tcp://127.0.0.1:0", "testnet-2") as other:
        replica.chains = {CHAIN: [str(listener.where)]}
        replica.add_chain("testnet-2", other.address)
        await replica.start(never_signed=True)
        peer = await listener.meet()
        await break_disk(replica, peer)
        assert (await replica.chain_status("testnet-2"))["guard"]["state"] == "fused"
