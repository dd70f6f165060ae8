"""A machine of the simulated cluster: its disk, its clocks, its power, and what is told of it.

The guard's file lies on the simulated disk; its small companions (markers, what was released) lie in a real folder and
are taken for durable at once.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from cmkms.cluster.terms import MemoryTermStore
from cmkms.errors import DiskError
from cmkms.guard.disk import OpenFile
from cmkms.guard.hrs import HRS, NEVER, Step
from cmkms.guard.site import GuardSite
from cmkms.harness.guard_files import Watermark, read_watermark
from cmkms.home import Home
from cmkms.keys.identity import Identity
from cmkms.signing import ForwardResult
from tests.sim.cluster.events import Events
from tests.sim.guard.disk import SimulatedDisk, SimulatedFile
from tests.unit.signing.messages import CHAIN, KEY

if TYPE_CHECKING:
    from tests.sim.cluster.lives import Process

__all__ = ["Host", "HostDisk", "Log", "Measured"]

WALL_BEGINS = 1_800_000_000.0

Key = Callable[[str, bytes], None]


class HostDisk(SimulatedDisk):
    """Keeps the guard's file in memory, with a page cache to lose, and everything else in the folder."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: Callable[[], None] = lambda: None
        """Called when a sync of the guard's file has come back."""

    def open_locked(self, path: Path) -> OpenFile:
        super().open_locked(path)
        return _Watched(self, path, self.media[path])

    def create(self, path: Path, data: bytes) -> None:
        if path.name == "guard":
            super().create(path, data)
            self.flushed()
            return
        self.passes()
        if self.full:
            raise DiskError(f"{path}: could not be written: {os.strerror(errno.ENOSPC)}")
        path.write_bytes(data)
        self.passes()

    def rename(self, old: Path, new: Path) -> None:
        if old.name == "guard":
            super().rename(old, new)
            return
        self.passes()
        old.rename(new)
        self.passes()

    def make_dir(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)


class _Watched(SimulatedFile):
    """Tells of each sync, as what is durable then may be answered for."""

    def sync(self) -> None:
        super().sync()
        disk = self._disk
        if isinstance(disk, HostDisk):
            disk.flushed()


@dataclass
class Log:
    """Keeps the lines that a replica writes."""

    host: Host

    def _line(self, event: str, **details: object) -> None:
        host = self.host
        host.lines.append((host.events.now, host.name, event))
        host.tell(event + "".join(f", {name}: {value}" for name, value in details.items() if name != "chain"))

    debug = info = warning = error = critical = _line


@dataclass
class Measured:
    """Implements `ReplicaObserver`: who was known to hold the lease, and what became of what was forwarded."""

    leaders: list[str] = field(default_factory=list[str])
    results: Counter[str] = field(default_factory=Counter[str])

    def quorum(self, chain_id: str, seconds: float) -> None:  # noqa: ARG002 - see `ReplicaObserver`
        assert seconds >= 0

    def forwarded(self, chain_id: str, result: ForwardResult) -> None:  # noqa: ARG002 - see `ReplicaObserver`
        self.results[result] += 1

    def leader(self, replica_id: str) -> None:
        self.leaders.append(replica_id)


@dataclass
class Host:
    """One machine: what outlives the processes on it. `boot` is how long it was up when the simulation began."""

    name: str
    names: tuple[str, ...]
    home: Home
    events: Events
    random: Random
    judge: Key
    lines: list[tuple[float, str, str]]
    told: Callable[[str, str], None]
    boot: float = 0.0
    wall_jump: float = 0.0
    disk: HostDisk = field(default_factory=HostDisk)
    terms: MemoryTermStore = field(default_factory=MemoryTermStore)
    process: Process | None = None
    never_signed: bool = True
    powered: bool = True
    lag: float = 0.0
    """Seconds that the job under way has spent on the disk: what it sends leaves later by as much."""
    sync_seconds: tuple[float, float] = (0.0, 0.0)
    """What a sync of the guard's file takes, at least and at most."""
    rate: float = 1.0
    """How fast its clocks run."""
    _turned_at: float = 0.0

    def __post_init__(self) -> None:
        # Not the key that signs blocks: that one is the same on every machine.
        self.key = Identity.from_seed(hashlib.sha256(f"identity of {self.name}".encode()).digest())

    @property
    def identity(self) -> bytes:
        return hashlib.sha256(self.key.public_key).digest()

    @cached_property
    def site(self) -> GuardSite:
        state_file = self.home.path / "priv" / "priv_validator_state.json"
        return GuardSite(self.home, CHAIN, self.name, self.identity, KEY.type_name, KEY.pub_key, state_file, self.names)

    @cached_property
    def _guard_file(self) -> Path:
        return self.site.path

    @property
    def stored(self) -> Watermark | None:
        """What would be left of the guard if the power went now, read by the judge's own reader."""
        medium = self.disk.media.get(self._guard_file)
        return None if medium is None else read_watermark(bytes(medium.platter))

    @property
    def watermark(self) -> tuple[HRS, bytes | None]:
        """The same, in the product's words."""
        stored = self.stored
        return (
            (NEVER, None)
            if stored is None
            else (HRS(stored.height, stored.round, Step(stored.step)), stored.sign_bytes)
        )

    def wait_for_the_disk(self) -> None:
        """A sync has come back: the job under way has stood still for so long."""
        if self.process is not None and self.sync_seconds[1]:
            self.lag += self.random.uniform(*self.sync_seconds)

    def tell(self, what: str) -> None:
        self.told(self.name, what)

    def clock(self) -> float:
        """CLOCK_BOOTTIME."""
        return self.boot + (self.events.now - self._turned_at + self.lag) * self.rate

    def wall(self) -> float:
        return WALL_BEGINS + self.events.now + self.wall_jump

    def turn_rate(self, rate: float) -> None:
        """From now on its clocks run at another speed; no clock jumps by it."""
        self.boot, self._turned_at, self.rate = self.clock(), self.events.now, rate

    def lose_time(self, seconds: float) -> None:
        """A virtual machine that was frozen did not see this time pass."""
        self.boot -= seconds * self.rate
