"""What one validator asks again and again in vain takes one line, and one more now and then."""

from __future__ import annotations

from cmkms.telemetry.repetition import REPEAT_SECONDS, Repeats


def test_the_first_time_is_told_and_the_same_again_is_not() -> None:
    repeats = Repeats()
    assert [repeats.tell("a", now) for now in (0.0, 0.1, 0.2)] == [1, 0, 0]


def test_the_count_is_told_every_half_minute() -> None:
    repeats = Repeats()
    told = [repeats.tell("a", float(now)) for now in range(int(REPEAT_SECONDS) * 2 + 1)]
    assert [count for count in told if count] == [1, 31, 61]


def test_something_else_is_told_at_once() -> None:
    repeats = Repeats()
    assert [repeats.tell(key, 0.0) for key in ("a", "a", "b", "a")] == [1, 0, 1, 1]
