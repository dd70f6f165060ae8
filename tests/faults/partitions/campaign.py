"""A campaign of cuts: replicas on hosts of their own, two nodes that contradict each other, one fault after the other.

Each cycle cuts, heals, and waits until everything is whole; what the nodes got is judged by the oracle, how long they
got nothing by the budgets, and the guards' files in the end by what had been released. It runs inside namespaces of
its own (`__main__.py`).
"""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from cmkms.harness.node import SimulatedNode
from cmkms.harness.recorder import read_observations
from cmkms.harness.signer_process import CmkmsProcess
from tests.faults.cluster.contradictions import Outcome
from tests.faults.partitions.distant import DistantCluster
from tests.faults.partitions.faults import FAULTS, RECOVERY_SECONDS, Fault, Stage
from tests.faults.partitions.namespaces import Host, own_host
from tests.faults.partitions.sentries import Sentries, Watch
from tests.faults.partitions.wire import Network

__all__ = [
    "CHAIN",
    "READY_SECONDS",
    "RECORDING",
    "Campaign",
    "Cycle",
    "Plan",
    "late",
    "longest_silence",
    "open_stage",
    "run",
]

CHAIN: Final = "partition-1"
RECORDING: Final = "answers.jsonl"
_NODES: Final = {"sentry-0": "tcp://10.77.0.101:26659", "sentry-1": "tcp://10.77.0.102:26659"}
READY_SECONDS: Final = 60.0
_WHOLE_SECONDS: Final = 30.0
"""Until all replicas see each other again."""
_RUN_UP_SECONDS: Final = (0.3, 0.8)
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: which faults in which order, seconds of each and of healing, and with what program.

    `slack`: seconds that this machine may add to every budget, because it has other things to do. `programs`: what is
    started for some replicas in the place of cmkms. `disk_bytes`: each home lies on a disk of its own of this size.
    """

    faults: tuple[str, ...]
    cut_seconds: float = 4.0
    heal_seconds: float = 5.0
    replicas: int = 3
    seed: int = 0
    slack: float = 1.0
    programs: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    disk_bytes: int = 0

    @classmethod
    def drawn(cls, cycles: int, seed: int, names: Sequence[str] = (), **given: float) -> Plan:
        """So many cycles of these faults, or of all: every kind as often as every other, in an order drawn anew."""
        rng, bag, drawn = random.Random(seed), list[str](), list[str]()
        while len(drawn) < cycles:
            if not bag:
                bag = list(names or FAULTS)
                rng.shuffle(bag)
            drawn.append(bag.pop())
        return cls(tuple(drawn), cut_seconds=given["cut"], heal_seconds=given["heal"], seed=seed)


@dataclass(frozen=True, slots=True)
class Cycle:
    """One fault: seconds of the longest silence that began in it, until the first signature after it, until all were
    whole again, and signatures while it lasted and after it."""

    fault: str
    silence: float
    recovered: float
    whole: float
    during: int
    after: int


@dataclass(slots=True)
class Campaign:
    """What came out: every cycle, and every promise that was broken, in words."""

    cycles: list[Cycle] = field(default_factory=list[Cycle])
    violations: list[str] = field(default_factory=list[str])
    signatures: int = 0
    refused: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter[Outcome])
    packets: Counter[str] = field(default_factory=Counter[str])
    highest: str = ""


@asynccontextmanager
async def open_stage(directory: Path, plan: Plan, watch: Watch) -> AsyncGenerator[Stage]:
    """Hosts, wires, nodes, and a cluster that signs. This thread's own namespace becomes that of the nodes."""
    async with AsyncExitStack() as stack:
        addresses = [node.removeprefix("tcp://").partition(":")[0] for node in _NODES.values()]
        hosts = {
            f"node-{number}": Host.make(f"node-{number}", f"10.77.0.{11 + number}") for number in range(plan.replicas)
        }
        everybody = [own_host("nodes", *addresses), *hosts.values()]
        for host in everybody:
            stack.callback(host.close)
        network = Network(everybody, plan.seed)
        network.start()
        stack.callback(network.close)
        nodes = [
            await stack.enter_async_context(SimulatedNode(address, CHAIN, name=name, witness=watch))
            for name, address in _NODES.items()
        ]
        cluster = stack.enter_context(DistantCluster(directory, CHAIN, list(_NODES.values()), hosts))
        pub_key = await asyncio.to_thread(cluster.initialise)
        for member in cluster.members:
            replica = cluster.replica(member)
            replica.program = plan.programs.get(member, replica.program)
            if plan.disk_bytes:
                stack.callback(_unmount, await asyncio.to_thread(_move, replica, plan.disk_bytes))
        for node in nodes:
            node.knows(pub_key)
        await asyncio.to_thread(cluster.start_all)
        await asyncio.to_thread(cluster.wait_ready, READY_SECONDS)
        yield Stage(cluster, network, hosts, tuple(nodes), random.Random(plan.seed))


