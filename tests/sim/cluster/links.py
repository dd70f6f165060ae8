"""The network between the replicas: the real sessions and the real link over simulated TCP, cut and slowed by a seed.

Who dials whom, how often, and what a dial finds follows `cmkms/peers/network.py`. A cut holds messages up, as a network
does to TCP; only sessions that hear nothing, and kernels that still run, end a connection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import combinations
from random import Random

from cmkms.peers.messages import Message
from cmkms.peers.network import PROBE_AFTER_SECONDS, REDIAL_SECONDS
from tests.sim.cluster.events import Events
from tests.sim.cluster.hosts import Host
from tests.sim.cluster.lives import Process
from tests.sim.cluster.tcp import Connection

__all__ = ["Links", "Way"]

DELAY_SECONDS = (0.0001, 0.001)
HANDSHAKE_SECONDS = (0.002, 0.006)
RETRANSMISSION_SECONDS = (0.0, 1.2)
"""Linux begins at 0.2 s and doubles it."""
Way = tuple[str, str]


class Links:
    """`hosts` are all machines. Directions are cut one by one: `cut` holds (from, to)."""

    def __init__(self, hosts: dict[str, Host], events: Events, random: Random) -> None:
        self.hosts = hosts
        self.events = events
        self._random = random
        self._connections: list[Connection] = []
        self._cuts: Counter[Way] = Counter()
        self.slow: dict[Way, tuple[float, float]] = {}
        """Ways on which everything takes longer by so many seconds, at least and at most."""
        self.rough = False
        """Whether deaths and losses may cost the last of what was sent, and what was held up comes late."""
        self.sent = 0

    # ----------------------------------------------------------------------------------------------------------- cuts

    @property
    def cut(self) -> set[Way]:
        return {way for way, times in self._cuts.items() if times > 0}

    def is_cut(self, way: Way) -> bool:
        return self._cuts[way] > 0

    def block(self, ways: Iterable[Way]) -> None:
        for way in ways:
            self._cuts[way] = max(self._cuts[way], 1)

    def unblock(self, ways: Iterable[Way]) -> None:
        """Open these ways, whatever closed them."""
        self._open(ways, times=1 << 30)

    def block_for_now(self, ways: Iterable[Way]) -> Callable[[], None]:
        """Cut these ways once more; returns what undoes just that."""
        closed = list(ways)
        self._cuts.update(closed)
        return lambda: self._open(closed, times=1)

    def ways(self, one: str, other: str) -> list[Way]:
        return [(one, other), (other, one)]

    def around(self, name: str) -> list[Way]:
        return [way for other in self.hosts if other != name for way in self.ways(name, other)]

    def all_pairs(self) -> list[tuple[str, str]]:
        return list(combinations(sorted(self.hosts), 2))

    def _open(self, ways: Iterable[Way], *, times: int) -> None:
        for way in ways:
            was_cut = self.is_cut(way)
            self._cuts[way] = max(self._cuts[way] - times, 0)
            if was_cut and not self.is_cut(way):
                for connection in self._connections:
                    for end in connection.ends:
                        if end.out.way == way:
                            end.out.release()

    # ------------------------------------------------------------------------------------------------- what it is like

    def latency(self, way: Way) -> float:
        slow = self.slow.get(way)
        return self._random.uniform(*DELAY_SECONDS) + (self._random.uniform(*slow) if slow else 0.0)

    def retransmission(self, way: Way) -> float:
        """A kernel waits twice as long each time: another connection may be made and used before it tries again."""
        return self.latency(way) + (self._random.uniform(*RETRANSMISSION_SECONDS) if self.rough else 0.0)

    def survivors(self, flying: int) -> int:
        return self._random.randint(0, flying) if self.rough and self._random.random() < 0.5 else flying

    def send(self, process: Process, member: str, message: Message) -> bool:
        """See `PeerNetwork.send`."""
        self.sent += 1
        return process.network.send(member, message)

    # ---------------------------------------------------------------------------------------------------- connections

    def started(self, process: Process) -> None:
        """A process begins to dial those after it in the order of ids."""
        for far in self.hosts:
            if process.host.name < far:
                self._dial_later(process, far)

    def _dial_later(self, process: Process, far: str) -> None:
        process.later(self._random.uniform(*REDIAL_SECONDS), partial(self._dial, process, far))

    def _dial(self, process: Process, far: str) -> None:
        host, me = self.hosts[far], process.host.name
        peer = host.process
        open_both_ways = not (self.is_cut((me, far)) or self.is_cut((far, me)))
        if open_both_ways and host.powered and peer is None:
            process.network.unreachable(far, ConnectionRefusedError())
        if open_both_ways and peer is not None and not peer.stopped:
            delay = self._random.uniform(*HANDSHAKE_SECONDS) + self.latency((me, far)) + self.latency((far, me))
            self.events.later(delay, lambda: self._shake_hands(process, peer))
        else:
            self._dial_later(process, far)

    def _shake_hands(self, near: Process, far: Process) -> None:
        names = near.host.name, far.host.name
        in_the_way = any(self.is_cut(way) for way in self.ways(*names)) or near.stopped or far.stopped
        if in_the_way or not (near.alive and far.alive):
            if near.alive:
                self._dial_later(near, names[1])
            return
        connection = Connection(near, far, self)
        self._connections = [one for one in self._connections if not one.over]
        self._connections.append(connection)
        far.run(lambda: connection.far.begin(dialled=False), connection.far)
        near.run(lambda: self._begin(connection, near, names[1]), connection.near)

    def _begin(self, connection: Connection, near: Process, far: str) -> None:
        connection.near.begin(dialled=True)
        session = connection.near.session
        assert session is not None
        session.over.add_done_callback(lambda _: self._dial_later(near, far))

    def probe(self, process: Process, far: str, tries: tuple[float, ...] = PROBE_AFTER_SECONDS) -> None:
        """See `PeerNetwork._probe`: look whether anybody still listens there."""
        pause, *rest = tries

        def look() -> None:
            host, ways = self.hosts[far], self.ways(process.host.name, far)
            if process.network.link(far).session is not None:
                return
            if host.powered and host.process is None and not any(self.is_cut(way) for way in ways):
                process.replica.peer_refused(far)
            elif rest:
                self.probe(process, far, tuple(rest))

        process.later(pause + sum(self.latency(way) for way in self.ways(process.host.name, far)), look)

    def end(self, pair: frozenset[str]) -> None:
        """The network loses the connection between these two."""
        for connection in self._connections:
            if connection.pair == pair and not connection.over:
                connection.lose()

    def process_died(self, process: Process, *, machine: bool = False) -> None:
        """Its kernel closes its sockets, if it still runs: who can hear it knows at once."""
        for connection in self._connections:
            for end in connection.ends:
                if end.process is process:
                    end.die(machine=machine)
