"""`python -m tests.faults.partitions.liveness`: how long a sole validator gets no signature, for each kind of fault.

One node with a real node's timers asks three replicas on hosts of their own; the figures of docs/LIVENESS.md come from
here, and with `--show` what the replicas say meanwhile, in their logs and at `/status`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

from cmkms.harness.chain import ChainPlan, run_chain
from cmkms.harness.node import SimulatedNode
from tests.faults.partitions.altered import DIALS, Dials
from tests.faults.partitions.campaign import CHAIN, READY_SECONDS, RECORDING, Plan, open_stage
from tests.faults.partitions.faults import Stage
from tests.faults.partitions.liveness_cases import CASES, Case
from tests.faults.partitions.namespaces import again_inside, is_inside
from tests.faults.partitions.scratch import scratch
from tests.faults.partitions.sentries import Watch

__all__: list[str] = []

_BLOCK_SECONDS: Final = 0.06
"""A height takes this long at least: three signatures. Silences shorter than that are none."""
_RUN_UP_SECONDS: Final = (0.5, 1.0)
_PATIENCE_SECONDS: Final = 60.0
_SETTLED_SECONDS: Final = 0.5
"""After the first signature since healing: what healing itself costs has shown by then."""
_POLL_SECONDS: Final = 0.02
_WORTH_READING: Final = {"warning", "error", "critical"}


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault: seconds of the longest silence that it began, and of the one that its end began."""

    silence: float
    afterwards: float


@dataclass(slots=True)
class Drill:
    """A cluster, a node that asks it all the time, and when it had an answer; what the cases play on."""

    stage: Stage
    node: SimulatedNode
    dials: dict[str, Dials]
    moments: list[float] = field(default_factory=list[float])
    height: int = 0
    _asking: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Play a chain, from the height above the last one."""
        self._asking = asyncio.create_task(self._ask_on_and_on(ChainPlan(self.height + 1, None, _BLOCK_SECONDS)))

    async def end(self) -> None:
        """End the chain. Raises ChainHaltedError if it had ended by itself: a real one would stand still for good."""
        asking, self._asking = self._asking, None
        if asking is None:
            return
        if asking.done():
            asking.result()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    async def _ask_on_and_on(self, plan: ChainPlan) -> None:
        async with aclosing(run_chain(self.node, plan)) as chain:
            async for step in chain:
                self.moments.append(step.answered_at)
                self.height = step.hrs.height

    async def arrange(self, *, holder: bool, at_node: bool) -> str:
        """Move the node's connection until it is where a case wants it; returns whom the fault shall meet."""
        for _ in range(100):
            leading = await asyncio.to_thread(self.stage.cluster.holder)
            serving = await asyncio.to_thread(self.stage.cluster.connected_to, self.node.address)
            if leading and serving:
                if holder and (leading == serving) is at_node:
                    return leading
                if not holder and leading != serving:
                    return serving if at_node else self.stage.cluster.others(leading, serving)[0]
                await self.node.endpoint.hang_up()
            await asyncio.sleep(0.1)
        raise SystemExit(f"did not come about\n{self.stage.cluster.logs()}")

    async def strike(self, case: Case, shown: list[str] | None) -> Blow:
        """Bring a case about, let it last, undo it, and measure."""
        victim = await self.arrange(holder=case.holder, at_node=case.at_node)
        await asyncio.sleep(self.stage.rng.uniform(*_RUN_UP_SECONDS))
        logs = {member: len(_log(self.stage, member)) for member in self.stage.cluster.members}
        begun = time.monotonic()
        await case.harm(self, victim)
        await asyncio.sleep(max(0.0, begun + case.seconds - time.monotonic()))
        if shown is not None:
            shown += await asyncio.to_thread(self._said, victim, logs)
        undone = time.monotonic()
        await case.undo(self, victim)
        await self._until(lambda: self.moments[-1] > undone)
        await asyncio.sleep(_SETTLED_SECONDS)
        blow = Blow(self._longest(begun, undone), self._longest(undone, time.monotonic()))
        if not case.final:
            await asyncio.to_thread(self.stage.cluster.wait_ready, READY_SECONDS)
        return blow

    def _longest(self, begun: float, ended: float) -> float:
        """The longest silence that began between the two, or was going on at the first; from there on."""
        moments = [*self.moments, time.monotonic()]
        spans = [(max(begun, one), other) for one, other in pairwise(moments) if other > begun and one < ended]
        return max((other - one for one, other in spans), default=0.0)

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not holds():  # noqa: ASYNC110 - the chain goes on elsewhere
                await asyncio.sleep(_POLL_SECONDS)

    def _said(self, victim: str, logs: dict[str, int]) -> list[str]:
        """What the replicas have logged since, and say at `/status` now."""
        said: list[str] = []
        for member in self.stage.cluster.members:
            name = f"{member}{' (struck)' if member == victim else ''}"
            lines = _log(self.stage, member)[logs[member] :]
            for line in lines:
                event = json.loads(line)
                if event["level"] in _WORTH_READING or "lease" in event["event"]:
                    said.append(f"{name}: {line}")
            status = self.stage.cluster.replica(member).status()
            if status is None:
                said.append(f"{name}: no status")
            else:
                links = [f"{peer.id} {peer.connected} {peer.detail}" for peer in status.peers]
                waits = status.waiting_for
                said.append(f"{name}: can sign: {status.can_sign}, holder {status.holder}, waits: {waits}; {links}")
        return said


