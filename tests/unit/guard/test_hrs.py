"""The order of heights, rounds and steps."""

from __future__ import annotations

from itertools import product

import pytest

from cmkms.guard.hrs import HRS, MAX_HEIGHT, MAX_ROUND, NEVER, Step
from cmkms.privval import SignedMsgType

SMALL = [HRS(height, round_, step) for height, round_, step in product(range(3), range(3), Step)]


def test_height_counts_before_round_and_round_before_step() -> None:
    for one, other in product(SMALL, SMALL):
        first, second = (one.height, one.round, int(one.step)), (other.height, other.round, int(other.step))
        assert (one < other, one == other, one > other) == (first < second, first == second, first > second)


def test_never_is_below_everything_that_can_be_signed() -> None:
    assert all(HRS(0, 0, step) > NEVER for step in Step if step is not Step.NONE)


@pytest.mark.parametrize(("height", "round_"), [(0, 0), (MAX_HEIGHT, MAX_ROUND)])
def test_the_bounds_of_int64_and_int32_are_inside(height: int, round_: int) -> None:
    assert HRS(height, round_, Step.PRECOMMIT).height == height


@pytest.mark.parametrize(("height", "round_"), [(-1, 0), (0, -1), (MAX_HEIGHT + 1, 0), (0, MAX_ROUND + 1)])
def test_beyond_them_is_refused(height: int, round_: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        HRS(height, round_, Step.NONE)


def test_a_message_is_signed_at_the_step_of_its_type() -> None:
    assert [Step.of(kind) for kind in (SignedMsgType.PROPOSAL, SignedMsgType.PREVOTE, SignedMsgType.PRECOMMIT)] == [
        Step.PROPOSE,
        Step.PREVOTE,
        Step.PRECOMMIT,
    ]


def test_an_unknown_type_has_no_step() -> None:
    with pytest.raises(KeyError):
        Step.of(SignedMsgType.UNKNOWN)


def test_operators_read_height_round_and_step_as_numbers() -> None:
    assert str(HRS(7, 1, Step.PRECOMMIT)) == "7/1/3"
