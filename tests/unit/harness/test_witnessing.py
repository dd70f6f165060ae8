"""What a node's witness is told: every try of a sign request, by whom it was answered, and what came too late."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cmkms.harness.blocking import BlockingNode
from cmkms.harness.chain import block_id
from cmkms.harness.endpoint import NodeTimings
from cmkms.harness.errors import NodeSideError
from cmkms.harness.node import SimulatedNode, witnesses
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Oracle
from cmkms.harness.values import MessageType, Vote
from cmkms.harness.wire import PingRequest, SignVoteRequest, decode_request, encode_request
from tests.unit.harness.dialing_signer import DialingSigner, Hangup
from tests.unit.harness.signer import Signer

CHAIN = "node-1"
QUICK = NodeTimings(accept=0.4, read_write=0.5, ping=30, retries=3, retry_pause=0.02)
VOTE = Vote(MessageType.PREVOTE, 5, 0, block_id(5, 0))


@pytest.fixture
def seen() -> list[Observation]:
    return []


@pytest.fixture(params=["tcp", "unix"])
async def node(request: pytest.FixtureRequest, tmp_path: Path, seen: list[Observation]) -> AsyncIterator[SimulatedNode]:
    address = "tcp://127.0.0.1:0" if request.param == "tcp" else f"unix://{tmp_path}/signer.sock"
    async with SimulatedNode(address, CHAIN, timings=QUICK, witness=seen.append) as node:
        yield node


def named(replica: str, address: str) -> bool:
    """Whether this is how a replica that dialled this address is told from others."""
    if address.startswith("unix"):
        return replica == f"pid:{os.getpid()}"
    return replica.startswith("key:") and len(bytes.fromhex(replica.removeprefix("key:"))) == 32


async def test_the_replica_is_known_by_what_its_connection_has_proven(
    node: SimulatedNode, seen: list[Observation]
) -> None:
    with DialingSigner(node.address, Signer(CHAIN).answer):
        await node.sign_vote(VOTE)

    assert [named(one.replica, node.address) for one in seen] == [True]


async def test_another_replica_has_another_name() -> None:
    seen: list[Observation] = []
    async with SimulatedNode("tcp://127.0.0.1:0", CHAIN, timings=QUICK, witness=seen.append) as node:
        for _ in range(2):
            with DialingSigner(node.address, Signer(CHAIN).answer):
                await node.sign_vote(VOTE)
            await node.endpoint.hang_up()

    assert len({one.replica for one in seen}) == len({one.connection for one in seen}) == 2


@pytest.mark.parametrize("transport", ["tcp", "unix"])
async def test_a_blocking_node_knows_it_as_well(transport: str, tmp_path: Path) -> None:
    address = "tcp://127.0.0.1:0" if transport == "tcp" else f"unix://{tmp_path}/signer.sock"
    signer = Signer(CHAIN)
    with BlockingNode(address) as node, DialingSigner(node.address, signer.answer):
        node.accept(5)
        seen = node.observe(encode_request(SignVoteRequest(CHAIN, VOTE)), signer.pub_key)

    assert named(seen.replica, node.address)


async def test_a_try_without_an_answer_is_witnessed_by_itself(node: SimulatedNode, seen: list[Observation]) -> None:
    signer, tries = Signer(CHAIN), [True]
    oracle = Oracle([CHAIN])
    node.witness = witnesses(seen.append, oracle)
    with DialingSigner(node.address, lambda message: None if tries and tries.pop() else signer.answer(message)):
        node.knows(signer.pub_key)
        await node.sign_vote(VOTE)

    silent, answered = seen
    assert silent.reply is None
    assert answered.reply is not None
    assert silent.asked_at < silent.answered_at <= answered.asked_at < answered.answered_at
    assert (oracle.unanswered, oracle.signed, oracle.violations) == (1, 1, [])


async def test_a_signer_that_hangs_up_has_not_answered(node: SimulatedNode, seen: list[Observation]) -> None:
    def hang_up(_: bytes) -> bytes:
        raise Hangup(reset=True)

    with DialingSigner(node.address, hang_up), pytest.raises(NodeSideError):
        await node.sign_vote(VOTE)

    assert {one.reply for one in seen} == {None}


async def test_a_reply_that_cannot_be_read_is_one(node: SimulatedNode, seen: list[Observation]) -> None:
    with DialingSigner(node.address, lambda _: bytes(20_000)), pytest.raises(NodeSideError):
        await node.sign_vote(VOTE)

    assert seen[0].reply == b""
    oracle = Oracle([CHAIN])
    oracle(seen[0])
    assert oracle.unreadable == 1


async def test_without_a_connection_nothing_was_asked(node: SimulatedNode, seen: list[Observation]) -> None:
    with pytest.raises(NodeSideError):
        await node.sign_vote(VOTE)

    assert seen == []


async def test_an_answer_that_the_node_no_longer_waits_for_is_witnessed(
    node: SimulatedNode, seen: list[Observation]
) -> None:
    """The node goes on to something else while the answer lies in its buffer: the signature has left all the same."""
    signer, asked, answered = Signer(CHAIN), threading.Event(), threading.Event()

    def answer(message: bytes) -> bytes:
        if not isinstance(decode_request(message), PingRequest):
            asked.set()
            answered.wait(5)
        return signer.answer(message)

    with DialingSigner(node.address, answer):
        asking = asyncio.create_task(node.sign_vote(VOTE))
        await asyncio.to_thread(asked.wait, 5)
        answered.set()
        time.sleep(0.3)  # noqa: ASYNC251 - the answer arrives, and nobody has looked at it yet
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    assert [one.reply for one in seen] == [signer.answer(seen[0].request)]


async def test_what_is_no_sign_request_is_not_witnessed(node: SimulatedNode, seen: list[Observation]) -> None:
    with DialingSigner(node.address, Signer(CHAIN).answer):
        await node.boot()
        await node.raw(encode_request(PingRequest()))

    assert seen == []
