"""How the real `cmkms start` finds its nodes and stays with them, whoever starts, stops or dies first."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from cmkms.harness.chain import ChainPlan, block_id, run_chain
from cmkms.harness.errors import ConnectionLostError, RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import judge
from cmkms.harness.recorder import Recorder, read_observations
from cmkms.harness.signer_process import CmkmsProcess
from tests.acceptance.attachment import (
    CHAIN,
    SOME_TIME,
    TRANSPORTS,
    UP_SECONDS,
    Attachment,
    attached,
    precommit,
    prevote,
)
from tests.patience import within
from tests.unit.harness.dialing_signer import DialingSigner
from tests.unit.harness.signer import Signer

KILLS = 5

# Seconds from the return of a node to the signer's answer: a redial within half a second.
BACK_SECONDS = within(1.0)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=TRANSPORTS)
async def attachment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Attachment]:
    directory = tmp_path_factory.mktemp("connections")
    async with attached(directory, TRANSPORTS[request.param].format(directory)) as attachment:
        yield attachment


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sentries(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Attachment]:
    directory = tmp_path_factory.mktemp("sentries")
    async with attached(directory, TRANSPORTS["tcp"], TRANSPORTS["unix"].format(directory)) as attachment:
        yield attachment


@pytest.fixture
def height(attachment: Attachment) -> int:
    return attachment.next_height()


async def test_a_node_that_restarts_is_served_again(attachment: Attachment, height: int) -> None:
    await attachment.node.sign_vote(prevote(height))
    await attachment.node.stop()
    await asyncio.sleep(0.3)
    await attachment.node.start()

    begun = time.monotonic()
    assert await attachment.node.boot() == attachment.pub_key
    assert time.monotonic() - begun < BACK_SECONDS
    await attachment.node.sign_vote(precommit(height))


async def test_a_node_that_hangs_up_is_served_again(attachment: Attachment, height: int) -> None:
    before = attachment.node.endpoint.accepted
    for one in range(height, height + 5):
        attachment.node.endpoint.drop()
        await attachment.node.sign_vote(prevote(one))

    assert attachment.node.endpoint.accepted == before + 5


async def test_an_idle_connection_answers_pings_and_stays(attachment: Attachment) -> None:
    endpoint = attachment.node.endpoint
    before = (endpoint.accepted, endpoint.failed_pings)
    pings = endpoint.pings
    await asyncio.sleep(attachment.node.timings.ping + 0.5)

    assert endpoint.pings > pings
    assert (endpoint.accepted, endpoint.failed_pings) == before


@pytest.mark.slow
async def test_a_signer_left_in_the_backlog_waits_and_is_promoted(attachment: Attachment) -> None:
    """Another signer is served for longer than any handshake time-out; then it goes, and cmkms takes over."""
    node, other = attachment.node, Signer(CHAIN)
    attachment.signer.kill()
    with DialingSigner(node.address, other.answer):
        node.endpoint.drop()
        assert (await node.pub_key()).reply.pub_key == other.pub_key
        failed = node.endpoint.failed_pings
        attachment.signer.start()
        await asyncio.sleep(25)
        assert node.endpoint.failed_pings == failed
    node.endpoint.drop()
    begun = time.monotonic()

    assert (await node.pub_key()).reply.pub_key == attachment.pub_key
    assert time.monotonic() - begun < BACK_SECONDS


async def test_sentries_that_ask_for_one_vote_at_different_times_get_one_signature(sentries: Attachment) -> None:
    for _ in range(30):
        height = sentries.next_height()
        asked = [prevote(height, time=SOME_TIME.later(number)) for number in range(len(sentries.nodes))]
        pairs = zip(sentries.nodes, asked, strict=True)
        answers = await asyncio.gather(*(node.sign_vote(vote) for node, vote in pairs))

        assert len({(answer.reply.vote.signature, answer.reply.vote.time) for answer in answers}) == 1


async def test_of_sentries_that_ask_for_different_blocks_one_is_served(sentries: Attachment) -> None:
    for _ in range(30):
        height = sentries.next_height()
        asked = [prevote(height, block=block_id(height, number)) for number in range(len(sentries.nodes))]
        results = await asyncio.gather(
            *(node.sign_vote(vote) for node, vote in zip(sentries.nodes, asked, strict=True)), return_exceptions=True
        )

        assert sum(isinstance(result, RemoteSignerError) for result in results) == 1
        assert sum(not isinstance(result, BaseException) for result in results) == 1


async def test_one_silent_sentry_does_not_hold_up_another(sentries: Attachment) -> None:
    """One node sends half a request and no more; the other's requests are served meanwhile."""
    first, second = sentries.nodes
    stuck = asyncio.create_task(first.endpoint.exchange_bytes(b"\x50\x1a"))
    steps = [step async for step in run_chain(second, ChainPlan(sentries.next_height(), heights=10))]
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)

    assert max(step.waited for step in steps) < within(1.0)


