"""Changes of generation under kills: one guard after the other is lost, and whoever takes its loss in hand is killed.

The two that are left sign on; the operator's command is given again as long as it takes, on any replica that lives. In
the end all three guards are armed for the next generation, and the chain goes on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.faults.cluster.replicas import CHAIN
from tests.faults.kills.campaign import (
    AFTER_HEALING,
    CondemnedError,
    Goal,
    Stage,
    Tally,
    check_disks_and_logs,
    judged,
    stage,
)
from tests.faults.kills.load import Load
from tests.faults.kills.places import Place, Way, places_of
from tests.faults.kills.replicas import KilledReplica

__all__ = ["CHANGE", "changes"]

CHANGE: Final = places_of(Way.CHANGED)

_DONE_SECONDS: Final = 120.0
"""For a change that is interrupted again and again, on a machine that is busy."""
_COMMAND_SECONDS: Final = 4.0
"""Then the command is given again, perhaps to another replica: what was begun goes on without it."""
_RANDOM_KILLS: Final = 0.3
_RANDOM_WITHIN_SECONDS: Final = 1.0
_RESTART_SECONDS: Final = 0.2
_POLL_SECONDS: Final = 0.005
_STEPS: Final = 3


async def changes(directory: Path, seed: int, goal: Goal) -> Tally:
    """One change after the other, until the goal is reached or the time is over. Raises as `campaign`."""
    begun = time.monotonic()
    tally = Tally()
    rng = random.Random(seed)
    async with stage(directory) as on:
        load = Load(on.nodes, random.Random(rng.random()), on.released)
        for replica in on.cluster.replicas:
            # A change that finds no majority to drain gives the highest place up, and says so to its operator.
            replica.expected_refusals.add("sealed")
        load.start(10)
        try:
            while not goal.reached(tally.kills, tally.hits, CHANGE) and time.monotonic() < begun + goal.seconds:
                await _Change(on, load, rng, tally).go_through()
                tally.changes += 1
                check_disks_and_logs(on)
        finally:
            await load.stop()
            judged(on.recording, on.released.count)
    tally.signatures, tally.seconds = on.released.count, time.monotonic() - begun
    return tally


def _due(hits: Counter[Place], rng: random.Random) -> list[Place]:
    """For each replica one of the places that were hit the least."""
    return sorted(CHANGE, key=lambda place: (hits[place], rng.random()))[:3]


class _Change:
    """One guard is lost; a new one takes its place."""

    def __init__(self, on: Stage, load: Load, rng: random.Random, tally: Tally) -> None:
        self._load = load
        self._cluster = on.cluster
        self._rng = rng
        self._tally = tally
        self._said: list[str] = []

    async def go_through(self) -> None:
        """From a lost guard to three that are armed anew. Raises CondemnedError."""
        before = max(mark.generation for one in self._cluster.replicas if (mark := one.guard()) is not None)
        await self._lose_a_guard()
        for replica, place in zip(self._cluster.replicas, _due(self._tally.hits, self._rng), strict=True):
            replica.arm(place)
        lives = [asyncio.create_task(self._live(replica)) for replica in self._cluster.replicas]
        try:
            await self._change_until(lambda: self._all_armed(before + 1))
            self._cluster.disarm()
            # Whoever died of its last step still has to be started again.
            if not await self._load.signatures(_STEPS, AFTER_HEALING):
                raise CondemnedError("changed, and does not sign", await asyncio.to_thread(self._cluster.logs))
        finally:
            for life in lives:
                life.cancel()
            await asyncio.wait(lives)
        for life in lives:
            if not life.cancelled() and (error := life.exception()) is not None:
                raise error
        for replica in self._cluster.replicas:
            self._take_hits(replica)
            if not replica.alive:
                replica.start()

    async def _lose_a_guard(self) -> None:
        victim = self._cluster.replica(self._rng.choice(self._cluster.members))
        await asyncio.to_thread(victim.kill)
        code, said = await asyncio.to_thread(victim.operate, "guard", "replace", CHAIN, "--confirm", CHAIN)
        if code != 0:
            raise CondemnedError(f"{victim.id}: its guard cannot be given up: {code}, {said}")
        victim.start()

    async def _change_until(self, done: Callable[[], bool]) -> None:
        """Give the command on one replica after the other, until all is done."""
        deadline = time.monotonic() + _DONE_SECONDS
        while not done():
            if time.monotonic() > deadline:
                logs = await asyncio.to_thread(self._cluster.logs)
                held = [f"{one.id}: {one.guard()}" for one in self._cluster.replicas]
                raise CondemnedError(f"change {self._tally.changes}: not done", *held, *self._said[-5:], logs)
            replica = self._cluster.replica(self._rng.choice(self._cluster.members))
            code, said = await asyncio.to_thread(
                replica.operate, *("cluster", "change", CHAIN, "--yes", "--timeout", f"{_COMMAND_SECONDS:g}")
            )
            self._said.append(f"{replica.id} says {code}: {said.strip()}")
            await asyncio.sleep(_POLL_SECONDS)

    async def _live(self, replica: KilledReplica) -> None:
        """Kill it perhaps, and start it again when it is dead."""
        if self._rng.random() < _RANDOM_KILLS:
            await asyncio.sleep(self._rng.uniform(0.0, _RANDOM_WITHIN_SECONDS))
            if replica.alive:
                self._tally.harm["killed from outside"] += 1
                self._tally.kills += 1
                await asyncio.to_thread(replica.kill)
        while True:
            if not replica.alive:
                self._take_hits(replica)
                if replica.ended_by_itself:
                    raise CondemnedError(f"{replica.id} ended by itself, with {replica.exit_code}", replica.log_tail())
                await asyncio.sleep(self._rng.uniform(0.0, _RESTART_SECONDS))
                replica.start()
            await asyncio.sleep(_POLL_SECONDS)

    def _take_hits(self, replica: KilledReplica) -> None:
        for hit in replica.new_hits():
            self._tally.hits[hit.place] += 1
            self._tally.harm["killed at a place"] += 1
            self._tally.kills += 1

    def _all_armed(self, generation: int) -> bool:
        marks = [replica.guard() for replica in self._cluster.replicas]
        return all(mark is not None and mark.armed and mark.generation >= generation for mark in marks)
