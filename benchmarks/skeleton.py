"""The floor's three processes on what cmkms is made of: Python on uvloop, mutual TLS 1.3 between them, one signature.

Still nothing is parsed, decided, logged or counted. What cmkms takes beyond this is its own work; what this takes
beyond the floor is the price of its libraries.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import uvloop
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from benchmarks.three import ACCEPT_BYTES, ANSWER_BYTES, CONNECT_SECONDS, REQUEST_BYTES, Shape, Slots
from cmkms.keys.identity import Identity
from cmkms.peers.tls import Credentials

__all__ = ["SKELETON"]

SIGN_BYTES: Final = 120
IDENTITIES: Final = tuple(Identity.from_seed(bytes([number]) * 32) for number in range(3))
"""The leader's, then the followers'."""


class Counted(asyncio.Protocol):
    """Counts what arrives in messages of one size, and hands each on."""

    transport: asyncio.Transport

    def __init__(self, size: int) -> None:
        self._size, self._received = size, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Tell of each message that is whole now."""
        before = self._received // self._size
        self._received += len(data)
        for _ in range(before, self._received // self._size):
            self.arrived()

    def arrived(self) -> None:
        """One message is here."""
        raise NotImplementedError


class Follower(Counted):
    """Writes and answers whatever the leader sends."""

    def __init__(self, slots: Slots) -> None:
        super().__init__(ACCEPT_BYTES)
        self._slots = slots

    def arrived(self) -> None:
        """See `Counted`."""
        self._slots.write()
        self.transport.write(bytes(ANSWER_BYTES))


class Leader:
    """Asks the followers, writes, and signs when the first of them has answered."""

    _node: asyncio.Transport

    def __init__(self, slots: Slots) -> None:
        self.followers: list[Followed] = []
        self._slots = slots
        self._asked = self._signed = 0
        _, self._secret_key = crypto_sign_seed_keypair(bytes(32))

    def ask(self, node: asyncio.Transport) -> None:
        """A request is here."""
        self._node = node
        self._asked += 1
        for follower in self.followers:
            follower.transport.write(bytes(ACCEPT_BYTES))
        # uvloop sends when it is called no more: what the others wait for does not wait for the own disk.
        asyncio.get_running_loop().call_soon(self._slots.write)

    def answered(self, follower: Followed) -> None:
        """One answer is here."""
        if follower.answers == self._asked > self._signed:
            self._signed += 1
            self._node.write(crypto_sign(bytes(SIGN_BYTES), self._secret_key))


class Followed(Counted):
    """The leader's connection to a follower."""

    def __init__(self, leader: Leader) -> None:
        super().__init__(ANSWER_BYTES)
        self._leader = leader
        self.answers = 0

    def arrived(self) -> None:
        """See `Counted`."""
        self.answers += 1
        self._leader.answered(self)


class Asked(Counted):
    """The leader's connection from the node."""

    def __init__(self, leader: Leader) -> None:
        super().__init__(REQUEST_BYTES)
        self._leader = leader

    def arrived(self) -> None:
        """See `Counted`."""
        self._leader.ask(self.transport)


async def _follow(listener: socket.socket, number: int, path: Path, sync: bool) -> None:
    """Serve the leader until somebody ends the process."""
    slots = Slots(path, sync=sync)
    tls = Credentials(IDENTITIES[number]).accepting([IDENTITIES[0].public_key])
    server = await asyncio.get_running_loop().create_server(lambda: Follower(slots), sock=listener, ssl=tls)
    await _forever(server)


async def _lead(listener: socket.socket, others: Sequence[tuple[str, int]], path: Path, sync: bool) -> None:
    """Serve the node until somebody ends the process."""
    loop, leader = asyncio.get_running_loop(), Leader(Slots(path, sync=sync))
    for (host, port), identity in zip(others, IDENTITIES[1:], strict=True):
        tls = Credentials(IDENTITIES[0]).dialling(identity.public_key)
        _, followed = await loop.create_connection(
            lambda: Followed(leader), host, port, ssl=tls, server_hostname="", ssl_handshake_timeout=CONNECT_SECONDS
        )
        leader.followers.append(followed)
    await _forever(await loop.create_server(lambda: Asked(leader), sock=listener))


async def _forever(server: asyncio.Server) -> None:
    gc.collect()
    gc.freeze()
    await server.serve_forever()


def follow(listener: socket.socket, number: int, path: Path, sync: bool) -> None:
    """Be a follower."""
    uvloop.run(_follow(listener, number, path, sync))


def lead(listener: socket.socket, others: Sequence[tuple[str, int]], path: Path, sync: bool) -> None:
    """Be the leader."""
    uvloop.run(_lead(listener, others, path, sync))


SKELETON: Final = Shape(follow, lead)
