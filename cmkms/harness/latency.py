"""How long signatures took: percentiles of samples, and the longest silence between two signatures. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Distribution", "longest_gap"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """Percentiles of samples by nearest rank, in the unit of the samples. All zero where there are none."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, samples: Iterable[float]) -> Distribution:
        """Summarise the samples; their order does not matter."""
        ordered = sorted(samples)
        if not ordered:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        at = [ordered[math.ceil(share * len(ordered)) - 1] for share in (0.50, 0.90, 0.99)]
        return cls(len(ordered), at[0], at[1], at[2], ordered[-1])


def longest_gap(moments: Iterable[float]) -> float:
    """The longest time between two neighbouring moments, in their unit; 0 for fewer than two."""
    return max((later - earlier for earlier, later in pairwise(sorted(moments))), default=0.0)
