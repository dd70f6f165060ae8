"""SIGSTOP and SIGCONT: a replica that slept believes what it knew before, and what it then says harms nobody.

A stopped process keeps its sockets, and its node waits on them until its own time is over. The load goes on meanwhile:
the chain must, too.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.kills.campaign import Stage, check_disks_and_logs, judged, stage
from tests.faults.kills.load import Load

pytestmark = [pytest.mark.proof, pytest.mark.timeout(300)]

SECONDS: Final = 30.0
"""For the chain to go on; the most of it is for a machine with other work."""
_SETTLED: Final = 2.0
"""What a replica that woke up has to say, it says at once."""

PAUSES = [
    pytest.param(6.0, id="6s"),
    pytest.param(40.0, id="40s", marks=[pytest.mark.slow, pytest.mark.timeout(400)]),
]


class Play:
    """Replicas that sign under load, and what is asked of them at the end."""

    def __init__(self, on: Stage, load: Load) -> None:
        self.on = on
        self.load = load
        self.cluster = on.cluster

    async def goes_on(self, steps: int = 5) -> None:
        assert await self.load.signatures(steps, SECONDS), self.cluster.logs()

    async def nobody_was_harmed(self) -> None:
        """All run again, all sign, and nothing was signed twice."""
        await asyncio.sleep(_SETTLED)
        await self.goes_on()
        check_disks_and_logs(self.on)
        await self.load.stop()
        judged(self.on.recording, self.on.released.count)
        assert len(self.cluster.alive) == len(self.cluster.members)


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Play]:
    async with stage(tmp_path) as on:
        load = Load(on.nodes, random.Random(1), on.released)
        load.start(10)
        yield Play(on, load)
        await load.stop()


@pytest.mark.parametrize("pause", PAUSES)
async def test_the_lease_holder_sleeps_and_wakes_up(play: Play, pause: float) -> None:
    await play.goes_on()
    holder = play.cluster.wait_holder(SECONDS)
    play.cluster.pause(holder)
    await play.goes_on()
    await asyncio.sleep(pause)
    await play.goes_on()
    play.cluster.resume(holder)
    await play.nobody_was_harmed()


@pytest.mark.slow
@pytest.mark.parametrize("pause", PAUSES)
async def test_two_sleep_in_turn_each_waking_up_into_the_others_lease(play: Play, pause: float) -> None:
    await play.goes_on()
    first = play.cluster.wait_holder(SECONDS)
    play.cluster.pause(first)
    await asyncio.sleep(pause)
    await play.goes_on()
    second = play.cluster.wait_holder(SECONDS, other_than=first)
    # At once: for a moment both believe in a lease, the one of now and the one of before.
    play.cluster.pause(second)
    play.cluster.resume(first)
    await asyncio.sleep(pause)
    await play.goes_on()
    play.cluster.resume(second)
    await play.nobody_was_harmed()


@pytest.mark.slow
@pytest.mark.parametrize("pause", PAUSES)
async def test_while_two_sleep_nothing_is_signed_and_afterwards_it_is(play: Play, pause: float) -> None:
    await play.goes_on()
    sleepers = play.cluster.members[:2]
    for member in sleepers:
        play.cluster.pause(member)
    await asyncio.sleep(_SETTLED)  # what was granted before may still be answered
    signed = play.on.released.highest
    await asyncio.sleep(pause)
    assert play.on.released.highest == signed
    for member in sleepers:
        play.cluster.resume(member)
    await play.goes_on()
    await play.nobody_was_harmed()
