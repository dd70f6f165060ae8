"""What this machine and its disk allow: three bare processes that write, sync and pass bytes on, and do nothing else.

The shape of a signature by three replicas, without anything that makes it one: no TLS, no signature, no decision. No
signer on the same machine can be faster; how far one is from it is what its own work costs. Beside it the skeleton: the
same on the libraries that cmkms is made of.
"""

from __future__ import annotations

import argparse
import select
import socket
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table

from benchmarks.contenders import wide_console
from benchmarks.skeleton import SKELETON
from benchmarks.three import ACCEPT_BYTES, ANSWER_BYTES, CONNECT_SECONDS, Shape, Slots, measure, without_delay
from cmkms.harness.latency import Distribution

PARTS: Final = ("p50", "p90", "p99")
MAX_BYTES: Final = 65536


def some_of(sock: socket.socket) -> bytes:
    """Return what has come. Raises ConnectionError where nothing comes any more."""
    data = sock.recv(MAX_BYTES)
    if not data:
        raise ConnectionResetError("it hung up")
    return data


def follow(listener: socket.socket, _number: int, path: Path, sync: bool) -> None:
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


FLOOR: Final = Shape(follow, lead)
SHAPES: Final = {"floor: bare processes": FLOOR, "skeleton: Python, uvloop, TLS 1.3, a signature": SKELETON}


def main(argv: list[str]) -> int:
    """Measure in turns and print; returns the exit code."""
    parser = argparse.ArgumentParser(description="What three processes take on this machine and disk.")
    parser.add_argument("--count", type=int, default=3000, help="requests a round (3000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    wanted = parser.parse_args(argv)
    cases = [(name, shape, sync) for name, shape in SHAPES.items() for sync in (True, False)]
    measured: dict[tuple[str, bool], list[Distribution]] = {(name, sync): [] for name, _, sync in cases}
    for _ in range(wanted.rounds):
        for name, shape, sync in cases:
            measured[name, sync].append(measure(shape, wanted.count, sync=sync))
    table = Table(title="Three processes, ms", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for heading in ("", "fdatasync", *PARTS):
        table.add_column(heading, justify="right" if heading in PARTS else "left", no_wrap=True)
    for (name, sync), rounds in measured.items():
        medians = (statistics.median(getattr(one, part) for one in rounds) for part in PARTS)
        table.add_row(name, "yes" if sync else "no", *(f"{value:.3f}" for value in medians))
    wide_console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
