"""Watches that the cluster goes on: who could serve a node, for how long already, and whether it does; who leads.

It looks at machines, cuts and disks from outside, never at what a replica believes of its neighbours.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final

from cmkms.cluster.timing import Timing
from cmkms.peers.session import SILENCE_SECONDS
from tests.sim.campaign.world import World
from tests.sim.cluster.lives import TTL_SECONDS, Process
from tests.sim.cluster.sentries import Asked

__all__ = ["BUDGET_SECONDS", "CALM_BUDGET_SECONDS", "SETTLE_SECONDS", "Watch"]

_TIMES = Timing.of(TTL_SECONDS)

SETTLE_SECONDS: Final = 2.0
"""For so long a majority is up and connected before anything is asked of it."""

BUDGET_SECONDS: Final = round(SILENCE_SECONDS * 1.25 + _TIMES.election_max + 8 * _TIMES.stagger + 0.3, 2)
"""Within which a request at one of a settled majority is decided. The others may do what they like: at worst the lease
holder was one of them, and has just fallen silent in one direction. Then its session ends by silence (looked at four
times in that time), an election comes due, takes a few attempts, and what waited finds its way (0.3 s)."""

CALM_BUDGET_SECONDS: Final = 0.25
"""The same where all replicas are up and connected: two round trips, a sync, and a lease that is handed over."""

LOOK_SECONDS: Final = 0.05
_SLOW_WAY, _SLOW_SYNC = 0.05, 0.02
"""Beyond these (s) a way, or a disk, counts as a fault of its own."""


class Watch:
    """Looks every `LOOK_SECONDS`. `decided`: requests that a settled majority owed an answer, and gave it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[frozenset[Process], float] = {}
        self._overdue: set[int] = set()
        self._size = len(world.cluster.hosts)
        self.slowest = 0.0
        """Of what a settled majority owed: the longest that it took so far."""

    def begin(self) -> None:
        self._look()

    def _look(self) -> None:
        world = self._world
        world.cluster.events.later(LOOK_SECONDS, self._look)
        holders = [one.host.name for one in world.cluster.running if one.holds and not one.stopped]
        if len(holders) > 1 and not world.clocks_lie:
            world.cluster.judge.condemn(f"{' and '.join(holders)} hold the lease at one moment")
        sound = [one for one in world.cluster.running if self._is_sound(one)]
        lost = {pair: self._lost(*pair) for pair in combinations(sound, 2) if self._are_connected(*pair)}
        since: dict[frozenset[Process], float] = {}
        for size in {self._size // 2 + 1, self._size}:
            for group in map(frozenset, combinations(sound, size)):
                pairs = [pair for pair in lost if group.issuperset(pair)]
                if len(pairs) == size * (size - 1) // 2:
                    since[group] = max(self._since.get(group, world.now), *(lost[pair] for pair in pairs))
        self._since = since
        for sentry in world.cluster.sentries:
            asked = sentry.waiting
            if asked is not None and asked.of is not None:
                self._hold_to_it(sentry.name, asked, asked.of)

    def _hold_to_it(self, node: str, asked: Asked, of: Process) -> None:
        now = self._world.now
        for group, since in self._since.items():
            budget = CALM_BUDGET_SECONDS if len(group) == self._size else BUDGET_SECONDS
            owed = now - max(asked.tried_at, since + SETTLE_SECONDS, self._world.excused_until)
            if of not in group or owed <= 0 or asked.answer is not None:
                continue
            if not self._world.cluster.judge.decidable(asked.sign_bytes, [one.host.name for one in group]):
                continue
            self.slowest = max(self.slowest, owed / budget)
            if owed > budget and id(asked) not in self._overdue:
                self._overdue.add(id(asked))
                names = ", ".join(sorted(one.host.name for one in group))
                self._world.cluster.judge.condemn(
                    f"{node} waits at {of.host.name} for {now - asked.tried_at:.2f} s, and {names} "
                    f"have been up and connected for {now - since:.2f} s"
                )

    def _is_sound(self, process: Process) -> bool:
        host = process.host
        quick = host.sync_seconds[1] <= _SLOW_SYNC
        return not process.stopped and quick and self._world.armed(host.name) and host.name not in self._world.broken

    def _are_connected(self, one: Process, other: Process) -> bool:
        links = self._world.cluster.links
        ways = links.ways(one.host.name, other.host.name)
        return not any(links.is_cut(way) or links.slow.get(way, (0.0, 0.0))[1] > _SLOW_WAY for way in ways)

    def _lost(self, one: Process, other: Process) -> float:
        return self._world.disturbed.get(frozenset((one.host.name, other.host.name)), 0.0)
