"""Three replicas are killed while they sign for two nodes that contradict each other, and what is asked of them.

Round after round: signatures, several strikes at once, healing, signatures again. After each round a majority of the
guards' files has to stand at or above whatever was released, and nobody may have blown a fuse, told of an error or
ended by itself; at the end the judge reads everything that the nodes were answered.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Rule, judge
from cmkms.harness.recorder import Recorder, read_observations
from tests.faults.cluster.replicas import CHAIN, READY
from tests.faults.kills.bugs import Bug
from tests.faults.kills.load import TIMINGS, Load, Released
from tests.faults.kills.places import Place
from tests.faults.kills.replicas import KilledCluster
from tests.faults.kills.strikes import ORDINARY, Strikes

__all__ = [
    "AFTER_HEALING",
    "CondemnedError",
    "Goal",
    "InvalidRunError",
    "Stage",
    "Tally",
    "campaign",
    "check_disks_and_logs",
    "judged",
    "made_cluster",
    "stage",
]

AFTER_HEALING: Final = 30.0
"""Seconds for the chain to go on once everything runs again; the most of it is for a machine with other work."""

_BEFORE, _AFTER = 5, 3
"""Steps of the chain that have to be signed before and after the strikes of a round, or it proves nothing."""

_FIRST_HEIGHT: Final = 10
_MOST_REASONS: Final = 20


class CondemnedError(AssertionError):
    """The replicas have broken a promise. `rules` are the judge's; none where something else speaks against them."""

    def __init__(self, *reasons: str, rules: frozenset[Rule] = frozenset()) -> None:
        super().__init__("\n".join(reasons[:_MOST_REASONS]))
        self.rules = rules


class InvalidRunError(AssertionError):
    """The campaign has seen too little for its verdict to say anything."""


@dataclass(frozen=True, slots=True)
class Goal:
    """When a campaign ends: so many kills, each place hit so often; or, all the same, after so many seconds."""

    kills: int
    hits: int
    seconds: float

    def reached(self, kills: int, hits: Counter[Place], places: Sequence[Place]) -> bool:
        """Tell whether all kills have fallen, and those at each of `places`."""
        return kills >= self.kills and all(hits[place] >= self.hits for place in places)


@dataclass(slots=True)
class Tally:
    """What was done, and what came of it."""

    rounds: int = 0
    births: int = 0
    changes: int = 0
    kills: int = 0
    signatures: int = 0
    refused: int = 0
    seconds: float = 0.0
    hits: Counter[Place] = field(default_factory=Counter[Place])
    harm: Counter[str] = field(default_factory=Counter[str])

    def add(self, other: Tally) -> None:
        self.rounds += other.rounds
        self.births += other.births
        self.changes += other.changes
        self.kills += other.kills
        self.signatures += other.signatures
        self.refused += other.refused
        self.seconds += other.seconds
        self.hits.update(other.hits)
        self.harm.update(other.harm)

    def show(self) -> None:
        """Print it, for whoever runs it by hand."""
        print(  # noqa: T201
            f"{self.kills} kills in {self.rounds} rounds, {self.births} births and {self.changes} changes; "
            f"{self.signatures} signatures; {self.seconds:.0f} s; {dict(sorted(self.harm.items()))}; "
            f"{ {place.value: count for place, count in sorted(self.hits.items())} }"
        )


async def campaign(directory: Path, seed: int, goal: Goal, *, bug: Bug | None = None) -> Tally:
    """Run one, until its goal is reached or its time is over. Raises CondemnedError and InvalidRunError."""
    begun = time.monotonic()
    rng = random.Random(seed)
    async with stage(directory, bug) as on:
        load = Load(on.nodes, random.Random(rng.random()), on.released)
        strikes = Strikes(on.cluster, on.nodes, load, rng)
        rounds = _Rounds(on, load, strikes, rng)
        load.start(_FIRST_HEIGHT)
        try:
            await rounds.go_on(goal, begun + goal.seconds)
        finally:
            # Whatever else went wrong: a broken promise is the first thing to know.
            await load.stop()
            judged(on.recording, on.released.count)
    return Tally(
        rounds=rounds.done,
        kills=strikes.kills,
        signatures=on.released.count,
        refused=load.outcomes["refused"],
        seconds=time.monotonic() - begun,
        hits=strikes.hits,
        harm=strikes.harm,
    )


