"""A machine of the simulated cluster, and the lives of the replica on it: the real code on a disk that can lose power.

The guard's file lies on the simulated disk; its small companions (markers, what was released) lie in a real folder and
are taken for durable at once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, cast

from structlog.typing import FilteringBoundLogger

from cmkms.cluster.terms import MemoryTermStore
from cmkms.guard.birth import OpenedGuard, UnarmedGuard, open_guard
from cmkms.guard.born import read_marker
from cmkms.guard.file import survey
from cmkms.guard.guard import Guard, GuardClocks
from cmkms.guard.hrs import HRS, NEVER
from cmkms.guard.released import load_released, store_released
from cmkms.guard.site import GuardSite
from cmkms.guard.state_file import SignState
from cmkms.home import Home
from cmkms.peers.messages import HelloMember, Message
from cmkms.replica.chain import Place, ReplicaChain
from cmkms.replica.member import BEAT_SECONDS, Replica
from cmkms.replica.ports import ChainPlan, Ports, Who
from cmkms.signing import ForwardResult, Waiter
from tests.sim.cluster.events import Events, Scheduled
from tests.sim.cluster.judge import WatchedKey
from tests.sim.guard.disk import Killed, SimulatedDisk
from tests.unit.signing.messages import CHAIN, KEY

__all__ = ["TTL_SECONDS", "Host", "Process"]

TTL_SECONDS = 0.4
RELEASED_SECONDS = 1.0
WALL_BEGINS = 1_800_000_000.0


class HostDisk(SimulatedDisk):
    """Keeps the guard's file in memory, with a page cache to lose, and everything else in the folder."""

    def create(self, path: Path, data: bytes) -> None:
        if path.name == "guard":
            super().create(path, data)
            return
        self.passes()
        path.write_bytes(data)
        self.passes()

    def rename(self, old: Path, new: Path) -> None:
        self.passes()
        old.rename(new)
        self.passes()

    def make_dir(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)


@dataclass
class Log:
    """Keeps the lines that a replica writes."""

    lines: list[tuple[float, str, str]]
    name: str
    clock: Callable[[], float]

    def _line(self, event: str, **_: object) -> None:
        self.lines.append((self.clock(), self.name, event))

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
    judge: Callable[[bytes], None]
    lines: list[tuple[float, str, str]]
    boot: float = 0.0
    wall_jump: float = 0.0
    disk: HostDisk = field(default_factory=HostDisk)
    terms: MemoryTermStore = field(default_factory=MemoryTermStore)
    process: Process | None = None
    never_signed: bool = True

    @property
    def identity(self) -> bytes:
        return hashlib.sha256(f"identity of {self.name}".encode()).digest()

    @property
    def site(self) -> GuardSite:
        state_file = self.home.path / "priv" / "priv_validator_state.json"
        return GuardSite(self.home, CHAIN, self.name, self.identity, KEY.type_name, KEY.pub_key, state_file, self.names)

    @property
    def watermark(self) -> tuple[HRS, bytes | None]:
        """What would be left of the guard if the power went now."""
        medium = self.disk.media.get(self.site.path)
        record = survey(bytes(medium.platter)).highest if medium is not None else None
        return (NEVER, None) if record is None else (record.hrs, record.sign_bytes)

    def clock(self) -> float:
        return self.boot + self.events.now

    def wall(self) -> float:
        return WALL_BEGINS + self.events.now + self.wall_jump


class Process:
    """One life of a replica. While it is stopped, whatever reaches it waits."""

    def __init__(
        self, host: Host, send: Callable[[Process, str, Message], bool], died: Callable[[Process], None]
    ) -> None:
        self.host = host
        self.alive = True
        self.stopped = False
        self.nodes = 0
        self._send = send
        self._died = died
        self.measured = Measured()
        self._backlog: list[Callable[[], None]] = []
        self._stored: SignState | None = None
        self.replica = self._open()
        guard = self.chain.guard
        if guard is not None:
            guard.on_fuse = lambda _reason, _disk_failed: self.replica.fuse_blown()
        self._every(0.01, self.replica.tick)
        self._every(BEAT_SECONDS, self.replica.beat)
        self._every(RELEASED_SECONDS, self._store_released)

    @property
    def chain(self) -> ReplicaChain:
        return self.replica.chains[CHAIN]

    @property
    def holds(self) -> bool:
        return self.replica.coordination.holds

    # ----------------------------------------------------------------------------------------------- what befalls it

    def run(self, job: Callable[[], object]) -> None:
        """Let something reach this process; it may die of it."""
        if not self.alive:
            return
        if self.stopped:
            self._backlog.append(lambda: self.run(job))
            return
        try:
            job()
        except Killed:
            self._died(self)

    def end(self) -> None:
        self.alive = False
        self.host.disk.kill()

    def resume(self) -> None:
        """Go on after a stop, if there was one: everything that came meanwhile, in its order."""
        self.stopped = False
        backlog, self._backlog = self._backlog, []
        for job in backlog:
            job()

    # --------------------------------------------------------------------------------------------------------- nodes

    def submit(self, waiter: Waiter) -> None:
        self.run(lambda: self.chain.dispatch.submit(waiter))

    def withdraw(self, waiter: Waiter) -> None:
        self.run(lambda: self.chain.dispatch.withdraw(waiter))

    # -------------------------------------------------------------------------------------------------------- inside

    def _open(self) -> Replica:
        host = self.host
        clocks = GuardClocks(wall=host.wall, monotonic=host.clock)
        opened = open_guard(host.site, host.disk, never_signed=host.never_signed, clocks=clocks)
        assert isinstance(opened, OpenedGuard | UnarmedGuard)
        guard: Guard | UnarmedGuard = opened.guard if isinstance(opened, OpenedGuard) else opened
        released = load_released(host.site)
        record = opened.guard.record
        if released is not None and record is not None and released.hrs < record.hrs:
            released = None
        self._stored = released
        marker = read_marker(host.site.home.born_marker(CHAIN))
        key = WatchedKey(host.judge)
        place = Place(host.site, key, guard, marker, "", released, host.disk)
        boot = host.random.randbytes(16)
        members = tuple(HelloMember(name, "") for name in host.names)
        who = Who(host.name, host.identity, members, TTL_SECONDS, boot, "simulated")
        ports = Ports(
            send=lambda member, message: self._send(self, member, message),
            soon=lambda job: self._later(0.0, job),
            timer=self._later,
            clock=host.clock,
            terms=host.terms,
            random=host.random,
            log=cast("FilteringBoundLogger", Log(host.lines, host.name, lambda: host.events.now)),
            observer=self.measured,
            nodes=lambda: self.nodes,
        )
        return Replica(who, ports, (ChainPlan(place),))

    def _later(self, delay: float, job: Callable[[], Any], /) -> Scheduled:
        def ring() -> None:
            # Called off while the process was stopped: then it is not run either.
            self.run(lambda: None if one.off else job())

        one = self.host.events.later(delay, ring)
        return one

    def _every(self, seconds: float, job: Callable[[], None]) -> None:
        def again() -> None:
            job()
            self._later(seconds, again)

        self._later(seconds * self.host.random.random(), again)

    def _store_released(self) -> None:
        released = self.chain.signer.released
        if released is not None and released is not self._stored:
            self._stored = released
            store_released(self.host.site, self.host.disk, released)
