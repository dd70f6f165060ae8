"""A replica as its peer link sees it: a real network on loopback, and a record of all that its handlers were told."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from cmkms.config import HostPort, Peer
from cmkms.keys.identity import Identity
from cmkms.peers.messages import Hello, HelloMember, Message, Status
from cmkms.peers.network import PeerNetwork
from tests.patience import within
from tests.ports import free_port

PATIENCE = within(5.0)
"""Seconds that a test waits for what has to happen; far more than it takes."""
IDS = ("node-0", "node-1", "node-2")
HEARTBEAT = Status(0, "", (), 0, (), ())


async def eventually(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.002)


@dataclass
class Replica:
    """One member: configure it, start it, and read what it was told."""

    me: str
    identity: Identity
    peers: tuple[Peer, ...]
    boot: bytes = field(default_factory=lambda: os.urandom(16))
    ttl_ms: int = 400
    versions: tuple[int, int] = (1, 1)
    says: Callable[[Hello], Hello] = lambda hello: hello
    events: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    hellos: list[tuple[str, bytes, Hello]] = field(default_factory=list[tuple[str, bytes, Hello]])
    messages: list[tuple[str, Message]] = field(default_factory=list[tuple[str, Message]])
    connections: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    strangers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    twins: list[bytes] = field(default_factory=list[bytes])
    bugs: list[BaseException] = field(default_factory=list[BaseException])
    answers: Callable[[str, Message], Message | None] = lambda _member, _message: None
    network: PeerNetwork | None = None
    beating: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------------------------- PeerHandlers

    def hello(self) -> Hello:
        members = tuple(HelloMember(peer.id, peer.pin or "") for peer in self.peers)
        return self.says(
            Hello(self.versions[0], self.versions[1], "0.0.0", self.me, self.boot, self.ttl_ms, members, ())
        )

    def peer_up(self, member: str, identity: bytes, hello: Hello) -> None:
        self.events.append(("up", member))
        self.hellos.append((member, identity, hello))

    def peer_down(self, member: str, why: str) -> None:
        self.events.append(("down", member))
        self.connections.append((member, "down", why))

    def peer_refused(self, member: str) -> None:
        self.events.append(("refused", member))

    def received(self, member: str, message: Message) -> None:
        if message == HEARTBEAT:
            return
        self.messages.append((member, message))
        answer = self.answers(member, message)
        if answer is not None:
            self.net.send(member, answer)

    def twin(self, member: str, boot: bytes) -> None:
        self.events.append(("twin", member))
        self.twins.append(boot)

    # ------------------------------------------------------------------------------------------------- PeerObserver

    def connection(self, member: str, state: str, detail: str) -> None:
        self.connections.append((member, state, detail))

    def stranger(self, address: str, why: str) -> None:
        self.strangers.append((address, why))

    # --------------------------------------------------------------------------------------------------- the running

    @property
    def net(self) -> PeerNetwork:
        if self.network is None:
            raise TypeError("not started")
        return self.network

    @property
    def address(self) -> HostPort:
        return next(peer.addr for peer in self.peers if peer.id == self.me)

    @property
    def pin(self) -> str:
        return self.identity.public_key.hex()

    async def start(self) -> Replica:
        self.network = PeerNetwork(
            self.me, self.identity, self.peers, self.address, self.boot, self, self, self.bugs.append
        )
        await self.network.start()
        self.beating = asyncio.create_task(self.beat(self.network))
        return self

    async def beat(self, network: PeerNetwork) -> None:
        """Send heartbeats, as the rest of a replica does."""
        while True:
            for peer in self.peers:
                network.send(peer.id, HEARTBEAT)
            await asyncio.sleep(0.2)

    def fall_silent(self) -> None:
        if self.beating is not None:
            self.beating.cancel()

    async def stop(self) -> None:
        self.fall_silent()
        if self.network is not None:
            await self.network.stop()
            self.network = None

    def again(self) -> Replica:
        """The same member after a restart."""
        return Replica(self.me, self.identity, self.peers, ttl_ms=self.ttl_ms)

    def connected(self) -> set[str]:
        return {status.id for status in self.net.statuses() if status.connected}

    def count(self, event: str, member: str) -> int:
        return self.events.count((event, member))

    def last_detail(self, member: str) -> str:
        return next(status.detail for status in self.net.statuses() if status.id == member)

    def told(self, text: str) -> bool:
        """Whether some trouble with a member was told in these words."""
        return any(text in detail for _, _, detail in self.connections)


def identity() -> Identity:
    return Identity.from_seed(os.urandom(32))


def open_sockets() -> int:
    """How many this process has."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return len([link for link in links if link.startswith("socket:")])


def cluster(size: int = 2, *, pinned: bool = True, host: str = "127.0.0.1") -> list[Replica]:
    """Replicas of one cluster, none of them started."""
    identities = {member: identity() for member in IDS[:size]}
    peers = tuple(
        Peer(member, HostPort(host, free_port()), one.public_key.hex() if pinned else None)
        for member, one in identities.items()
    )
    return [Replica(member, one, peers) for member, one in identities.items()]


def with_pin(peers: tuple[Peer, ...], member: str, pin: str | None) -> tuple[Peer, ...]:
    """The same peer list, but for one pin."""
    return tuple(replace(peer, pin=pin) if peer.id == member else peer for peer in peers)


@contextlib.asynccontextmanager
async def running(*replicas: Replica) -> AsyncGenerator[None]:
    """Start replicas, stop them in the end, and see that no bug was found meanwhile."""
    try:
        for replica in replicas:
            await replica.start()
        yield
    finally:
        for replica in replicas:
            await replica.stop()
    assert [replica.bugs for replica in replicas] == [[] for _ in replicas]


@contextlib.asynccontextmanager
async def meshed(*replicas: Replica) -> AsyncGenerator[None]:
    """As `running`, and each has met all others."""
    async with running(*replicas):
        await eventually(lambda: all(len(one.connected()) == len(replicas) - 1 for one in replicas))
        yield
