"""How the real `cmkms start` finds its nodes and stays with them, whoever starts, stops or dies first."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cmkms.harness.chain import ChainPlan, block_id, run_chain
from cmkms.harness.errors import RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import judge
from cmkms.harness.recorder import Recorder, read_observations
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
from tests.unit.harness.dialing_signer import DialingSigner
from tests.unit.harness.signer import Signer

KILLS = 5

# Seconds from the return of a node to the signer's answer: a redial within half a second, and a busy machine.
BACK_SECONDS = 2.0


@pytest.fixture(params=TRANSPORTS)
async def attachment(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Attachment]:
    async with attached(tmp_path, TRANSPORTS[request.param].format(tmp_path)) as attachment:
        yield attachment


@pytest.fixture
async def sentries(tmp_path: Path) -> AsyncIterator[Attachment]:
    addresses = [TRANSPORTS["tcp"], TRANSPORTS["unix"].format(tmp_path)]
    async with attached(tmp_path, *addresses) as attachment:
        yield attachment


async def test_a_node_that_restarts_is_served_again(attachment: Attachment) -> None:
    await attachment.node.sign_vote(prevote(1))
    await attachment.node.stop()
    await asyncio.sleep(0.3)
    await attachment.node.start()

    begun = time.monotonic()
    assert await attachment.node.boot() == attachment.pub_key
    assert time.monotonic() - begun < BACK_SECONDS
    await attachment.node.sign_vote(precommit(1))


async def test_a_node_that_hangs_up_is_served_again(attachment: Attachment) -> None:
    for height in range(1, 6):
        await attachment.node.sign_vote(prevote(height))
        attachment.node.endpoint.drop()

    assert attachment.node.endpoint.accepted == 5


async def test_an_idle_connection_answers_pings_and_stays(attachment: Attachment) -> None:
    before = attachment.node.endpoint.pings
    await asyncio.sleep(attachment.node.timings.ping + 0.5)

    assert attachment.node.endpoint.pings > before
    assert attachment.node.endpoint.failed_pings == 0
    assert attachment.node.endpoint.accepted == 1


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_signer_left_in_the_backlog_waits_and_is_promoted(transport: str, tmp_path: Path) -> None:
    """Another signer is served for longer than any handshake time-out; then it goes, and cmkms takes over."""
    async with attached(tmp_path, TRANSPORTS[transport].format(tmp_path)) as attachment:
        attachment.signer.kill()
        address = attachment.node.address
        other = Signer(CHAIN)
        with DialingSigner(address, other.answer):
            attachment.node.endpoint.drop()
            assert await attachment.node.boot() == other.pub_key
            attachment.signer.start()
            await asyncio.sleep(25)
            assert attachment.node.endpoint.failed_pings == 0
        attachment.node.endpoint.drop()
        begun = time.monotonic()

        assert (await attachment.node.pub_key()).reply.pub_key == attachment.pub_key
        assert time.monotonic() - begun < BACK_SECONDS


async def test_sentries_that_ask_for_one_vote_at_different_times_get_one_signature(sentries: Attachment) -> None:
    for height in range(1, 31):
        asked = [prevote(height, time=SOME_TIME.later(number)) for number in range(len(sentries.nodes))]
        answers = await asyncio.gather(
            *(node.sign_vote(vote) for node, vote in zip(sentries.nodes, asked, strict=True))
        )

        assert len({(answer.reply.vote.signature, answer.reply.vote.time) for answer in answers}) == 1


async def test_of_sentries_that_ask_for_different_blocks_one_is_served(sentries: Attachment) -> None:
    for height in range(1, 31):
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
    steps = [step async for step in run_chain(second, ChainPlan(heights=10))]
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)

    assert max(step.waited for step in steps) < 1.0


async def test_a_killed_signer_remembers_what_it_signed(attachment: Attachment) -> None:
    signed = await attachment.node.sign_vote(prevote(7))
    attachment.signer.kill()
    attachment.signer.start()

    with pytest.raises(RemoteSignerError):
        await attachment.node.sign_vote(prevote(7, block=block_id(7, 7)))
    with pytest.raises(RemoteSignerError):
        await attachment.node.sign_vote(prevote(6))
    again = await attachment.node.sign_vote(prevote(7, time=SOME_TIME.later(1)))
    assert again.reply == signed.reply


async def test_a_signer_told_to_stop_remembers_as_well(attachment: Attachment) -> None:
    signed = await attachment.node.sign_vote(prevote(7))
    attachment.signer.terminate()
    attachment.signer.start()

    with pytest.raises(RemoteSignerError):
        await attachment.node.sign_vote(prevote(7, block=block_id(7, 7)))
    assert (await attachment.node.sign_vote(prevote(7))).reply == signed.reply


async def test_a_signer_killed_again_and_again_in_a_running_chain_never_signs_twice(
    attachment: Attachment, tmp_path: Path
) -> None:
    """Killed at any instant and started at once; what is asked in between is asked again, also for another block."""
    recording = tmp_path / "recording.jsonl"
    rng = random.Random(7)
    with Recorder(recording) as recorder:
        async with SimulatedNode(await freed_address(attachment), CHAIN, witness=recorder) as node:
            await node.endpoint.wait_served(UP_SECONDS)
            await node.boot()
            killing = asyncio.create_task(kill_now_and_then(attachment, rng))
            last = 0
            async for step in run_chain(node, ChainPlan(heights=None, late_round_every=5)):
                last = max(last, step.hrs.height)
                if step.hrs.step == 3 and rng.random() < 0.1:
                    await tempt(node, step.hrs.height)
                if killing.done():
                    break
            await killing

    verdict = judge(read_observations(recording), [CHAIN])
    assert verdict.violations == []
    assert verdict.signed > 3 * KILLS
    assert last > KILLS


async def freed_address(attachment: Attachment) -> str:
    """Stop the attachment's own node, so that another one can listen in its place."""
    await attachment.node.stop()
    return attachment.node.address


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
