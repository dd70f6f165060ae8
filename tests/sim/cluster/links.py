"""The network between the replicas: one ordered session per pair, dialled for ever, with delays and cuts by a seed.

Messages travel as the bytes of the real codec. A cut holds them up, as a network does to TCP; a session whose one end
hears nothing for a second is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from random import Random

from cmkms.errors import PeerError
from cmkms.peers.codec import decode, encode
from cmkms.peers.messages import Goodbye, Hello, Message
from tests.sim.cluster.events import Events
from tests.sim.cluster.hosts import Host, Process

__all__ = ["Links"]

SILENCE_SECONDS = 1.0
"""As `cmkms/peers/session.py` has it."""
REDIAL_SECONDS = (0.05, 0.15)
DELAY_SECONDS = (0.0001, 0.001)


@dataclass(eq=False)
class Session:
    """`up`: the ends that have been told of it and not of its end."""

    ends: dict[str, Process]
    up: set[str] = field(default_factory=set[str])
    over: bool = False
    arrives: dict[str, float] = field(default_factory=dict[str, float])
    held: dict[str, list[Callable[[], None]]] = field(default_factory=dict[str, list[Callable[[], None]]])
    heard: dict[str, float] = field(default_factory=dict[str, float])


class Links:
    """`hosts` are all machines. Directions are cut one by one: `cut` holds (from, to)."""

    def __init__(self, hosts: dict[str, Host], events: Events, random: Random) -> None:
        self._hosts = hosts
        self._events = events
        self._random = random
        self._sessions: dict[frozenset[str], Session] = {}
        self.cut: set[tuple[str, str]] = set()
        self.sent = 0
        for pair in combinations(sorted(hosts), 2):
            self._redial(*pair)

    # ----------------------------------------------------------------------------------------------------------- cuts

    def block(self, ways: Iterable[tuple[str, str]]) -> None:
        self.cut |= set(ways)

    def unblock(self, ways: Iterable[tuple[str, str]]) -> None:
        self.cut -= set(ways)
        for pair, session in list(self._sessions.items()):
            for to in sorted(pair):
                (sender,) = pair - {to}
                if (sender, to) not in self.cut:
                    held = session.held.pop(to, [])
                    for arrival in held:
                        arrival()

    def ways(self, one: str, other: str) -> list[tuple[str, str]]:
        return [(one, other), (other, one)]

    def around(self, name: str) -> list[tuple[str, str]]:
        return [way for other in self._hosts if other != name for way in self.ways(name, other)]

    # ------------------------------------------------------------------------------------------------------- messages

    def send(self, process: Process, member: str, message: Message) -> bool:
        """See `PeerNetwork.send`."""
        me = process.host.name
        session = self._sessions.get(frozenset((me, member)))
        if session is None or session.ends[me] is not process or me not in session.up:
            return False
        self.sent += 1
        frame = encode(message)
        self._carry(session, me, member, lambda: self._arrived(session, me, member, frame))
        return True

    def _carry(self, session: Session, me: str, member: str, arrival: Callable[[], None]) -> None:
        """Let something arrive after a while, after all that was sent before it."""
        at = max(self._events.now + self._random.uniform(*DELAY_SECONDS), session.arrives.get(member, 0.0))
        session.arrives[member] = at

        def arrive() -> None:
            if (me, member) in self.cut or session.held.get(member):
                session.held.setdefault(member, []).append(arrive_again)
            else:
                arrival()

        def arrive_again() -> None:
            self._carry(session, me, member, arrival)

        self._events.later(at - self._events.now, arrive)

    def _arrived(self, session: Session, sender: str, member: str, frame: bytes) -> None:
        if session.over:
            return
        session.heard[member] = self._events.now
        process = session.ends[member]
        process.run(lambda: self._deliver(session, sender, member, frame))

    def _deliver(self, session: Session, sender: str, member: str, frame: bytes) -> None:
        if member not in session.up:
            return
        message = decode(frame)
        assert message is not None
        assert not isinstance(message, Hello)
        replica = session.ends[member].replica
        try:
            replica.received(sender, message)  # type: ignore[arg-type]
        except PeerError:
            self.end(frozenset((sender, member)))

    # ------------------------------------------------------------------------------------------------------- sessions

    def _redial(self, one: str, other: str) -> None:
        self._dial(one, other)
        self._watch(frozenset((one, other)))
        self._events.later(self._random.uniform(*REDIAL_SECONDS), lambda: self._redial(one, other))

    def _dial(self, one: str, other: str) -> None:
        if frozenset((one, other)) in self._sessions or self.cut & set(self.ways(one, other)):
            return
        ends = {name: self._hosts[name].process for name in (one, other)}
        for name, far in self.ways(one, other):
            process, peer = ends[name], ends[far]
            if process is not None and peer is None:
                process.run(partial(process.replica.peer_refused, far))
        if any(process is None or process.stopped for process in ends.values()):
            return
        session = Session({name: process for name, process in ends.items() if process is not None})
        self._sessions[frozenset((one, other))] = session
        session.heard = dict.fromkeys((one, other), self._events.now)
        hellos = {name: process.replica.hello() for name, process in session.ends.items()}
        for name, far in self.ways(one, other):
            delay = self._random.uniform(0.002, 0.006)
            self._events.later(delay, partial(self._up, session, name, far, hellos[far]))

    def _up(self, session: Session, name: str, far: str, hello: Hello) -> None:
        process = session.ends[name]

        def up() -> None:
            if not session.over:
                session.up.add(name)
                process.replica.peer_up(far, self._hosts[far].identity, hello)

        process.run(up)

    def _watch(self, pair: frozenset[str]) -> None:
        session = self._sessions.get(pair)
        if session is None:
            return
        for name in sorted(pair):
            (far,) = pair - {name}
            # A stopped process' kernel still takes what comes; it does not answer, so the other end hears nothing.
            if not session.ends[name].stopped and self._events.now - session.heard[name] > SILENCE_SECONDS:
                self.end(pair, but_not_yet={far} if (name, far) in self.cut else set())
                return

    def end(self, pair: frozenset[str], *, but_not_yet: AbstractSet[str] = frozenset()) -> None:
        """A session is over. `but_not_yet`: ends that cannot be told, and find out by themselves."""
        session = self._sessions.pop(pair, None)
        if session is None:
            return
        session.over = True
        for name in sorted(pair):
            delay = SILENCE_SECONDS if name in but_not_yet else self._random.uniform(*DELAY_SECONDS)
            self._events.later(delay, partial(self._down, session, name))

    def _down(self, session: Session, name: str) -> None:
        (far,) = set(session.ends) - {name}
        process = session.ends[name]

        def down() -> None:
            if name in session.up:
                session.up.discard(name)
                process.replica.peer_down(far, "the session ended")

        process.run(down)

    def process_died(self, process: Process, *, machine: bool = False, polite: bool = False) -> None:
        """Its kernel closes its sockets: who can hear it knows at once, and is refused when it dials."""
        me = process.host.name
        for pair in [pair for pair, session in self._sessions.items() if session.ends.get(me) is process]:
            (other,) = pair - {me}
            session = self._sessions[pair]
            if polite:
                # What it said last arrives before the end.
                session.ends[other].run(partial(self._deliver, session, me, other, encode(Goodbye())))
            unheard = machine or (me, other) in self.cut
            self.end(pair, but_not_yet={other} if unheard else set())
            if not unheard:
                for probe in (0.002, 0.012, 0.05):
                    self._events.later(probe, partial(self._probe, other, me))

    def _probe(self, name: str, far: str) -> None:
        process = self._hosts[name].process
        if process is not None and self._hosts[far].process is None and not self.cut & set(self.ways(name, far)):
            process.run(lambda: process.replica.peer_refused(far))
