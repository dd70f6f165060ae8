"""What befalls a simulated cluster, by a seed: deaths, stops, cuts, power losses, jumps of the wall clock."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from cmkms.guard.claims import GuardPhase
from cmkms.privval import SignProposalRequest
from cmkms.signing.signer import SignRequest, canonical
from tests.sim.cluster.cluster import Cluster
from tests.sim.cluster.sentries import Sentry
from tests.unit.signing.messages import prevote

__all__ = ["Chaos", "survive"]

HEALING_SECONDS = 12.0
"""Enough for a node's read deadline, an election, and another try."""


class Chaos:
    """Lets something befall the cluster every second or so, and most of it pass again."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self._cluster = cluster
        self._random = random
        self.on = True
        self._broken: set[str] = set()
        self.befell: list[str] = []

    def begin(self) -> None:
        self._cluster.events.later(self._random.expovariate(1.2), self._strike)

    def _strike(self) -> None:
        if not self.on:
            return
        blow = self._random.choice(
            (
                self.kill, self.kill, self.kill_in_a_write, self.stop, self.stop, self.cut_one_way, self.cut_a_link,
                self.isolate, self.cut_power, self.cut_all_power, self.turn_the_clock, self.cut_a_node_off,
                self.break_a_disk,
            )
        )  # fmt: skip
        self.befell.append(f"{self._cluster.events.now:.3f} {blow.__name__}")
        blow()
        self.begin()

    def _soon(self, job: Callable[[], None], longest: float = 3.0) -> None:
        self._cluster.events.later(self._random.uniform(0.02, longest), job)

    def _some(self) -> str:
        """One replica; the lease holder more often than the others."""
        cluster = self._cluster
        names = [one.host.name for one in cluster.running]
        if cluster.holder and self._random.random() < 0.4:
            return cluster.holder
        return self._random.choice(names) if names else ""

    def _start_again(self, name: str) -> None:
        if self._cluster.hosts[name].process is None:
            self._cluster.start(name)
        if self._cluster.hosts[name].process is None:
            self._soon(lambda: self._start_again(name))

    # ---------------------------------------------------------------------------------------------------------- blows

    def kill(self) -> None:
        if name := self._some():
            self._cluster.kill(name)
            self._soon(lambda: self._start_again(name))

    def kill_in_a_write(self) -> None:
        """At one of the next operations of its disk."""
        if name := self._some():
            disk = self._cluster.hosts[name].disk
            disk.kill_at = disk.operations + self._random.randint(1, 12)
            cut = self._random.random() < 0.5

            def again() -> None:
                if self._cluster.hosts[name].process is None:
                    if cut:
                        disk.cut_power(lambda: self._random.random() < 0.5)
                    self._start_again(name)

            self._soon(again)

    def stop(self) -> None:
        if name := self._some():
            process = self._cluster.process(name)
            if not process.stopped:
                process.stopped = True
                self._soon(process.resume, 2.5)

    def cut_one_way(self) -> None:
        one, other = self._random.sample(sorted(self._cluster.hosts), 2)
        self._cut([(one, other)])

    def cut_a_link(self) -> None:
        one, other = self._random.sample(sorted(self._cluster.hosts), 2)
        self._cut([(one, other), (other, one)])

    def isolate(self) -> None:
        if name := self._some():
            self._cut(self._cluster.links.around(name))

    def _cut(self, ways: list[tuple[str, str]]) -> None:
        self._cluster.links.block(ways)
        self._soon(lambda: self._cluster.links.unblock(ways), 4.0)

    def cut_power(self) -> None:
        if name := self._some():
            self._cluster.cut_power(name, chance=lambda: self._random.random() < 0.5)
            self._soon(lambda: self._start_again(name))

    def cut_all_power(self) -> None:
        self._cluster.cut_power(*self._cluster.hosts, chance=lambda: self._random.random() < 0.5)
        for name in self._cluster.hosts:
            self._soon(partial(self._start_again, name))

    def break_a_disk(self) -> None:
        """For good; of so few that the others are still a majority."""
        name = self._some()
        hosts = len(self._cluster.hosts)
        if name and (name in self._broken or len(self._broken) < (hosts - 1) // 2):
            self._broken.add(name)
            self._cluster.hosts[name].disk.sync_error = OSError(errno.EIO, "Input/output error")

    def turn_the_clock(self) -> None:
        name = self._random.choice(sorted(self._cluster.hosts))
        self._cluster.hosts[name].wall_jump += self._random.choice((-86_400.0, -5.0, 5.0, 86_400.0))

    def cut_a_node_off(self) -> None:
        sentry: Sentry = self._random.choice(self._cluster.sentries)
        name = self._random.choice(sorted(self._cluster.hosts))
        sentry.unreachable.add(name)
        if sentry.connected == name:
            sentry.reconnect()
        self._soon(lambda: sentry.unreachable.discard(name))


def survive(folder: Path, seed: int, *, size: int = 3, seconds: float = 15.0, sentries: int = 2) -> Cluster:
    """Run one seed: everything that is promised is held throughout, and once all is healed every node is served."""
    cluster = Cluster(folder, size, seed=seed, sentries=sentries)
    chaos = Chaos(cluster, Random(seed + 1))
    for name in cluster.hosts:
        cluster.events.later(cluster.random.uniform(0.0, 2.0), partial(cluster.start, name))
    for sentry in cluster.sentries:
        sentry.pace = 0.2
        sentry.begin()
    cluster.run(2.5)
    chaos.begin()
    cluster.run(seconds)
    chaos.on = False
    cluster.run(4.0)  # what was to pass has passed
    cluster.heal()
    for sentry in cluster.sentries:
        sentry.busy = False
    told = (f"seed {seed}", chaos.befell, cluster.lines[-30:])
    if not cluster.run(HEALING_SECONDS, until=lambda: not any(one.waits for one in cluster.sentries)):
        for sentry in cluster.sentries:
            given_up = sentry.give_up()
            assert given_up is None or not can_be_signed(cluster, given_up), told
    assert cluster.judge.signed, told
    for number in range(sentries):
        height = max(hrs.height for hrs in cluster.judge.signed) + 1
        asked = cluster.ask(prevote(height), sentry=number, within=HEALING_SECONDS)
        assert asked.signed, (asked, told)
    return cluster


def can_be_signed(cluster: Cluster, request: SignRequest) -> bool:
    """Whether a majority of guards that still answer could accept one message at this place."""
    hrs, sign_bytes = canonical(request)
    armed = [one.host.watermark for one in cluster.running if one.chain.phase is GuardPhase.ARMED]
    free = sum(mark < hrs for mark, _ in armed)
    there = Counter(held for mark, held in armed if mark == hrs)
    if isinstance(request, SignProposalRequest):
        there = Counter({sign_bytes: there[sign_bytes]})
    return free + max(there.values(), default=0) > len(cluster.hosts) // 2
