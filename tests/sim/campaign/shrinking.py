"""Makes a failing seed small: shorter, and without every kind of fault that it does not need to fail."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from tests.sim.campaign.plan import BIRTH_SECONDS, CONFLICTS
from tests.sim.campaign.run import Outcome
from tests.sim.campaign.sweep import run_alone

__all__ = ["Case", "shrink"]


@dataclass(frozen=True, slots=True)
class Case:
    """One run by name: what `make sim` is given."""

    seed: int
    replicas: int | None = None
    seconds: float = 30.0
    without: tuple[str, ...] = ()

    def run(self, lines: int = 80) -> Outcome:
        return run_alone(self.seed, replicas=self.replicas, seconds=self.seconds, without=self.without, lines=lines)

    @property
    def command(self) -> str:
        parts = [f"make sim SEED={self.seed}"]
        parts += [f"REPLICAS={self.replicas}"] if self.replicas else []
        parts += [f"SECONDS={self.seconds:g}"] if self.seconds != 30.0 else []
        parts += [f"WITHOUT={','.join(self.without)}"] if self.without else []
        return " ".join(parts)


def shrink(case: Case, tell: Callable[[str], None] = lambda _: None, run: Callable[[Case], Outcome] = Case.run) -> Case:
    """Return the smallest case found that still fails; the case itself if it does not fail at all."""
    outcome = run(case)
    if not outcome.violations:
        return case
    smallest = case
    for shorter in (max(outcome.simulated - BIRTH_SECONDS, 0.5), case.seconds / 2, case.seconds / 4):
        smallest = _try(smallest, replace(smallest, seconds=min(round(shorter + 0.05, 1), smallest.seconds)), run, tell)
    for kind in sorted(set(outcome.faults) - set(case.without) | {CONFLICTS}):
        smallest = _try(smallest, replace(smallest, without=_with(smallest.without, kind)), run, tell)
    return smallest


def _with(without: Collection[str], *kinds: str) -> tuple[str, ...]:
    return tuple(sorted({*without, *kinds}))


def _try(smallest: Case, smaller: Case, run: Callable[[Case], Outcome], tell: Callable[[str], None]) -> Case:
    if smaller == smallest or not run(smaller).violations:
        return smallest
    tell(f"still fails: {smaller.command}")
    return smaller
