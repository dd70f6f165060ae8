"""Whatever befalls the cluster: one message for each place, every answer true and in time, and service once all is
healed.

A seed that fails names itself, and repeats itself exactly: `make sim SEED=...` tells its story.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.sim.campaign import run_seed
from tests.sim.campaign.plan import ALL_KINDS, BIRTH_SECONDS, CONFLICTS, replicas_of
from tests.sim.campaign.regressions import REGRESSIONS, Regression
from tests.sim.campaign.sweep import Totals, run_alone, sweep

ROOT = Path(__file__).parents[3]
CAMPAIGN_SEEDS = range(1, 301)
EXPECTED = {
    "births",
    "connections ended by silence",
    "guards mended from the other copy",
    "guards replaced by a change of generation",
    "guards seen to go backwards",
    "leases taken",
    "old connections still open at a new one",
    "refused: CONFLICT",
    "refused: HELD",
    "refused: REGRESSION",
}
"""What a campaign has to come to, or it has lost its edge."""


@pytest.mark.parametrize("seed", range(1001, 1011))
def test_a_short_life(tmp_path: Path, seed: int) -> None:
    outcome = run_seed(seed, tmp_path, replicas=replicas_of(seed), seconds=8.0)
    assert not outcome.violations, outcome.story


@pytest.mark.parametrize("regression", REGRESSIONS, ids=lambda one: one.name)
def test_what_a_seed_has_found_stays_found(regression: Regression) -> None:
    outcome = run_alone(
        regression.seed, replicas=regression.replicas, seconds=regression.seconds, without=regression.without
    )
    assert not outcome.violations, (regression.sentence, outcome.story)


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_three_hundred_lives_of_thirty_seconds() -> None:
    """Births, with faults of their own, and all others; the last of them pass, and healing follows, beyond that."""
    totals = Totals(None, 30.0 - BIRTH_SECONDS)
    for outcome in sweep(CAMPAIGN_SEEDS, jobs=os.cpu_count() or 1, seconds=totals.seconds):
        totals.add(outcome)
        assert outcome.violations or outcome.simulated >= 30.0
    assert totals.failed == {}
    # A campaign in which little happens proves little.
    assert totals.signed > 20_000
    assert sum(totals.faults.values()) > 3_000
    assert set(totals.faults) == ALL_KINDS - {CONFLICTS}
    assert set(totals.seen) >= EXPECTED


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(6 * 3600)
def test_two_thousand_lives() -> None:
    totals = Totals(None, 30.0)
    for outcome in sweep(range(10_001, 12_001), jobs=os.cpu_count() or 1):
        totals.add(outcome)
    assert totals.failed == {}


class TestASeedRepeatsItself:
    def digests(self, seed: int, salts: Iterable[str]) -> set[str]:
        """What two processes that hash differently tell of one seed."""
        program = f"from tests.sim.campaign.sweep import run_alone; print(run_alone({seed}, seconds=6.0).digest)"
        return {
            subprocess.run(
                [sys.executable, "-c", program],
                cwd=ROOT,
                env=os.environ | {"PYTHONHASHSEED": salt},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for salt in salts
        }

    @pytest.mark.parametrize("seed", [1003, 1014])
    def test_to_the_last_word_in_any_process(self, seed: int) -> None:
        assert len(self.digests(seed, ("1", "2"))) == 1

    def test_and_another_tells_another_story(self) -> None:
        assert run_alone(1003, seconds=2.0).digest != run_alone(1004, seconds=2.0).digest

    def test_longer_it_begins_the_same(self, tmp_path: Path) -> None:
        stories: list[list[str]] = []
        for seconds in (3.0, 5.0):
            folder = tmp_path / str(seconds)
            folder.mkdir()
            stories.append(run_seed(1005, folder, seconds=seconds, lines=1_000_000).story)
        short, long = stories
        same = next((at for at, (one, other) in enumerate(zip(short, long, strict=False)) if one != other), len(short))
        assert float(long[same].split()[0]) > 5.5
