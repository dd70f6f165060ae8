"""Changes of generation with real processes, under a node that goes on asking: nothing is signed twice, and it goes on.

What an operator does is done by the command line, as an operator does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Final, Self

import pytest

from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import SignerProcessError
from tests.faults.cluster.changes import all_armed, all_connected, change, lose
from tests.faults.cluster.contradictions import Asked, play
from tests.faults.cluster.replicas import READY, eventually, warnings

ROUNDS: Final = 4


class Asking:
    """A node that asks for one height after the other for as long as this lasts."""

    def __init__(self, node: SimulatedNode, seed: int) -> None:
        self._steps = play([node], random.Random(seed), 10)
        self.signed = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._ask(self._steps))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _ask(self, steps: AsyncIterator[Asked]) -> None:
        async for step in steps:
            self.signed += step.signed
            await asyncio.sleep(0.01)

    async def goes_on(self, cluster: CmkmsCluster, count: int = 10) -> None:
        enough = self.signed + count
        await eventually(lambda: self.signed >= enough, cluster.logs)


async def run_change(cluster: CmkmsCluster, member: str, *arguments: str) -> str:
    return await asyncio.to_thread(change, cluster, member, *arguments)


async def wait_connected(cluster: CmkmsCluster) -> None:
    await eventually(lambda: all_connected(cluster), cluster.logs, READY)


async def wait_armed(cluster: CmkmsCluster) -> None:
    await eventually(lambda: all_armed(cluster) and cluster.ready(), cluster.logs, READY)


async def test_a_lost_guard_becomes_a_member_again_while_the_node_asks(
    cluster: CmkmsCluster, node: SimulatedNode, oracle: Oracle
) -> None:
    async with Asking(node, 1) as asking:
        await asking.goes_on(cluster)
        for victim in cluster.members:
            await asyncio.to_thread(cluster.terminate, victim)
            lose(cluster, victim)
            cluster.start(victim)
            other = cluster.others(victim)[0]
            await wait_connected(cluster)
            said = await run_change(cluster, other)
            assert f"{victim}   brings a new guard" in said
            await wait_armed(cluster)
            await asking.goes_on(cluster)
    assert oracle.violations == []


async def test_one_of_three_alone_and_three_again(cluster: CmkmsCluster, node: SimulatedNode, oracle: Oracle) -> None:
    async with Asking(node, 2) as asking:
        await asking.goes_on(cluster)
        await run_change(cluster, "node-1", "--member", "node-0")
        await asking.goes_on(cluster)
        for dropped in ("node-1", "node-2"):
            await asyncio.to_thread(cluster.kill, dropped)
            lose(cluster, dropped)
            cluster.start(dropped)
        await wait_connected(cluster)
        await run_change(cluster, "node-0")
        await wait_armed(cluster)
        await asking.goes_on(cluster)
    assert oracle.violations == []


async def test_where_commands_cannot_be_taken_it_is_said_why_and_signing_goes_on(
    unborn: CmkmsCluster, node: SimulatedNode
) -> None:
    replica = unborn.replica("node-0")
    (replica.home / "data" / "@control").mkdir()
    unborn.start_all()
    await asyncio.to_thread(unborn.wait_ready, READY)
    async with Asking(node, 4) as asking:
        await asking.goes_on(unborn)
    [told] = warnings(replica, "no commands are taken")
    assert told["reason"].endswith("@control: Is a directory")


@pytest.mark.proof
@pytest.mark.timeout(300)
async def test_killed_in_the_middle_it_is_finished_or_was_never_begun(
    cluster: CmkmsCluster, node: SimulatedNode, oracle: Oracle
) -> None:
    rng = random.Random(3)
    async with Asking(node, 3) as asking:
        for number in range(ROUNDS):
            victim = cluster.members[number % len(cluster.members)]
            await asyncio.to_thread(cluster.terminate, victim)
            lose(cluster, victim)
            cluster.start(victim)
            driver = cluster.others(victim)[number % 2]
            await wait_connected(cluster)
            killed = rng.choice(cluster.members)
            first = asyncio.create_task(run_change(cluster, driver))
            await asyncio.sleep(rng.uniform(0.2, 0.8))
            await asyncio.to_thread(cluster.kill, killed)
            with contextlib.suppress(SignerProcessError):
                await first
            cluster.start(killed)
            await wait_connected(cluster)
            await finish(cluster, victim)
            await wait_armed(cluster)
            await asking.goes_on(cluster)
    assert oracle.violations == []


async def finish(cluster: CmkmsCluster, victim: str) -> None:
    """What an operator does whose command was cut short: run it again, until there is nothing left to do."""
    driver = cluster.others(victim)[0]
    for _ in range(20):
        if await asyncio.to_thread(all_armed, cluster):
            return
        with contextlib.suppress(SignerProcessError):
            await run_change(cluster, driver)
        await asyncio.sleep(1.0)
    pytest.fail(cluster.logs())