def judged(recording: Path, signatures: int) -> None:
    """Have everything judged that was recorded: so many signatures, at least.

    Raises CondemnedError; InvalidRunError where the judge could not read all of it.
    """
    verdict = judge(read_observations(recording), [CHAIN])
    if verdict.violations:
        rules = frozenset(violation.rule for violation in verdict.violations)
        raise CondemnedError(*map(str, verdict.violations), rules=rules)
    if verdict.unreadable or verdict.signed < signatures:
        raise InvalidRunError(f"{verdict.unreadable} answers unreadable, {verdict.signed} of {signatures} judged")


@dataclass(frozen=True, slots=True)
class Stage:
    """Three replicas that sign, the two nodes they sign for, and what these were answered."""

    cluster: KilledCluster
    nodes: list[SimulatedNode]
    released: Released
    recording: Path


@asynccontextmanager
async def stage(directory: Path, bug: Bug | None = None) -> AsyncGenerator[Stage]:
    """Set it up, birth included; everything ends with it."""
    async with AsyncExitStack() as stack:
        recording = directory / "recording"
        released = Released(stack.enter_context(Recorder(recording)))
        nodes = [
            await stack.enter_async_context(
                SimulatedNode("tcp://127.0.0.1:0", CHAIN, name=name, timings=TIMINGS, witness=released)
            )
            for name in ("first", "second")
        ]
        cluster = await asyncio.to_thread(made_cluster, directory, *(node.address for node in nodes))
        stack.enter_context(cluster)
        cluster.plant(bug)
        for node in nodes:
            node.knows(cluster.replica("node-0").pub_key())
        cluster.start_all()
        await asyncio.to_thread(cluster.wait_ready, READY)
        yield Stage(cluster, nodes, released, recording)


def made_cluster(directory: Path, *addresses: str) -> KilledCluster:
    """Three homes with one key that dial these addresses; nothing runs yet."""
    cluster = KilledCluster(directory, CHAIN, addresses)
    try:
        cluster.initialise()
    except BaseException:
        cluster.close()
        raise
    return cluster


class _Rounds:
    def __init__(self, on: Stage, load: Load, strikes: Strikes, rng: random.Random) -> None:
        self._on = on
        self._load = load
        self._rng = rng
        self.strikes = strikes
        self.done = 0

    async def go_on(self, goal: Goal, deadline: float) -> None:
        """Round after round, until the goal is reached or the time is over."""
        while not self._reached(goal) and time.monotonic() < deadline:
            await self._chain_goes_on(_BEFORE)
            for strike in self._plan():
                await strike()
            await self.strikes.settle()
            await self._chain_goes_on(_AFTER)
            if self.strikes.failures:
                raise CondemnedError(*self.strikes.failures)
            check_disks_and_logs(self._on)
            self.done += 1

    def _reached(self, goal: Goal) -> bool:
        return goal.reached(self.strikes.kills, self.strikes.hits, ORDINARY)

    def _plan(self) -> list[Callable[[], Awaitable[object]]]:
        """Two or three places of those that were hit the least, and a random kill among them."""
        due = sorted(ORDINARY, key=lambda place: (self.strikes.hits[place], self._rng.random()))
        plan: list[Callable[[], Awaitable[object]]] = [
            lambda place=place: self.strikes.at(place)  # type: ignore[misc]
            for place in due[: self._rng.choice((2, 2, 3))]
        ]
        plan.insert(self._rng.randrange(len(plan) + 1), self.strikes.anywhere)
        return plan

    async def _chain_goes_on(self, steps: int) -> None:
        if not await self._load.signatures(steps, AFTER_HEALING):
            raise CondemnedError(
                f"not {steps} more steps signed with each {AFTER_HEALING:g} s to wait, after {self.done} rounds, "
                f"{self.strikes.kills} kills, {self.strikes.harm}, at {self._on.released.highest}",
                *self.strikes.failures,
                await asyncio.to_thread(self._on.cluster.logs),
            )


def check_disks_and_logs(on: Stage) -> None:
    """Look at what each replica has on its disk and in its log since the last look. Raises CondemnedError."""
    released = on.released.highest
    held = on.cluster.held_by_a_majority()
    reasons = [f"signed at {released}, and a majority holds {held} on disk"] if held < released else []
    for replica in on.cluster.replicas:
        reasons += [f"{replica.id}: {line}" for line in replica.new_trouble()]
        if replica.fused:
            reasons.append(f"{replica.id}: its fuse is blown")
    if reasons:
        raise CondemnedError(*reasons)
