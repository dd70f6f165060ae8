"""What this machine and its disk allow: three bare processes that write, sync and pass bytes on, and do nothing else.

The shape of a signature by three replicas, without anything that makes it one: no TLS, no signature, no decision. No
signer on the same machine can be faster; how far one is from it is what its own work costs.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import select
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.contenders import wide_console
from cmkms.harness.latency import Distribution

REQUEST_BYTES: Final = 1060
"""A SecretConnection frame and its seal."""
ACCEPT_BYTES: Final = 400
ANSWER_BYTES: Final = 200
SLOT_BYTES: Final = 8192
MAX_BYTES: Final = 65536
CONNECT_SECONDS: Final = 10.0


def listening() -> socket.socket:
    """Listen on loopback."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


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


def until_hung_up(work: Callable[..., None], *arguments: object) -> None:
    """Do a process' work until somebody hangs up: the end of a round. Who still waits for an answer says so itself."""
    # Whoever runs the benchmark ends it; it ends these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ConnectionError):
        work(*arguments)


def some_of(sock: socket.socket) -> bytes:
    """Return what has come. Raises ConnectionError where nothing comes any more."""
    data = sock.recv(MAX_BYTES)
    if not data:
        raise ConnectionResetError("it hung up")
    return data


def follow(listener: socket.socket, path: Path, sync: bool) -> None:
    """Write and answer whatever comes."""
    slots = Slots(path, sync=sync)
    leader = without_delay(listener.accept()[0])
    while some_of(leader):
        slots.write()
        leader.sendall(bytes(ANSWER_BYTES))


def lead(listener: socket.socket, others: Sequence[tuple[str, int]], path: Path, sync: bool) -> None:
    """For each request ask the others, write, and answer when the first of them has."""
    slots = Slots(path, sync=sync)
    peers = [without_delay(socket.create_connection(address, CONNECT_SECONDS)) for address in others]
    answered = [0] * len(peers)
    node = without_delay(listener.accept()[0])
    number = 0
    while request := some_of(node):
        number += 1
        for peer in peers:
            peer.sendall(bytes(ACCEPT_BYTES))
        slots.write()
        while max(answered) < number * ANSWER_BYTES:
            for peer in select.select(peers, [], [])[0]:
                answered[peers.index(peer)] += len(some_of(peer))
        node.sendall(request)


def measure(count: int, *, sync: bool) -> Distribution:
    """The latency (ms) of so many requests, one after the other."""
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(prefix="cmkms-floor-") as folder:
        listeners = [listening() for _ in range(3)]
        addresses = [one.getsockname() for one in listeners]
        processes = [
            fork.Process(target=until_hung_up, args=(follow, one, Path(folder) / str(number), sync), daemon=True)
            for number, one in enumerate(listeners[1:])
        ]
        leading = (lead, listeners[0], addresses[1:], Path(folder) / "leader", sync)
        processes.append(fork.Process(target=until_hung_up, args=leading, daemon=True))
        for process in processes:
            process.start()
        try:
            with without_delay(socket.create_connection(addresses[0], CONNECT_SECONDS)) as node:
                return Distribution.of([ask(node) * 1e3 for _ in range(count)][count // 10 :])
        finally:
            for process in processes:
                process.terminate()
                process.join()
            for one in listeners:
                one.close()


def ask(node: socket.socket) -> float:
    """Ask once; returns the seconds until the answer was there. Raises ConnectionError where none comes."""
    began = time.perf_counter()
    node.sendall(bytes(REQUEST_BYTES))
    some_of(node)
    return time.perf_counter() - began


def main(argv: list[str]) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description="What three bare processes take on this machine and disk.")
    parser.add_argument("--count", type=int, default=3000, help="requests a round (3000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    wanted, console = parser.parse_args(argv), wide_console()
    for name, sync in (("with fdatasync", True), ("without", False)):
        rounds = [measure(wanted.count, sync=sync) for _ in range(wanted.rounds)]
        shown = ", ".join(
            f"{part} {statistics.median(getattr(one, part) for one in rounds):.3f}" for part in ("p50", "p90", "p99")
        )
        console.print(f"three bare processes, {name}: {shown} ms", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
