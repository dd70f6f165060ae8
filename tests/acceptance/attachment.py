"""A running cmkms, one replica or several, attached to simulated nodes, with an oracle that sees every answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType

from cmkms.harness.chain import block_id
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import CmkmsProcess
from cmkms.harness.values import BlockID, MessageType, Proposal, Time, Vote
from tests.patience import within

CHAIN = "acceptance-1"

# Where a node listens, by transport; {} is a directory of the test's own.
TRANSPORTS = MappingProxyType({"tcp": "tcp://127.0.0.1:0", "unix": "unix://{}/node.sock"})

# The signers that make the same promises: their transport and the number of replicas.
SIGNERS = MappingProxyType(
    {"tcp": ("tcp", 1), "unix": ("unix", 1), "three replicas, tcp": ("tcp", 3), "three replicas, unix": ("unix", 3)}
)

# Seconds from the start of the signer to its first answer. One second by design; the rest is for a busy machine.
UP_SECONDS = 15.0

# Seconds from the first start of a cluster to its first answer, and from the return of a replica to full strength.
CLUSTER_UP_SECONDS = 60.0

# A moment that no wall clock of today shows: what is signed is what was asked.
SOME_TIME = Time(1_600_000_000, 123_456_789)

_POLL_SECONDS = 0.02
TOLD_SECONDS = within(1.0)
"""Within which a replica's status tells that it serves a node, or does no more."""


@dataclass
class Attachment:
    """One cmkms and the nodes it dials; `nodes[0]` has been served already."""

    cluster: CmkmsCluster
    nodes: list[SimulatedNode]
    oracle: Oracle
    pub_key: bytes
    heights: Iterator[int] = field(default_factory=lambda: count(1000, 10))

    @property
    def node(self) -> SimulatedNode:
        return self.nodes[0]

    @property
    def signer(self) -> CmkmsProcess:
        """The replica that is alone."""
        (member,) = self.cluster.members
        return self.cluster.replica(member)

    def next_height(self) -> int:
        """A height above everything that any test has asked this signer for; ten of its own for each."""
        return next(self.heights)

    def reached(self, height: int) -> None:
        """A test has gone beyond its ten heights, up to this one."""
        self.heights = count(height + 10, 10)

    async def holder(self) -> str:
        """Who holds the lease; waits until somebody does."""
        return await asyncio.to_thread(self.cluster.wait_holder, UP_SECONDS)

    async def served_by(self) -> str:
        """Which replica the first node speaks with; waits until there is one."""
        return await self.eventually(lambda: self.cluster.connected_to(self.node.address), "the node is served")

    async def serve_by(self, wanted: Callable[[str], bool]) -> str:
        """Hang up until a replica that is `wanted` serves the first node; returns its id.

        Whoever was hung up on may be the first to come back: it dials again after a pause of its own, as all do.
        """
        for _ in range(8 * len(self.cluster.members)):
            serving = await self.served_by()
            if wanted(serving):
                return serving
            before = self.node.endpoint.accepted
            await self.node.endpoint.hang_up()
            await self.node.pub_key()
            assert self.node.endpoint.accepted > before
            with suppress(TimeoutError):
                await self._until(partial(self._served_by_another_than, serving), TOLD_SECONDS)
        raise AssertionError(f"no wanted replica came to serve the node\n{self.cluster.logs()}")

    def _served_by_another_than(self, member: str) -> bool:
        return self.cluster.connected_to(self.node.address) not in {member, None}

    async def at_full_strength(self) -> None:
        """Start every replica that does not run, and wait until all see each other and can sign."""
        await asyncio.to_thread(self.cluster.start_all)
        await asyncio.to_thread(self.cluster.wait_ready, CLUSTER_UP_SECONDS)

    async def eventually(self, holds: Callable[[], str | bool | None], what: str) -> str:
        """Wait until something holds that the replicas' statuses tell; returns it as text."""
        try:
            return await self._until(holds, UP_SECONDS)
        except TimeoutError:
            raise AssertionError(f"not within {UP_SECONDS:g} s: {what}\n{self.cluster.logs()}") from None

    async def _until(self, holds: Callable[[], str | bool | None], seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while not (found := await asyncio.to_thread(holds)):
            if time.monotonic() > deadline:
                raise TimeoutError
            await asyncio.sleep(_POLL_SECONDS)
        return str(found)


@asynccontextmanager
async def attached(
    directory: Path, *addresses: str, replicas: int = 1, peer_proxies: bool = False
) -> AsyncGenerator[Attachment]:
    """Start nodes and cmkms, hand over once every node is served, end both, and ask the oracle."""
    oracle = Oracle([CHAIN])
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(SimulatedNode(address, CHAIN, name=f"sentry-{number}", witness=oracle))
            for number, address in enumerate(addresses)
        ]
        cluster = CmkmsCluster(
            directory, CHAIN, [node.address for node in nodes], replicas=replicas, peer_proxies=peer_proxies
        )
        stack.callback(cluster.close)
        pub_key = await asyncio.to_thread(cluster.initialise)
        cluster.start_all()
        for node in nodes:
            await node.endpoint.wait_served(UP_SECONDS)
            assert await node.boot() == pub_key
        await asyncio.to_thread(cluster.wait_ready, CLUSTER_UP_SECONDS)
        yield Attachment(cluster, nodes, oracle, pub_key)
    assert oracle.violations == []
    assert oracle.unreadable == 0


def prevote(height: int, round_: int = 0, block: BlockID | None = None, time: Time = SOME_TIME) -> Vote:
    return Vote(MessageType.PREVOTE, height, round_, block_id(height, round_) if block is None else block, time)


def precommit(height: int, round_: int = 0, block: BlockID | None = None, extension: bytes = b"") -> Vote:
    block = block_id(height, round_) if block is None else block
    return Vote(MessageType.PRECOMMIT, height, round_, block, SOME_TIME, extension=extension)


def proposal(height: int, round_: int = 0, block: BlockID | None = None, time: Time = SOME_TIME) -> Proposal:
    return Proposal(height, round_, block_id=block_id(height, round_) if block is None else block, time=time)
