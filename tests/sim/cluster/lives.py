"""One life of a replica on a simulated machine: the real code, driven as `cmkms/membership.py` drives it.

Whatever reaches it goes through `Process.run`, which is where it dies, waits while it is stopped, and takes its time
over a slow disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, cast

from structlog.typing import FilteringBoundLogger

from cmkms.cluster.timing import Timing
from cmkms.config import HostPort, Peer
from cmkms.errors import DiskError
from cmkms.guard import birth
from cmkms.guard.birth import GuardRefusedError, JoiningGuard, OpenedGuard, UnarmedGuard, Unborn, open_guard
from cmkms.guard.born import MarkerError, read_marker
from cmkms.guard.guard import Guard, GuardClocks
from cmkms.guard.released import load_released, store_released
from cmkms.guard.state_file import SignState
from cmkms.peers.links import PeerLink
from cmkms.peers.messages import Goodbye, HelloMember, Message
from cmkms.peers.network import PeerNetwork
from cmkms.peers.session import Session
from cmkms.replica.chain import Place, ReplicaChain
from cmkms.replica.member import BEAT_SECONDS, Replica
from cmkms.replica.ports import ChainPlan, Ports, Who
from tests.sim.cluster.events import Scheduled
from tests.sim.cluster.hosts import Host, Log, Measured
from tests.sim.cluster.judge import WatchedKey
from tests.sim.cluster.tcp import certificate_of
from tests.sim.guard.disk import Killed
from tests.unit.signing.messages import CHAIN

if TYPE_CHECKING:
    from tests.sim.cluster.links import Links

__all__ = ["TTL_SECONDS", "PeerLinks", "Process"]

TTL_SECONDS = 0.4
RELEASED_SECONDS = 1.0
NONCES = "random_bytes"
"""Where `cmkms/guard/birth.py` gets the nonces of new guard files from."""


@dataclass(frozen=True, slots=True)
class _Loop:
    """The part of an event loop that sessions use. Handles are real futures of asyncio's."""

    process: Process

    def time(self) -> float:
        return self.process.host.clock()

    def call_later(self, delay: float, job: Callable[..., object], *args: object) -> Scheduled:
        return self.process.later(delay, lambda: job(*args))

    def call_soon(self, job: Callable[..., object], *args: object, **_: object) -> Scheduled:
        return self.process.later(0.0, lambda: job(*args))

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.Future(loop=cast("asyncio.AbstractEventLoop", self))

    def get_debug(self) -> bool:
        return False


class PeerLinks(PeerNetwork):
    """The real peer link but for what it asks the operating system: `Links` dials and looks in its place."""

    def __init__(self, process: Process, links: Links) -> None:
        host = process.host
        peers = tuple(
            Peer(one.name, HostPort("127.0.0.1", 1), one.key.public_key.hex()) for one in links.hosts.values()
        )
        observer = _Told(host, process)
        super().__init__(
            host.name, host.key, peers, HostPort("127.0.0.1", 1), process.boot, process.replica, observer, process.fatal
        )
        self._process = process
        self._simulated = links

    @property
    def credentials(self) -> bytes:
        return certificate_of(self._credentials._leaf.pem)

    def link(self, member: str) -> PeerLink:
        return self._links[member]

    def unreachable(self, member: str, error: OSError) -> None:
        self._unreachable(self._links[member], error)

    def say_goodbye(self) -> None:
        """As `stop` does it."""
        self._stopping = True
        for link in self._links.values():
            if link.session is not None:
                link.session.leave("this replica stops", Goodbye())

    def ended(self, session: Session) -> None:
        link = self._links.get(session.member)
        counts = link is not None and link.session is session
        super().ended(session)
        if counts and not self._stopping:
            self._simulated.probe(self._process, session.member)

    def _spawn(self, job: Any) -> None:
        job.close()


@dataclass(frozen=True, slots=True)
class _Told:
    """Implements `PeerObserver`: what becomes of the links is part of the story."""

    host: Host
    process: Process

    def connection(self, member: str, state: str, detail: str) -> None:
        if state != "unreachable":
            self.host.tell(f"link to {member} {state}" + (f": {detail}" if detail else ""))

    def stranger(self, address: str, why: str) -> None:
        if self.process.alive:
            self.host.tell(f"stranger at {address}: {why}")


