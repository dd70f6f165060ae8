"""What befalls a cluster by a profile's weights and a seed's chances, beside what the campaign has.

Every blow leaves a cluster of which the promise still speaks: guards are spoiled at a minority of the replicas only.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from random import Random

from cmkms.guard.change_file import change_path, joins_path
from cmkms.guard.claims import GuardPhase
from cmkms.guard.file import BLOCK_BYTES, FILE_BYTES, survey
from cmkms.privval import SignVoteRequest
from cmkms.replica.operating import operate
from tests.sim.cluster.cluster import Cluster
from tests.sim.mutations.profiles import Profile
from tests.unit.signing.messages import CHAIN

__all__ = ["SETTLED_SECONDS", "Adversity", "UnservedError"]

SETTLED_SECONDS = 0.8
"""After everything works again: sessions are back, one replica leads, and all have told of their guards."""
NOTICED_SECONDS = 0.7
"""Several heartbeats: whoever saw a guard ahead has told it so."""
TAKEN_OVER_SECONDS = 1.3
"""A lease runs out, an election, a node's new connection, and what is under way there: with a majority up all along."""
LAGGING_SECONDS = 1.5
"""Long enough that nodes which were at the replica that is left behind have turned to the others, and signed there."""
CHANGE_TRIES, CHANGE_SECONDS = 3, 1.5
"""A new guard has to be seen first; one change takes a few heartbeats."""
FADED_SECONDS = 1.5
"""A lease runs out for those who do not hear its holder, and another is elected."""
FLIGHT_SECONDS = 0.004
SLOW_SECONDS = (0.004, 0.006)
"""From a node's request to the answer of the last guard."""


class UnservedError(AssertionError):
    """A majority was up and connected, and a vote was not signed."""


