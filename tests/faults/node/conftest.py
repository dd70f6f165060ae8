"""A replica in a home of its own, killed when its test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from tests.faults.node.process import CHAIN, KEY, Replica


@pytest.fixture
def oracle() -> Oracle:
    """Judges every answer that the node gets."""
    return Oracle([CHAIN])


@pytest.fixture
async def node(oracle: Oracle) -> AsyncIterator[SimulatedNode]:
    node = SimulatedNode("tcp://127.0.0.1:0", CHAIN, witness=oracle)
    node.knows(KEY.pub_key)
    async with node:
        yield node


@pytest.fixture
def replica(tmp_path: Path, node: SimulatedNode) -> Iterator[Replica]:
    replica = Replica(tmp_path, {CHAIN: [node.address]})
    replica.make()
    yield replica
    replica.close()
