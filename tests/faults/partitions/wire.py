"""The network between hosts: carries each IP packet from where it comes to where it is addressed, or does not.

It drops by direction, and delays, loses, doubles and reorders by chance drawn from a seed. What it carries it never
changes, and it knows nothing of connections: those are the kernel's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tests.faults.partitions.namespaces import Host

__all__ = ["FAIR", "FOUL", "Network", "Weather"]

_PACKET_BYTES: Final = 65536
_PACKETS_AT_ONCE: Final = 64
"""Read from one host before the others are looked at."""
_IPV4: Final = 4
_HEADER_BYTES: Final = 20
_SOURCE: Final = slice(12, 16)
_TARGET: Final = slice(16, 20)


@dataclass(frozen=True, slots=True)
class Weather:
    """What befalls each packet: seconds of delay, give or take `jitter`, and shares of packets.

    `reordered` packets are not delayed, and so come before others. Without delay nothing is reordered.
    """

    delay: float = 0.0
    jitter: float = 0.0
    lost: float = 0.0
    reordered: float = 0.0
    doubled: float = 0.0


FAIR: Final = Weather()
FOUL: Final = Weather(delay=0.05, jitter=0.02, lost=0.05, reordered=0.25, doubled=0.01)
"""Tens of milliseconds, one packet in twenty lost, one in four out of order: a bad day between continents."""


class Network:
    """Carries packets between these hosts from `start` to `close`, in the loop that runs.

    `weather` holds between all hosts; `cut` and `mend` go by address and direction.
    """

    def __init__(self, hosts: Iterable[Host], seed: int = 0) -> None:
        self._hosts = tuple(hosts)
        self._wires = {_packed(address): host.wire for host in self._hosts for address in host.addresses}
        self._cut: set[tuple[bytes, bytes]] = set()
        self._random = random.Random(seed)
        self.weather = FAIR
        self.counts: Counter[str] = Counter()
        """Packets that were carried, cut, lost, delayed, reordered, doubled, or that no host took."""

    def start(self) -> None:
        """Begin to carry."""
        for host in self._hosts:
            asyncio.get_running_loop().add_reader(host.wire, self._carry, host.wire)

    def close(self) -> None:
        """Carry nothing any more."""
        for host in self._hosts:
            asyncio.get_running_loop().remove_reader(host.wire)

    def cut(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Drop whatever these addresses send to those. The other direction stays as it is."""
        self._cut |= _pairs(sources, targets)

    def cut_both(self, some: Iterable[str], others: Iterable[str]) -> None:
        """Drop whatever goes between these addresses and those."""
        some, others = tuple(some), tuple(others)
        self.cut(some, others)
        self.cut(others, some)

    def mend(self) -> None:
        """No cuts any more, and fair weather. What is on its way arrives."""
        self._cut.clear()
        self.weather = FAIR

    def _carry(self, wire: int) -> None:
        for _ in range(_PACKETS_AT_ONCE):
            try:
                packet = os.read(wire, _PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:  # its interface is down
                return
            self._send(packet)

    def _send(self, packet: bytes) -> None:
        if len(packet) < _HEADER_BYTES or packet[0] >> 4 != _IPV4:
            return  # the kernel's own IPv6 chatter
        source, target = packet[_SOURCE], packet[_TARGET]
        if (source, target) in self._cut:
            self.counts["cut"] += 1
            return
        weather = self.weather
        if weather is FAIR:
            self._deliver(target, packet)
            return
        if self._random.random() < weather.lost:
            self.counts["lost"] += 1
            return
        copies = 2 if self._random.random() < weather.doubled else 1
        self.counts["doubled"] += copies - 1
        for _ in range(copies):
            self._delay(weather, target, packet)

    def _delay(self, weather: Weather, target: bytes, packet: bytes) -> None:
        if self._random.random() < weather.reordered:
            self.counts["reordered"] += 1
            self._deliver(target, packet)
            return
        self.counts["delayed"] += 1
        seconds = weather.delay + self._random.uniform(-weather.jitter, weather.jitter)
        asyncio.get_running_loop().call_later(max(0.0, seconds), self._deliver, target, packet)

    def _deliver(self, target: bytes, packet: bytes) -> None:
        wire = self._wires.get(target)
        if wire is None:
            self.counts["strayed"] += 1
            return
        self.counts["carried"] += 1
        with contextlib.suppress(OSError):  # its interface is down: nobody is there to take it
            os.write(wire, packet)


def _packed(address: str) -> bytes:
    return bytes(int(part) for part in address.split("."))


def _pairs(sources: Iterable[str], targets: Iterable[str]) -> set[tuple[bytes, bytes]]:
    targets = tuple(targets)
    return {(_packed(source), _packed(target)) for source in sources for target in targets if source != target}
