"""The other end of a validator connection, down to the socket: it can keep silent, send anything, hang up or reset."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cmkms.config import Scheme, ValidatorAddress
from cmkms.harness import sockets
from cmkms.harness.protobuf import delimited, read_uvarint
from cmkms.harness.secret_connection import SecretConnection
from cmkms.harness.wire import Reply, Request, decode_reply, encode_request
from tests.patience import within

PATIENCE = within(5.0)
"""Seconds that a test waits for what has to happen; far more than it takes."""


class PeerGoneError(Exception):
    """The signer has closed the connection: `reset` tells how."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__("reset" if reset else "closed in order")
        self.reset = reset


class Peer:
    """One accepted connection of a signer."""

    def __init__(self, sock: socket.socket, *, plain: bool) -> None:
        self.sock = sock
        self.identity = Ed25519PrivateKey.generate()
        self._secret = None if plain else SecretConnection(self.identity)
        self._plain = bytearray()

    def identify(self, identity: Ed25519PrivateKey) -> None:
        """Be this node in the handshake to come."""
        self.identity = identity
        self._secret = SecretConnection(identity)

    @property
    def remote_key(self) -> bytes | None:
        """The key that the signer has proven."""
        return None if self._secret is None else self._secret.remote_key

    async def handshake_and_ask(self, *requests: Request) -> None:
        """Send the proof of identity and requests in one piece, as no node does."""
        if self._secret is None:
            raise TypeError("a plain connection has no handshake")
        await self.send(self._secret.hello())
        proof = b""
        while not proof:
            proof = self._secret.feed(await self.receive())
        message = b"".join(delimited(encode_request(request)) for request in requests)
        await self.send(proof + self._secret.seal(message))

    async def handshake(self) -> Self:
        if self._secret is not None:
            await self.send(self._secret.hello())
            while not self._secret.established:
                await self.send(self._secret.feed(await self.receive()))
        return self

    async def send(self, data: bytes) -> None:
        """Put bytes on the wire as they are. Raises PeerGoneError."""
        try:
            await sockets.send_all(self.sock, data, PATIENCE)
        except OSError as error:
            raise PeerGoneError(reset=True) from error

    async def receive(self) -> bytes:
        """Take bytes off the wire as they are. Raises PeerGoneError."""
        try:
            data = await sockets.receive(self.sock, PATIENCE)
        except ConnectionResetError as error:
            raise PeerGoneError(reset=True) from error
        if not data:
            raise PeerGoneError(reset=False)
        return data

    async def write(self, data: bytes) -> None:
        """Send bytes of the stream inside, sealed where the connection is."""
        await self.send(data if self._secret is None else self._secret.seal(data))

    async def ask(self, *requests: Request) -> None:
        """Send requests in one piece, without waiting for answers."""
        await self.write(b"".join(delimited(encode_request(request)) for request in requests))

    async def answer(self) -> Reply:
        return decode_reply(await self.answer_bytes())

    async def answer_bytes(self) -> bytes:
        buffer = self._plain if self._secret is None else self._secret.plaintext
        while True:
            head = read_uvarint(buffer)
            if head is not None and len(buffer) >= head[0] + head[1]:
                length, start = head
                message = bytes(buffer[start : start + length])
                del buffer[: start + length]
                return message
            data = await self.receive()
            if self._secret is None:
                buffer += data
            else:
                self._secret.feed(data)

    async def has_answer(self, seconds: float) -> bool:
        """Whether anything at all arrives within `seconds`; bytes that did are lost. Raises PeerGoneError."""
        try:
            return bool(await sockets.receive(self.sock, seconds))
        except TimeoutError:
            return False
        except ConnectionResetError as error:
            raise PeerGoneError(reset=True) from error

    async def gone(self) -> bool:
        """Wait until the signer has hung up; tells whether it did so by a reset."""
        while True:
            try:
                await self.receive()
            except PeerGoneError as gone:
                return gone.reset

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Listener:
    """Where a signer dials: accepts when told to, and not before."""

    def __init__(self, where: sockets.ListenAddress | None = None) -> None:
        self._where = where or sockets.ListenAddress("127.0.0.1", 0)
        self._listener = sockets.listen(self._where)
        self._peers: list[Peer] = []
        if not self._where.path:
            self._where = sockets.ListenAddress(self._where.host, self._listener.getsockname()[1])

    @classmethod
    def unix(cls, path: Path) -> Self:
        return cls(sockets.ListenAddress(path=str(path)))

    @property
    def where(self) -> sockets.ListenAddress:
        return self._where

    @property
    def address(self) -> ValidatorAddress:
        return address_of(str(self._where))

    def take_little(self) -> None:
        """Have the kernel keep as little as it can of what arrives for connections to come."""
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    async def accept(self, seconds: float = PATIENCE) -> Peer:
        peer = Peer(await sockets.accept(self._listener, seconds), plain=bool(self._where.path))
        self._peers.append(peer)
        return peer

    async def meet(self) -> Peer:
        """Accept, and shake hands."""
        return await (await self.accept()).handshake()

    def close(self) -> None:
        """Stop as a killed node does: every socket at once."""
        self._listener.close()
        for peer in self._peers:
            peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def address_of(text: str, node_id: str | None = None) -> ValidatorAddress:
    """The address of a simulated node or a listener, as a configuration has it."""
    where = sockets.ListenAddress.parse(text)
    if where.path:
        return ValidatorAddress(Scheme.UNIX, path=where.path)
    return ValidatorAddress(Scheme.TCP, where.host, where.port, node_id=node_id)


async def eventually(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.005)
