"""kill -9 at named places and at random moments: nothing is signed twice, and signing goes on.

The replicas are real processes under two nodes that contradict each other; what each answered is recorded at the nodes'
side and judged there. The places are listed in `places.py`; that each one is really passed is tested, too.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Final

import pytest

from cmkms.harness.oracle import Rule
from tests.faults.cluster.replicas import CHAIN
from tests.faults.kills.births import BIRTH, births
from tests.faults.kills.bugs import Bug
from tests.faults.kills.campaign import CondemnedError, Goal, campaign, stage
from tests.faults.kills.load import Load
from tests.faults.kills.long_mode import RESULT, long_run, write_result
from tests.faults.kills.places import Place
from tests.faults.kills.replicas import KilledReplica
from tests.faults.kills.strikes import ORDINARY, serve_elsewhere

pytestmark = pytest.mark.proof

# The seconds are enough for a machine with other work; alone it takes a fraction of them.
KILLS: Final = Goal(kills=160, hits=1, seconds=1200)
BIRTHS: Final = Goal(kills=25, hits=1, seconds=600)
LONG: Final = Goal(kills=5000, hits=20, seconds=4 * 3600)

SECONDS: Final = 20.0
"""For the chain to go on, where something stands in its way."""


@pytest.mark.timeout(300)
async def test_every_place_is_passed_where_nobody_is_hit(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        load = Load(on.nodes, random.Random(1), on.released)
        load.start(10)
        assert await load.signatures(5, SECONDS)
        holder = on.cluster.wait_holder(SECONDS)
        assert await serve_elsewhere(on.cluster, on.nodes, holder)
        assert await load.signatures(5, SECONDS)
        await asyncio.to_thread(on.cluster.terminate, holder)
        assert await load.signatures(5, SECONDS)
        # Whoever was stopped has lost its guard, too.
        stopped, asked = on.cluster.replica(holder), on.cluster.replica(on.cluster.others(holder)[0])
        assert (await asyncio.to_thread(stopped.operate, "guard", "replace", CHAIN, "--confirm", CHAIN))[0] == 0
        stopped.start()
        await asyncio.to_thread(on.cluster.wait_connected, SECONDS)
        assert (await asyncio.to_thread(asked.operate, "cluster", "change", CHAIN, "--yes"))[0] == 0
        # What was released last is kept once a second.
        everything = set(Place)
        kept = await load.until(lambda: passed(on.cluster.replicas) == everything, SECONDS)
        await load.stop()
        assert kept, everything - passed(on.cluster.replicas)


@pytest.mark.timeout(1300)
async def test_replicas_that_are_killed_sign_nothing_twice_and_go_on(tmp_path: Path) -> None:
    tally = await campaign(tmp_path, 1, KILLS)
    tally.show()
    assert KILLS.reached(tally.kills, tally.hits, ORDINARY), "the run was too short to say anything"


@pytest.mark.timeout(700)
async def test_replicas_that_are_killed_in_their_birth_are_born_as_one(tmp_path: Path) -> None:
    tally = await births(tmp_path, 1, BIRTHS)
    tally.show()
    assert BIRTHS.reached(tally.kills, tally.hits, BIRTH), "the run was too short to say anything"


@pytest.mark.slow
@pytest.mark.timeout(5 * 3600)
async def test_thousands_of_kills() -> None:
    tally = await long_run(LONG.kills, LONG.hits, 1, LONG.seconds)
    tally.show()
    assert LONG.reached(tally.kills, tally.hits, tuple(Place)), "the run was too short to say anything"
    RESULT.unlink(missing_ok=True)
    write_result(tally, 1)


class TestTheCampaignItself:
    """Replicas with a bug are condemned: a campaign that lets them pass would prove nothing."""

    @pytest.mark.timeout(700)
    @pytest.mark.parametrize(
        "bug",
        [
            pytest.param(bug, id=bug.name.lower(), marks=() if bug is Bug.QUORUM_OF_ONE else pytest.mark.slow)
            for bug in Bug
        ],
    )
    async def test_condemns(self, tmp_path: Path, bug: Bug) -> None:
        with pytest.raises(CondemnedError) as condemned:
            await campaign(tmp_path, 3, Goal(kills=100, hits=0, seconds=600), bug=bug)
        # Not for being slow: by the judge, by what is on the disks, or by replicas that saw a guard forget and stopped.
        said, rules = str(condemned.value), condemned.value.rules
        assert Rule.TWO_MESSAGES in rules or "a majority holds" in said or "went backwards" in said, said


def passed(replicas: list[KilledReplica]) -> set[Place]:
    return set[Place]().union(*(replica.control.passed() for replica in replicas))
