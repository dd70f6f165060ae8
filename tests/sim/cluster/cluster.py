"""A whole cluster in one process, under virtual time: replicas on hosts, links between them, nodes that ask.

Everything that decides is the product's own: guards, quorum, signer, dispatch, births, elections by pysyncobj. A seed
names one run, which repeats itself exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from cmkms.guard.claims import GuardPhase
from cmkms.home import Home
from cmkms.membership import FINISH_SECONDS, HAND_OVER_SECONDS
from cmkms.replica.member import Replica
from cmkms.signing.signer import SignRequest
from tests.sim.cluster.events import Events
from tests.sim.cluster.hosts import Host
from tests.sim.cluster.judge import Judge
from tests.sim.cluster.links import Links
from tests.sim.cluster.lives import Process
from tests.sim.cluster.sentries import Asked, Chain, Sentry
from tests.sim.cluster.story import Story
from tests.sim.guard.disk import Killed

__all__ = ["Cluster"]

POLL_SECONDS = 0.002


def _follows(replica: Replica, name: str) -> bool:
    return replica.neighbours.holder()[0] not in {"", name}


class Cluster:
    """`size` hosts, on none of which anything runs yet."""

    def __init__(self, folder: Path, size: int = 3, *, seed: int = 1, sentries: int = 1) -> None:
        self.random = Random(seed)
        self.events = Events()
        self.lines: list[tuple[float, str, str]] = []
        self.story = Story(self.events, f"{folder}/")
        names = tuple(f"node-{number}" for number in range(size))
        self.judge = Judge(names, self.story)
        self.hosts: dict[str, Host] = {}
        for name in names:
            home = folder / name
            for part in (home, home / "data", home / "priv", home / "priv" / "born"):
                part.mkdir(mode=0o700, exist_ok=True)
            boot = self.random.uniform(100, 100_000)
            self.hosts[name] = Host(
                name,
                names,
                Home(home),
                self.events,
                Random(self.random.random()),
                self.judge.signature,
                self.lines,
                self.story.tell,
                boot,
            )
            self.hosts[name].disk.flushed = partial(self._flushed, self.hosts[name])
        self.links = Links(self.hosts, self.events, Random(self.random.random()))
        self.chain = Chain()
        self.sentries = [
            Sentry(
                f"sentry-{number}",
                self.hosts,
                self.events,
                Random(self.random.random()),
                self.chain,
                self.judge,
            )
            for number in range(sentries)
        ]

    # -------------------------------------------------------------------------------------------------- what is done

    def start(self, *names: str) -> None:
        """Start the process of these hosts, or of all."""
        for name in names or tuple(self.hosts):
            host = self.hosts[name]
            assert host.process is None, f"{name} runs"
            try:
                host.powered = True
                host.process = process = Process(host, self.links, self._died)
            except Killed:
                host.disk.kill()
            else:
                self.links.started(process)

    def kill(self, *names: str, machine: bool = False) -> None:
        """Kill -9; with `machine`, the host is gone from the network, too, and nobody is told."""
        for name in names:
            process = self.hosts[name].process
            assert process is not None
            self._died(process, machine=machine)

    def cut_power(self, *names: str, chance: Callable[[], bool] = lambda: False) -> None:
        """End a process, and lose what its guard had not flushed."""
        for name in names:
            self.hosts[name].powered = False
            if self.hosts[name].process is not None:
                self.kill(name, machine=True)
            self.hosts[name].disk.cut_power(chance)

    def stop(self, name: str) -> None:
        """SIGSTOP, or a paused machine."""
        self.process(name).stopped = True

    def resume(self, name: str) -> None:
        self.process(name).resume()

    def leave(self, name: str) -> None:
        """SIGTERM, and wait until the process has gone."""
        self.begin_to_leave(name)
        assert self.run(2.0, until=lambda: self.hosts[name].process is None)

    def begin_to_leave(self, name: str) -> None:
        """SIGTERM: what `cmkms/membership.py` does, in its order and with its patience."""
        process = self.process(name)
        replica = process.replica

        def finish() -> None:
            self._when(process, lambda: not process.chain.dispatch.waiting, FINISH_SECONDS, say_goodbye)

        def hand_over() -> None:
            heard = replica.resign()
            followed = partial(_follows, replica, name)
            self._when(process, followed if heard else lambda: True, HAND_OVER_SECONDS, finish)

        def say_goodbye() -> None:
            process.network.say_goodbye()
            self.events.later(0.0, lambda: self._died(process))

        def begin() -> None:
            replica.close()
            self._when(process, lambda: not replica.busy, FINISH_SECONDS, hand_over)

        process.run(begin)

    def _when(self, process: Process, done: Callable[[], bool], seconds: float, then: Callable[[], None]) -> None:
        """Let a process look every few milliseconds whether something is so, and go on then, or after a while."""
        until = self.events.now + seconds

        def look() -> None:
            if done() or self.events.now >= until:
                then()
            else:
                process.later(POLL_SECONDS, look)

        look()

    def image(self, name: str) -> bytes:
        """What lies on the disk of a guard, to be put back by an operator who should not."""
        host = self.hosts[name]
        return bytes(host.disk.media[host.site.path].platter)

    def roll_back(self, name: str, image: bytes) -> None:
        """Put an old image of a guard back, while its replica is down."""
        host = self.hosts[name]
        medium = host.disk.media[host.site.path]
        medium.platter[:] = medium.cache[:] = image
        self.judge.rolled_back(name)

    def isolate(self, name: str) -> None:
        self.links.block(self.links.around(name))

    def heal(self) -> None:
        """Everything works again: links, processes, machines."""
        self.links.unblock(tuple(self.links.cut))
        self.links.slow.clear()
        for name, host in self.hosts.items():
            host.disk.kill_at = 0
            host.disk.full = False
            host.sync_seconds = (0.0, 0.0)
            if host.process is None:
                self.start(name)
            elif host.process.stopped:
                self.resume(name)
        for sentry in self.sentries:
            sentry.unreachable.clear()

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> bool:
        return self.events.run(seconds, until=until)

    def _died(self, process: Process, *, machine: bool = False) -> None:
        if not process.alive:
            return
        process.end()
        process.host.process = None
        process.host.powered = not machine
        self.links.process_died(process, machine=machine)
        for sentry in self.sentries:
            if not machine:
                self.events.later(0.0005, partial(sentry.lost, process))

    def _flushed(self, host: Host) -> None:
        host.wait_for_the_disk()
        stored = host.stored
        if stored is not None:
            self.judge.durable(host.name, stored)

    # -------------------------------------------------------------------------------------------------- what is seen

    def process(self, name: str) -> Process:
        process = self.hosts[name].process
        assert process is not None, f"{name} does not run"
        return process

    @property
    def running(self) -> list[Process]:
        return [host.process for host in self.hosts.values() if host.process is not None]

    @property
    def holder(self) -> str:
        """Who holds the lease; empty if nobody does."""
        return next((one.host.name for one in self.running if one.holds and not one.stopped), "")

    @property
    def others(self) -> list[str]:
        """All but the lease holder."""
        return [name for name in self.hosts if name != self.holder]

    def others_than(self, name: str) -> list[str]:
        return [other for other in self.hosts if other != name]

    @property
    def born(self) -> bool:
        return all(one.chain.phase is GuardPhase.ARMED for one in self.running) and len(self.running) == len(self.hosts)

    # ------------------------------------------------------------------------------------------------------ shorthands

    def up(self) -> Cluster:
        """Start all, and wait until they are born and one of them leads."""
        self.start()
        assert self.run(10, until=lambda: self.born and bool(self.holder)), self.lines
        self.run(0.5)
        return self

    def ask(self, request: SignRequest, *, sentry: int = 0, within: float = 10.0) -> Asked:
        """Let a node ask, and wait for its answer."""
        asked = self.sentries[sentry].ask(request)
        assert self.run(within, until=lambda: asked.answer is not None), (self.lines[-20:], asked)
        return asked
