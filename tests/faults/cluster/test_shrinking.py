"""Five replicas become three, one, and five again, by their operator's command, under a node that goes on asking."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_cluster import CmkmsCluster
from tests.faults.cluster.changes import lose
from tests.faults.cluster.replicas import READY, make_cluster
from tests.faults.cluster.test_changes import Asking, run_change, wait_armed, wait_connected

pytestmark = [pytest.mark.proof, pytest.mark.timeout(300)]


async def begin_anew(cluster: CmkmsCluster, *members: str) -> None:
    """What an operator does with replicas that sign no more: their guards are given up, new ones wait to be members."""
    for member in members:
        await asyncio.to_thread(cluster.terminate, member)
        lose(cluster, member)
        cluster.start(member)


async def test_five_three_one_and_five_again(tmp_path: Path, node: SimulatedNode, oracle: Oracle) -> None:
    with await asyncio.to_thread(make_cluster, tmp_path, node.address, replicas=5) as cluster:
        node.knows(cluster.replica("node-0").pub_key())
        cluster.start_all()
        await asyncio.to_thread(cluster.wait_ready, READY)
        async with Asking(node, 5) as asking:
            await asking.goes_on(cluster)
            for stay in (("node-0", "node-2", "node-4"), ("node-2",)):
                options = [word for member in stay for word in ("--member", member)]
                said = await run_change(cluster, "node-2", *options)
                assert f"signed for by {', '.join(stay)}, generation" in said
                await asking.goes_on(cluster)
            await begin_anew(cluster, *cluster.others("node-2"))
            await wait_connected(cluster)
            await run_change(cluster, "node-2")
            await wait_armed(cluster)
            await asking.goes_on(cluster)
            # Any two may go now.
            for member in ("node-2", "node-3"):
                await asyncio.to_thread(cluster.kill, member)
            await asking.goes_on(cluster)
    assert oracle.violations == []
