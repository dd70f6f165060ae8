"""The cuts are real and the judge is awake: a signer that does not sync and a drive that does not flush are caught."""

from __future__ import annotations

import pytest

from tests.faults.power.running import Campaign, run

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

ENOUGH = 4
"""Cuts: in each, all that was signed since the last time that everything was on the platter is lost."""


def signs_twice(campaign: Campaign) -> None:
    """It is caught by what was answered, and by what is on the drive."""
    violations = run(campaign)["violations"]
    assert any(one.startswith("TWO_MESSAGES") for one in violations), violations
    assert any("was released, the guards' files hold" in one for one in violations), violations


def test_a_replica_alone_that_does_not_sync_signs_twice() -> None:
    signs_twice(Campaign("all", replicas=1, cuts=ENOUGH, seed=1, without_sync=True))


def test_three_that_do_not_sync_sign_twice_when_all_lose_power() -> None:
    signs_twice(Campaign("all", replicas=3, cuts=ENOUGH, seed=1, without_sync=True))


def test_one_of_three_that_does_not_sync_and_one_that_was_absent_sign_twice() -> None:
    signs_twice(Campaign("one-of-three", replicas=3, cuts=ENOUGH, seed=1, without_sync=True))


def test_a_replica_alone_on_a_drive_that_only_says_that_it_flushed_signs_twice() -> None:
    """What docs/SAFETY.md rests on, and cannot promise: fdatasync keeps its word."""
    signs_twice(Campaign("all", replicas=1, cuts=ENOUGH, seed=1, lying="node-0"))


def test_one_of_three_on_a_drive_that_lies_is_found_out_by_the_others() -> None:
    found = run(Campaign("liar", replicas=3, cuts=1, seed=1, lying="node-0"))
    assert found["violations"] == []
    assert (found["cuts"], found["fuses_blown"], found["refused"]) == (1, 1, 1)
