"""Many seeds on all processors, and what came of them in numbers that documents can quote.

The numbers depend on seeds and code alone: no time of day, no machine, nothing measured.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.sim.campaign.plan import replicas_of
from tests.sim.campaign.run import Outcome, run_seed

__all__ = ["Totals", "run_alone", "sweep"]

_IN_MEMORY = next((str(folder) for folder in (Path("/dev/shm"),) if os.access(folder, os.W_OK)), None)  # noqa: S108
"""Where the small files of the hosts lie, if there is such a place: no simulated disk waits for a real one."""


def run_alone(
    seed: int, *, replicas: int | None = None, seconds: float = 30.0, without: Collection[str] = (), lines: int = 80
) -> Outcome:
    """Run one seed in a folder of its own, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="cmkms-simulation-", dir=_IN_MEMORY) as folder:
        size = replicas or replicas_of(seed)
        try:
            # Looked through once, when it is over, and without what was there before: that saves a fifth of the time.
            gc.disable()
            gc.freeze()
            return run_seed(seed, Path(folder), replicas=size, seconds=seconds, without=without, lines=lines)
        finally:
            gc.collect()
            gc.unfreeze()
            gc.enable()


def sweep(
    seeds: Iterable[int],
    *,
    jobs: int,
    replicas: int | None = None,
    seconds: float = 30.0,
    without: Collection[str] = (),
) -> Iterator[Outcome]:
    """Run many, as many at a time as `jobs`; outcomes come in the order of the seeds."""
    job = partial(run_alone, replicas=replicas, seconds=seconds, without=tuple(without))
    if jobs == 1:
        yield from map(job, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(job, seeds)


@dataclass
class Totals:
    """Sums over seeds. `failed`: each seed that broke a promise, and what it said."""

    replicas: int | None
    seconds: float
    without: tuple[str, ...] = ()
    seeds: list[int] = field(default_factory=list[int])
    simulated: float = 0.0
    signed: int = 0
    requests: int = 0
    answers: int = 0
    refused: int = 0
    strain: float = 0.0
    faults: Counter[str] = field(default_factory=Counter[str])
    seen: Counter[str] = field(default_factory=Counter[str])
    failed: dict[int, list[str]] = field(default_factory=dict[int, list[str]])

    def add(self, outcome: Outcome) -> None:
        self.seeds.append(outcome.seed)
        self.simulated += outcome.simulated
        self.signed += outcome.signed
        self.requests += outcome.requests
        self.answers += outcome.answers
        self.refused += outcome.refused
        self.strain = max(self.strain, outcome.strain)
        self.faults.update(outcome.faults)
        self.seen.update(outcome.seen)
        if outcome.violations:
            self.failed[outcome.seed] = list(outcome.violations)

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(self.as_json(), indent=2) + "\n", encoding="utf-8")
        draft.replace(path)

    def as_json(self) -> dict[str, object]:
        first, last = min(self.seeds, default=0), max(self.seeds, default=0)
        options = "".join(
            (
                f" REPLICAS={self.replicas}" if self.replicas else "",
                f" WITHOUT={','.join(self.without)}" if self.without else "",
            )
        )
        return {
            "command": f"make sim SEEDS={first}-{last} SECONDS={self.seconds:g}{options}",
            "seeds": len(self.seeds),
            "replicas": self.replicas or "every fourth seed five, the others three",
            "simulated_seconds_under_faults_each": self.seconds,
            "simulated_hours": round(self.simulated / 3600, 2),
            "requests": self.requests,
            "answers": self.answers,
            "refused": self.refused,
            "places_signed": self.signed,
            "seen": dict(sorted(self.seen.items())),
            "faults": dict(sorted(self.faults.items())),
            "faults_in_all": sum(self.faults.values()),
            "most_of_the_time_for_an_answer_that_one_took": round(self.strain, 3),
            "violations": sum(len(found) for found in self.failed.values()),
            "failed_seeds": {str(seed): found for seed, found in self.failed.items()},
        }
