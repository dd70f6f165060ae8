"""What three replicas promise together, whichever of them is killed, stopped, paused or asked. Two nodes ask them.

One cluster for the whole file; each test goes higher, and leaves three replicas that can sign.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from itertools import cycle
from operator import eq, ne
from pathlib import Path

import pytest
import pytest_asyncio

from cmkms.harness.chain import ChainPlan, StepSigned, block_id, run_chain
from cmkms.harness.errors import RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import judge
from cmkms.harness.recorder import Recorder, read_observations
from cmkms.harness.values import HRS
from tests.acceptance.attachment import CHAIN, SOME_TIME, TRANSPORTS, Attachment, attached, precommit, prevote, proposal
from tests.patience import within

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

# Seconds. A takeover after kill -9 takes 0.15 by design, a node's own retry 0.1 more.
TAKEOVER_SECONDS = within(1.0)

# Seconds in which a replica must have ended after SIGTERM.
EXIT_SECONDS = within(2.0)

# Seconds in which a held request would have been answered if anything were wrong.
HELD_SECONDS = 1.0

KILLS = 6


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Attachment]:
    directory = tmp_path_factory.mktemp("cluster")
    addresses = (TRANSPORTS["tcp"], TRANSPORTS["unix"].format(directory))
    async with attached(directory, *addresses, replicas=3) as attachment:
        yield attachment


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(running: Attachment) -> AsyncIterator[Attachment]:
    yield running
    for member in running.cluster.alive:
        running.cluster.resume(member)
    await running.at_full_strength()


@pytest.fixture
def height(cluster: Attachment) -> int:
    return cluster.next_height()


async def refuses_another_block(node: SimulatedNode, height: int) -> None:
    with pytest.raises(RemoteSignerError):
        await node.sign_vote(prevote(height, block=block_id(height, 7)))


async def play_until(cluster: Attachment, done: asyncio.Future[None] | asyncio.Task[None]) -> list[StepSigned]:
    """Run a chain at the first node until `done`, and a little longer; returns its steps."""
    steps: list[StepSigned] = []
    after = 0
    async with aclosing(run_chain(cluster.node, ChainPlan(cluster.next_height(), None, block_seconds=0.01))) as chain:
        async for step in chain:
            steps.append(step)
            after += done.done()
            if after > 30:
                break
    done.result()
    cluster.reached(steps[-1].hrs.height)
    return steps


# ------------------------------------------------------------------------------------------------ three that are one


async def test_every_replica_names_the_same_holder_of_the_lease(cluster: Attachment) -> None:
    holder = await cluster.holder()

    assert {status.holder for status in cluster.cluster.statuses().values()} == {holder}


async def test_every_replica_knows_what_was_signed_last(cluster: Attachment, height: int) -> None:
    await cluster.node.sign_vote(prevote(height))

    def all_know() -> bool:
        statuses = cluster.cluster.statuses().values()
        return {status.last_signed for status in statuses} == {HRS(height, 0, 2)}

    await cluster.eventually(all_know, "all replicas know")


async def test_whichever_replica_the_node_is_served_by_signs_and_gives_the_same_answer(
    cluster: Attachment, height: int
) -> None:
    first = await cluster.node.sign_vote(prevote(height))
    for member in cluster.cluster.members:
        await cluster.serve_by(partial(eq, member))
        again = await cluster.node.sign_vote(prevote(height, time=SOME_TIME.later(5)))

        assert again.reply == first.reply
        await refuses_another_block(cluster.node, height)


async def test_two_nodes_that_ask_for_one_vote_at_different_times_get_one_signature(cluster: Attachment) -> None:
    for _ in range(30):
        height = cluster.next_height()
        asked = [prevote(height, time=SOME_TIME.later(number)) for number in range(len(cluster.nodes))]
        pairs = zip(cluster.nodes, asked, strict=True)
        answers = await asyncio.gather(*(node.sign_vote(vote) for node, vote in pairs))

        assert len({(answer.reply.vote.signature, answer.reply.vote.time) for answer in answers}) == 1


async def test_of_two_nodes_that_ask_for_different_blocks_one_is_served(cluster: Attachment) -> None:
    for _ in range(30):
        height = cluster.next_height()
        asked = [prevote(height, block=block_id(height, number)) for number in range(len(cluster.nodes))]
        pairs = zip(cluster.nodes, asked, strict=True)
        results = await asyncio.gather(*(node.sign_vote(vote) for node, vote in pairs), return_exceptions=True)

        assert sum(isinstance(result, RemoteSignerError) for result in results) == 1
        assert sum(not isinstance(result, BaseException) for result in results) == 1


async def test_nodes_at_different_replicas_are_answered_alike(cluster: Attachment, height: int) -> None:
    """One asks the holder of the lease, the other a replica that has to forward."""
    holder = await cluster.holder()
    second = await cluster.eventually(lambda: cluster.cluster.connected_to(cluster.nodes[1].address), "served")
    await cluster.serve_by(lambda one: (one == holder) != (second == holder))
    first, other = await asyncio.gather(
        cluster.nodes[0].sign_proposal(proposal(height)), cluster.nodes[1].sign_proposal(proposal(height))
    )

    assert first.reply == other.reply
    for node in cluster.nodes:
        with pytest.raises(RemoteSignerError):
            await node.sign_proposal(proposal(height, block=block_id(height, 7)))


# --------------------------------------------------------------------------------------------------- killed, kill -9


@pytest.mark.parametrize("node_at_the_holder", [True, False], ids=["node at the holder", "node elsewhere"])
async def test_a_holder_killed_while_it_signs_leaves_one_signature_and_no_other(
    cluster: Attachment, *, node_at_the_holder: bool
) -> None:
    rng = random.Random(11)
    for _ in range(3):
        height, holder = cluster.next_height(), await cluster.holder()
        await cluster.serve_by(partial(eq if node_at_the_holder else ne, holder))
        asking = asyncio.create_task(cluster.node.sign_vote(prevote(height)))
        await asyncio.sleep(rng.uniform(0, 0.002))
        cluster.cluster.kill(holder)
        signed = await asking

        await refuses_another_block(cluster.node, height)
        again = await cluster.node.sign_vote(prevote(height, time=SOME_TIME.later(1)))
        assert again.reply == signed.reply
        await cluster.at_full_strength()


async def test_another_replica_takes_over_from_a_killed_holder(cluster: Attachment, height: int) -> None:
    holder = await cluster.holder()
    await cluster.serve_by(lambda one: one != holder)
    cluster.cluster.kill(holder)

    answer = await cluster.node.sign_vote(prevote(height))
    assert answer.waited < TAKEOVER_SECONDS
    assert await asyncio.to_thread(cluster.cluster.wait_holder, 5.0, other_than=holder) != holder


async def test_a_cluster_killed_as_a_whole_remembers_what_it_signed(cluster: Attachment, height: int) -> None:
    signed = await cluster.node.sign_vote(prevote(height))
    for member in cluster.cluster.members:
        cluster.cluster.kill(member)
    cluster.cluster.start_all()

    await refuses_another_block(cluster.node, height)
    with pytest.raises(RemoteSignerError):
        await cluster.node.sign_vote(prevote(height - 1))
    again = await cluster.node.sign_vote(prevote(height, time=SOME_TIME.later(1)))
    assert again.reply == signed.reply


async def test_replicas_killed_in_turn_under_a_running_chain_never_sign_twice(
    cluster: Attachment, tmp_path: Path
) -> None:
    """Each killed at any instant, and started again; other blocks are asked for in between; a recording is judged."""
    rng = random.Random(7)

    async def kill_in_turn() -> None:
        for member, _ in zip(cycle(cluster.cluster.members), range(KILLS), strict=False):
            await asyncio.sleep(rng.uniform(0.1, 0.5))
            cluster.cluster.kill(member)
            await asyncio.sleep(rng.uniform(0.0, 0.3))
            await cluster.at_full_strength()

    with Recorder(tmp_path / "recording.jsonl") as recorder:
        cluster.node.witness = recorder
        killing = asyncio.create_task(kill_in_turn())
        async with aclosing(
            run_chain(cluster.node, ChainPlan(cluster.next_height(), None, late_round_every=5))
        ) as chain:
            async for step in chain:
                cluster.reached(step.hrs.height)
                if step.hrs.step == 3 and rng.random() < 0.1:
                    for vote in (prevote, precommit):
                        with pytest.raises(RemoteSignerError):
                            await cluster.node.sign_vote(vote(step.hrs.height, block=block_id(step.hrs.height, 99)))
                if killing.done():
                    break
        await killing
        cluster.node.witness = cluster.oracle

    verdict = judge(read_observations(tmp_path / "recording.jsonl"), [CHAIN])
    assert verdict.violations == []
    assert verdict.signed > 3 * KILLS


# ------------------------------------------------------------------------------------------------ stopped in good order


async def test_a_holder_that_is_asked_to_stop_hands_over_and_no_request_is_lost(cluster: Attachment) -> None:
    holder = await cluster.holder()
    await cluster.serve_by(lambda one: one != holder)

    async def stop() -> None:
        await asyncio.sleep(0.2)
        assert await asyncio.to_thread(cluster.cluster.terminate, holder) < EXIT_SECONDS

    steps = await play_until(cluster, asyncio.create_task(stop()))
    assert cluster.cluster.replica(holder).exit_code == 0
    assert {step.attempts for step in steps} == {1}
    assert max(step.waited for step in steps) < TAKEOVER_SECONDS


async def test_a_replica_that_serves_the_node_is_asked_to_stop_and_the_node_goes_on(cluster: Attachment) -> None:
    serving = await cluster.served_by()

    async def stop() -> None:
        await asyncio.sleep(0.2)
        assert await asyncio.to_thread(cluster.cluster.terminate, serving) < EXIT_SECONDS

    steps = await play_until(cluster, asyncio.create_task(stop()))
    assert cluster.cluster.replica(serving).exit_code == 0
    assert max(step.waited for step in steps) < TAKEOVER_SECONDS


async def test_a_rolling_restart_costs_the_chain_nothing_but_moments(cluster: Attachment) -> None:
    async def restart_all() -> None:
        for member in cluster.cluster.members:
            await asyncio.to_thread(cluster.cluster.terminate, member)
            await cluster.at_full_strength()

    steps = await play_until(cluster, asyncio.create_task(restart_all()))
    assert max(step.waited for step in steps) < TAKEOVER_SECONDS


# ------------------------------------------------------------------------------------------------- paused, outnumbered


async def test_a_paused_holder_is_replaced_and_disturbs_nobody_when_it_wakes(cluster: Attachment, height: int) -> None:
    holder = await cluster.holder()
    await cluster.serve_by(lambda one: one != holder)
    cluster.cluster.pause(holder)
    first = await cluster.node.sign_vote(prevote(height))
    cluster.cluster.resume(holder)
    steps = [step async for step in run_chain(cluster.node, ChainPlan(height + 1, heights=8))]

    assert first.waited < TAKEOVER_SECONDS
    assert max(step.waited for step in steps) < TAKEOVER_SECONDS


async def test_without_a_majority_a_request_waits_and_is_answered_once_there_is_one(
    cluster: Attachment, height: int
) -> None:
    serving = await cluster.served_by()
    one, other = cluster.cluster.others(serving)
    cluster.cluster.kill(one)
    cluster.cluster.kill(other)
    begun = time.monotonic()
    asking = asyncio.create_task(cluster.node.sign_vote(prevote(height)))
    done, _ = await asyncio.wait([asking], timeout=HELD_SECONDS)
    assert not done
    cluster.cluster.start(one)

    answer = await asking
    assert time.monotonic() - begun > HELD_SECONDS
    assert answer.reply.vote.time == SOME_TIME