def _log(stage: Stage, member: str) -> list[str]:
    file = stage.cluster.replica(member).log_file
    return file.read_text(errors="replace").splitlines() if file.exists() else []


@asynccontextmanager
async def _drill(directory: Path, case: Case, seed: int) -> AsyncGenerator[Drill]:
    watch = Watch(CHAIN, directory / RECORDING)
    dials = {f"node-{number}": Dials(directory / f"dials-{number}") for number in range(3)}
    programs = {
        member: (sys.executable, "-m", "tests.faults.partitions.altered", f"{DIALS}{directory}/dials-{number}")
        for number, member in enumerate(dials)
    }
    plan = Plan((), seed=seed, programs=programs, disk_bytes=case.disk_bytes)
    async with open_stage(directory, plan, watch) as stage:
        drill = Drill(stage, stage.nodes[0], dials)
        drill.begin()
        try:
            yield drill
            await drill.end()
        finally:
            watch.close()
    if watch.oracle.violations:
        raise SystemExit(f"{case.name}: {watch.oracle.violations[0]}")


@dataclass(slots=True)
class Measured:
    """What came out of a case, and what the replicas said at its first blow, if that is wanted."""

    case: Case
    shown: list[str] | None
    blows: list[Blow] = field(default_factory=list[Blow])

    async def by(self, drill: Drill, times: int) -> None:
        """Strike so often in all, or once if that is the end of this cluster."""
        while len(self.blows) < times:
            self.blows.append(await drill.strike(self.case, None if self.blows else self.shown))
            if self.case.final:
                return

    def __str__(self) -> str:
        silences, after = [blow.silence for blow in self.blows], [blow.afterwards for blow in self.blows]
        line = (
            f"{self.case.name:34} n {len(self.blows)}  silence {median(silences):6.2f} / {max(silences):6.2f} s"
            f"  afterwards {median(after):6.2f} / {max(after):6.2f} s"
        )
        return "\n    ".join((line, *(self.shown or ())))


async def measure(cases: Sequence[Measured], times: int, seed: int, done: Callable[[Measured], None]) -> None:
    """Measure cases with the same disks on one cluster, or a final one on a cluster for each blow."""
    while True:
        with scratch() as directory:
            async with _drill(directory, cases[0].case, seed) as drill:
                for one in cases:
                    await one.by(drill, times)
                    if len(one.blows) == times:
                        done(one)
        if len(cases[-1].blows) == times:
            return
        seed += 1


def main(argv: list[str]) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.partitions.liveness", description=__doc__)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="only this; repeat")
    parser.add_argument("--times", type=int, default=5, help="how often each case is struck (5)")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments of the blows (0)")
    parser.add_argument("--show", action="store_true", help="what the replicas say at the first blow")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every blow to this file as well")
    wanted = parser.parse_args(argv)
    if not is_inside():
        return again_inside("tests.faults.partitions.liveness", argv)
    results: dict[str, Any] = {}

    def done(one: Measured) -> None:
        print(one, flush=True)  # noqa: T201 - a command speaks
        results[one.case.name] = [asdict(blow) for blow in one.blows]
        if wanted.json:
            wanted.json.write_text(json.dumps(results, indent=2) + "\n")

    measured = [
        Measured(case, [] if wanted.show else None) for case in CASES if not wanted.case or case.name in wanted.case
    ]
    for _, group in groupby(measured, lambda one: one.case.name if one.case.final or one.case.disk_bytes else ""):
        asyncio.run(measure(list(group), wanted.times, wanted.seed, done))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
