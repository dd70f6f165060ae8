"""Every seeded bug is caught by the simulation and its judges, and the same lives without one break nothing.

Pinned seeds make it quick; where the code has moved on since, the search goes on as far as the bug's budget. A bug that
is not caught then means that a fault or a check is missing.
"""

from __future__ import annotations

import pytest

from tests.sim.mutations.bug import Harmless, SeededBug
from tests.sim.mutations.catalogue import BUGS, HARMLESS
from tests.sim.mutations.hunt import hunt, hunt_again_and_again, hunt_pinned_first, show
from tests.sim.mutations.profiles import PROFILES, Profile
from tests.sim.mutations.verdicts import BrokenExperimentError, caught_by

pytestmark = pytest.mark.proof

PINNED = sorted({(bug.profile.name, bug.pinned) for bug in BUGS})
BY_NAME = {profile.name: profile for profile in PROFILES}

every_bug = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))


@every_bug
def test_it_is_caught(bug: SeededBug) -> None:
    assert hunt_pinned_first(bug) is not None, f"{bug.budget} seeds of {bug.profile.name!r} did not show it"


@pytest.mark.parametrize(("profile", "seed"), PINNED)
def test_without_a_bug_the_same_life_breaks_nothing(profile: str, seed: int) -> None:
    assert show(BY_NAME[profile], seed).violations == []


def test_there_are_enough_of_them_and_no_two_of_one_name() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 18


def test_an_experiment_that_breaks_by_itself_is_no_catch() -> None:
    with pytest.raises(BrokenExperimentError):
        caught_by("AttributeError: 'Guard' object has no attribute '_write'")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@every_bug
def test_it_is_caught_from_scratch_whatever_seed_comes_first(bug: SeededBug) -> None:
    assert hunt_again_and_again(bug, 3).missed == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name.replace(" ", "-"))
def test_without_a_bug_no_seed_breaks_anything(profile: Profile) -> None:
    broken = {seed: outcome.violations for seed in range(1, 61) if (outcome := show(profile, seed)).violations}
    assert broken == {}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("broken", HARMLESS, ids=lambda broken: broken.name.replace(" ", "-"))
def test_nothing_that_is_promised_rests_on_it(broken: Harmless) -> None:
    assert hunt(broken, range(1, 41)) is None
