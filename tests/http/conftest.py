"""A running server, with what it tells set by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import uvicorn

from cmkms.config import HostPort
from cmkms.http.address import bind
from cmkms.http.app import create_app
from cmkms.http.server import HttpServer
from cmkms.status import ChainStatus, ConnectionStatus, GuardStatus, LastSigned, LeaseStatus, NodeStatus
from cmkms.telemetry.metrics import MeasuredChain, Metrics

_ESTABLISHED = "01"  # include/net/tcp_states.h
ADDRESS = "tcp://10.0.0.1:26659"


class Served:
    """One server on loopback and a client for it."""

    def __init__(self) -> None:
        self.status = node_status()
        self.metrics = Metrics("1.0", [MeasuredChain("testnet-1", (ADDRESS,))])
        self.server = HttpServer(create_app(self.snapshot, self.metrics))
        self.address = HostPort("127.0.0.1", 0)
        self.client = httpx.AsyncClient(verify=False)  # noqa: S501 - no TLS here; loading the CAs takes 40 ms
        self._writers: list[asyncio.StreamWriter] = []

    def snapshot(self) -> NodeStatus:
        return self.status

    async def start(self) -> None:
        self.address = await self.server.start(await bind(HostPort("127.0.0.1", 0)))
        self.client = httpx.AsyncClient(base_url=f"http://{self.address}", timeout=5, verify=False)  # noqa: S501 - as above

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self.address.host, self.address.port)
        self._writers.append(writer)
        return reader, writer

    def running(self) -> uvicorn.Server:
        """What runs inside."""
        assert self.server._server is not None
        return self.server._server

    def open_connections(self) -> int:
        """How many connections the server holds, by the kernel's table."""
        ours = f":{self.address.port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[1].endswith(ours) and row[3] == _ESTABLISHED for row in rows)

    async def stop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await self.client.aclose()
        await self.server.stop()


def node_status() -> NodeStatus:
    chain = ChainStatus(
        chain_id="testnet-1",
        address="AB" * 20,
        pub_key_type="ed25519",
        pub_key=bytes(range(32)),
        guard=GuardStatus("armed", "data/testnet-1/guard", 1, "c0ffee", 61, 20, 0, 3, members=("n1", "n2", "n3")),
        connections=(ConnectionStatus(ADDRESS, "connected", 1_700_000_000.25, remote_id="cd" * 20, requests=61),),
        last_signed=LastSigned(20, 0, 3, b"\xff" * 64, b"\x6e\x08\x02\xab"),
        refusals=(("conflict", 1), ("regression", 2)),
        can_sign=True,
    )
    return NodeStatus(
        id="n1",
        version="1.0",
        uptime_seconds=12.34567,
        is_leader=True,
        leader_id="n1",
        leader_addr="127.0.0.1:21401",
        chains=(chain,),
        term=7,
        lease=LeaseStatus("n1", 7, 0.31249),
    )


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    server = Served()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def fast_exchange(monkeypatch: pytest.MonkeyPatch) -> float:
    """The time an exchange may take, short enough to be waited for."""
    seconds = 0.4
    monkeypatch.setattr("cmkms.http.server.EXCHANGE_SECONDS", seconds)
    return seconds
