"""What faults are given: the cluster, who is beyond repair, and how to make something pass again.

It keeps the campaign within what is promised: never more guards lost for good than a minority, and no guard rolled back
but where the others have seen more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from cmkms.guard.claims import GuardPhase
from tests.sim.cluster.cluster import Cluster
from tests.sim.cluster.links import Way
from tests.sim.cluster.lives import Process

__all__ = ["World"]

LONGEST_DOWN_SECONDS = 5.0
"""Longer than any fault leaves a replica down by itself."""


class World:
    """One cluster under faults. `on`: new ones strike; `quiet_until`: none does before that."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.on = True
        self.quiet_until = 0.0
        self.struck: Counter[str] = Counter()
        self.broken: set[str] = set()
        """Replicas whose guard will not answer again, whatever is healed."""
        self.replaced: set[str] = set()
        """Of these, those for which an operator has a new guard waiting."""
        self.clocks_lie = False
        """Whether a lease may be believed in twice: a clock stood still or ran wrong, or a term was forgotten."""
        self.excused_until = 0.0
        """A change of generation holds requests for a while."""
        self.images: dict[str, tuple[int, bytes]] = {}
        """Old images of guards, with the sequence number in them."""
        self.disturbed: dict[frozenset[str], float] = {}
        """When the connection between two replicas was lost last."""
        self._down: dict[str, float] = {}
        self._lasting = 0

    @property
    def now(self) -> float:
        return self.cluster.events.now

    @property
    def names(self) -> list[str]:
        return sorted(self.cluster.hosts)

    @property
    def most_broken(self) -> int:
        return (len(self.cluster.hosts) - 1) // 2

    def tell(self, who: str, what: str) -> None:
        self.cluster.story.tell(who, f"* {what}")

    # --------------------------------------------------------------------------------------------------------- choice

    def some(self, random: Random) -> str:
        """One replica that runs, the lease holder more often than the others; empty if none does."""
        names = [one.host.name for one in self.cluster.running]
        holder = self.cluster.holder
        chance = random.random()
        chosen = random.choice(names) if names else ""
        return holder if holder and chance < 0.4 else chosen

    def some_to_break(self, random: Random) -> str:
        """One whose guard may be lost for good, so that the others are still a majority; it counts as broken now."""
        if not self.cluster.born:
            return ""
        left = [name for name in self.names if name not in self.broken] if len(self.broken) < self.most_broken else []
        if not left:
            return ""
        name = random.choice(left)
        self.broken.add(name)
        return name

    def process_of(self, name: str) -> Process | None:
        return self.cluster.hosts[name].process

    def armed(self, name: str) -> bool:
        process = self.cluster.hosts[name].process
        return process is not None and process.chain.phase is GuardPhase.ARMED

    # ------------------------------------------------------------------------------------------------------ and after

    def supervise(self) -> None:
        """Whatever is down for long, for whatever reason, is started again; a write to die in is not waited for."""
        for name, host in self.cluster.hosts.items():
            since = self._down.pop(name, self.now)
            if host.process is None:
                self._down[name] = since
                if self.now - since >= LONGEST_DOWN_SECONDS:
                    self.start_again(name)
        self.cluster.events.later(1.0, self.supervise)

    def soon(self, random: Random, job: Callable[[], None], longest: float = 3.0, least: float = 0.06) -> None:
        self.later(random.uniform(least, longest), job)

    def later(self, seconds: float, job: Callable[[], None]) -> None:
        """Go on with a fault: until then it lasts."""

        def go_on() -> None:
            self._lasting -= 1
            job()

        self._lasting += 1
        self.cluster.events.later(seconds, go_on)

    @property
    def passed(self) -> bool:
        """Whether all that struck has come to its end."""
        return not self._lasting

    def start_again(self, name: str) -> None:
        """As a supervisor does: until it runs, or has died of something new."""
        host = self.cluster.hosts[name]
        if host.process is None:
            self.tell(name, "starts")
            self.cluster.start(name)
            if host.process is None:
                self.later(0.5, lambda: self.start_again(name))

    def kill(self, name: str) -> None:
        if self.cluster.hosts[name].process is not None:
            self.cluster.kill(name)

    def cut(self, random: Random, ways: list[Way], longest: float = 4.0) -> None:
        undo = self.cluster.links.block_for_now(ways)

        def restore() -> None:
            self.tell("network", "restores " + shown(ways))
            undo()

        self.tell("network", "cuts " + shown(ways))
        self.soon(random, restore, longest)


def shown(ways: list[Way]) -> str:
    """Ways in a few words: those cut in both directions as one."""
    both = sorted({tuple(sorted(way)) for way in ways if way[::-1] in ways})
    single = sorted(way for way in ways if way[::-1] not in ways)
    return ", ".join([f"{one} -- {other}" for one, other in both] + [f"{one} -> {other}" for one, other in single])
