"""What three replicas promise while they cannot all reach each other: real processes, proxies between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cmkms.harness.chain import ChainPlan, block_id, run_chain
from cmkms.harness.errors import RemoteSignerError
from tests.acceptance.attachment import TRANSPORTS, Attachment, attached, prevote
from tests.patience import within

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

# Seconds. A replica that is cut off lets the node go after 0.3 s, the others agree on a holder within 0.7 s.
SERVED_SECONDS = within(1.0)

# Seconds for which a cut replica is left alone with a request.
ALONE_SECONDS = 1.0


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=TRANSPORTS)
async def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Attachment]:
    directory = tmp_path_factory.mktemp("apart")
    address = TRANSPORTS[request.param].format(directory)
    async with attached(directory, address, replicas=3, peer_proxies=True) as attachment:
        yield attachment


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(running: Attachment) -> AsyncIterator[Attachment]:
    yield running
    running.cluster.proxies.heal_all()
    await running.at_full_strength()


@pytest.fixture
def height(cluster: Attachment) -> int:
    return cluster.next_height()


async def test_a_holder_cut_off_with_the_node_lets_it_go_to_another_replica(cluster: Attachment, height: int) -> None:
    holder = await cluster.holder()
    await cluster.serve_by(lambda one: one == holder)
    cluster.cluster.proxies.isolate(holder)

    answer = await cluster.node.sign_vote(prevote(height))
    assert answer.waited < SERVED_SECONDS
    assert await cluster.served_by() != holder


async def test_a_replica_cut_off_with_the_node_lets_it_go_to_another_replica(cluster: Attachment, height: int) -> None:
    holder = await cluster.holder()
    serving = await cluster.serve_by(lambda one: one != holder)
    cluster.cluster.proxies.isolate(serving)

    answer = await cluster.node.sign_vote(prevote(height))
    assert answer.waited < SERVED_SECONDS
    assert await cluster.served_by() != serving


async def test_a_replica_that_cannot_reach_the_holder_asks_it_through_the_third(
    cluster: Attachment, height: int
) -> None:
    holder = await cluster.holder()
    serving = await cluster.serve_by(lambda one: one != holder)
    cluster.cluster.proxies.cut(serving, holder)
    await asyncio.sleep(ALONE_SECONDS)
    steps = [step async for step in run_chain(cluster.node, ChainPlan(height, heights=8))]

    assert max(step.waited for step in steps) < SERVED_SECONDS
    assert await cluster.served_by() == serving
    assert await cluster.holder() == holder


async def test_a_request_held_by_a_minority_is_answered_after_healing_and_never_otherwise(
    cluster: Attachment, height: int
) -> None:
    for member in cluster.cluster.members:
        cluster.cluster.proxies.isolate(member)
    asking = asyncio.create_task(cluster.node.sign_vote(prevote(height)))
    done, _ = await asyncio.wait([asking], timeout=ALONE_SECONDS)
    assert not done
    cluster.cluster.proxies.heal_all()

    await asking
    with pytest.raises(RemoteSignerError):
        await cluster.node.sign_vote(prevote(height, block=block_id(height, 7)))


async def test_replicas_whose_connections_are_reset_again_and_again_go_on(cluster: Attachment, height: int) -> None:
    first, second, third = cluster.cluster.members

    async def reset() -> None:
        for _ in range(10):
            for pair in ((first, second), (second, third), (third, first)):
                cluster.cluster.proxies.reset(*pair)
                await asyncio.sleep(0.05)

    resetting = asyncio.create_task(reset())
    steps = [step async for step in run_chain(cluster.node, ChainPlan(height, heights=9, block_seconds=0.15))]
    await resetting

    assert max(step.waited for step in steps) < SERVED_SECONDS
