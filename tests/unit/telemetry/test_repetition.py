from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cmkms.telemetry.repetition import (
    CHANGE_BURST,
    CHANGE_SECONDS,
    REPEAT_SECONDS,
    ConnectionLines,
    Line,
)

START = 1_700_000_000.0


def test_the_first_trouble_is_told_at_once() -> None:
    assert ConnectionLines().trouble("refused", 0.0, START) == Line(1, START)


def test_the_same_trouble_again_is_held_back() -> None:
    lines = ConnectionLines()
    lines.trouble("refused", 0.0, START)
    assert lines.trouble("refused", REPEAT_SECONDS - 0.1, START + 29.9) is None


def test_after_thirty_seconds_the_same_trouble_is_told_with_its_count() -> None:
    lines = ConnectionLines()
    lines.trouble("refused", 0.0, START)
    for n in range(1, 60):
        assert lines.trouble("refused", n * 0.5, START + n * 0.5) is None
    assert lines.trouble("refused", 30.0, START + 30) == Line(61, START)


def test_another_trouble_is_told_at_once() -> None:
    lines = ConnectionLines()
    lines.trouble("refused", 0.0, START)
    assert lines.trouble("closed", 0.5, START + 0.5) == Line(1, START + 0.5)


def test_a_connection_is_told_with_the_trouble_before() -> None:
    lines = ConnectionLines()
    lines.trouble("refused", 0.0, START)
    lines.trouble("refused", 0.5, START + 0.5)
    assert lines.connected(START + 1) == Line(2, START)


def test_a_first_connection_without_trouble_is_told() -> None:
    assert ConnectionLines().connected(START) == Line(0, START)


def test_trouble_after_a_connection_is_told_at_once_even_if_it_is_the_same() -> None:
    lines = ConnectionLines()
    lines.trouble("closed", 0.0, START)
    lines.connected(START + 1)
    assert lines.trouble("closed", 1.5, START + 1.5) == Line(1, START + 1.5)


def test_flapping_for_an_hour_stays_within_the_budget_of_changes() -> None:
    lines = ConnectionLines()
    told = 0
    for n in range(7200):
        now = n * 0.5
        told += lines.trouble("closed" if n % 2 else "refused", now, START + now) is not None
        told += lines.connected(START + now) is not None
    assert told <= 2 * (CHANGE_BURST + 3600 / CHANGE_SECONDS)


events = st.lists(st.tuples(st.sampled_from(["refused", "closed", "connected"]), st.floats(0, 20)), max_size=60)


@given(events)
def test_the_last_line_never_says_up_for_long_while_it_is_down(history: list[tuple[str, float]]) -> None:
    lines = ConnectionLines()
    now, told_up = 0.0, None
    for what, pause in history:
        now += pause
        if what == "connected":
            told_up = True if lines.connected(START + now) else told_up
            assert told_up is True
        elif lines.trouble(what, now, START + now):
            told_up = False
    # It stays down, redialled every half second: before CHANGE_SECONDS are over, the log says so.
    for _ in range(int(CHANGE_SECONDS / 0.5) + 1):
        now += 0.5
        if lines.trouble("refused", now, START + now):
            told_up = False
    assert told_up is False
