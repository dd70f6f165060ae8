"""Three replicas that sign for two chains: one lease for both, guards and majorities of each chain's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.home import make_private_dir
from cmkms.keys import Ed25519Key, write_key_file
from tests.faults.cluster.replicas import CHAIN, READY, eventually, make_cluster, vote

pytestmark = [pytest.mark.proof, pytest.mark.timeout(300)]

CHAINS: Final = (CHAIN, "testnet-2")
KEYS: Final = {chain: Ed25519Key(bytes([number]) * 32) for number, chain in enumerate(CHAINS, start=1)}
NEVER_SIGNED: Final = {"height": "0", "round": 0, "step": 0}


@dataclass
class Pair:
    """The cluster, and a node of each chain."""

    cluster: CmkmsCluster
    nodes: dict[str, SimulatedNode]
    heights: count[int] = field(default_factory=lambda: count(10))

    async def sign(self, *chains: str) -> None:
        """Have every chain's node, or these, ask for a new height, all at once."""
        height = next(self.heights)
        await asyncio.gather(*(self.nodes[chain].sign_vote(vote(height)) for chain in chains or CHAINS))

    async def restart(self, member: str) -> None:
        """Start one that was killed, and wait until the others know what its guards are."""
        self.cluster.start(member)
        replica = self.cluster.replica(member)
        await eventually(replica.healthy, self.cluster.logs)


def configure(cluster: CmkmsCluster, nodes: dict[str, SimulatedNode]) -> None:
    """Write both chains into every home, each with the key of its own that all replicas have."""
    for member in cluster.members:
        home = cluster.replica(member).home
        text = (home / "config.toml").read_text()
        whole = [line for line in text.splitlines() if not line.startswith(("chain_id", "validator_addr"))]
        for chain in CHAINS:
            folder = home / "priv" / chain
            make_private_dir(folder)
            write_key_file(folder / "priv_validator_key.json", KEYS[chain])
            state = folder / "priv_validator_state.json"
            state.touch(0o600)
            state.write_text(json.dumps(NEVER_SIGNED))
            whole += ["[[chain]]", f'id = "{chain}"', f'validator_addr = ["{nodes[chain].address}"]']
            whole += [f'key = "priv/{chain}/priv_validator_key.json"']
        (home / "config.toml").write_text("\n".join(whole) + "\n")


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    oracle = Oracle(CHAINS)
    async with AsyncExitStack() as stack:
        nodes = {
            chain: await stack.enter_async_context(SimulatedNode("tcp://127.0.0.1:0", chain, witness=oracle))
            for chain in CHAINS
        }
        cluster = stack.enter_context(make_cluster(tmp_path, nodes[CHAIN].address))
        await asyncio.to_thread(configure, cluster, nodes)
        cluster.start_all(never_signed=())
        await asyncio.to_thread(cluster.wait_ready, READY)
        for chain, node in nodes.items():
            assert await node.boot() == KEYS[chain].pub_key
        yield Pair(cluster, nodes)
    assert oracle.violations == []
    assert oracle.signed


async def test_each_chain_has_its_own_key_and_goes_on_when_the_holder_is_killed(pair: Pair) -> None:
    await pair.sign()
    for _ in range(3):
        holder = await asyncio.to_thread(pair.cluster.wait_holder, READY)
        pair.cluster.kill(holder)
        await pair.sign()
        await pair.restart(holder)
        await asyncio.to_thread(pair.cluster.wait_ready, READY)
    await pair.sign()


async def test_a_guard_lost_for_one_chain_costs_the_other_nothing(pair: Pair) -> None:
    """Of each chain another replica's guard is lost, so that no replica has all: each chain has its majority."""
    await pair.sign()
    lost = dict(zip(CHAINS, pair.cluster.members, strict=False))
    for chain, member in lost.items():
        pair.cluster.kill(member)
        (pair.cluster.replica(member).home / "data" / chain / "guard").unlink()
        await pair.restart(member)
    await pair.sign()
    for chain, member in lost.items():
        # Without it its chain has two guards, and the other chain one.
        await asyncio.to_thread(pair.cluster.terminate, member)
        assert pair.cluster.replica(member).exit_code == 0
        await pair.sign(chain)
        await pair.restart(member)
        await pair.sign()
