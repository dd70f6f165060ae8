"""How a replica ends, told or not: at once, with every connection reset, and with all that it signed known again."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from cmkms.harness.chain import ChainPlan, block_id, run_chain
from cmkms.harness.errors import RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.values import MessageType, Time, Vote
from cmkms.harness.wire import SignVoteRequest
from tests.faults.node.process import CHAIN, Replica
from tests.patience import within
from tests.unit.validators.peers import Listener

TOLD = [signal.SIGTERM, signal.SIGINT]
SOON = within(1.0)
"""Seconds within which a replica ends when it is told to."""


def vote(round_: int = 0, seconds: int = 0) -> Vote:
    return Vote(MessageType.PREVOTE, 10, 0, block_id(10, round_), Time(1_700_000_000 + seconds), bytes(20))


@pytest.mark.parametrize("number", TOLD)
async def test_told_to_stop_it_ends_within_a_second_with_exit_code_0(
    replica: Replica, node: SimulatedNode, number: signal.Signals
) -> None:
    await replica.start(never_signed=True)
    await node.sign_vote(vote())
    before = time.monotonic()
    assert await replica.stop(number) == 0
    assert time.monotonic() - before < SOON
    assert [line["level"] for line in replica.events("stopped")] == ["info"]


async def test_every_connection_is_reset_also_one_with_a_held_request(replica: Replica) -> None:
    with Listener() as listener:
        replica.chains = {CHAIN: [str(listener.where)]}
        replica.configure()
        await replica.start()
        peer = await listener.meet()
        await peer.ask(SignVoteRequest(CHAIN, vote()))
        assert not await peer.has_answer(0.2)
        before = time.monotonic()
        replica.running.send_signal(signal.SIGTERM)
        assert await peer.gone()
        assert await replica.ended() == 0
        assert time.monotonic() - before < SOON


async def test_an_open_http_connection_does_not_hold_it_up(replica: Replica) -> None:
    await replica.start(never_signed=True)
    host, _, port = replica.events("cmkms is up")[0]["http"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b"200" in await reader.readline()
    half, half_writer = await asyncio.open_connection(host, int(port))
    half_writer.write(b"GET /status HTTP/1.1\r\nHost:")
    before = time.monotonic()
    assert await replica.stop() == 0
    assert time.monotonic() - before < SOON
    assert half.at_eof() or await half.read(1) == b""
    for one in (writer, half_writer):
        one.close()


@pytest.mark.slow
async def test_with_nobody_to_talk_to_it_ends_as_quickly(replica: Replica, node: SimulatedNode) -> None:
    await node.stop()
    await replica.start(never_signed=True)
    before = time.monotonic()
    assert await replica.stop() == 0
    assert time.monotonic() - before < SOON


@pytest.mark.parametrize(
    "delay", [0.0, 0.2, 0.4, *(pytest.param(delay, marks=pytest.mark.slow) for delay in (0.1, 0.25, 0.3, 0.5, 0.7))]
)
async def test_told_to_stop_while_it_starts_it_ends_and_can_start_again(
    replica: Replica, node: SimulatedNode, delay: float
) -> None:
    replica.spawn(never_signed=True)
    await asyncio.sleep(delay)
    assert await replica.stop() in {0, -signal.SIGTERM}
    await replica.start(never_signed=True)
    assert (await node.sign_vote(vote())).reply.vote.signature


@pytest.mark.slow
async def test_a_second_signal_changes_nothing(replica: Replica) -> None:
    await replica.start(never_signed=True)
    replica.running.send_signal(signal.SIGTERM)
    replica.running.send_signal(signal.SIGTERM)
    replica.running.send_signal(signal.SIGINT)
    assert await replica.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_what_was_signed_before_the_end_is_known_after_it(
    replica: Replica, node: SimulatedNode, number: signal.Signals
) -> None:
    await replica.start(never_signed=True)
    first = await node.sign_vote(vote())
    await replica.stop(number)
    await replica.start()
    assert (await node.sign_vote(vote(seconds=3))).reply == first.reply
    with pytest.raises(RemoteSignerError, match="conflicting data"):
        await node.sign_vote(vote(round_=1))


@pytest.mark.slow
async def test_stopped_in_order_it_still_knows_the_last_signature_itself(replica: Replica, node: SimulatedNode) -> None:
    await replica.start(never_signed=True)
    first = await node.sign_vote(vote())
    await replica.stop()
    await replica.start()
    status = await replica.chain_status()
    assert status["guard"]["height"] == 10
    assert (await node.sign_vote(vote())).reply == first.reply
    await replica.logged('"replayed"')


async def test_killed_again_and_again_under_a_chain_it_never_signs_twice(
    replica: Replica, node: SimulatedNode, oracle: Oracle
) -> None:
    await replica.start(never_signed=True)

    async def killer() -> None:
        for _ in range(3):
            await asyncio.sleep(0.5)
            await replica.stop(signal.SIGKILL)
            await replica.start()

    killing = asyncio.create_task(killer())
    height = 10
    while not killing.done():
        async for _ in run_chain(node, ChainPlan(first_height=height, heights=1)):
            pass
        height += 1
    await killing
    assert oracle.violations == []
    assert oracle.signed >= 3 * (height - 10)
    assert height > 13
