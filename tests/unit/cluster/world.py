"""A small world for several real `Coordination`s: one virtual clock, links that can be cut, processes that can die.

After every event it checks that at most one member holds the lease. Everything repeats itself for one seed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from random import Random

from cmkms.cluster.coordination import Coordination
from cmkms.cluster.terms import MemoryTermStore
from cmkms.cluster.timing import Timing
from cmkms.cluster.view import View
from cmkms.errors import PeerError
from cmkms.guard.hrs import HRS, Step
from cmkms.guard.state_file import SignState

DELAY = 0.0005
"""Seconds that a message takes."""
REDIAL = 0.002
"""Seconds until an ended link was dialled again and refused."""
UNNOTICED = 0.6
"""Seconds until an end is noticed that the other side could not tell."""

NAMES = ("node-0", "node-1", "node-2", "node-3", "node-4")


def released(height: int, signature: bytes = b"s") -> SignState:
    return SignState(HRS(height, 0, Step.PRECOMMIT), b"bytes of %d" % height, signature)


@dataclass
class Member:
    """One process after another of one member, with what outlives them."""

    name: str
    terms: MemoryTermStore = field(default_factory=MemoryTermStore)
    coordination: Coordination | None = None
    ahead: float = 0.0
    life: int = 0
    changes: list[tuple[float, str, int, bool]] = field(default_factory=list[tuple[float, str, int, bool]])
    refused_data: int = 0

    @property
    def alive(self) -> Coordination:
        assert self.coordination is not None
        return self.coordination


@dataclass
class Link:
    """One session: `up` are the ends that were told of it, `held` what does not arrive for now."""

    up: set[str] = field(default_factory=set[str])
    held: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    ended: bool = False


class World:
    def __init__(self, count: int = 3, *, seed: int = 1, ttl: float = 0.4, delay: float = DELAY) -> None:
        self.now = 100.0
        self.timing = Timing.of(ttl)
        self.random = Random(seed)
        self.delay = delay
        # Machines were booted at different times: their clocks run alike, and show nothing alike.
        self.members = {name: Member(name, ahead=1000.0 * rank) for rank, name in enumerate(NAMES[:count])}
        self.links: dict[frozenset[str], Link] = {}
        self.cut: set[tuple[str, str]] = set()
        self.lost = 0.0
        self.sent = 0
        self.log: list[tuple[float, str]] = []
        self.drop: Callable[[str, str, bytes], bool] = lambda _from, _to, _data: False
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._believed: dict[tuple[str, str], Link] = {}
        self._count = 0

    # ------------------------------------------------------------------------------------------------ what happens

    def at(self, when: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, event))

    def run(self, seconds: float) -> None:
        self.run_until(lambda: False, seconds)

    def run_until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Go on until the condition holds, at most for so long. Returns the seconds that went by."""
        begin, end = self.now, self.now + seconds
        while not condition() and self._events and self._events[0][0] <= end:
            self.now, _, event = heapq.heappop(self._events)
            event()
            self._check()
        if not condition():
            self.now = end
        return self.now - begin

    def boot(self, *names: str, link: bool = True) -> None:
        for name in names or tuple(self.members):
            self._start(name)
        if link:
            for one, other in combinations(sorted(self.members), 2):
                self.link(one, other)

    def kill(self, name: str, *, goodbye: bool = False, refuses: bool = True) -> None:
        """The process ends: its links end, and its port refuses."""
        member = self.members[name]
        member.coordination = None
        member.life += 1
        for pair in [pair for pair in self.links if name in pair]:
            (other,) = pair - {name}
            unheard = (name, other) in self.cut
            self._end(pair, {other: UNNOTICED if unheard else self.delay}, goodbye=goodbye)
            if refuses and not unheard:
                self._later(other, self.delay + REDIAL, lambda peer: peer.peer_refused(name))

    def restart(self, name: str) -> None:
        self._start(name)
        for other in self.members:
            if other != name:
                self.link(name, other)

    def link(self, one: str, other: str) -> None:
        pair = frozenset((one, other))
        if pair in self.links or None in (self.members[one].coordination, self.members[other].coordination):
            return
        link = self.links[pair] = Link()
        wait = UNNOTICED if (one, other) in self.cut or (other, one) in self.cut else 2 * self.delay
        for end, far in ((one, other), (other, one)):
            self._later(end, wait, partial(self._up, link=link, end=end, far=far))

    def _up(self, coordination: Coordination, link: Link, end: str, far: str) -> None:
        if not link.ended:
            if (end, far) in self._believed:
                coordination.peer_down(far)
            self._believed[end, far] = link
            link.up.add(end)
            coordination.peer_up(far)

    def _down(self, coordination: Coordination, link: Link, end: str, far: str, *, goodbye: bool) -> None:
        if self._believed.get((end, far)) is link:
            del self._believed[end, far]
            coordination.peer_down(far, goodbye=goodbye)

    def unlink(self, one: str, other: str) -> None:
        """The link ends, with both processes alive."""
        self._end(frozenset((one, other)), {one: 0.0, other: 0.0})

    def _end(self, pair: frozenset[str], told: dict[str, float], *, goodbye: bool = False) -> None:
        link = self.links.pop(pair, None)
        if link is None:
            return
        link.ended = True
        for end, wait in told.items():
            (far,) = pair - {end}
            self._later(end, wait, partial(self._down, link=link, end=end, far=far, goodbye=goodbye))

    def silence(self, one: str, other: str, *, both: bool = True) -> None:
        """What `one` says to `other` does not arrive before `heal`, and only if their link lasts that long."""
        self.cut.add((one, other))
        if both:
            self.cut.add((other, one))

    def isolate(self, name: str) -> None:
        for other in self.members:
            if other != name:
                self.silence(name, other)

    def heal(self) -> None:
        """Everything arrives again, also what was said meanwhile, and everybody alive is linked."""
        self.cut.clear()
        for link in self.links.values():
            for arrive in link.held:
                self.at(self.now + self.delay, arrive)
            link.held.clear()
        for one, other in combinations(sorted(self.members), 2):
            self.link(one, other)

    # ------------------------------------------------------------------------------------------------ what is seen

    def __getitem__(self, name: str) -> Coordination:
        return self.members[name].alive

    @property
    def holder(self) -> str | None:
        holders = [name for name, member in self.members.items() if member.coordination and member.coordination.holds]
        assert len(holders) <= 1, f"{holders} hold the lease at {self.now}"
        return holders[0] if holders else None

    def elect(self, seconds: float = 3.0) -> str:
        self.run_until(lambda: self.holder is not None, seconds)
        assert self.holder is not None
        return self.holder

    def others(self, name: str) -> list[str]:
        return [other for other in self.members if other != name]

    # ------------------------------------------------------------------------------------------------------- inside

    def _start(self, name: str) -> None:
        member = self.members[name]
        member.life += 1
        self._believed = {ends: link for ends, link in self._believed.items() if ends[0] != name}

        def changed() -> None:
            now = member.alive
            lease = now.lease
            member.changes.append((self.now, lease.holder if lease else "", now.term, now.holds))

        member.coordination = Coordination(
            name,
            tuple(self.members),
            self.timing,
            clock=lambda: self.now + member.ahead,
            send=lambda to, data: self._send(name, to, data),
            terms=member.terms,
            view=View(),
            changed=changed,
            random=Random(self.random.random()),
        )
        self._tick(name, member.life, self.random.random() * self.timing.tick)

    def _tick(self, name: str, life: int, wait: float) -> None:
        def tick() -> None:
            member = self.members[name]
            if member.life == life:
                member.alive.tick()
                self._tick(name, life, self.timing.tick)

        self.at(self.now + wait, tick)

    def _send(self, sender: str, to: str, data: bytes) -> bool:
        link = self.links.get(frozenset((sender, to)))
        if link is None or sender not in link.up:
            return False
        self.sent += 1
        if self.drop(sender, to, data) or self.random.random() < self.lost:
            return True

        def arrive() -> None:
            if not link.ended and to in link.up:
                try:
                    self.members[to].alive.received(sender, data)
                except PeerError:
                    self.members[to].refused_data += 1

        if (sender, to) in self.cut:
            link.held.append(arrive)
        else:
            self.at(self.now + self.delay, arrive)
        return True

    def _later(self, name: str, wait: float, event: Callable[[Coordination], None]) -> None:
        life = self.members[name].life

        def happen() -> None:
            if self.members[name].life == life:
                event(self.members[name].alive)

        self.at(self.now + wait, happen)

    def _check(self) -> None:
        holder = self.holder or ""
        if not self.log or self.log[-1][1] != holder:
            self.log.append((self.now, holder))
