"""One seed from its first event to its verdict. It never raises for what the code under test does: it tells it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.sim.cluster.chaos import survive

__all__ = ["FAULTS", "Outcome", "run_seed"]

FAULTS: Final[frozenset[str]] = frozenset()
"""Kinds of faults that `without` may switch off."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a seed. `violations` is empty if every promise was kept; `signed`: places that have a signature."""

    seed: int
    violations: list[str] = field(default_factory=list[str])
    signed: int = 0
    story: list[str] = field(default_factory=list[str])


def run_seed(
    seed: int, folder: Path, *, replicas: int = 3, seconds: float = 30.0, without: Collection[str] = ()
) -> Outcome:
    """Run one seed in an empty folder, with the faults named in `without` switched off."""
    try:
        cluster = survive(folder, seed, size=replicas, seconds=seconds, sentries=1 + seed % 3)
    except Exception as error:  # noqa: BLE001 - whatever it is, a seed that ends by it has failed
        return Outcome(seed, [f"{type(error).__name__}: {error}"])
    lines = [f"{at:9.3f}  {name}: {line}" for at, name, line in cluster.lines]
    return Outcome(seed, [], len(cluster.judge.signed), lines)
