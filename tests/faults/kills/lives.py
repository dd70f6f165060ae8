"""The lives of replicas that are killed on their way: at the place each is armed for, or at a random moment.

Whoever dies is started again, for as long as the trial lasts. Nobody is forgiven an end that was not put upon it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from tests.faults.kills.campaign import CondemnedError, Tally
from tests.faults.kills.places import Place
from tests.faults.kills.replicas import KilledReplica

__all__ = ["POLL_SECONDS", "Lives", "due"]

POLL_SECONDS: Final = 0.005
_RANDOM_WITHIN_SECONDS: Final = 1.0
_RESTART_SECONDS: Final = 0.2


def due(places: Sequence[Place], hits: Counter[Place], rng: random.Random, count: int) -> list[Place]:
    """So many of these places: those that were hit the least, in an order of chance."""
    return sorted(places, key=lambda place: (hits[place], rng.random()))[:count]


class Lives:
    """Kills, and starts again with `start`. A replica dies at a random moment with this `chance`."""

    def __init__(
        self, rng: random.Random, tally: Tally, *, chance: float, start: Callable[[KilledReplica], None]
    ) -> None:
        self._rng = rng
        self._tally = tally
        self._chance = chance
        self._start = start

    @asynccontextmanager
    async def of(self, replicas: Sequence[KilledReplica]) -> AsyncGenerator[None]:
        """They live as long as this lasts. Raises CondemnedError at the end if one has ended by itself."""
        lives = [asyncio.create_task(self._live(replica)) for replica in replicas]
        try:
            yield
        finally:
            for life in lives:
                life.cancel()
            await asyncio.wait(lives)
        for life in lives:
            if not life.cancelled() and (error := life.exception()) is not None:
                raise error

    def take_hits(self, replica: KilledReplica) -> None:
        """Count what has hit it since the last call."""
        for hit in replica.new_hits():
            self._tally.hits[hit.place] += 1
            self._count("killed at a place")

    async def _live(self, replica: KilledReplica) -> None:
        if self._rng.random() < self._chance:
            await asyncio.sleep(self._rng.uniform(0.0, _RANDOM_WITHIN_SECONDS))
            if replica.alive:
                self._count("killed from outside")
                await asyncio.to_thread(replica.kill)
        while True:
            if not replica.alive:
                self.take_hits(replica)
                if replica.ended_by_itself:
                    raise CondemnedError(f"{replica.id} ended by itself, with {replica.exit_code}", replica.log_tail())
                await asyncio.sleep(self._rng.uniform(0.0, _RESTART_SECONDS))
                self._start(replica)
            await asyncio.sleep(POLL_SECONDS)

    def _count(self, harm: str) -> None:
        self._tally.harm[harm] += 1
        self._tally.kills += 1
