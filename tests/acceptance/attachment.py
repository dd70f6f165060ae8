"""A running cmkms attached to simulated nodes, with an oracle that sees every answer and is asked at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import MappingProxyType

from cmkms.harness.chain import block_id
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_process import CmkmsProcess
from cmkms.harness.values import BlockID, MessageType, Proposal, Time, Vote

CHAIN = "acceptance-1"

# Where a node listens, by transport; {} is a directory of the test's own.
TRANSPORTS = MappingProxyType({"tcp": "tcp://127.0.0.1:0", "unix": "unix://{}/node.sock"})

# Seconds from the start of the signer to its first answer. One second by design; the rest is for a busy machine.
UP_SECONDS = 15.0

# A moment that no wall clock of today shows: what is signed is what was asked.
SOME_TIME = Time(1_600_000_000, 123_456_789)


@dataclass
class Attachment:
    """One cmkms and the nodes it dials; `nodes[0]` has been served already."""

    signer: CmkmsProcess
    nodes: list[SimulatedNode]
    oracle: Oracle
    pub_key: bytes
    heights: Iterator[int] = field(default_factory=lambda: count(1000, 10))

    @property
    def node(self) -> SimulatedNode:
        return self.nodes[0]

    def next_height(self) -> int:
        """A height above everything that any test has asked this signer for; ten of its own for each."""
        return next(self.heights)

    def reached(self, height: int) -> None:
        """A test has gone beyond its ten heights, up to this one."""
        self.heights = count(height + 10, 10)


@asynccontextmanager
async def attached(directory: Path, *addresses: str) -> AsyncGenerator[Attachment]:
    """Start nodes and cmkms, hand over once every node is served, end both, and ask the oracle."""
    oracle = Oracle([CHAIN])
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(SimulatedNode(address, CHAIN, name=f"sentry-{number}", witness=oracle))
            for number, address in enumerate(addresses)
        ]
        signer = CmkmsProcess(directory, CHAIN, [node.address for node in nodes])
        stack.callback(signer.kill)
        pub_key = await asyncio.to_thread(signer.initialise)
        signer.start()
        for node in nodes:
            await node.endpoint.wait_served(UP_SECONDS)
            assert await node.boot() == pub_key
        yield Attachment(signer, nodes, oracle, pub_key)
    assert oracle.violations == []
    assert oracle.unreadable == 0


def prevote(height: int, round_: int = 0, block: BlockID | None = None, time: Time = SOME_TIME) -> Vote:
    return Vote(MessageType.PREVOTE, height, round_, block_id(height, round_) if block is None else block, time)


def precommit(height: int, round_: int = 0, block: BlockID | None = None, extension: bytes = b"") -> Vote:
    block = block_id(height, round_) if block is None else block
    return Vote(MessageType.PRECOMMIT, height, round_, block, SOME_TIME, extension=extension)


def proposal(height: int, round_: int = 0, block: BlockID | None = None, time: Time = SOME_TIME) -> Proposal:
    return Proposal(height, round_, block_id=block_id(height, round_) if block is None else block, time=time)