def _move(replica: CmkmsProcess, size: int) -> Path:
    """Move a home to a small disk, which is memory: only its size is of interest. Returns where it is mounted."""
    disk = replica.home.with_name(f"{replica.home.name}-disk")
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(disk)], check=True)
    replica.home = Path(shutil.copytree(replica.home, disk / "home"))
    return disk


def _unmount(disk: Path) -> None:
    subprocess.run(["umount", "--lazy", str(disk)], check=False)


async def run(directory: Path, plan: Plan) -> Campaign:
    """Carry the plan out. Files go into `directory`, the recording of every answer among them."""
    recording = directory / RECORDING
    watch, campaign = Watch(CHAIN, recording), Campaign()
    async with open_stage(directory, plan, watch) as stage:
        sentries = Sentries(stage.nodes, random.Random(plan.seed + 1))
        asking = asyncio.create_task(sentries.play())
        try:
            for name in plan.faults:
                await _cycle(stage, FAULTS[name], plan, watch, campaign)
                if asking.done():
                    asking.result()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            watch.close()
        dead = set(stage.cluster.members) - set(stage.cluster.alive)
        campaign.violations += [f"{member} ended by itself" for member in sorted(dead)]
        await asyncio.to_thread(stage.cluster.close)
        campaign.violations += stage.cluster.check_guards(read_observations(recording))
        campaign.packets = stage.network.counts
    campaign.violations += [str(violation) for violation in watch.oracle.violations]
    campaign.signatures, campaign.refused = watch.oracle.signed, watch.oracle.refused
    campaign.outcomes, campaign.highest = sentries.outcomes, str(watch.highest)
    return campaign


async def _cycle(stage: Stage, fault: Fault, plan: Plan, watch: Watch, campaign: Campaign) -> None:
    """One fault from health to health."""
    await asyncio.sleep(stage.rng.uniform(*_RUN_UP_SECONDS))
    cut = time.monotonic()
    before = len(watch.moments)
    await fault.harm(stage, plan.cut_seconds)
    stage.network.mend()
    healed = time.monotonic()
    during = len(watch.moments) - before
    whole, _ = await asyncio.gather(_whole(stage, healed), asyncio.sleep(plan.heal_seconds))
    await watch.wait_signed(since=healed, seconds=RECOVERY_SECONDS + plan.slack)
    cycle = Cycle(
        fault=fault.name,
        silence=longest_silence(watch.moments, cut, healed),
        recovered=next((moment for moment in watch.moments if moment >= healed), time.monotonic()) - healed,
        whole=whole,
        during=during,
        after=len(watch.moments) - before - during,
    )
    campaign.cycles.append(cycle)
    campaign.violations += [f"cycle {len(campaign.cycles)}, {fault.name}: {said}" for said in late(cycle, fault, plan)]


def late(cycle: Cycle, fault: Fault, plan: Plan) -> list[str]:
    """Which promises to go on were broken in this cycle."""
    found: list[str] = []
    budget = fault.budget(plan.replicas)
    if budget is not None and cycle.silence > budget + plan.slack:
        found.append(f"nothing signed for {cycle.silence:.1f} s with a majority connected, {budget:.1f} allowed")
    if cycle.recovered > RECOVERY_SECONDS + plan.slack:
        found.append(f"nothing signed {cycle.recovered:.1f} s after healing, {RECOVERY_SECONDS:.1f} allowed")
    if cycle.whole > _WHOLE_SECONDS:
        found.append(f"not whole {cycle.whole:.1f} s after healing, {_WHOLE_SECONDS:.1f} allowed")
    if not cycle.after:
        found.append("nothing signed between this fault and the next one: the cycle shows nothing")
    return found


def longest_silence(moments: Sequence[float], cut: float, healed: float) -> float:
    """Of the silences that began, or lasted, between `cut` and `healed`, the longest, from `cut` on."""
    ends = (*moments, time.monotonic())
    return max(
        (later - max(cut, earlier) for earlier, later in pairwise(ends) if later > cut and earlier < healed),
        default=0.0,
    )


async def _whole(stage: Stage, healed: float) -> float:
    """Wait until all replicas see each other and can sign; returns the seconds since healing."""
    while not await asyncio.to_thread(stage.cluster.ready):
        if time.monotonic() > healed + _WHOLE_SECONDS + 1:
            break
        await asyncio.sleep(_POLL_SECONDS)
    return time.monotonic() - healed
