"""Percentiles and gaps."""

from __future__ import annotations

from cmkms.harness.latency import Distribution, longest_gap


def test_percentiles_are_samples_by_nearest_rank() -> None:
    assert Distribution.of(range(1, 101)) == Distribution(100, 50, 90, 99, 100)


def test_one_sample_is_every_percentile() -> None:
    assert Distribution.of([7.0]) == Distribution(1, 7.0, 7.0, 7.0, 7.0)


def test_no_samples_are_all_zero() -> None:
    assert Distribution.of([]) == Distribution(0, 0, 0, 0, 0)


def test_the_longest_gap_lies_between_neighbours_in_time() -> None:
    assert longest_gap([1.0, 10.0, 2.0, 4.0]) == 6.0
    assert longest_gap([1.0]) == 0.0
