"""Changes of generation under kills: one guard after the other is lost, and whoever takes its loss in hand is killed.

The two that are left sign on; the operator's command is given again as long as it takes, on any replica that lives. In
the end all three guards are armed for the next generation, and the chain goes on.
"""

from __future__ import annotations

import asyncio
import random
import time
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
from tests.faults.kills.lives import POLL_SECONDS, Lives, due
from tests.faults.kills.load import Load
from tests.faults.kills.places import Way, places_of
from tests.faults.kills.replicas import KilledReplica

__all__ = ["CHANGE", "changes"]

CHANGE: Final = places_of(Way.CHANGED)

_DONE_SECONDS: Final = 120.0
"""For a change that is interrupted again and again, on a machine that is busy."""
_COMMAND_SECONDS: Final = 4.0
"""Then the command is given again, perhaps to another replica: what was begun goes on without it."""
_RANDOM_KILLS: Final = 0.3
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


class _Change:
    """One guard is lost; a new one takes its place."""

    def __init__(self, on: Stage, load: Load, rng: random.Random, tally: Tally) -> None:
        self._load = load
        self._cluster = on.cluster
        self._rng = rng
        self._tally = tally
        self._lives = Lives(rng, tally, chance=_RANDOM_KILLS, start=KilledReplica.start)
        self._said: list[str] = []

    async def go_through(self) -> None:
        """From a lost guard to three that are armed anew. Raises CondemnedError."""
        before = max(mark.generation for one in self._cluster.replicas if (mark := one.guard()) is not None)
        await self._lose_a_guard()
        replicas = self._cluster.replicas
        for replica, place in zip(replicas, due(CHANGE, self._tally.hits, self._rng, len(replicas)), strict=True):
            replica.arm(place)
        async with self._lives.of(replicas):
            await self._change_until(lambda: self._all_armed(before + 1))
            self._cluster.disarm()
            # Whoever died of its last step still has to be started again.
            if not await self._load.signatures(_STEPS, AFTER_HEALING):
                raise CondemnedError("changed, and does not sign", await asyncio.to_thread(self._cluster.logs))
        for replica in replicas:
            self._lives.take_hits(replica)
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
            await asyncio.sleep(POLL_SECONDS)

    def _all_armed(self, generation: int) -> bool:
        marks = [replica.guard() for replica in self._cluster.replicas]
        return all(mark is not None and mark.armed and mark.generation >= generation for mark in marks)
