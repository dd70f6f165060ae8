"""Non-blocking sockets awaited one operation at a time, with what the kernel says passed on unchanged.

A reader that is not asked for reads nothing: that is how a node fails to notice that its signer has gone, and the
simulated node must fail to notice it in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ListenAddress", "accept", "arrived", "listen", "peer_pid", "receive", "send_all"]

_BACKLOG: Final = 128
_RECEIVE_BYTES: Final = 65536

_CREDENTIALS: Final = struct.Struct("3i")
"""`struct ucred` of Linux: process, user, group."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a node listens for its signer: a host and port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Read `tcp://host:port`, `unix:///path` or a bare `host:port`, as `priv_validator_laddr` is read.

        Raises:
            ValueError: neither of these.
        """
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "tcp", text
        if scheme == "unix" and rest:
            return cls(path=rest)
        host, _, port = rest.rpartition(":")
        if scheme != "tcp" or not host or not port.isdigit():
            raise ValueError(f"listen address {text!r}: expected tcp://host:port or unix:///path")
        return cls(host=host.strip("[]"), port=int(port))

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"


def listen(address: ListenAddress) -> socket.socket:
    """A listening socket, non-blocking. A stale Unix socket is removed first, as an operator has to."""
    if address.path:
        path = Path(address.path)
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        listener = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address.path or (address.host, address.port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.settimeout(0)
    return listener


async def accept(listener: socket.socket, seconds: float) -> socket.socket:
    """The next connection of the backlog. Raises TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                await _readable(listener)
                continue
            connection.settimeout(0)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


async def receive(connection: socket.socket, seconds: float) -> bytes:
    """What has arrived; empty at the end of the stream. Raises TimeoutError and OSError."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return connection.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                await _readable(connection)


def arrived(connection: socket.socket) -> bytes:
    """What lies in the kernel's buffer now, without waiting; errors and the end of the stream are no matter."""
    data = b""
    with contextlib.suppress(OSError):
        while more := connection.recv(_RECEIVE_BYTES):
            data += more
    return data


def peer_pid(connection: socket.socket) -> int:
    """The process that dialled a Unix socket, as the kernel noted it then (SO_PEERCRED)."""
    noted = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(noted)[0]
    return pid


async def send_all(connection: socket.socket, data: bytes, seconds: float) -> None:
    """Send every byte, with at most `seconds` between two that get through. Raises TimeoutError and OSError."""
    view = memoryview(data)
    while view:
        async with asyncio.timeout(seconds):
            try:
                view = view[connection.send(view) :]
            except BlockingIOError:
                await _writable(connection)


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await _ready(lambda wake: loop.add_reader(sock, wake), lambda: loop.remove_reader(sock))


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await _ready(lambda wake: loop.add_writer(sock, wake), lambda: loop.remove_writer(sock))


async def _ready(watch: Callable[[Callable[[], None]], object], unwatch: Callable[[], object]) -> None:
    ready = asyncio.Event()
    watch(ready.set)
    try:
        await ready.wait()
    finally:
        unwatch()
