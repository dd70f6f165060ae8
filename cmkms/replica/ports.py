"""What a replica of several is given: who it is, how it reaches the world, what it serves. Plain values."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from cmkms.cluster.terms import TermStore
from cmkms.guard.quorum import Timer
from cmkms.peers.messages import HelloMember, Message
from cmkms.replica.chain import Place, ReplicaObserver

__all__ = ["ChainPlan", "Ports", "Who"]


@dataclass(frozen=True, slots=True)
class Who:
    """Who this replica is. `identity` is the SHA-256 of its public identity key, `boot` random for each process."""

    me: str
    identity: bytes
    members: tuple[HelloMember, ...]
    ttl_seconds: float
    boot: bytes
    release: str

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all members, in order."""
        return tuple(sorted(member.id for member in self.members))


@dataclass(frozen=True, slots=True)
class Ports:
    """How a replica reaches the world. `clock` is CLOCK_BOOTTIME; `nodes` counts the node connections in use."""

    send: Callable[[str, Message], bool]
    soon: Callable[[Callable[[], None]], object]
    timer: Timer
    clock: Callable[[], float]
    terms: TermStore
    random: random.Random
    log: FilteringBoundLogger
    observer: ReplicaObserver
    nodes: Callable[[], int]


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """A chain to serve, and how long its nodes wait in an outage (s; None: for as long as it takes)."""

    place: Place
    refuse_after: float | None = None
