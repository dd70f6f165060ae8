"""Births under kills: three new replicas, each hit at a named place of its birth or at a random moment.

Whoever dies is started again with the same word of its operator. In the end all three guards are armed for one and the
same generation, and sign; whatever a death left behind may cost time, and nothing else.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cmkms.harness.node import SimulatedNode
from cmkms.harness.recorder import Recorder
from tests.faults.cluster.contradictions import Outcome, ask
from tests.faults.cluster.replicas import CHAIN, vote
from tests.faults.kills.campaign import AFTER_HEALING, CondemnedError, Goal, Tally, judged, made_cluster
from tests.faults.kills.lives import POLL_SECONDS, Lives, due
from tests.faults.kills.load import TIMINGS, Released
from tests.faults.kills.places import Place, Way, places_of
from tests.faults.kills.replicas import KilledCluster, KilledReplica

__all__ = ["BIRTH", "births"]

BIRTH: Final = places_of(Way.BORN)

BORN_SECONDS: Final = 120.0
"""For three replicas to be born that are killed on the way, on a machine that is busy."""
_RANDOM_KILLS: Final = 0.4


async def births(directory: Path, seed: int, goal: Goal) -> Tally:
    """One birth after the other, until the goal is reached or the time is over. Raises as `campaign`."""
    begun = time.monotonic()
    tally = Tally()
    rng = random.Random(seed)
    recording = directory / "recording"
    with Recorder(recording) as recorder:
        released = Released(recorder)
        async with SimulatedNode("tcp://127.0.0.1:0", CHAIN, timings=TIMINGS, witness=released) as node:
            cluster = await asyncio.to_thread(made_cluster, directory, node.address)
            node.knows(cluster.replica("node-0").pub_key())
            with cluster:
                for replica in cluster.replicas:
                    shutil.copytree(replica.home, _unborn(replica))
                while not goal.reached(tally.kills, tally.hits, BIRTH) and time.monotonic() < begun + goal.seconds:
                    await _Birth(cluster, node, rng, tally).give(due(BIRTH, tally.hits, rng, len(cluster.replicas)))
                    tally.births += 1
    judged(recording, released.count)
    tally.signatures, tally.seconds = released.count, time.monotonic() - begun
    return tally


def _unborn(replica: KilledReplica) -> Path:
    return replica.home.with_name("unborn")


async def _signs(cluster: KilledCluster, node: SimulatedNode, birth: int) -> None:
    """Each birth has a height of its own: the key, and so what the judge knows of it, is the same for all."""
    deadline = time.monotonic() + AFTER_HEALING
    while await ask(node, vote(birth + 1)) is not Outcome.SIGNED:
        if time.monotonic() > deadline:
            raise CondemnedError(f"birth {birth}: born, and does not sign", await asyncio.to_thread(cluster.logs))


class _Birth:
    """One birth of all three."""

    def __init__(self, cluster: KilledCluster, node: SimulatedNode, rng: random.Random, tally: Tally) -> None:
        self._cluster = cluster
        self._node = node
        self._tally = tally
        self._lives = Lives(rng, tally, chance=_RANDOM_KILLS, start=_start)

    async def give(self, places: Sequence[Place]) -> None:
        """From three homes to three armed guards. Raises CondemnedError."""
        for replica, place in zip(self._cluster.replicas, places, strict=True):
            replica.kill()
            await asyncio.to_thread(_begin_anew, replica)
            replica.control.disarm()
            replica.arm(place)
            _start(replica)
        async with self._lives.of(self._cluster.replicas):
            await self._until_born()
            self._cluster.disarm()
            # Whoever died of its last step still has to be started again.
            await _signs(self._cluster, self._node, self._tally.births)
        self._check()

    async def _until_born(self) -> None:
        deadline = time.monotonic() + BORN_SECONDS
        while not self._armed():
            if time.monotonic() > deadline:
                logs = await asyncio.to_thread(self._cluster.logs)
                raise CondemnedError(f"birth {self._tally.births}: not born within {BORN_SECONDS:g} s", logs)
            await asyncio.sleep(POLL_SECONDS)

    def _armed(self) -> bool:
        marks = [replica.guard() for replica in self._cluster.replicas]
        return all(mark is not None and mark.armed for mark in marks) and len(self._cluster.alive) == len(marks)

    def _check(self) -> None:
        replicas = self._cluster.replicas
        reasons: list[str] = []
        if len({(mark.generation, mark.generation_hash) for one in replicas if (mark := one.guard()) is not None}) != 1:
            reasons.append("armed for different generations")
        for replica in replicas:
            self._lives.take_hits(replica)
            reasons += [f"{replica.id}: {line}" for line in replica.new_trouble()]
            if replica.fused:
                reasons.append(f"{replica.id}: its fuse is blown")
        if reasons:
            raise CondemnedError(*reasons)


def _start(replica: KilledReplica) -> None:
    """With the word of its operator, at each start of its birth."""
    replica.start(never_signed=True)


def _begin_anew(replica: KilledReplica) -> None:
    """The home as it was made, before its first start."""
    shutil.rmtree(replica.home)
    shutil.copytree(_unborn(replica), replica.home)
