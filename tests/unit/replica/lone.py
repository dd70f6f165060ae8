"""One replica of three, with everything around it in the test's hand: what it sends is kept, what it hears made up."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from structlog.typing import FilteringBoundLogger

from cmkms.cluster.terms import MemoryTermStore
from cmkms.peers.messages import Hello, HelloMember, Message, Status
from cmkms.replica.chain import Place
from cmkms.replica.member import PROTOCOL_VERSION, Replica
from cmkms.replica.ports import ChainPlan, Ports, Who
from tests.sim.cluster.hosts import Measured
from tests.unit.signing.delayed_quorum import StillClock

__all__ = ["IDS", "TTL_SECONDS", "Lone"]

IDS = ("node-0", "node-1", "node-2")
TTL_SECONDS = 0.4
Kind = TypeVar("Kind", bound=Message)
MEMBERS = tuple(HelloMember(name, "") for name in IDS)


@dataclass
class Log:
    """Keeps the lines that the replica writes."""

    lines: list[tuple[float, str, str]]
    clock: Callable[[], float]

    def _line(self, event: str, **_: object) -> None:
        self.lines.append((self.clock(), IDS[0], event))

    debug = info = warning = error = critical = _line


class Lone:
    """node-0. The others are what the test says of them."""

    def __init__(self, *places: Place, identity: bytes = b"i" * 32) -> None:
        self.clock = StillClock()
        self.sent: list[tuple[float, str, Message]] = []
        self.lines: list[tuple[float, str, str]] = []
        who = Who(IDS[0], identity, MEMBERS, TTL_SECONDS, b"b" * 16, "tested")
        ports = Ports(
            send=self._send,
            soon=lambda job: self.clock.later(0.0, job),
            timer=self.clock.later,
            clock=lambda: self.clock.now,
            terms=MemoryTermStore(),
            random=random.Random(1),
            log=cast("FilteringBoundLogger", Log(self.lines, lambda: self.clock.now)),
            observer=Measured(),
            nodes=lambda: 0,
        )
        self.replica = Replica(who, ports, tuple(ChainPlan(place) for place in places))

    def _send(self, member: str, message: Message) -> bool:
        self.sent.append((self.clock.now, member, message))
        return True

    def meet(self, member: str) -> None:
        """Another replica's session begins."""
        hello = Hello(PROTOCOL_VERSION, PROTOCOL_VERSION, "tested", member, member.encode().ljust(16), 400, MEMBERS, ())
        self.replica.peer_up(member, hashlib.sha256(member.encode()).digest(), hello)

    def hear_of(self, holder: str, *, by: str, able: tuple[str, ...] = ()) -> None:
        """A heartbeat says who holds the lease."""
        self.replica.received(by, Status(3, holder, IDS, 0, able, ()))

    def of_kind(self, kind: type[Kind]) -> list[tuple[float, str, Kind]]:
        return [(at, to, message) for at, to, message in self.sent if isinstance(message, kind)]

    def every(self, seconds: float, job: Callable[[], None], *, times: int) -> None:
        """Do something again and again."""
        for _ in range(times):
            job()
            self.clock.advance(seconds)
