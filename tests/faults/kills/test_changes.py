"""A change of generation under kills: whoever dies on the way, all guards end up armed for the same generation."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Final

import pytest

from tests.faults.cluster.replicas import CHAIN, eventually
from tests.faults.kills.campaign import Goal, stage
from tests.faults.kills.changes import CHANGE, changes
from tests.faults.kills.load import Load
from tests.faults.kills.places import Place
from tests.faults.kills.replicas import KilledReplica

pytestmark = pytest.mark.proof

SECONDS: Final = 20.0
"""For what takes a moment; the most of it is for a machine with other work."""
CHANGES: Final = Goal(kills=15, hits=1, seconds=600)


@pytest.mark.timeout(700)
async def test_replicas_that_are_killed_on_the_way_end_in_the_same_generation(tmp_path: Path) -> None:
    tally = await changes(tmp_path, 1, CHANGES)
    tally.show()
    assert CHANGES.reached(tally.kills, tally.hits, CHANGE), "the run was too short to say anything"


@pytest.mark.timeout(300)
async def test_a_guard_that_was_sealed_and_not_armed_is_armed_whoever_it_hears_first(tmp_path: Path) -> None:
    # Found by the campaign: whoever heard one armed member before a majority of those that had moved followed the
    # change, and its own guard was never armed.
    async with stage(tmp_path) as on:
        load = Load(on.nodes, random.Random(1), on.released)
        load.start(10)
        cluster = on.cluster
        holder = cluster.wait_holder(SECONDS)
        other, lost = (cluster.replica(member) for member in cluster.others(holder))
        lost.kill()
        assert (await asyncio.to_thread(lost.operate, "guard", "replace", CHAIN, "--confirm", CHAIN))[0] == 0
        lost.start()
        await asyncio.to_thread(cluster.wait_connected, SECONDS)
        lost.arm(Place.SEALED)
        await asyncio.to_thread(other.operate, "cluster", "change", CHAIN, "--yes", "--timeout", "5")
        await eventually(lambda: not lost.alive, cluster.logs)
        other.pause()
        lost.start()
        await eventually(lambda: _sees(lost, holder), cluster.logs)
        await asyncio.sleep(1.0)
        other.resume()
        await eventually(lambda: (mark := lost.guard()) is not None and mark.armed, cluster.logs)
        await load.stop()


def _sees(replica: KilledReplica, member: str) -> bool:
    status = replica.status()
    return status is not None and any(peer.id == member and peer.connected for peer in status.peers)
