"""Two nodes of one validator ask for different things at every height, round and step; replicas die and stand still.

Recorded where it counts, at the nodes' side, by code that shares nothing with the signing path; the judge reads the
recording afterwards. Kills and pauses are drawn from a seed; when they fall is the machine's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from cmkms.harness.endpoint import NodeTimings
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import judge
from cmkms.harness.recorder import Recorder, read_observations
from cmkms.harness.signer_cluster import CmkmsCluster
from tests.faults.cluster.contradictions import Outcome, ask, play
from tests.faults.cluster.replicas import CHAIN, READY, events, make_cluster, pub_key_of, vote

TIMINGS: Final = NodeTimings(accept=1.0, read_write=1.0, ping=1.0, retry_pause=0.05)
"""A node's own are longer: with these, a minute holds more lost connections and late answers than one of a node."""

AFTER_HEALING: Final = 10.0
"""Seconds for a new height to be signed once everything runs again."""


@dataclass(slots=True)
class Harm:
    """Kills and pauses replicas, one or two at a time, half of the time the lease holder. Counts what it did."""

    cluster: CmkmsCluster
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter[str])

    async def go_on(self) -> None:
        while True:
            await asyncio.sleep(self.rng.uniform(0.05, 0.6))
            victims = await self._victims()
            await self.rng.choice([self._kill, self._pause])(victims)

    def heal(self) -> None:
        """Everything runs again. Nothing may have ended that was not killed."""
        for member in self.cluster.alive:
            self.cluster.resume(member)
        self.cluster.start_all()

    async def _victims(self) -> list[str]:
        victims = self.rng.sample(self.cluster.members, self.rng.choice([1, 1, 1, 2]))
        if self.rng.random() < 0.5 and (holder := await asyncio.to_thread(self.cluster.holder)) is not None:
            victims[0] = holder
        return sorted(set(victims))

    async def _kill(self, victims: list[str]) -> None:
        self.done["kill -9"] += len(victims)
        for member in victims:
            assert self.cluster.replica(member).alive, f"{member} ended by itself\n{self.cluster.logs()}"
            await asyncio.to_thread(self.cluster.kill, member)
        await asyncio.sleep(self.rng.uniform(0.0, 1.0))
        for member in victims:
            self.cluster.start(member)

    async def _pause(self, victims: list[str]) -> None:
        self.done["SIGSTOP"] += len(victims)
        for member in victims:
            self.cluster.pause(member)
        await asyncio.sleep(self.rng.uniform(0.05, 1.5))
        for member in victims:
            self.cluster.resume(member)


@pytest.mark.parametrize(
    ("seconds", "seed"),
    [
        pytest.param(12, 1, id="12s"),
        *(
            pytest.param(60, seed, id=f"60s-seed-{seed}", marks=[pytest.mark.slow, pytest.mark.timeout(300)])
            for seed in (2, 3)
        ),
    ],
)
async def test_no_two_messages_are_signed_at_one_place_and_the_cluster_recovers(
    tmp_path: Path, seconds: int, seed: int, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(seed)
    recording = tmp_path / "recording"
    async with AsyncExitStack() as stack:
        recorder = stack.enter_context(Recorder(recording))
        nodes = [
            await stack.enter_async_context(
                SimulatedNode("tcp://127.0.0.1:0", CHAIN, name=name, timings=TIMINGS, witness=recorder)
            )
            for name in ("first", "second")
        ]
        cluster = await asyncio.to_thread(make_cluster, tmp_path, *(node.address for node in nodes))
        stack.enter_context(cluster)
        for node in nodes:
            node.knows(pub_key_of(cluster))
        cluster.start_all()
        await asyncio.to_thread(cluster.wait_ready, READY)
        harm = Harm(cluster, rng)
        outcomes, height = await _play_under(harm, nodes, rng, seconds)
        harm.heal()
        healed = time.monotonic()
        assert await _signs_again(nodes, height + 1), (
            f"nothing signed {AFTER_HEALING:g} s after the end\n{cluster.logs()}"
        )
        record_property("steps", dict(outcomes))
        record_property("harm", dict(harm.done))
        record_property("seconds_to_recover", round(time.monotonic() - healed, 2))
        await asyncio.to_thread(cluster.wait_ready, READY)
        said = [event for member in cluster.members for event in events(cluster.replica(member))]
    observations = list(read_observations(recording))
    verdict = judge(observations, [CHAIN])
    print(f"{outcomes}, {harm.done}, {verdict.signed} signatures, {verdict.refused} refused")  # noqa: T201 - the figures
    assert verdict.violations == []
    assert cluster.check_guards(observations) == []
    assert verdict.signed > 3 * seconds
    assert verdict.unreadable == 0
    assert [event for event in said if event["level"] == "critical"] == []


async def _play_under(
    harm: Harm, nodes: list[SimulatedNode], rng: random.Random, seconds: float
) -> tuple[Counter[str], int]:
    """Both at once, for so long; how many steps were signed at no, one or both nodes, and the last height."""
    outcomes: Counter[str] = Counter()
    height = 0
    harming = asyncio.create_task(harm.go_on())
    deadline = time.monotonic() + seconds
    async for step in play(nodes, random.Random(rng.random()), first_height=10):
        height = step.height
        outcomes[f"signed at {step.outcomes.count(Outcome.SIGNED)} of {len(nodes)}"] += 1
        if time.monotonic() > deadline or harming.done():
            break
    harming.cancel()
    with suppress(asyncio.CancelledError):
        await harming  # an error in it is an error of the test
    return outcomes, height


async def _signs_again(nodes: list[SimulatedNode], height: int) -> bool:
    async def until_signed(node: SimulatedNode) -> None:
        while await ask(node, vote(height)) is not Outcome.SIGNED:
            pass

    try:
        async with asyncio.timeout(AFTER_HEALING):
            await asyncio.gather(*map(until_signed, nodes))
    except TimeoutError:
        return False
    return True