class Adversity:
    """Strikes `cluster` again and again, until it is told to `end`. `befell` is the story."""

    def __init__(self, cluster: Cluster, profile: Profile, random: Random) -> None:
        self._cluster = cluster
        self._profile = profile
        self._random = random
        self._on = False
        self._quiet_until = 0.0
        self._lost: set[str] = set()
        self.spoiled: set[str] = set()
        """Replicas whose guard may have forgotten or lost something: they may be out of service for good."""
        self.behind: set[str] = set()
        """Replicas that lag behind at the end, or are spoiled then."""
        self.befell: list[str] = []

    def begin(self) -> None:
        self._on = True
        self._next()

    def end(self) -> None:
        self._on = False

    def _next(self) -> None:
        self._cluster.events.later(self._random.expovariate(1 / self._profile.every), self._strike)

    def _strike(self) -> None:
        if not self._on:
            return
        if self._profile.blows and self._cluster.events.now >= self._quiet_until:
            name = self._random.choice(self._profile.blows)
            blow: Callable[[], None] = getattr(self, name)
            self.tell(name)
            blow()
        self._next()

    def tell(self, what: str) -> None:
        """Note it in the story."""
        self.befell.append(f"{self._cluster.events.now:.3f} {what}")

    # ---------------------------------------------------------------------------------------------------- for a while

    def kill(self) -> None:
        if name := self._some():
            self._cluster.kill(name)
            self._soon(partial(self.start, name))

    def kill_in_a_write(self) -> None:
        """At one of the next operations of its disk; now and then the machine's power goes with it."""
        if name := self._some():
            disk = self._cluster.hosts[name].disk
            disk.kill_at = disk.operations + self._random.randint(1, 12)
            self._soon(partial(self.start, name), 1.5)

    def stop(self) -> None:
        if name := self._some():
            process = self._cluster.process(name)
            if not process.stopped:
                process.stopped = True
                self._soon(process.resume, 1.5)

    def cut_one_way(self) -> None:
        one, other = self._random.sample(sorted(self._cluster.hosts), 2)
        self._cut([(one, other)])

    def cut_a_link(self) -> None:
        one, other = self._random.sample(sorted(self._cluster.hosts), 2)
        self._cut([(one, other), (other, one)])

    def isolate(self) -> None:
        self._cut(self._cluster.links.around(self._random.choice(sorted(self._cluster.hosts))))

    def cut_power(self) -> None:
        if name := self._some():
            self._cluster.cut_power(name, chance=self._half)
            self._soon(partial(self.start, name))

    def cut_all_power(self) -> None:
        self._cluster.cut_power(*self._cluster.hosts, chance=self._half)
        for name in self._cluster.hosts:
            self._soon(partial(self.start, name), 1.0)

    def break_a_disk(self) -> None:
        """Its next sync fails."""
        if name := self._spoil():
            self._cluster.hosts[name].disk.sync_error = OSError(errno.EIO, "Input/output error")

    # ------------------------------------------------------------------------------------------------ in several steps

    def take_over(self) -> None:
        """All is well; the lease holder dies amid a request, and a majority has to go on without it."""
        cluster = self._cluster
        self.mend()
        self._quiet_until = cluster.events.now + SETTLED_SECONDS + 0.2 + TAKEN_OVER_SECONDS
        cluster.events.later(SETTLED_SECONDS, self._when_a_node_asks)

    def _when_a_node_asks(self) -> None:
        cluster = self._cluster
        begun = cluster.events.now
        for sentry in cluster.sentries:
            if not sentry.waits:
                sentry.connect(self._some())

        def look() -> None:
            asked = [one.asked[-1] for one in cluster.sentries if one.waits]
            if not any(one.at >= begun and isinstance(one.request, SignVoteRequest) for one in asked):
                cluster.events.later(0.0001, look)
            elif holder := cluster.holder:
                self._slow_down(holder)
                cluster.events.later(self._random.uniform(0.001, FLIGHT_SECONDS), partial(self._die, holder))

        look()

    def _slow_down(self, holder: str) -> None:
        """What it asks now reaches one of the others at once; it dies before it hears of that."""
        links, others = self._cluster.links, [name for name in self._cluster.hosts if name != holder]
        links.slow[holder, self._random.choice(others)] = SLOW_SECONDS
        links.slow.update({(other, holder): SLOW_SECONDS for other in others})

    def _die(self, holder: str) -> None:
        if self._cluster.hosts[holder].process is None:
            return
        self.tell(f"{holder} dies")
        self._cluster.kill(holder)
        died = self._cluster.events.now
        self._cluster.events.later(TAKEN_OVER_SECONDS, lambda: self._all_were_served(died))

    def _all_were_served(self, since: float) -> None:
        for sentry in self._cluster.sentries:
            waits = sentry.asked[-1] if sentry.waits else None
            # A proposal keeps its own time: where another holder's is in the way, its node goes on without it.
            if waits is not None and waits.at <= since and isinstance(waits.request, SignVoteRequest):
                raise UnservedError(f"{sentry.name} asked for a vote at {waits.at:.3f} s, and waits with a majority up")

    def starve(self) -> None:
        """All nodes are at the holder, which is cut off for less than its lease. Some hang up; what it sent is lost."""
        if not (name := self._cluster.holder):
            return
        links, ways = self._cluster.links, self._cluster.links.around(name)
        links.block(ways)
        for sentry in self._cluster.sentries:
            if not sentry.waits:
                sentry.connect(name)
            if self._random.random() < 0.5:
                self._soon(sentry.reconnect, 0.15)

        def lose() -> None:
            for other in self._cluster.hosts:
                if other != name:
                    links.end(frozenset((name, other)))
            links.unblock(ways)

        self._cluster.events.later(self._random.uniform(0.05, 0.2), lose)

    def swizzle(self) -> None:
        """The holder hears nobody, then nobody hears it; then it hears what was said at first, then all is well."""
        if not (name := self._cluster.holder):
            return
        ways = self._cluster.links.around(name)
        to_it = [way for way in ways if way[1] == name]
        links, events, chance = self._cluster.links, self._cluster.events, self._random.uniform
        links.block(to_it)
        at = chance(0.05, 0.25)
        events.later(at, partial(links.block, ways))
        at += chance(0.55, 0.75)
        events.later(at, partial(links.unblock, to_it))
        events.later(at + chance(0.0, 0.3), partial(links.unblock, ways))

    def fade(self) -> None:
        """What the holder hears comes late, by less than its lease; then nobody hears it any more, and they elect."""
        if not (name := self._cluster.holder):
            return
        links, events = self._cluster.links, self._cluster.events
        to_it = [way for way in links.around(name) if way[1] == name]
        late = self._random.uniform(0.2, 0.35)
        links.slow.update(dict.fromkeys(to_it, (late, late)))
        from_it = [(holder, other) for other, holder in to_it]

        def restore() -> None:
            links.unblock(from_it)
            for way in to_it:
                links.slow.pop(way, None)

        at = self._random.uniform(0.5, 0.7)
        events.later(at, partial(links.block, from_it))
        events.later(at + FADED_SECONDS, restore)
        self._quiet_until = events.now + at + FADED_SECONDS

    def rot(self) -> None:
        if name := self._spoil():
            self._cluster.kill(name)
            self.rot_the_newest(name)
            self._soon(partial(self.start, name), 1.0)

    def rot_the_newest(self, name: str) -> None:
        """Both copies of the newest record."""
        host = self._cluster.hosts[name]
        medium = host.disk.media.get(host.site.path)
        if medium is not None and (newest := survey(bytes(medium.cache)).highest) is not None:
            slot = newest.sequence % 2 * FILE_BYTES // 2
            for copy in range(2):
                host.disk.rot(host.site.path, slot + copy * BLOCK_BYTES + 20)

    def lose_the_home(self) -> None:
        if name := self._spoil():
            self._cluster.kill(name)
            self.make_anew(name)
            self._lost.add(name)
            self._soon(partial(self.start, name), 1.0)

    def make_anew(self, name: str) -> None:
        """As if installed anew: no guard, no marker, nothing of what was released."""
        host = self._cluster.hosts[name]
        host.disk.media.pop(host.site.path, None)
        for path in (host.home.born_marker(CHAIN), host.site.founders_file, host.home.released_file(CHAIN)):
            path.unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------------------------ at the end

    def end_with_a_laggard(self) -> None:
        """Nothing befalls the others, one guard (of five: two) is left behind, another is spoiled; then all stop."""
        cluster = self._cluster
        self.mend()
        cluster.run(SETTLED_SECONDS)
        names = sorted(cluster.hosts)
        few = (len(names) - 1) // 2
        spoiled = next(iter(sorted(self.spoiled)), "") or self._random.choice(names)
        late = self._random.sample([name for name in names if name != spoiled], few)
        for name in late:
            cluster.links.block(cluster.links.around(name))
        self.behind = {*late, spoiled}
        self.tell(f"{late} lag behind, and {spoiled} is spoiled")
        snapshot = (
            cluster.image(spoiled) if cluster.hosts[spoiled].disk.exists(cluster.hosts[spoiled].site.path) else b""
        )
        cluster.run(LAGGING_SECONDS)
        self.quieten()
        match self._profile.ending:
            case "roll_back":
                self._roll_back(spoiled, snapshot)
                cluster.run(NOTICED_SECONDS)
            case "rot":
                self.rot_the_newest(spoiled)
            case "lose_the_home":
                self._lost.add(spoiled)
                if cluster.hosts[spoiled].process is not None:
                    cluster.kill(spoiled)
                self.make_anew(spoiled)
            case "replace":
                self._replace(spoiled)
            case _:
                pass
        if self._profile.ending:
            self.spoiled.add(spoiled)
        cluster.cut_power(*names)
        cluster.links.unblock(tuple(cluster.links.cut))

    def _roll_back(self, name: str, snapshot: bytes) -> None:
        """Before the eyes of the others, who have seen it ahead."""
        if self._cluster.hosts[name].process is not None and snapshot:
            self._cluster.kill(name)
            self._cluster.roll_back(name, snapshot)
            self.start(name)

    def _replace(self, name: str) -> None:
        """A lost guard is replaced by a new one, by a change of generation, while nobody asks for anything."""
        cluster, host = self._cluster, self._cluster.hosts[name]
        if host.process is not None:
            cluster.kill(name)
        self.make_anew(name)
        joins = joins_path(host.site)
        joins.parent.mkdir(mode=0o700, exist_ok=True)
        joins.write_bytes(b"{}")
        for path in (host.home.fuse_file(CHAIN), change_path(host.site)):
            path.unlink(missing_ok=True)
        cluster.links.unblock(tuple(cluster.links.cut))
        self.start(name)
        for _ in range(CHANGE_TRIES):
            cluster.run(CHANGE_SECONDS)
            for process in cluster.running:
                if process.host.name != name and cluster.process(name).chain.phase is not GuardPhase.ARMED:
                    plan = operate(process.replica, {"do": "plan", "chain": CHAIN})
                    if plan["ok"]:
                        change = {"do": "change", "chain": CHAIN, "to_hash": plan["to_hash"]}
                        process.run(partial(operate, process.replica, change))
                        break
        self.tell(f"the new guard of {name} is {cluster.process(name).chain.phase.name}")

    def quieten(self) -> None:
        """No node asks for anything any more."""
        for sentry in self._cluster.sentries:
            sentry.busy = False
            sentry.give_up()

    # ----------------------------------------------------------------------------------------------------------- parts

    def start(self, name: str) -> None:
        host = self._cluster.hosts[name]
        if name in self._lost:
            # Else it would be refused its start: it has learnt what the others signed, and its guard is empty.
            host.home.released_file(CHAIN).unlink(missing_ok=True)
        if host.process is None:
            self._cluster.start(name)
        if host.process is None:
            self._soon(partial(self.start, name))

    def mend(self) -> None:
        """Everything works again, but for what is spoiled."""
        for name, host in self._cluster.hosts.items():
            host.disk.kill_at = 0
            self.start(name)
        self._cluster.heal()

    def _half(self) -> bool:
        return self._random.random() < 0.5

    def _soon(self, job: Callable[[], None], longest: float = 2.0) -> None:
        self._cluster.events.later(self._random.uniform(0.02, longest), job)

    def _cut(self, ways: list[tuple[str, str]]) -> None:
        self._cluster.links.block(ways)
        self._soon(partial(self._cluster.links.unblock, ways), 2.0)

    def _some(self) -> str:
        """One replica that runs; the lease holder more often than the others."""
        if self._cluster.holder and self._random.random() < 0.4:
            return self._cluster.holder
        names = [one.host.name for one in self._cluster.running]
        return self._random.choice(names) if names else ""

    def _spoil(self) -> str:
        """A replica whose guard may be spoiled: of so few that the others are still a majority."""
        name = self._some()
        if name and name not in self.spoiled and len(self.spoiled) >= (len(self._cluster.hosts) - 1) // 2:
            return next((one for one in sorted(self.spoiled) if self._cluster.hosts[one].process is not None), "")
        if name:
            self.spoiled.add(name)
        return name
