"""How far above the last height a request may reach."""

from __future__ import annotations

import pytest

from cmkms.guard.ceiling import height_ceiling
from cmkms.guard.hrs import MAX_HEIGHT


def ceiling(
    height: int, *, elapsed: float = 0.0, rate: float = 100.0, allowed: int | None = None, accepted_at: int = 1000
) -> int | None:
    return height_ceiling(
        height=height, accepted_at=accepted_at, now=accepted_at + elapsed, max_block_rate=rate, allowed_height=allowed
    )


def test_the_first_height_of_all_is_free() -> None:
    assert ceiling(0, elapsed=1e9) is None


def test_two_thousand_heights_are_always_free() -> None:
    assert ceiling(500) == 2500


@pytest.mark.parametrize(("elapsed", "expected"), [(19.99, 2500), (20.0, 2500), (20.5, 2550), (3600, 360_500)])
def test_it_rises_by_a_hundred_blocks_for_each_second_since(elapsed: float, expected: int) -> None:
    assert ceiling(500, elapsed=elapsed) == expected


def test_a_clock_that_went_back_counts_as_no_time() -> None:
    assert ceiling(500, elapsed=-1e9) == 2500


def test_a_slower_chain_can_say_so() -> None:
    assert ceiling(500, elapsed=10_000, rate=1.0) == 10_500


@pytest.mark.parametrize(("allowed", "expected"), [(10, 2500), (2500, 2500), (2501, 2501), (MAX_HEIGHT, MAX_HEIGHT)])
def test_what_the_operator_allows_raises_it_and_never_lowers_it(allowed: int, expected: int) -> None:
    assert ceiling(500, allowed=allowed) == expected


@pytest.mark.parametrize("height", [MAX_HEIGHT, MAX_HEIGHT - 1])
def test_it_never_exceeds_what_a_height_can_be(height: int) -> None:
    assert ceiling(height, elapsed=1e12) == MAX_HEIGHT
