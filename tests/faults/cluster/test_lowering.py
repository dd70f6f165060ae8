"""A test net is reset under its old chain id: with the word of every replica's operator, and not without one."""

from __future__ import annotations

import asyncio

import pytest

from cmkms.harness.errors import NodeSideError, RemoteSignerError
from cmkms.harness.node import SimulatedNode, witnesses
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import SignerProcessError, run_cmkms
from cmkms.harness.values import Vote
from tests.faults.cluster.changes import all_armed, all_connected
from tests.faults.cluster.replicas import CHAIN, READY, eventually, vote, warnings

OLD_HEIGHT = 500


async def lower(cluster: CmkmsCluster, member: str, *, height: int = 0, seconds: int = 30) -> str:
    """`cmkms cluster lower` on one replica; what it says. Raises SignerProcessError."""
    home = str(cluster.replica(member).home)
    options = ("--to", str(height), "--confirm", CHAIN, "--timeout", str(seconds))
    return await asyncio.to_thread(run_cmkms, "cluster", "lower", "--home", home, *options, CHAIN)


async def signed(node: SimulatedNode, wanted: Vote) -> None:
    """Ask until it is signed, on whatever connection. Raises RemoteSignerError where it is refused."""
    while True:
        try:
            await node.sign_vote(wanted)
        except RemoteSignerError:
            raise
        except NodeSideError:
            continue
        return


@pytest.fixture
async def high(cluster: CmkmsCluster, node: SimulatedNode) -> CmkmsCluster:
    """Three replicas that have signed high up."""
    await eventually(lambda: all_connected(cluster), cluster.logs, READY)
    await signed(node, vote(OLD_HEIGHT))
    with pytest.raises(RemoteSignerError):
        await signed(node, vote(1, block=1))
    return cluster


def begin_anew(node: SimulatedNode, seen: list[Observation]) -> Oracle:
    """The old chain is forgotten: what comes is judged for itself."""
    seen.clear()
    oracle = Oracle([CHAIN])
    node.witness = witnesses(oracle, seen.append)
    return oracle


async def test_with_the_word_of_all_the_chain_is_signed_from_its_beginning_again(
    high: CmkmsCluster, node: SimulatedNode, seen: list[Observation]
) -> None:
    for said in await asyncio.gather(*(lower(high, member) for member in high.members)):
        assert f"signed up to {OLD_HEIGHT}/0/2" in said
        assert "generation 2" in said
    oracle = begin_anew(node, seen)
    await signed(node, vote(1, block=1))
    # It outlasts every process, and nothing that any of them remembers speaks against it.
    for height, member in enumerate(high.members, 2):
        await asyncio.to_thread(high.kill, member)
        high.start(member)
        await signed(node, vote(height, block=1))
        await eventually(lambda: all_connected(high) and all_armed(high), high.logs, READY)
    with pytest.raises(RemoteSignerError):
        await signed(node, vote(2))
    assert oracle.violations == []
    assert {str(status.last_signed) for status in high.statuses().values()} == {"4/0/2"}
    assert not any(warnings(high.replica(member), "BACKWARDS") for member in high.members)


async def test_without_the_word_of_one_nothing_is_lowered_and_the_chain_goes_on(
    high: CmkmsCluster, node: SimulatedNode, oracle: Oracle
) -> None:
    tried = await asyncio.gather(
        *(lower(high, member, seconds=4) for member in ("node-0", "node-1")), return_exceptions=True
    )
    for error in tried:
        assert isinstance(error, SignerProcessError)
        assert "waiting for node-2 to agree" in str(error)
    assert warnings(high.replica("node-2"), "cmkms cluster lower")
    await signed(node, vote(OLD_HEIGHT + 1))
    with pytest.raises(RemoteSignerError):
        await signed(node, vote(1, block=1))
    assert oracle.violations == []
    assert all_armed(high)


@pytest.mark.proof
async def test_one_that_dies_in_the_middle_is_lowered_once_its_operator_says_so_again(
    high: CmkmsCluster, node: SimulatedNode, seen: list[Observation]
) -> None:
    first = [asyncio.create_task(lower(high, member)) for member in ("node-0", "node-1")]
    await asyncio.sleep(1.5)
    last = asyncio.create_task(lower(high, "node-2"))
    await eventually(lambda: warnings(high.replica("node-2"), "this guard left its generation"), high.logs)
    await asyncio.to_thread(high.kill, "node-2")
    await asyncio.gather(*first, last, return_exceptions=True)
    high.start("node-2")
    await eventually(lambda: all_connected(high) and all_armed(high), high.logs, READY)
    oracle = begin_anew(node, seen)
    for height in (1, 2):
        await signed(node, vote(height, block=1))
    assert oracle.violations == []
