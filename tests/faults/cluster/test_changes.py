"""Changes of generation with real processes, under a node that goes on asking: nothing is signed twice, and it goes on.

What an operator does is done by the command line, as an operator does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import AsyncIterator
from typing import Final, Self

import pytest

from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import SignerProcessError, run_cmkms
from tests.faults.cluster.contradictions import Asked, play
from tests.faults.cluster.replicas import CHAIN, READY, eventually

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


def lose(cluster: CmkmsCluster, member: str) -> None:
    """The disk with its guard is gone, and what told of it; identity and key are there again."""
    replica = cluster.replica(member)
    assert not replica.alive
    shutil.rmtree(replica.guard_file.parent)
    shutil.rmtree(replica.home / "priv" / "born")


async def change(cluster: CmkmsCluster, member: str, *arguments: str) -> str:
    """`cmkms cluster change` on one replica; what it says. Raises SignerProcessError."""
    home = str(cluster.replica(member).home)
    return await asyncio.to_thread(run_cmkms, "cluster", "change", "--home", home, "--yes", *arguments, CHAIN)


async def all_connected(cluster: CmkmsCluster, member: str) -> None:
    """Every replica is up, and this one sees them all."""

    def connected() -> bool:
        statuses = cluster.statuses()
        here = statuses.get(member)
        everyone = len(statuses) == len(cluster.members)
        return everyone and here is not None and all(one.connected for one in here.peers)

    await eventually(connected, cluster.logs, READY)


def armed_in(cluster: CmkmsCluster) -> dict[str, str]:
    """How each replica's guard is."""
    return {member: status.chains[0].guard_state for member, status in cluster.statuses().items()}


async def all_armed(cluster: CmkmsCluster) -> None:
    await eventually(lambda: set(armed_in(cluster).values()) == {"armed"} and cluster.ready(), cluster.logs, READY)


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
            await all_connected(cluster, other)
            said = await change(cluster, other)
            assert f"{victim}   brings a new guard" in said
            await all_armed(cluster)
            await asking.goes_on(cluster)
    assert oracle.violations == []


async def test_one_of_three_alone_and_three_again(cluster: CmkmsCluster, node: SimulatedNode, oracle: Oracle) -> None:
    async with Asking(node, 2) as asking:
        await asking.goes_on(cluster)
        await change(cluster, "node-1", "--member", "node-0")
        await asking.goes_on(cluster)
        for dropped in ("node-1", "node-2"):
            await asyncio.to_thread(cluster.kill, dropped)
            lose(cluster, dropped)
            cluster.start(dropped)
        await all_connected(cluster, "node-0")
        await change(cluster, "node-0")
        await all_armed(cluster)
        await asking.goes_on(cluster)
    assert oracle.violations == []


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
            await all_connected(cluster, driver)
            killed = rng.choice(cluster.members)
            first = asyncio.create_task(change(cluster, driver))
            await asyncio.sleep(rng.uniform(0.2, 0.8))
            await asyncio.to_thread(cluster.kill, killed)
            with contextlib.suppress(SignerProcessError):
                await first
            cluster.start(killed)
            await all_connected(cluster, driver)
            await finish(cluster, victim)
            await all_armed(cluster)
            await asking.goes_on(cluster)
    assert oracle.violations == []


async def finish(cluster: CmkmsCluster, victim: str) -> None:
    """What an operator does whose command was cut short: run it again, until there is nothing left to do."""
    driver = cluster.others(victim)[0]
    for _ in range(20):
        if set(armed_in(cluster).values()) == {"armed"}:
            return
        with contextlib.suppress(SignerProcessError):
            await change(cluster, driver)
        await asyncio.sleep(1.0)
    pytest.fail(cluster.logs())
