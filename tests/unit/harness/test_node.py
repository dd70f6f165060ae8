"""The simulated node keeps CometBFT's habits: one signer served, pings, drops, retries, and what it fails to notice."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cmkms.harness.chain import ChainPlan, block_id, run_chain
from cmkms.harness.endpoint import REPLY_LIMIT_BYTES, NodeTimings
from cmkms.harness.errors import (
    AcceptTimeoutError,
    BadReplyError,
    ChainHaltedError,
    NodeSideError,
    RemoteSignerError,
    ReplyTimeoutError,
)
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.values import HRS, MessageType, Vote
from cmkms.harness.wire import Kind, PingRequest, decode_request, encode_request
from tests.patience import within
from tests.unit.harness.dialing_signer import DialingSigner, Hangup
from tests.unit.harness.signer import Fault, Signer

CHAIN = "node-1"
QUICK = NodeTimings(accept=0.4, read_write=0.5, ping=0.3, retries=5, retry_pause=0.02)
"""A node ten times as impatient as a real one."""

VOTE = Vote(MessageType.PREVOTE, 5, 0, block_id(5, 0))
PING = encode_request(PingRequest())


@pytest.fixture(params=["tcp", "unix"])
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SimulatedNode]:
    address = "tcp://127.0.0.1:0" if request.param == "tcp" else f"unix://{tmp_path}/signer.sock"
    async with SimulatedNode(address, CHAIN, timings=QUICK) as node:
        yield node


def is_ping(message: bytes) -> bool:
    return isinstance(decode_request(message), PingRequest)


async def test_a_signer_that_dials_is_asked(node: SimulatedNode) -> None:
    signer = Signer(CHAIN)
    with DialingSigner(node.address, signer.answer):
        assert await node.boot() == signer.pub_key
        answer = await node.sign_vote(VOTE)

    assert answer.reply.vote.signature
    assert answer.attempts == 1
    assert 0 < answer.latency <= answer.waited < within(1)


async def test_without_a_signer_the_node_does_not_start(node: SimulatedNode) -> None:
    started = time.monotonic()

    with pytest.raises(AcceptTimeoutError):
        await node.boot()

    assert QUICK.accept <= time.monotonic() - started < QUICK.accept + within(0.8)


async def test_a_chain_runs_and_the_oracle_finds_nothing(node: SimulatedNode) -> None:
    oracle = Oracle([CHAIN])
    node.witness = oracle
    with DialingSigner(node.address, Signer(CHAIN).answer):
        await node.boot()
        steps = [step.hrs async for step in run_chain(node, ChainPlan(heights=4, late_round_every=3))]

    assert steps[:3] == [HRS(1, 0, 1), HRS(1, 0, 2), HRS(1, 0, 3)]
    assert steps[6:12] == [HRS(3, round_, step) for round_ in (0, 1) for step in (1, 2, 3)]
    assert steps[-1] == HRS(4, 0, 3)
    assert oracle.violations == []
    assert oracle.signed == len(steps)


async def test_a_faulty_signer_is_caught_at_the_wire(node: SimulatedNode) -> None:
    oracle = Oracle([CHAIN])
    node.witness = oracle
    with DialingSigner(node.address, Signer(CHAIN, Fault.EXTENDS_PREVOTES).answer):
        await node.boot()
        await node.sign_vote(VOTE)

    assert len(oracle.violations) == 1


async def test_a_refusal_is_final_and_keeps_the_connection(node: SimulatedNode) -> None:
    with DialingSigner(node.address, Signer(CHAIN).answer) as signer:
        await node.boot()
        with pytest.raises(RemoteSignerError, match="unknown chain"):
            await node.sign_vote(VOTE, chain_id="foreign-1")
        await node.sign_vote(VOTE)

        assert signer.served == 3
        assert signer.dials == 1


async def test_a_refused_vote_halts_a_sole_validator(node: SimulatedNode) -> None:
    signer = Signer(CHAIN)
    with DialingSigner(node.address, signer.answer):
        await node.boot()
        await node.sign_vote(Vote(MessageType.PRECOMMIT, 2, 0, block_id(2, 0)))

        with pytest.raises(ChainHaltedError, match="1/0/2"):
            _ = [step async for step in run_chain(node, ChainPlan(heights=4))]


async def test_an_idle_connection_is_pinged(node: SimulatedNode) -> None:
    with DialingSigner(node.address, Signer(CHAIN).answer):
        await node.boot()
        await asyncio.sleep(2.5 * QUICK.ping)

    assert node.endpoint.pings == 2


async def test_a_busy_connection_is_not_pinged(node: SimulatedNode) -> None:
    with DialingSigner(node.address, Signer(CHAIN).answer):
        for _ in range(10):
            await node.pub_key()
            await asyncio.sleep(QUICK.ping / 5)

    assert node.endpoint.pings == 0


async def test_a_second_signer_waits_unserved_and_is_promoted_when_the_first_goes(node: SimulatedNode) -> None:
    first, second = Signer(CHAIN), Signer(CHAIN)
    with DialingSigner(node.address, first.answer) as serving:
        await node.boot()
        with DialingSigner(node.address, second.answer) as waiting:
            await asyncio.sleep(2 * QUICK.ping)
            assert waiting.served == 0
            assert node.endpoint.accepted == 1

            serving.close()
            answer = await node.sign_vote(VOTE)

            assert answer.attempts > 1
            assert waiting.served > 0


async def test_a_silent_signer_is_dropped_after_the_read_timeout_and_asked_again(node: SimulatedNode) -> None:
    signer, asked = Signer(CHAIN), list[bytes]()

    def silent_once(message: bytes) -> bytes | None:
        if is_ping(message):
            return signer.answer(message)
        asked.append(message)
        return None if len(asked) == 1 else signer.answer(message)

    with DialingSigner(node.address, silent_once) as dialing:
        answer = await node.sign_vote(VOTE)

        assert dialing.dials == 2
    assert answer.attempts == 2
    assert answer.waited > QUICK.read_write > answer.latency
    assert asked[0] == asked[1]


def hangs_up_once(signer: Signer, hangup: Hangup) -> Callable[[bytes], bytes]:
    hangups = [hangup]

    def answer(message: bytes) -> bytes:
        if hangups:
            raise hangups.pop()
        return signer.answer(message)

    return answer


async def test_a_reset_costs_one_retry() -> None:
    async with SimulatedNode("tcp://127.0.0.1:0", CHAIN, timings=QUICK) as node:
        with DialingSigner(node.address, hangs_up_once(Signer(CHAIN), Hangup(reset=True))):
            answer = await node.sign_vote(VOTE)

    assert answer.attempts == 2


async def test_an_orderly_close_costs_more_retries_than_a_reset(node: SimulatedNode) -> None:
    """The end of the stream is read once or twice before a write is refused, and only that drops the connection."""
    with DialingSigner(node.address, hangs_up_once(Signer(CHAIN), Hangup())):
        answer = await node.sign_vote(VOTE)

    assert answer.attempts in {3, 4}


async def test_an_orderly_close_is_noticed_only_by_the_next_use(node: SimulatedNode) -> None:
    with DialingSigner(node.address, Signer(CHAIN).answer):
        await node.boot()
    await asyncio.sleep(QUICK.ping / 3)

    assert node.endpoint.connected

    with DialingSigner(node.address, Signer(CHAIN).answer):
        await asyncio.sleep(QUICK.ping)
        assert node.endpoint.failed_pings == 1
        await node.sign_vote(VOTE)


async def test_a_reply_of_the_wrong_kind_is_asked_again_on_the_same_connection(node: SimulatedNode) -> None:
    signer, wrong = Signer(CHAIN), [bytes.fromhex("4200")]
    with DialingSigner(node.address, lambda message: wrong.pop() if wrong else signer.answer(message)) as dialing:
        answer = await node.sign_vote(VOTE)

        assert answer.attempts == 2
        assert dialing.dials == 1


async def test_a_reply_too_long_leaves_its_rest_in_the_stream(node: SimulatedNode) -> None:
    signer = Signer(CHAIN)
    rest = b"\x02\x42\x00" * (REPLY_LIMIT_BYTES // 3 + 1)
    with DialingSigner(node.address, lambda message: rest if not is_ping(message) else signer.answer(message)):
        with pytest.raises(BadReplyError, match="exceeds max size"):
            await node.raw(bytes.fromhex("0a00"))

        assert await node.raw(bytes.fromhex("0a00")) == bytes.fromhex("4200")


async def test_all_attempts_fail_in_the_end(node: SimulatedNode) -> None:
    with DialingSigner(node.address, lambda _: b"\xff") as signer:
        with pytest.raises(NodeSideError, match="exhausted all 5 attempts"):
            await node.sign_vote(VOTE)

        assert signer.served == QUICK.retries


async def test_a_request_once_sent_raw_times_out_without_retry(node: SimulatedNode) -> None:
    with DialingSigner(node.address, lambda _: None) as signer:
        with pytest.raises(ReplyTimeoutError):
            await node.raw(PING)

        assert signer.served == 1


async def test_a_restarted_node_listens_again_at_its_address(node: SimulatedNode) -> None:
    signer = Signer(CHAIN)
    with DialingSigner(node.address, signer.answer):
        await node.boot()
        await node.stop()
        await node.start()

        assert await node.boot() == signer.pub_key


async def test_a_stranger_on_the_port_does_not_keep_the_signer_out() -> None:
    async with SimulatedNode("tcp://127.0.0.1:0", CHAIN, timings=QUICK) as node:
        port = int(node.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\nHost: validator\r\n\r\n" + bytes(64))
            await asyncio.sleep(0.1)
            with DialingSigner(node.address, Signer(CHAIN).answer):
                assert await node.boot()

        assert node.endpoint.refused_handshakes == 1


async def test_the_key_of_the_connection_is_known_over_tcp_only(node: SimulatedNode) -> None:
    with DialingSigner(node.address, Signer(CHAIN).answer):
        await node.boot()

        assert len(node.endpoint.signer_key) == (32 if node.address.startswith("tcp") else 0)


@pytest.mark.parametrize("address", ["udp://1.2.3.4:5", "tcp://1.2.3.4", "unix://", "nonsense", "tcp://:x"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected tcp://host:port or unix:///path"):
        SimulatedNode(address, CHAIN)


def test_an_error_reply_names_its_request() -> None:
    assert [kind.name for kind in Kind] == ["PUB_KEY", "SIGN_VOTE", "SIGN_PROPOSAL", "PING"]
