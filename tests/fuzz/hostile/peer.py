"""A member of a cluster with a proper identity that says whatever it likes: the product's own link, in bad hands.

It speaks from the home of a replica that does not run. What it knows of its guard it has read in that home, so that
its lies are as good as they can be.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cmkms.config import Flags, load_config
from cmkms.guard.born import BornMarker, read_marker
from cmkms.guard.claims import NO_FLOOR, GuardClaim, GuardPhase
from cmkms.guard.file import survey
from cmkms.guard.record import GuardRecord
from cmkms.home import Home
from cmkms.keys import load_identity
from cmkms.peers.frames import with_length
from cmkms.peers.messages import Hello, Message, Status
from tests.unit.peers.replica import Replica, eventually

__all__ = ["HostilePeer", "for_a_while"]

_PATIENCE: Final = 10.0
_TURN: Final = 0.001
"""How long an attack rests between two bursts: the attacked have their two processors, too."""


@dataclass
class HostilePeer:
    """`told` counts what honest replicas said to it; `record` is what its guard last held."""

    member: Replica
    record: GuardRecord
    marker: BornMarker
    others: tuple[str, ...]
    told: dict[str, int] = field(default_factory=dict[str, int])
    detail: str = ""

    @classmethod
    def of(cls, folder: Path, chain_id: str) -> HostilePeer:
        """Take over the home of a replica that does not run."""
        home = Home(folder)
        config = load_config(Flags(home=str(folder)), {})
        identity = load_identity(home.identity_file)
        record = survey(home.guard_file(chain_id).read_bytes()).highest
        marker = read_marker(home.born_marker(chain_id))
        assert record is not None
        assert marker is not None
        member = Replica(config.id, identity, config.peers, ttl_ms=round(config.default_ttl_seconds * 1000))
        others = tuple(peer.id for peer in config.peers if peer.id != config.id)
        found = cls(member, record, marker, others)
        member.says = lambda hello: replace(hello, guards=(found.claim,))
        return found

    @property
    def claim(self) -> GuardClaim:
        """What its guard would claim if it were honest."""
        record = self.record
        return GuardClaim(
            record.chain_id,
            record.key_hash,
            GuardPhase.ARMED,
            record.generation,
            record.nonce,
            record.sequence + 1000,
            record.hrs,
            NO_FLOOR,
        )

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[HostilePeer]:
        """Come up, as a process does, and go at the end without a word."""
        self.member.boot = os.urandom(16)
        await self.member.start()
        try:
            await eventually(lambda: self.member.connected() == set(self.others), _PATIENCE)
            yield self
        except TimeoutError:
            self.detail = f"{self.member.net.statuses()}, bugs: {self.member.bugs}"
            raise
        finally:
            await self.member.stop()

    def say(self, message: Message) -> None:
        """Say one thing to all others."""
        for other in self.others:
            self.member.net.send(other, message)

    def shout(self, data: bytes) -> None:
        """Put bytes as they are into all connections."""
        for other in self.others:
            session = self.member.net._links[other].session
            if session is not None and session._transport is not None:
                session._transport.write(data)

    def frame(self, data: bytes) -> None:
        """Put one frame of any content into all connections."""
        self.shout(with_length(data))

    def deaf(self, *, deaf: bool) -> None:
        """Read nothing any more, or again."""
        for other in self.others:
            session = self.member.net._links[other].session
            if session is not None and session._transport is not None:
                (session._transport.pause_reading if deaf else session._transport.resume_reading)()

    def hello(self) -> Hello:
        return self.member.hello()

    def status(self, *claims: GuardClaim, term: int = 0, holder: str = "") -> Status:
        """A heartbeat with these claims."""
        return Status(term, holder, self.others, 1, (self.record.chain_id,), claims or (self.claim,))

    def unsent(self) -> int:
        """Bytes that the attacked have not taken yet."""
        sessions = (self.member.net._links[other].session for other in self.others)
        transports = (session._transport for session in sessions if session is not None)
        return sum(transport.get_write_buffer_size() for transport in transports if transport is not None)


async def for_a_while(peer: HostilePeer, seconds: float, burst: Callable[[int], None]) -> int:
    """Go on with bursts, as fast as they are taken; returns how many."""
    deadline, number = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        if peer.unsent() < 1 << 20:
            burst(number)
            number += 1
        await asyncio.sleep(_TURN)
    return number