class Process:
    """One life of a replica. While it is stopped, or its disk is slow, whatever reaches it waits."""

    def __init__(self, host: Host, links: Links, died: Callable[[Process], None]) -> None:
        self.host = host
        self.alive = True
        self.stopped = False
        self.nodes = 0
        self._busy = False
        self._died = died
        self._send: Callable[[Process, str, Message], bool] = links.send
        self.loop = _Loop(self)
        self.measured = Measured()
        self.error: BaseException | None = None
        self._backlog: list[tuple[object, Callable[[], object]]] = []
        self._stored: SignState | None = None
        self.boot = host.random.randbytes(16)
        host.lag = 0.0
        self.replica = self._open()
        self.network = PeerLinks(self, links)
        self.certificate = self.network.credentials
        guard = self.chain.guard
        if guard is not None:
            guard.on_fuse = lambda _reason, _disk_failed: self.replica.fuse_blown()
        self._every(Timing.of(TTL_SECONDS).tick, self.replica.tick)
        self._every(BEAT_SECONDS, self.replica.beat)
        self._every(RELEASED_SECONDS, self._store_released)

    @property
    def chain(self) -> ReplicaChain:
        return self.replica.chains[CHAIN]

    @property
    def holds(self) -> bool:
        return self.replica.coordination.holds

    # ----------------------------------------------------------------------------------------------- what befalls it

    def run(self, job: Callable[[], object], source: object = None) -> None:
        """Let something reach this process; it may die of it. What comes from one `source` keeps its order."""
        if not self.alive:
            return
        if self.stopped or self._busy:
            self._backlog.append((source, job))
            return
        try:
            job()
        except Killed:
            self._died(self)
            return
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        lag, self.host.lag = self.host.lag, 0.0
        if lag and self.alive:
            self._busy = True
            self.host.events.later(lag, self._rested)

    def fatal(self, error: BaseException) -> None:
        """A bug was found in the midst of a callback: the run ends by it."""
        self.error = self.error or error

    def end(self) -> None:
        self.alive = False
        self.host.lag = 0.0
        self.host.disk.kill()

    def resume(self, shuffle: Random | None = None) -> None:
        """Go on after a stop, if there was one: what came meanwhile, in its order, or in any that an epoll may give."""
        self.stopped = False
        if shuffle is not None:
            self._backlog = _merged_by_chance(self._backlog, shuffle)
        self._catch_up()

    def _rested(self) -> None:
        self._busy = False
        self._catch_up()

    def _catch_up(self) -> None:
        if self.stopped or self._busy:
            return
        backlog, self._backlog = self._backlog, []
        for source, job in backlog:
            self.run(job, source)

    # ---------------------------------------------------------------------------------------------------------- peers

    def new_session(self, far: str, *, dialled: bool) -> Session:
        with _running(self.loop):
            return Session(self.network, far, dialled=dialled)

    # -------------------------------------------------------------------------------------------------------- inside

    def _open(self) -> Replica:
        host = self.host
        guard, refused, note = self._open_guard()
        if note:
            host.tell(note)
        released = load_released(host.site)
        opened = guard.guard if isinstance(guard, UnarmedGuard | JoiningGuard) else guard
        record = opened.record if opened is not None else None
        if released is not None and record is not None and released.hrs < record.hrs:
            released = None
        self._stored = released
        marker = read_marker(host.site.home.born_marker(CHAIN))
        key = WatchedKey(host.name, host.judge)
        place = Place(host.site, key, guard, marker, refused, released, host.disk)
        members = tuple(HelloMember(name, "") for name in host.names)
        who = Who(host.name, host.identity, members, TTL_SECONDS, self.boot, "simulated")
        ports = Ports(
            send=lambda member, message: self._send(self, member, message),
            soon=lambda job: self.later(0.0, job),
            timer=self.later,
            clock=host.clock,
            terms=host.terms,
            random=host.random,
            log=cast("FilteringBoundLogger", Log(host)),
            observer=self.measured,
            nodes=lambda: self.nodes,
        )
        return Replica(who, ports, (ChainPlan(place),))

    def _open_guard(self) -> tuple[Guard | UnarmedGuard | JoiningGuard | None, str, str]:
        """As `cmkms/served.py` does it: a guard that is refused is no reason not to start, where others may go on."""
        host = self.host
        clocks = GuardClocks(wall=host.wall, monotonic=host.clock)
        try:
            with _seeded_nonces(host.random):
                opened = open_guard(host.site, host.disk, never_signed=host.never_signed, clocks=clocks)
        except (GuardRefusedError, MarkerError) as error:
            return None, str(error), f"the guard is refused: {error}"
        assert not isinstance(opened, Unborn)
        for note in opened.notes:
            host.tell(note)
        return (opened.guard if isinstance(opened, OpenedGuard) else opened), "", ""

    def later(self, delay: float, job: Callable[[], Any], /) -> Scheduled:
        """Run `job` after so many seconds by this machine's clock."""

        def ring() -> None:
            # Called off while the process was stopped: then it is not run either.
            self.run(lambda: None if one.off else job(), "timers")

        host = self.host
        one = host.events.later(max(delay, 0.0) / host.rate + host.lag, ring)
        return one

    def _every(self, seconds: float, job: Callable[[], None]) -> None:
        def again() -> None:
            job()
            self.later(seconds, again)

        self.later(seconds * self.host.random.random(), again)

    def _store_released(self) -> None:
        released = self.chain.signer.released
        if released is not None and released is not self._stored:
            self._stored = released
            try:
                store_released(self.host.site, self.host.disk, released)
            except DiskError as error:
                self.host.tell(f"warns: {error}")


def _merged_by_chance(
    backlog: list[tuple[object, Callable[[], object]]], random: Random
) -> list[tuple[object, Callable[[], object]]]:
    """Mix what came from different sources in any order; each source's own order stays."""
    queues: dict[int, list[tuple[object, Callable[[], object]]]] = {}
    for source, job in backlog:
        queues.setdefault(id(source), []).append((source, job))
    waiting = [queue[::-1] for queue in queues.values()]
    merged: list[tuple[object, Callable[[], object]]] = []
    while waiting:
        queue = random.choice(waiting)
        merged.append(queue.pop())
        if not queue:
            waiting.remove(queue)
    return merged


@contextmanager
def _running(loop: _Loop) -> Generator[None]:
    """Sessions ask asyncio for the loop that runs."""
    asyncio._set_running_loop(cast("asyncio.AbstractEventLoop", loop))
    try:
        yield
    finally:
        asyncio._set_running_loop(None)


@contextmanager
def _seeded_nonces(random: Random) -> Generator[None]:
    """A guard's nonce comes from the seed, or no run would repeat itself to the byte."""
    real = vars(birth)[NONCES]
    setattr(birth, NONCES, random.randbytes)
    try:
        yield
    finally:
        setattr(birth, NONCES, real)
