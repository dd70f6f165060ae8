"""Power that goes while replicas sign: what was released is known when it comes back, whoever asks first.

Each campaign is a program of its own (`python -m tests.faults.power`), apart from everything else on the machine. The
first question after each cut is the highest signature ever released, with another block.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.power.running import Campaign, run

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

RESULT: Final = Path(__file__).parents[3] / "docs" / "proof" / "power.json"

SOLE: Final = Campaign("all", replicas=1, cuts=34, seed=1)
ONE_OF_THREE: Final = Campaign("one-of-three", replicas=3, cuts=8, seed=2)
ALL_THREE: Final = Campaign("all", replicas=3, cuts=8, seed=3)
"""Fifty cuts."""

LONG: Final = {
    "a replica alone": Campaign("all", replicas=1, cuts=600, seed=4),
    "one of three": Campaign("one-of-three", replicas=3, cuts=200, seed=5),
    "all three at once": Campaign("all", replicas=3, cuts=200, seed=6),
}
"""A thousand."""


def holds(found: dict[str, Any], campaign: Campaign) -> None:
    """Nothing was violated, every cut took something away, and signing went on after each."""
    assert found["violations"] == []
    assert found["cuts"] == campaign.cuts
    assert found["unsynced_lost"] >= campaign.cuts, "each cut takes at least one write that nobody synced"
    assert found["fuses_blown"] == 0, "a cut of power alone blows no fuse"
    assert found["refused"] + found["held"] == campaign.cuts
    assert found["signatures"] > 2 * campaign.cuts


@pytest.mark.parametrize("campaign", [SOLE, ONE_OF_THREE, ALL_THREE], ids=str)
def test_what_was_released_is_never_signed_again_with_another_block(campaign: Campaign) -> None:
    holds(run(campaign), campaign)


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_a_thousand_cuts() -> None:
    found = {what: run(campaign) for what, campaign in LONG.items()}
    total = {name: sum(one[name] for one in found.values()) for name in found["one of three"] if name != "violations"}
    violations = [one for part in found.values() for one in part["violations"]]
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        json.dumps({**total, "violations": violations, "parts": found}, indent=2) + "\n", encoding="utf-8"
    )
    for what, campaign in LONG.items():
        holds(found[what], campaign)
