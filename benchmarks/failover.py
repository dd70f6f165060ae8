"""How long a validator stands still when a replica goes: killed, or asked to stop, again and again under a busy chain.

A simulated sole validator asks three replicas without a pause, with a real node's timers and retries; the oracle judges
every answer. See README.md here for what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import CHAIN_ID, wide_console
from cmkms.harness.chain import ChainPlan, run_chain
from cmkms.harness.latency import Distribution
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_cluster import CmkmsCluster

READY_SECONDS = 60.0
STAND_STILL_SECONDS = 60.0
POLL_SECONDS = 0.02

RUN_UP_SECONDS = (0.3, 0.6)
"""How long the chain runs undisturbed before a blow; drawn anew each time, so that blows fall anywhere."""

AFTER_SECONDS = 0.3
"""How long after the end of a stopped replica its traces are looked for."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What the project promises itself, in seconds."""

    median: float
    max: float

    def __str__(self) -> str:
        return f"{self.median * 1e3:.0f}/{self.max * 1e3:.0f}"


TAKEOVER = Goal(0.15, 0.5)
HANDOVER = Goal(0.05, 0.05)


@dataclass(frozen=True, slots=True)
class Case:
    """Whom the blow meets: the lease holder or another, and whether the node is connected to it.

    Where the node's own connection goes, its retry after 0.1 s is part of the silence, once or twice.
    """

    name: str
    politely: bool
    at_holder: bool
    at_node: bool
    goal: Goal | None = None


CASES = (
    Case("kill -9, holder, node elsewhere", politely=False, at_holder=True, at_node=False, goal=TAKEOVER),
    Case("kill -9, holder with the node", politely=False, at_holder=True, at_node=True, goal=TAKEOVER),
    Case("kill -9, follower with the node", politely=False, at_holder=False, at_node=True),
    Case("SIGTERM, holder, node elsewhere", politely=True, at_holder=True, at_node=False, goal=HANDOVER),
    Case("SIGTERM, holder with the node", politely=True, at_holder=True, at_node=True),
    Case("SIGTERM, follower with the node", politely=True, at_holder=False, at_node=True),
)


@dataclass(frozen=True, slots=True)
class Blow:
    """One blow: seconds of silence, whether the node had to ask again, and how long the replica took to end."""

    silence: float
    asked_again: bool
    ending: float


@dataclass(frozen=True, slots=True)
class Answered:
    """One signature at the node: when it was asked for and came (CLOCK_MONOTONIC, s), and at which try."""

    asked_at: float
    answered_at: float
    attempts: int


@dataclass(slots=True)
class Drill:
    """A cluster, a node that asks it without a pause, and everything that was answered."""

    cluster: CmkmsCluster
    node: SimulatedNode
    rng: random.Random
    answers: list[Answered] = field(default_factory=list[Answered])

    async def ask_on_and_on(self) -> None:
        """Play a chain until cancelled."""
        async with aclosing(run_chain(self.node, ChainPlan(heights=None))) as chain:
            async for step in chain:
                self.answers.append(Answered(step.answered_at - step.latency, step.answered_at, step.attempts))

    async def strike(self, case: Case) -> Blow:
        """Bring the case about, strike, and measure; the cluster is whole again afterwards."""
        victim = await self._arrange(case)
        del self.answers[:-1]
        await asyncio.sleep(self.rng.uniform(*RUN_UP_SECONDS))
        begun = time.monotonic()
        if case.politely:
            ending = await asyncio.to_thread(self.cluster.terminate, victim)
            gone = time.monotonic()
            await self._until(lambda: self.answers[-1].answered_at > gone + AFTER_SECONDS, "the chain goes on")
            blow = self._longest_silence(begun, ending)
        else:
            await asyncio.to_thread(self.cluster.kill, victim)
            gone = time.monotonic()
            await self._until(lambda: self.answers[-1].asked_at > gone, "the chain goes on")
            first = next(answer for answer in self.answers if answer.asked_at > gone)
            between = [answer for answer in self.answers if begun < answer.answered_at <= first.answered_at]
            again = any(answer.attempts > 1 for answer in between)
            blow = Blow(first.answered_at - begun, again, gone - begun)
        self.cluster.start(victim)
        await asyncio.to_thread(self.cluster.wait_ready, READY_SECONDS)
        return blow

    def _longest_silence(self, begun: float, ending: float) -> Blow:
        """The longest time between two answers since the signal. That of an undisturbed chain is a millisecond."""
        before = [answer for answer in self.answers if answer.answered_at <= begun][-1:]
        since = [answer for answer in self.answers if answer.answered_at > begun]
        silence = max(later.answered_at - earlier.answered_at for earlier, later in pairwise(before + since))
        return Blow(silence, any(answer.attempts > 1 for answer in since), ending)

    async def _arrange(self, case: Case) -> str:
        """Hang up until the node is connected where the case wants it; returns whom the blow shall meet."""
        for _ in range(20 * len(self.cluster.members)):
            holder = await asyncio.to_thread(self.cluster.holder)
            serving = await asyncio.to_thread(self.cluster.connected_to, self.node.address)
            if holder and serving and (holder == serving) is (case.at_holder and case.at_node):
                return holder if case.at_holder else serving
            if holder and serving:
                await self.node.endpoint.hang_up()
            await asyncio.sleep(0.1)
        raise SystemExit(f"{case.name}: did not come about\n{self.cluster.logs()}")

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + STAND_STILL_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                raise SystemExit(f"not within {STAND_STILL_SECONDS:g} s: {what}\n{self.cluster.logs()}")
            await asyncio.sleep(POLL_SECONDS)


