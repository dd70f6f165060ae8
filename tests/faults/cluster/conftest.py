"""Three real processes of cmkms on loopback, one simulated node that they sign for, and the judge of what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_cluster import CmkmsCluster
from tests.faults.cluster.replicas import CHAIN, READY, make_cluster


@pytest.fixture
def oracle() -> Oracle:
    """Judges every answer that the node gets."""
    return Oracle([CHAIN])


@pytest.fixture
async def node(oracle: Oracle) -> AsyncIterator[SimulatedNode]:
    async with SimulatedNode("tcp://127.0.0.1:0", CHAIN, witness=oracle) as node:
        yield node


@pytest.fixture
async def unborn(tmp_path: Path, node: SimulatedNode) -> AsyncIterator[CmkmsCluster]:
    """Three homes, and nothing that runs."""
    with await asyncio.to_thread(make_cluster, tmp_path, node.address) as cluster:
        node.knows(cluster.replica("node-0").pub_key())
        yield cluster


@pytest.fixture
async def cluster(unborn: CmkmsCluster) -> CmkmsCluster:
    """Three replicas that sign."""
    unborn.start_all()
    await asyncio.to_thread(unborn.wait_ready, READY)
    return unborn
