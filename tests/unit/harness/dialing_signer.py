"""The small signer on a socket: dials a node over tcp or unix, again and again, and answers what it is asked.

`answer` may be replaced to misbehave on the wire. One thread each, blocking sockets: as unlike the node as can be.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cmkms.harness.protobuf import delimited, read_uvarint
from cmkms.harness.secret_connection import SecretConnection
from tests.patience import within

REDIAL_SECONDS = 0.02
DIAL_SECONDS = 1.0
"""Where nobody accepts and the queue is full, a unix socket would be dialled for ever."""


class Hangup(Exception):  # noqa: N818
    """Raised by an `answer` to end the connection: in order (FIN), or by a reset."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


class DialingSigner:
    """Runs from construction to `close()`. `served` counts requests, `connections` those that came to a request."""

    def __init__(self, address: str, answer: Callable[[bytes], bytes | None]) -> None:
        self.address = address
        self.answer = answer
        self.served = 0
        self.dials = 0
        self._over = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(within(5))
        assert not self._thread.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                self._serve_once()
            time.sleep(REDIAL_SECONDS)

    def _serve_once(self) -> None:
        with _dial(self.address) as sock:
            # Before the look at `_over`: `close` looks the other way round, so that one of them sees the other.
            self._socket = sock
            if self._over.is_set():
                return
            self.dials += 1
            try:
                self._serve(sock)
            except Hangup as hangup:
                if hangup.reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _serve(self, sock: socket.socket) -> None:
        secret = None
        if self.address.startswith("tcp"):
            secret = SecretConnection(Ed25519PrivateKey.generate())
            sock.sendall(secret.hello())
        plain = bytearray() if secret is None else secret.plaintext
        while data := sock.recv(65536):
            if secret is None:
                plain += data
            else:
                sock.sendall(secret.feed(data))
                if not secret.established:
                    continue
            while (message := _take(plain)) is not None:
                self.served += 1
                reply = self.answer(message)
                if reply is not None:
                    framed = delimited(reply)
                    sock.sendall(secret.seal(framed) if secret else framed)


def _dial(address: str) -> socket.socket:
    scheme, _, rest = address.partition("://")
    if scheme == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(DIAL_SECONDS)
        try:
            sock.connect(rest)
        except OSError:
            sock.close()
            raise
    else:
        host, _, port = rest.rpartition(":")
        sock = socket.create_connection((host, int(port)), DIAL_SECONDS)
    sock.settimeout(None)
    return sock


def _take(buffer: bytearray) -> bytes | None:
    head = read_uvarint(buffer)
    if head is None or len(buffer) < sum(head):
        return None
    length, start = head
    message = bytes(buffer[start : start + length])
    del buffer[: start + length]
    return message
