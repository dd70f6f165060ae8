"""Processes that are killed, stopped and restarted: what the others see of it, and how soon."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from tests.faults.peers.member import HALF_A_FRAME, in_its_own_process
from tests.patience import within
from tests.unit.peers.replica import cluster, eventually, running


@pytest.mark.parametrize("victim", [0, 1], ids=["the one that dials", "the one that listens"])
async def test_a_killed_process_is_seen_at_once(victim: int) -> None:
    replicas = cluster()
    dead, left = replicas[victim], replicas[1 - victim]
    async with running(left):
        for times in range(1, 4):
            async with in_its_own_process(dead) as process:
                await eventually(left.connected, seconds=20)
                left.events.clear()
                before = time.monotonic()
                os.kill(process.pid, signal.SIGKILL)
                await eventually(lambda: ("refused", dead.me) in left.events)
                # Milliseconds on an idle machine; its silence alone would be noticed after a second.
                assert time.monotonic() - before < within(0.5)
                assert not left.told("silent")
                assert left.events[:2] == [("down", dead.me), ("refused", dead.me)]
                assert times == len(left.hellos)
        assert left.twins == []


async def test_a_process_that_stands_still_is_left_and_met_again() -> None:
    one, two = cluster()
    async with running(one), in_its_own_process(two) as process:
        await eventually(one.connected, seconds=20)
        one.events.clear()
        before = time.monotonic()
        os.kill(process.pid, signal.SIGSTOP)
        await eventually(lambda: one.count("down", "node-1"))
        assert time.monotonic() - before < within(1.5)
        assert one.told("silent")
        # Its port still takes connections, and nobody behind it answers.
        await asyncio.sleep(0.3)
        assert one.count("refused", "node-1") == 0
        os.kill(process.pid, signal.SIGCONT)
        await eventually(one.connected, seconds=10)
        assert one.twins == []


async def test_a_process_that_is_killed_amid_a_frame_leaves_nothing_of_it() -> None:
    one, two = cluster()
    async with running(two):
        async with in_its_own_process(one, mode=HALF_A_FRAME) as process:
            assert two.connected() == {"node-0"}
            os.kill(process.pid, signal.SIGKILL)
            await eventually(lambda: two.count("down", "node-0"))
            assert two.messages == []
        async with in_its_own_process(one):
            await eventually(two.connected, seconds=20)


async def test_a_cluster_without_pins_survives_the_kill_of_each() -> None:
    one, two, three = cluster(3, pinned=False)
    async with running(one, three):
        for _ in range(2):
            async with in_its_own_process(two):
                await eventually(lambda: one.connected() == {"node-1", "node-2"}, seconds=20)
                await eventually(lambda: three.connected() == {"node-0", "node-1"}, seconds=20)
            await eventually(lambda: one.connected() == {"node-2"})
        assert one.count("down", "node-2") == three.count("down", "node-0") == 0
        assert one.strangers == three.strangers == []
