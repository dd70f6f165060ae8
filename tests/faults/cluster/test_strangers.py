"""Whoever reaches the port for the other replicas and is none of them costs nothing, and is named in the log, seldom.

The port may be found by scanners, or by a replica of another cluster that has a wrong address in its list.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from cmkms.harness.node import SimulatedNode
from cmkms.harness.signer_cluster import CmkmsCluster
from tests.faults.cluster.replicas import (
    CHAIN,
    READY,
    events,
    eventually,
    make_cluster,
    pin,
    pin_of,
    pub_key_of,
    vote,
    warnings,
)

TRIES: Final = 30
"""By each stranger, at the replica that holds the lease."""

FEW_LINES: Final = 4

HEIGHTS: Final = count(10)

PATIENCE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Visited:
    """The running cluster, where its node listens, and where the lease holder listens for its peers."""

    cluster: CmkmsCluster
    node_at: str
    holder: str

    @property
    def port(self) -> int:
        return int(self.cluster.replica(self.holder).raft_addr.rpartition(":")[2])


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visited]:
    folder = tmp_path_factory.mktemp("cluster")
    node_at = f"unix://{folder}/node.sock"
    with make_cluster(folder, node_at) as cluster:
        pins = {member: pin_of(cluster.replica(member)) for member in cluster.members}
        for member in cluster.members:
            pin(cluster, member, pins)
        cluster.start_all()
        cluster.wait_ready(READY)
        yield Visited(cluster, node_at, cluster.wait_holder(READY))


def _garbage(port: int, stack: ExitStack) -> None:
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
    with suppress(OSError):
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)


def _silence(port: int, stack: ExitStack) -> None:
    stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))


def _half_a_hello(port: int, stack: ExitStack) -> None:
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
    # The head of a TLS record that announces 16 KiB, which never come.
    sock.sendall(b"\x16\x03\x01\x40\x00\x01")


def _no_certificate(port: int, stack: ExitStack) -> None:
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
    with suppress(OSError):
        secured = stack.enter_context(_trusting().wrap_socket(sock))
        secured.sendall(b"\x00\x00\x00\x01a" * 100)
        secured.recv(1)


def _old_tls(port: int, stack: ExitStack) -> None:
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
    context = _trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with suppress(OSError):
        stack.enter_context(context.wrap_socket(sock))


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize(
    ("stranger", "named"),
    [
        (_garbage, "does not speak TLS 1.3"),
        (_silence, "no TLS handshake within"),
        (_half_a_hello, "no TLS handshake within"),
        (_no_certificate, "certificate"),
        (_old_tls, "UNSUPPORTED_PROTOCOL"),
    ],
)
async def test_they_are_named_seldom_and_the_cluster_signs_on(
    visited: Visited, stranger: Callable[[int, ExitStack], None], named: str
) -> None:
    replica = visited.cluster.replica(visited.holder)
    before = len(warnings(replica, "stranger"))
    async with SimulatedNode(visited.node_at, CHAIN) as node:
        node.knows(pub_key_of(visited.cluster))
        with ExitStack() as stack:
            for _ in range(TRIES):
                await asyncio.to_thread(stranger, visited.port, stack)
                assert (await node.sign_vote(vote(next(HEIGHTS)))).attempts == 1
            # A stranger that says nothing is only known by its silence, after some seconds.
            await eventually(lambda: warnings(replica, "stranger", "127.0.0.1", named), replica.log_tail)
            for _ in range(TRIES):
                assert (await node.sign_vote(vote(next(HEIGHTS)))).attempts == 1
    assert len(warnings(replica, "stranger")) - before <= FEW_LINES
    assert replica.alive
    assert [event for event in events(replica) if event["event"] == "peer ended"] == []


async def test_a_replica_of_another_cluster_is_turned_away(visited: Visited, tmp_path: Path) -> None:
    replica = visited.cluster.replica(visited.holder)
    with make_cluster(tmp_path, "tcp://127.0.0.1:1") as other:
        lost = other.replica("node-0" if visited.holder != "node-0" else "node-1")
        lost.peers = tuple(
            f"{line.partition('=')[0]}={replica.raft_addr}" if line.startswith(f"{visited.holder}=") else line
            for line in lost.peers
        )
        lost.start()
        await eventually(lambda: warnings(replica, lost.id), replica.log_tail)
        await eventually(lambda: warnings(lost, visited.holder), lost.log_tail)
        async with SimulatedNode(visited.node_at, CHAIN) as node:
            node.knows(pub_key_of(visited.cluster))
            assert (await node.sign_vote(vote(next(HEIGHTS)))).reply.vote.signature
        await eventually(lost.status, lost.log_tail)
        status = lost.status()
        assert status is not None
        assert [chain.guard_state for chain in status.chains] == ["unborn"]
