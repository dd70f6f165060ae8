"""A replica's HTTP side without the replica: the real server, telling whatever status a test sets."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from cmkms.config import HostPort
from cmkms.http.address import bind
from cmkms.http.app import create_app
from cmkms.http.server import HttpServer
from cmkms.status import (
    ChainStatus,
    ConnectionStatus,
    GuardStatus,
    LastSigned,
    LeaseStatus,
    NodeStatus,
    PeerGuardStatus,
    PeerStatus,
)
from cmkms.telemetry.metrics import Metrics

CHAIN = ChainStatus(
    chain_id="testnet-1",
    address="AB" * 20,
    pub_key_type="ed25519",
    pub_key=bytes(32),
    guard=GuardStatus("armed", "data/testnet-1/guard", 1, "c0ffee", 61, 20, 0, 3, members=("a", "b", "c")),
    connections=(
        ConnectionStatus("tcp://10.0.0.20:26659", "connected", 1.0, requests=61),
        ConnectionStatus("unix:///run/n.sock", "dialling", 1.0, detail="no such socket"),
    ),
    last_signed=LastSigned(20, 0, 3, bytes(64), b"bytes"),
    refusals=(("conflict", 2),),
    can_sign=True,
)


def peer(name: str, **changed: object) -> PeerStatus:
    """Another replica, connected and armed, but for what is changed."""
    guards = (PeerGuardStatus("testnet-1", "armed", 1, 60, 20, 0, 2),)
    values: dict[str, object] = {
        "id": name,
        "address": f"10.0.0.{ord(name)}:9430",
        "connected": True,
        "since": 1.0,
        "last_seen_seconds": 0.1,
        "release": "0.2.0",
        "guards": guards,
    }
    return PeerStatus(**(values | changed))  # type: ignore[arg-type]


STATUS = NodeStatus(
    id="a",
    version="0.2.0",
    uptime_seconds=3700.0,
    is_leader=False,
    leader_id="b",
    leader_addr="10.0.0.98:9430",
    chains=(CHAIN,),
    term=7,
    lease=LeaseStatus("b", 7, 0.25),
    peers=(peer("b"), peer("c")),
)


class Served:
    """Serves `status` from its start to the end of the block, in a thread of its own."""

    def __init__(self, port: int = 0) -> None:
        self.status = STATUS
        self.address = HostPort("127.0.0.1", port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server = HttpServer(create_app(lambda: self.status, Metrics("0.2.0", [])))

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    async def _start(self) -> None:
        self.address = await self._server.start(await bind(self.address))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
