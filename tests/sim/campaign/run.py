"""One seed from its first event to its verdict. It never raises for what the code under test does: it tells it."""

from __future__ import annotations

import random as chance
import traceback
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from cmkms.harness.values import HRS
from cmkms.signing.serving import MAX_BUDGET_MS
from tests.sim.campaign.births import attend
from tests.sim.campaign.disks import QUICK_SYNC
from tests.sim.campaign.plan import BIRTH_SECONDS, plan_of, strike
from tests.sim.campaign.watch import BUDGET_SECONDS, Watch
from tests.sim.campaign.world import World
from tests.sim.cluster.cluster import Cluster
from tests.sim.cluster.lives import Process
from tests.sim.cluster.sentries import READ_SECONDS, Sentry
from tests.unit.signing.messages import prevote

__all__ = ["HEALED_SECONDS", "Outcome", "run_seed"]

PASSING_SECONDS: Final = 6.5
"""After the last fault has struck: the longest that any of them lasts."""

HEALED_SECONDS: Final = READ_SECONDS + BUDGET_SECONDS + 0.5
"""Once everything works again, every node has its answer within this: the patience with a connection that swallowed
the question, the budget of a majority, and the next connection. The same again for a new height."""

REST_SECONDS: Final = MAX_BUDGET_MS / 1000 + 0.5
"""Then nobody asks any more, and nothing may be left of what was asked: a replica that was asked by another, whose node
has hung up since, tries for that long."""


