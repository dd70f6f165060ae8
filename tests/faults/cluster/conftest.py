"""Three real processes of cmkms on loopback, one simulated node that they sign for, and the judge of what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cmkms.harness.node import SimulatedNode, witnesses
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_cluster import CmkmsCluster
from tests.faults.cluster.replicas import CHAIN, READY, make_cluster


@pytest.fixture
def oracle() -> Oracle:
    """Judges every answer that the node gets."""
    return Oracle([CHAIN])


@pytest.fixture
def seen() -> list[Observation]:
    """All that the node asked, and what came of it."""
    return []


@pytest.fixture
async def node(oracle: Oracle, seen: list[Observation]) -> AsyncIterator[SimulatedNode]:
    async with SimulatedNode("tcp://127.0.0.1:0", CHAIN, witness=witnesses(oracle, seen.append)) as node:
        yield node


@pytest.fixture
async def unborn(tmp_path: Path, node: SimulatedNode, seen: list[Observation]) -> AsyncIterator[CmkmsCluster]:
    """Three homes, and nothing that runs. At the end a majority of their guards holds what was released."""
    with await asyncio.to_thread(make_cluster, tmp_path, node.address) as cluster:
        node.knows(cluster.replica("node-0").pub_key())
        yield cluster
    assert cluster.check_guards(seen) == []


@pytest.fixture
async def cluster(unborn: CmkmsCluster) -> CmkmsCluster:
    """Three replicas that sign."""
    unborn.start_all()
    await asyncio.to_thread(unborn.wait_ready, READY)
    return unborn
