"""A member with a proper identity does its worst against two honest replicas, as processes, and then is gone.

While it does, nothing is signed twice and nobody dies; afterwards the two sign on, no larger and hardly more talkative
than before. What such a member can do, and what is not promised against it: docs/THREAT_MODEL.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from cmkms.harness.errors import NodeSideError, RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_cluster import CmkmsCluster, HomesBy
from tests.faults.cluster.replicas import CHAIN, READY, events, pub_key_of, vote
from tests.fuzz.hostile.attacks import ATTACKS, Attack
from tests.fuzz.hostile.peer import HostilePeer

pytestmark = [pytest.mark.proof, pytest.mark.asyncio(loop_scope="module")]

SECONDS: Final = 0.4
"""Of each attack. In the long mode half a minute: what grows without a bound has grown by then."""
LONG_SECONDS: Final = 30.0

MORE_KB: Final = 48 * 1024
"""What a replica may grow by in one attack: buffers of 4 MiB each way, a view, and what Python keeps."""
MORE_LINES: Final = 40
"""Lines of log, beyond signatures, that one attack may cost a replica, however long it lasts."""
LINES_A_SECOND: Final = 5
"""Changes of the lease are told, each in two lines; elections are what makes them."""
BACK_SECONDS: Final = 20.0
"""For the next signature once the hostile member is gone: an election, and a node that has to try again."""


@dataclass
class Attacked:
    """Two honest replicas, a node, and the home of the third, which is in bad hands."""

    cluster: CmkmsCluster
    node: SimulatedNode
    oracle: Oracle
    peer: HostilePeer
    heights: count[int] = field(default_factory=lambda: count(100))

    async def sign_until(self, stop: asyncio.Event) -> int:
        """Ask for one height after the other, whatever comes of it; returns how many were signed."""
        signed = 0
        while not stop.is_set():
            with suppress(RemoteSignerError, NodeSideError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self.node.sign_vote(vote(next(self.heights)))
                signed += 1
        return signed

    async def signs_again(self) -> None:
        """Ask until something is signed. Raises AssertionError, with the tails of the logs, after `BACK_SECONDS`."""
        refused = "nothing was refused"
        try:
            async with asyncio.timeout(BACK_SECONDS):
                while True:
                    try:
                        await self.node.sign_vote(vote(next(self.heights)))
                    except RemoteSignerError as error:
                        refused = f"refused last: {error}"
                    else:
                        return
        except TimeoutError:
            told = f"not signed within {BACK_SECONDS} s at height {next(self.heights)}; {refused}"
            raise AssertionError(f"{told}\n{self.cluster.logs()}") from None

    def memory_kb(self) -> dict[str, int]:
        return {member: _resident(self.cluster.replica(member).pid) for member in self.peer.others}

    def chatter(self) -> dict[str, int]:
        """Lines of log that are no signature."""
        logs = {member: events(self.cluster.replica(member)) for member in self.peer.others}
        return {member: sum(line["event"] != "signed" for line in lines) for member, lines in logs.items()}


def _resident(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def attacked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Attacked]:
    folder = tmp_path_factory.mktemp("hostile")
    oracle = Oracle([CHAIN])
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(SimulatedNode(f"unix://{folder}/node.sock", CHAIN, witness=oracle))
        cluster = CmkmsCluster(folder, CHAIN, [node.address], homes_by=HomesBy.CLUSTER_INIT)
        stack.enter_context(cluster)
        await asyncio.to_thread(cluster.initialise)
        cluster.start_all()
        await asyncio.to_thread(cluster.wait_ready, READY)
        node.knows(pub_key_of(cluster))
        await node.sign_vote(vote(50))
        cluster.kill("node-0")
        yield Attacked(cluster, node, oracle, HostilePeer.of(cluster.replica("node-0").home, CHAIN))
    assert oracle.violations == []


async def _endures(attacked: Attacked, attack: Attack, seconds: float) -> None:
    await attacked.signs_again()
    memory, chatter, began = attacked.memory_kb(), attacked.chatter(), time.monotonic()
    stop = asyncio.Event()
    signing = asyncio.create_task(attacked.sign_until(stop))
    try:
        async with attacked.peer.connected() as peer:
            await attack(peer, seconds)
    except TimeoutError:
        raise AssertionError(f"{attacked.peer.detail}\n{attacked.cluster.logs()}") from None
    stop.set()
    signed = await signing
    assert set(attacked.cluster.alive) >= set(attacked.peer.others), attacked.cluster.logs()
    await attacked.signs_again()
    took = time.monotonic() - began
    grown = {member: now - memory[member] for member, now in attacked.memory_kb().items()}
    lines = {member: now - chatter[member] for member, now in attacked.chatter().items()}
    print(f"{attack.__name__}: {signed} signed meanwhile, {grown} KiB more, {lines} lines in {took:.1f} s")  # noqa: T201
    assert attacked.oracle.violations == []
    assert max(grown.values()) < MORE_KB, grown
    assert max(lines.values()) < MORE_LINES + LINES_A_SECOND * took, (lines, attacked.cluster.logs())


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_the_honest_two_endure_it_and_sign_on(attacked: Attacked, attack: Attack) -> None:
    await _endures(attacked, attack, SECONDS)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_for_half_a_minute(attacked: Attacked, attack: Attack) -> None:
    await _endures(attacked, attack, LONG_SECONDS)
