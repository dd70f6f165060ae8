"""Looks for a seed that shows a bug. A bug that no seed of its budget shows is a check or a fault that is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.sim.campaign import Outcome
from tests.sim.mutations.bug import Harmless, SeededBug
from tests.sim.mutations.life import live
from tests.sim.mutations.profiles import Profile
from tests.sim.mutations.verdicts import caught_by

__all__ = ["Catch", "Hunt", "hunt", "hunt_again_and_again", "hunt_pinned_first", "show"]

APART = 1000
"""Hunts begin so many seeds apart from each other: each has its own."""


@dataclass(frozen=True, slots=True)
class Catch:
    """The seed that showed it, the number of seeds that were tried with it, and which check spoke."""

    seed: int
    tried: int
    check: str
    violation: str


@dataclass(frozen=True, slots=True)
class Hunt:
    """Several hunts for one bug, each over its own seeds. `missed` of them came to nothing within the budget."""

    bug: SeededBug
    catches: tuple[Catch, ...]
    missed: int

    @property
    def seeds_needed(self) -> float:
        """The median over the hunts; one that came to nothing counts as a whole budget."""
        return median([*(catch.tried for catch in self.catches), *[self.bug.budget] * self.missed])

    @property
    def checks(self) -> tuple[str, ...]:
        """Which checks spoke, in order of name."""
        return tuple(sorted({catch.check for catch in self.catches}))


def show(bug: SeededBug | Harmless | Profile, seed: int) -> Outcome:
    """Run one seed with a bug, or a profile without any."""
    with TemporaryDirectory(prefix="cmkms-mutation-") as folder:
        if isinstance(bug, Profile):
            return live(bug, seed, Path(folder))
        with bug.switch():
            return live(bug.profile, seed, Path(folder))


def hunt(bug: SeededBug | Harmless, seeds: Iterable[int]) -> Catch | None:
    """Try seeds in their order until one shows the bug."""
    for number, seed in enumerate(seeds, 1):
        outcome = show(bug, seed)
        if outcome.violations:
            return Catch(seed, number, caught_by(outcome.violations[0]), outcome.violations[0])
    return None


def hunt_pinned_first(bug: SeededBug) -> Catch | None:
    """Try the seed that is known to show it; then, where the code has moved on since, all of the budget."""
    return hunt(bug, chain((bug.pinned,), range(1, bug.budget + 1)))


def hunt_again_and_again(bug: SeededBug, times: int) -> Hunt:
    """Hunt `times` times from scratch."""
    found = [hunt(bug, range(APART * number + 1, APART * number + bug.budget + 1)) for number in range(1, times + 1)]
    catches = tuple(catch for catch in found if catch is not None)
    return Hunt(bug, catches, times - len(catches))
