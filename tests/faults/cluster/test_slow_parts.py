"""One slow thing delays nobody else: a node that does not read, an HTTP client that does not, a peer that stands still.

The measure is what another node sees: the median of its signatures, beside that of the same seconds without the slow
thing, on the same machine. Loosely compared: a tenth of a second is a delay, a busy core is none.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from itertools import count
from statistics import median
from typing import Final

import pytest

from cmkms.harness.node import SimulatedNode
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.wire import PubKeyRequest, SignVoteRequest
from tests.faults.cluster.replicas import CHAIN, READY, eventually, make_cluster, pub_key_of, vote
from tests.unit.validators.peers import Listener, PeerGoneError

VOTES: Final = 150
MUCH_SLOWER: Final = 4.0
AND_MORE_THAN: Final = 0.02
"""Seconds by which a median must have grown, besides, to count as delayed."""

DEAF: Final = 20
"""HTTP clients that read nothing, at each replica."""

HEIGHTS: Final = count(10)


class Beside:
    """Three replicas that dial two nodes: a deaf one, which each test plays by itself, and one that is measured."""

    def __init__(self, cluster: CmkmsCluster, deaf: Listener, measured_at: str) -> None:
        self.cluster = cluster
        self.deaf = deaf
        self.measured_at = measured_at


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    with ExitStack() as stack:
        deaf = stack.enter_context(Listener())
        deaf.take_little()
        folder = tmp_path_factory.mktemp("cluster")
        measured_at = f"unix://{folder}/node.sock"
        cluster = stack.enter_context(make_cluster(folder, str(deaf.where), measured_at))
        cluster.start_all()
        cluster.wait_ready(READY)
        yield Beside(cluster, deaf, measured_at)


@pytest.fixture
async def node(made: Beside) -> AsyncIterator[SimulatedNode]:
    async with SimulatedNode(made.measured_at, CHAIN) as node:
        node.knows(pub_key_of(made.cluster))
        await node.endpoint.wait_served(10)
        yield node


async def latency(node: SimulatedNode) -> float:
    """The median of some votes, in seconds, retries included."""
    return median([(await node.sign_vote(vote(next(HEIGHTS)))).waited for _ in range(VOTES)])


def assert_not_delayed(quiet: float, beside: float) -> None:
    print(f"median {quiet * 1000:.2f} ms, beside the slow thing {beside * 1000:.2f} ms")  # noqa: T201 - figures
    assert beside < MUCH_SLOWER * quiet + AND_MORE_THAN


@asynccontextmanager
async def meanwhile(*slow: asyncio.Task[None]) -> AsyncGenerator[None]:
    """What goes on beside the measurement, and ends with it."""
    try:
        yield
    finally:
        for task in slow:
            task.cancel()
        for task in slow:
            with suppress(asyncio.CancelledError):
                await task


async def test_a_node_that_asks_and_does_not_read(made: Beside, node: SimulatedNode) -> None:
    async def ask_without_reading() -> None:
        while True:
            peer = await made.deaf.meet()
            with suppress(PeerGoneError):
                while True:
                    # A vote below all that was signed, as of a node that lags; signing above would refuse the other's.
                    await peer.ask(PubKeyRequest(CHAIN), SignVoteRequest(CHAIN, vote(1)))
                    await asyncio.sleep(0.001)
            peer.close()

    quiet = await latency(node)
    async with meanwhile(asyncio.create_task(ask_without_reading())):
        beside = await latency(node)
    assert_not_delayed(quiet, beside)


async def test_http_clients_that_ask_and_do_not_read(made: Beside, node: SimulatedNode) -> None:
    quiet = await latency(node)
    with ExitStack() as stack:
        for member in made.cluster.members:
            host, port = made.cluster.replica(member).http_addr.split(":")
            for number in range(DEAF):
                client = stack.enter_context(socket.socket())
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
                client.connect((host, int(port)))
                asked = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20
                client.send(asked if number % 2 else asked[:20])
        await asyncio.sleep(0.5)
        beside = await latency(node)
    assert_not_delayed(quiet, beside)


async def test_a_peer_that_stands_still(made: Beside, node: SimulatedNode) -> None:
    quiet = await latency(node)
    bystander = await _neither_holder_nor_server(made.cluster, node)
    made.cluster.pause(bystander)
    try:
        beside = await latency(node)
    finally:
        made.cluster.resume(bystander)
    assert_not_delayed(quiet, beside)


async def _neither_holder_nor_server(cluster: CmkmsCluster, node: SimulatedNode) -> str:
    """Of the replicas that stand still, this one is what a stuck fsync makes of a peer. The others serve and sign."""
    await eventually(lambda: cluster.connected_to(node.address) and cluster.holder(), cluster.logs)
    server = await asyncio.to_thread(cluster.connected_to, node.address)
    holder = await asyncio.to_thread(cluster.wait_holder, READY)
    return cluster.others(*{name for name in (server, holder) if name is not None})[0]
