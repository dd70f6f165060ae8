"""Three processes in the shape of a signature by three replicas, and a stopwatch: what floor and skeleton share."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cmkms.harness.latency import Distribution

__all__ = [
    "ACCEPT_BYTES",
    "ANSWER_BYTES",
    "CONNECT_SECONDS",
    "REQUEST_BYTES",
    "Shape",
    "Slots",
    "measure",
    "without_delay",
]

REQUEST_BYTES: Final = 1060
"""A SecretConnection frame and its seal."""
ACCEPT_BYTES: Final = 400
ANSWER_BYTES: Final = 200
SLOT_BYTES: Final = 8192
CONNECT_SECONDS: Final = 10.0


def without_delay(sock: socket.socket) -> socket.socket:
    """Send at once, as every signer does."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Slots:
    """A file of two slots, written in place by turns, as a guard's is."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._sync = sync
        self._count = 0
        os.pwrite(self._descriptor, bytes(2 * SLOT_BYTES), 0)
        os.fsync(self._descriptor)

    def write(self) -> None:
        """Write a slot, and have it on disk."""
        self._count += 1
        os.pwrite(self._descriptor, bytes([self._count & 255]) * SLOT_BYTES, self._count % 2 * SLOT_BYTES)
        if self._sync:
            os.fdatasync(self._descriptor)


class Shape(NamedTuple):
    """What they do. Each gets its listener, its number or the followers' addresses, its file, and whether to sync."""

    follow: Callable[[socket.socket, int, Path, bool], None]
    lead: Callable[[socket.socket, Sequence[tuple[str, int]], Path, bool], None]


def measure(shape: Shape, count: int, *, sync: bool) -> Distribution:
    """The latency (ms) of so many requests, one after the other."""
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(prefix="cmkms-floor-") as folder:
        listeners = [_listening() for _ in range(3)]
        paths = [Path(folder) / str(number) for number in range(3)]
        leading = (shape.lead, listeners[0], [one.getsockname() for one in listeners[1:]], paths[0], sync)
        processes = [fork.Process(target=_run, args=leading, daemon=True)]
        for number, one in enumerate(listeners[1:], start=1):
            following = (shape.follow, one, number, paths[number], sync)
            processes.append(fork.Process(target=_run, args=following, daemon=True))
        for process in processes:
            process.start()
        try:
            with without_delay(socket.create_connection(listeners[0].getsockname(), CONNECT_SECONDS)) as node:
                return Distribution.of([_ask(node) * 1e3 for _ in range(count)][count // 10 :])
        finally:
            for process in processes:
                process.terminate()
                process.join()
            for one in listeners:
                one.close()


def _run(work: Callable[..., None], *arguments: object) -> None:
    # Whoever runs the benchmark ends it; it ends these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ConnectionError):  # somebody hung up: the end of a round. Who still waits says so itself
        work(*arguments)


def _listening() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


def _ask(node: socket.socket) -> float:
    """Ask once; returns the seconds until the answer was there. Raises ConnectionError where none comes."""
    began = time.perf_counter()
    node.sendall(bytes(REQUEST_BYTES))
    if not node.recv(REQUEST_BYTES):
        raise ConnectionResetError("it hung up")
    return time.perf_counter() - began
