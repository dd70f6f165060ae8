"""The listening end of privval inside a node: accept, handshake, one request at a time, pings, drops.

Rebuilt from `privval/signer_listener_endpoint.go` and `privval/signer_endpoint.go` of CometBFT v0.38.25, with its
timers and its blind spots; it must not be kinder to a signer than a real node is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cmkms.harness import sockets
from cmkms.harness.errors import (
    AcceptTimeoutError,
    BadReplyError,
    ConnectionLostError,
    HandshakeError,
    NodeSideError,
    ReplyTimeoutError,
    SignerClosedError,
)
from cmkms.harness.protobuf import MAX_VARINT_BYTES, delimited, read_uvarint
from cmkms.harness.secret_connection import SecretConnection
from cmkms.harness.wire import PingRequest, encode_request

__all__ = ["REPLY_LIMIT_BYTES", "Attempt", "Exchange", "NodeTimings", "Observer", "SignerEndpoint"]

REPLY_LIMIT_BYTES: Final = 10 * 1024
"""Longest reply a node up to v0.39 reads (`signer_endpoint.go`); v0.40 reads 1 MiB and more."""


@dataclass(frozen=True, slots=True)
class NodeTimings:
    """A node's timers, in seconds. The defaults are CometBFT's and cannot be configured there."""

    accept: float = 3.0
    read_write: float = 5.0
    ping: float = 10 / 3
    retries: int = 50
    retry_pause: float = 0.1


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request answered: the undelimited reply, when it was asked and answered (CLOCK_MONOTONIC, s), and where."""

    reply: bytes
    asked_at: float
    answered_at: float
    connection: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that was sent, whatever came of it: what an observer is told.

    `reply` is None where none came before `ended_at`; empty where it cannot be read as a message; and what arrived too
    late for the node is there as well. `replica` as in an `Observation`.
    """

    reply: bytes | None
    asked_at: float
    ended_at: float
    connection: int
    replica: str


Observer = Callable[[Attempt], object]


class _Connection:
    """One accepted signer: framing over a plain or an encrypted stream."""

    def __init__(self, sock: socket.socket, secret: SecretConnection | None, number: int, seconds: float) -> None:
        self._sock = sock
        self._secret = secret
        self._plain = bytearray()
        self._seconds = seconds
        self.number = number
        self._pid = 0 if secret else sockets.peer_pid(sock)

    @property
    def remote_key(self) -> bytes:
        return (self._secret.remote_key or b"") if self._secret else b""

    @property
    def replica(self) -> str:
        return f"key:{self.remote_key.hex()}" if self._secret else f"pid:{self._pid}"

    async def handshake(self) -> None:
        if self._secret is None:
            return
        await self._send(self._secret.hello())
        while not self._secret.established:
            answer = self._secret.feed(await self._receive())
            await self._send(answer)

    async def write(self, data: bytes) -> None:
        await self._send(self._secret.seal(data) if self._secret else data)

    async def read_message(self) -> bytes:
        """The next delimited message. What is left over after a refused one stays, and is read as the next."""
        buffer = self._secret.plaintext if self._secret else self._plain
        while True:
            try:
                head = read_uvarint(buffer)
            except BadReplyError:
                del buffer[:MAX_VARINT_BYTES]
                raise
            if head is not None:
                break
            await self._fill()
        length, start = head
        del buffer[:start]
        if length > REPLY_LIMIT_BYTES:
            raise BadReplyError(f"reply exceeds max size ({length} > {REPLY_LIMIT_BYTES} bytes)")
        while len(buffer) < length:
            await self._fill()
        message = bytes(buffer[:length])
        del buffer[:length]
        return message

    def late_message(self) -> bytes | None:
        """The message that had arrived whole when nobody waited for it any more. For the last look before `close`."""
        data = sockets.arrived(self._sock)
        with contextlib.suppress(NodeSideError):
            buffer = self._plain
            if self._secret:
                self._secret.feed(data)
                buffer = self._secret.plaintext
            else:
                buffer += data
            head = read_uvarint(buffer)
            if head is not None and len(buffer) >= sum(head):
                return bytes(buffer[head[1] : sum(head)])
        return None

    def close(self) -> None:
        self._sock.close()

    async def _fill(self) -> None:
        data = await self._receive()
        if self._secret:
            self._secret.feed(data)
        else:
            self._plain += data

    async def _receive(self) -> bytes:
        try:
            data = await sockets.receive(self._sock, self._seconds)
        except TimeoutError as error:
            raise ReplyTimeoutError(f"signer silent for {self._seconds:g} s") from error
        except OSError as error:
            raise ConnectionLostError(f"reading from the signer: {error}") from error
        if not data:
            raise SignerClosedError("signer closed the connection (EOF)")
        return data

    async def _send(self, data: bytes) -> None:
        try:
            await sockets.send_all(self._sock, data, self._seconds)
        except TimeoutError as error:
            raise ReplyTimeoutError(f"signer took nothing for {self._seconds:g} s") from error
        except OSError as error:
            raise ConnectionLostError(f"writing to the signer: {error}") from error


class SignerEndpoint:
    """Listens for signers, serves one of them, leaves the others un-accepted in the kernel's backlog.

    `accepted`, `pings` and `failed_pings` count what happened; they start at zero with each object.
    """

    def __init__(self, address: str, timings: NodeTimings | None = None) -> None:
        self._wanted = sockets.ListenAddress.parse(address)
        self._timings = timings or NodeTimings()
        self._identity = Ed25519PrivateKey.generate()
        self._listener: socket.socket | None = None
        self._serving: _Connection | None = None
        self._parked: _Connection | None = None
        self._connect_wanted = asyncio.Event()
        self._parked_ready = asyncio.Event()
        self._parked_taken = asyncio.Event()
        self._mutex = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._ping_due = 0.0
        self.accepted = 0
        self.refused_handshakes = 0
        self.pings = 0
        self.failed_pings = 0

    @property
    def address(self) -> str:
        """Where it listens, with the port the kernel gave if 0 was asked for."""
        return str(self._wanted)

    @property
    def connected(self) -> bool:
        """Whether a signer is being served (as far as the node has noticed)."""
        return self._serving is not None

    @property
    def signer_key(self) -> bytes:
        """The key by which the served signer proved itself; empty on Unix sockets or without a signer."""
        return self._serving.remote_key if self._serving else b""

    async def start(self) -> None:
        """Listen, with a fresh connection key as every node start has, and begin to accept and to ping."""
        self._identity = Ed25519PrivateKey.generate()
        self._listener = sockets.listen(self._wanted)
        if not self._wanted.path:
            host, port = self._listener.getsockname()[:2]
            self._wanted = sockets.ListenAddress(host=host, port=port)
        self._connect_wanted.set()
        self._ping_due = time.monotonic() + self._timings.ping
        self._tasks = [asyncio.create_task(self._serve()), asyncio.create_task(self._ping())]

    async def stop(self) -> None:
        """End as a killed node does: sockets close, a Unix socket's file stays behind."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.drop()
        if self._parked is not None:
            self._parked.close()
            self._parked = None
        self._parked_ready.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def drop(self) -> None:
        """Close the connection in service, if any; the next request takes the next one from the backlog."""
        if self._serving is not None:
            self._serving.close()
            self._serving = None

    async def hang_up(self) -> None:
        """As `drop`, between two requests: one that is being answered is answered first."""
        async with self._mutex:
            self.drop()

    async def exchange(self, message: bytes, observer: Observer | None = None) -> Exchange:
        """Send one undelimited message and read one reply, undecoded.

        `observer` is told whatever comes of it, once there was a connection to send it on.

        Raises:
            NodeSideError: as its subclasses say. Time-outs and resets have dropped the connection, others have not.
        """
        return await self.exchange_bytes(delimited(message), observer)

    async def exchange_bytes(self, data: bytes, observer: Observer | None = None) -> Exchange:
        """As `exchange`, but sends `data` as it is, framed or not."""
        async with self._mutex:
            connection = await self._ensure_connection(self._timings.accept)
            came: bytes | None = None
            asked_at = time.monotonic()
            try:
                await connection.write(data)
                came = reply = await connection.read_message()
            except (ReplyTimeoutError, ConnectionLostError, asyncio.CancelledError):
                came = connection.late_message() if observer else None
                self.drop()
                raise
            except BadReplyError:
                came = b""
                raise
            finally:
                ended_at = time.monotonic()
                if observer:
                    observer(Attempt(came, asked_at, ended_at, connection.number, connection.replica))
            self._ping_due = ended_at + self._timings.ping
            return Exchange(reply, asked_at, ended_at, connection.number)

    async def wait_served(self, seconds: float) -> None:
        """Wait until a signer is connected and can be asked. Raises AcceptTimeoutError after `seconds`."""
        async with self._mutex:
            await self._ensure_connection(seconds)

    async def _ensure_connection(self, seconds: float) -> _Connection:
        if self._serving is None and self._parked is None:
            self._connect_wanted.set()
            try:
                async with asyncio.timeout(seconds):
                    await self._parked_ready.wait()
            except TimeoutError as error:
                message = f"no signer connected to {self.address} within {seconds:g} s"
                raise AcceptTimeoutError(message) from error
        if self._serving is None:
            self._serving, self._parked = self._parked, None
            self._parked_ready.clear()
            self._parked_taken.set()
        if self._serving is None:
            raise AcceptTimeoutError(f"no signer connected to {self.address}")
        return self._serving

    async def _serve(self) -> None:
        """The service loop: accept when somebody needs a connection, park it until it is taken."""
        while True:
            await self._connect_wanted.wait()
            self._connect_wanted.clear()
            if self._serving is not None:
                continue
            try:
                self._parked = await self._accept()
            except (NodeSideError, OSError):
                self._connect_wanted.set()
                continue
            self._parked_taken.clear()
            self._parked_ready.set()
            await self._parked_taken.wait()

    async def _accept(self) -> _Connection:
        if self._listener is None:
            raise ConnectionLostError("the endpoint is closed")
        sock = await sockets.accept(self._listener, self._timings.accept)
        self.accepted += 1
        secret = None if self._wanted.path else SecretConnection(self._identity)
        connection = _Connection(sock, secret, self.accepted, self._timings.read_write)
        try:
            await connection.handshake()
        except BaseException as error:
            if isinstance(error, HandshakeError | SignerClosedError):
                self.refused_handshakes += 1
            connection.close()
            raise
        return connection

    async def _ping(self) -> None:
        message = encode_request(PingRequest())
        while True:
            await asyncio.sleep(max(0.0, self._ping_due - time.monotonic()))
            if time.monotonic() < self._ping_due:
                continue
            self._ping_due = time.monotonic() + self._timings.ping
            try:
                await self.exchange(message)
                self.pings += 1
            except NodeSideError:
                self.failed_pings += 1
                async with self._mutex:
                    self.drop()
                    self._connect_wanted.set()