_TURNS: Final = {
    "this replica holds the lease": "leases taken",
    "A GUARD WENT BACKWARDS": "guards seen to go backwards",
    "its new guard answers": "guards replaced by a change of generation",
    "superseded by a new connection": "old connections still open at a new one",
    "silent: nothing received": "connections ended by silence",
    "had a damaged copy": "guards mended from the other copy",
    "born, ": "births",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a seed. `violations` is empty if every promise was kept; `signed`: places that have a signature.

    `simulated`: seconds. `digest`: the same for the same run. `strain`: of the time that a settled majority had for an
    answer, the most that one has taken (1.0 is all of it). `seen`: how often what a campaign must come to has come.
    """

    seed: int
    violations: list[str] = field(default_factory=list[str])
    signed: int = 0
    story: list[str] = field(default_factory=list[str])
    requests: int = 0
    answers: int = 0
    refused: int = 0
    simulated: float = 0.0
    faults: dict[str, int] = field(default_factory=dict[str, int])
    seen: dict[str, int] = field(default_factory=dict[str, int])
    strain: float = 0.0
    digest: str = ""


def run_seed(
    seed: int,
    folder: Path,
    *,
    replicas: int = 3,
    seconds: float = 30.0,
    without: Collection[str] = (),
    lines: int = 80,
) -> Outcome:
    """Run one seed in an empty folder, with the faults named in `without` switched off. `lines`: of the story's end."""
    state = chance.getstate()
    chance.seed(seed)  # pysyncobj draws from it, for a timeout that nothing reads
    plan = plan_of(seed, seconds, without)
    cluster = Cluster(folder, replicas, seed=seed, sentries=len(plan.strange))
    world = World(cluster)
    watch = Watch(world)
    try:
        _live(cluster, world, watch, seed, seconds, without)
    except Exception as error:  # noqa: BLE001 - whatever it is, a seed that ends by it has failed
        if not cluster.judge.violations:
            cluster.judge.violations.append(_told(error))
            cluster.story.tell("judge", f"ENDED BY {_told(error)}")
    finally:
        chance.setstate(state)
    judge = cluster.judge
    return Outcome(
        seed,
        judge.violations,
        len(judge.signed),
        cluster.story.last(lines),
        judge.requests,
        judge.answers,
        len(judge.rejected),
        cluster.events.now,
        dict(sorted(world.struck.items())),
        _seen(cluster),
        watch.slowest,
        cluster.story.digest,
    )


def _live(cluster: Cluster, world: World, watch: Watch, seed: int, seconds: float, without: Collection[str]) -> None:
    plan = plan_of(seed, seconds, without)
    cluster.links.rough = cluster.judge.watches_guards = True
    for name, host in cluster.hosts.items():
        host.sync_seconds = QUICK_SYNC
        cluster.events.later(cluster.random.uniform(0.0, 2.0), partial(world.start_again, name))
    for sentry, strange, pace in zip(cluster.sentries, plan.strange, plan.paces, strict=True):
        sentry.strange, sentry.pace = strange, pace
        sentry.begin()
    for blow in plan.blows:
        cluster.events.later(blow.at, partial(strike, world, blow))
    watch.begin()
    world.supervise()
    cluster.events.later(BIRTH_SECONDS, partial(attend, world, chance.Random(f"operator of {seed}")))
    cluster.run(plan_ends(seconds))
    world.on = False
    cluster.run(PASSING_SECONDS, until=lambda: world.passed)
    _heal(cluster, world)
    _end(cluster)


def plan_ends(seconds: float) -> float:
    """When the last fault has struck."""
    return BIRTH_SECONDS + seconds


def _heal(cluster: Cluster, world: World) -> None:
    """Everything works again but what is broken for good, and everybody is served."""
    world.tell("all", "is healed")
    cluster.heal()
    for sentry in cluster.sentries:
        sentry.busy = False
    if not cluster.run(HEALED_SECONDS, until=lambda: not any(one.waits for one in cluster.sentries)):
        armed = [name for name in world.names if world.armed(name)]
        for sentry in cluster.sentries:
            _has_not_been_served(cluster, sentry, armed)
    if not cluster.judge.signed:
        cluster.judge.condemn("nothing was ever signed")
    for number in range(len(cluster.sentries)):
        height = max(hrs.height for hrs in cluster.judge.signed) + 2
        asked = cluster.sentries[number].ask(prevote(height))
        if not cluster.run(HEALED_SECONDS, until=lambda asked=asked: asked.answer is not None) or not asked.signed:  # type: ignore[misc]
            cluster.judge.condemn(f"healed for {HEALED_SECONDS:.1f} s, and {HRS(height, 0, 2)} is not signed")


def _has_not_been_served(cluster: Cluster, sentry: Sentry, armed: list[str]) -> None:
    """It may be asking for a vote of which nobody can know whether it is lost: then it gives up."""
    given_up = sentry.give_up()
    if given_up is not None and cluster.judge.decidable(sentry.asked[-1].sign_bytes, armed):
        cluster.judge.condemn(f"healed for {HEALED_SECONDS:.1f} s, and {sentry.name} still waits")


def _end(cluster: Cluster) -> None:
    """Nobody waits, nothing is left over, and what lies on the disks is what was answered for."""
    if not cluster.run(REST_SECONDS, until=lambda: not any(any(_left(one)) for one in cluster.running)):
        left = {one.host.name: _left(one) for one in cluster.running}
        cluster.judge.condemn(f"somebody keeps what nobody waits for: {left}")
    cluster.cut_power(*cluster.hosts)
    cluster.judge.last_look({name: host.stored for name, host in cluster.hosts.items()})


def _left(process: Process) -> tuple[int, ...]:
    """Requests of nodes, requests of replicas, flights, ballots and questions that are still open."""
    chain = process.chain
    ballots = (0, 0) if chain.majority is None else (len(chain.majority._ballots), len(chain.majority._by_rpc))
    return (chain.dispatch.waiting, chain.dispatch.serving, chain.signer.flights, *ballots)


def _seen(cluster: Cluster) -> dict[str, int]:
    """What a good campaign comes to: refusals of every kind, and the rarer turns of a replica's life."""
    refusals = Counter(f"refused: {one.because.name}" for one in cluster.judge.rejected)
    turns = Counter(name for _, _, line in cluster.story.lines for sign, name in _TURNS.items() if sign in line)
    return dict(sorted((refusals + turns).items()))


def _told(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error} ({where})"