async def run(wanted: argparse.Namespace, console: Console) -> dict[Case, list[Blow]]:
    """Run every case, in turns; returns their blows. Raises SystemExit where a promise was broken."""
    cases = [case for case in CASES if not wanted.case or any(part in case.name for part in wanted.case)]
    blows: dict[Case, list[Blow]] = {case: [] for case in cases}
    oracle = Oracle([CHAIN_ID])
    with tempfile.TemporaryDirectory(prefix="cmkms-bench-") as folder:
        address = "tcp://127.0.0.1:0" if wanted.transport == "tcp" else f"unix://{folder}/node.sock"
        async with SimulatedNode(address, CHAIN_ID, witness=oracle) as node:
            with CmkmsCluster(Path(folder), CHAIN_ID, [node.address], replicas=wanted.replicas) as cluster:
                node.knows(await asyncio.to_thread(cluster.initialise))
                cluster.start_all()
                await asyncio.to_thread(cluster.wait_ready, READY_SECONDS)
                drill = Drill(cluster, node, random.Random(wanted.seed))
                asking = asyncio.create_task(drill.ask_on_and_on())
                try:
                    for number in range(wanted.blows):
                        for case in cases:
                            blows[case].append(await _while_asking(asking, drill.strike(case)))
                        console.print(f"{number + 1} of {wanted.blows} rounds", style="dim", highlight=False)
                finally:
                    asking.cancel()
                    await asyncio.gather(asking, return_exceptions=True)
    if oracle.violations:
        raise SystemExit(f"{len(oracle.violations)} promises broken: {oracle.violations[0]}")
    console.print(f"{oracle.signed} signatures judged, double signs {oracle.double_signs}", highlight=False)
    return blows


async def _while_asking(asking: asyncio.Task[None], striking: Coroutine[None, None, Blow]) -> Blow:
    """Await a blow; a chain that halts meanwhile ends the benchmark."""
    blow = asyncio.create_task(striking)
    await asyncio.wait([blow, asking], return_when=asyncio.FIRST_COMPLETED)
    if asking.done():
        blow.cancel()
        await asyncio.gather(blow, return_exceptions=True)
        asking.result()
    return await blow


def table(blows: dict[Case, list[Blow]]) -> Table:
    """One row a case, in ms."""
    out = Table(header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    out.add_column("blow", no_wrap=True)
    for heading in ("n", "median", "p90", "max", "again", "exit", "goal"):
        out.add_column(heading, justify="right", no_wrap=True)
    for case, made in blows.items():
        silence = Distribution.of(blow.silence for blow in made)
        out.add_row(
            case.name,
            str(silence.count),
            f"{silence.p50 * 1e3:.0f}",
            f"{silence.p90 * 1e3:.0f}",
            f"{silence.max * 1e3:.0f}",
            str(sum(blow.asked_again for blow in made)),
            f"{max(blow.ending for blow in made) * 1e3:.0f}",
            _verdict(case.goal, silence),
        )
    return out


def _verdict(goal: Goal | None, silence: Distribution) -> str:
    if goal is None:
        return ""
    return f"{goal} {'met' if silence.p50 <= goal.median and silence.max <= goal.max else 'missed'}"


def as_json(blows: dict[Case, list[Blow]]) -> str:
    """Every blow, for a file."""
    rows = [
        {
            "case": case.name,
            "silence_ms": blow.silence * 1e3,
            "asked_again": blow.asked_again,
            "ending_ms": blow.ending * 1e3,
        }
        for case, made in blows.items()
        for blow in made
    ]
    return json.dumps(rows, indent=2) + "\n"


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="How long a validator stands still when a replica goes.")
    parser.add_argument("--blows", type=int, default=20, help="how often each case is struck (20)")
    parser.add_argument("--replicas", type=int, default=3, help="replicas of the cluster (3)")
    parser.add_argument("--transport", choices=["tcp", "unix"], default="tcp", help="how node and signer speak (tcp)")
    parser.add_argument("--case", action="append", metavar="TEXT", help="only cases whose name holds this; repeat")
    parser.add_argument("--seed", type=int, default=1, help="draws the moments of the blows (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every blow to this file as well")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Measure and print; returns the exit code."""
    wanted, console = arguments(argv), wide_console()
    blows = asyncio.run(run(wanted, console))
    console.print(table(blows))
    for note in (
        "Silence at the validator in ms: from kill -9 to the next signature; after SIGTERM the longest gap.",
        "holder: of the lease; follower: a replica without it. again: the node had to ask again. exit: ms, longest.",
        "goal: median/max.",
    ):
        console.print(note, style="dim", highlight=False)
    if wanted.json:
        wanted.json.write_text(as_json(blows))
    return 0


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # so that no process and no file is left behind
    sys.exit(main(sys.argv[1:]))