@pytest.mark.parametrize("attachment", ["tcp"], indirect=True)
async def test_a_signer_that_is_killed_ends_its_connection_with_a_reset(
    attachment: Attachment,
) -> None:
    """After an orderly end a node would keep the dead connection, and lose one more try of 0.1 s on it."""
    await attachment.node.pub_key()
    connection = attachment.node.endpoint._serving
    assert connection is not None
    attachment.signer.kill()
    with pytest.raises(ConnectionLostError):
        await connection.read_message()
    attachment.signer.start()

    assert (await attachment.node.pub_key()).reply.pub_key == attachment.pub_key


@pytest.mark.parametrize("end", [CmkmsProcess.kill, CmkmsProcess.terminate], ids=["kill -9", "sigterm"])
async def test_a_signer_that_ends_and_returns_remembers_what_it_signed(
    attachment: Attachment, height: int, end: Callable[[CmkmsProcess], None]
) -> None:
    signed = await attachment.node.sign_vote(prevote(height))
    end(attachment.signer)
    attachment.signer.start()

    for vote in (prevote(height, block=block_id(height, 7)), prevote(height - 1)):
        with pytest.raises(RemoteSignerError):
            await attachment.node.sign_vote(vote)
    again = await attachment.node.sign_vote(prevote(height, time=SOME_TIME.later(1)))
    assert again.reply == signed.reply


async def test_a_signer_killed_again_and_again_in_a_running_chain_never_signs_twice(
    attachment: Attachment, height: int, tmp_path: Path
) -> None:
    """Killed at any instant and started at once; other blocks are asked for in between, and the recording is judged."""
    node, rng, last = attachment.node, random.Random(7), height
    with Recorder(tmp_path / "recording.jsonl") as recorder:
        node.witness = recorder
        killing = asyncio.create_task(kill_now_and_then(attachment, rng))
        async with aclosing(run_chain(node, ChainPlan(height, None, block_seconds=0.01, late_round_every=5))) as chain:
            async for step in chain:
                last = step.hrs.height
                if step.hrs.step == 3 and rng.random() < 0.1:
                    await tempt(node, last)
                if killing.done():
                    break
        await killing
        node.witness = attachment.oracle
    attachment.reached(last)

    verdict = judge(read_observations(tmp_path / "recording.jsonl"), [CHAIN])
    assert verdict.violations == []
    assert verdict.signed > 3 * KILLS
    assert last > height + KILLS


async def kill_now_and_then(attachment: Attachment, rng: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.to_thread(attachment.signer.wait_healthy, UP_SECONDS)
        await asyncio.sleep(rng.uniform(0.2, 0.7))
        attachment.signer.kill()
        attachment.signer.start()
    await asyncio.to_thread(attachment.signer.wait_healthy, UP_SECONDS)
    await asyncio.sleep(0.5)


async def tempt(node: SimulatedNode, height: int) -> None:
    """Ask for what must not be signed any more: other blocks at a height whose precommit was signed, and before."""
    other = block_id(height, 99)
    for vote in (precommit(height, block=other), prevote(height, block=other), precommit(height - 1, 0, other)):
        with pytest.raises(RemoteSignerError):
            await node.sign_vote(vote)
