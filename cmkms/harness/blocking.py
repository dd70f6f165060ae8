"""A node stripped to what a stopwatch needs: listen, accept one signer, ask, over blocking sockets.

It adds as little as Python can to what it measures, and the same to every signer; it has none of a node's patience.
"""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cmkms.harness import sockets
from cmkms.harness.errors import AcceptTimeoutError, SignerClosedError
from cmkms.harness.observation import Observation
from cmkms.harness.protobuf import delimited, read_uvarint
from cmkms.harness.secret_connection import SecretConnection

__all__ = ["BlockingNode"]

_RECEIVE_BYTES: Final = 65536
_REPLY_SECONDS: Final = 5.0
"""A node's read time-out."""


class BlockingNode:
    """Listens from construction until `close()`; serves one signer at a time."""

    def __init__(self, address: str) -> None:
        wanted = sockets.ListenAddress.parse(address)
        self._listener = sockets.listen(wanted)
        if not wanted.path:
            host, port = self._listener.getsockname()[:2]
            wanted = sockets.ListenAddress(host=host, port=port)
        self.address = str(wanted)
        self._encrypted = not wanted.path
        self._sock: socket.socket | None = None
        self._secret: SecretConnection | None = None
        self._plain = bytearray()

    def accept(self, seconds: float) -> None:
        """Serve the next signer of the backlog in place of the present one.

        Raises:
            AcceptTimeoutError: none came within `seconds`.
            HandshakeError, SignerClosedError: it does not keep the protocol.
        """
        self.hang_up()
        self._listener.settimeout(seconds)
        try:
            self._sock, _ = self._listener.accept()
        except TimeoutError as error:
            raise AcceptTimeoutError(f"no signer connected to {self.address} within {seconds:g} s") from error
        self._sock.settimeout(_REPLY_SECONDS)
        self._plain = bytearray()
        if self._encrypted:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._secret = SecretConnection(Ed25519PrivateKey.generate())
            self._sock.sendall(self._secret.hello())
            while not self._secret.established:
                self._sock.sendall(self._secret.feed(self._receive(self._sock)))
            self._plain = self._secret.plaintext

    def ask(self, message: bytes) -> tuple[bytes, float, float]:
        """Send an undelimited message; returns the undelimited reply and CLOCK_MONOTONIC seconds before and after.

        The time runs from sealing the request to the opened reply. Raises OSError and NodeSideError as they come.
        """
        sock, secret, buffer = self._sock, self._secret, self._plain
        if sock is None:
            raise SignerClosedError("no signer was accepted")
        framed = delimited(message)
        begun = time.monotonic()
        sock.sendall(secret.seal(framed) if secret else framed)
        while True:
            if secret:
                secret.feed(self._receive(sock))
            else:
                buffer += self._receive(sock)
            head = read_uvarint(buffer)
            if head is not None and len(buffer) >= sum(head):
                break
        ended = time.monotonic()
        reply = bytes(buffer[head[1] : sum(head)])
        del buffer[: sum(head)]
        return reply, begun, ended

    def observe(self, message: bytes, pub_key: bytes) -> Observation:
        """As `ask`, for a sign request, as something an oracle can judge."""
        reply, begun, ended = self.ask(message)
        return Observation("stopwatch", 1, begun, ended, pub_key, message, reply, self._replica())

    def hang_up(self) -> None:
        """Drop the signer that is served, if any."""
        if self._sock is not None:
            self._sock.close()
        self._sock = self._secret = None

    def close(self) -> None:
        """Close every socket."""
        self.hang_up()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _replica(self) -> str:
        if self._sock is not None and self._secret is None:
            return f"pid:{sockets.peer_pid(self._sock)}"
        return f"key:{(self._secret.remote_key or b'').hex()}" if self._secret else ""

    @staticmethod
    def _receive(sock: socket.socket) -> bytes:
        data = sock.recv(_RECEIVE_BYTES)
        if not data:
            raise SignerClosedError("signer closed the connection (EOF)")
        return data
