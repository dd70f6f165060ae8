"""The log lines about peers: each change once, what is repeated with its count."""

from __future__ import annotations

from typing import cast

import pytest
import structlog
from structlog.testing import CapturingLogger
from structlog.typing import FilteringBoundLogger

from cmkms.peers.journal import MAX_KINDS, STRANGER_SECONDS, PeerJournal
from cmkms.peers.observation import LinkState
from cmkms.telemetry.repetition import REPEAT_SECONDS

NO_TLS = "it does not speak TLS 1.3: HTTP_REQUEST"


class Diary:
    """A journal, what it wrote, and its clock, which goes only when told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._written = CapturingLogger()
        logger = structlog.wrap_logger(
            self._written, processors=[], wrapper_class=structlog.make_filtering_bound_logger("info")
        )
        bound = cast("FilteringBoundLogger", logger)
        self.journal = PeerJournal(bound, clock=lambda: self.now, unix_clock=lambda: self.now)

    def lines(self) -> list[tuple[str, dict[str, object]]]:
        """What was written since the last look: level and fields."""
        lines = [(call.method_name, dict(call.kwargs)) for call in self._written.calls]
        self._written.calls.clear()
        return lines


@pytest.fixture
def diary() -> Diary:
    return Diary()


def test_a_connection_is_one_line(diary: Diary) -> None:
    diary.journal.connection("node-1", LinkState.CONNECTED, "10.0.0.11:9430")
    assert diary.lines() == [("info", {"event": "peer connected", "peer": "node-1", "addr": "10.0.0.11:9430"})]


def test_a_dial_that_fails_ten_times_a_second_is_told_now_and_then(diary: Diary) -> None:
    for _ in range(int(REPEAT_SECONDS * 10)):
        diary.journal.connection("node-1", LinkState.UNREACHABLE, "nobody listens at 10.0.0.11:9430")
        diary.now += 0.1
    [(level, first)] = diary.lines()
    assert (level, first["event"], first["times"]) == ("warning", "peer unreachable", 1)
    diary.journal.connection("node-1", LinkState.UNREACHABLE, "nobody listens at 10.0.0.11:9430")
    [(_, again)] = diary.lines()
    assert again["event"] == "peer unreachable 301 times since 1970-01-01T00:16:40Z"


def test_another_trouble_is_told_at_once(diary: Diary) -> None:
    diary.journal.connection("node-1", LinkState.UNREACHABLE, "nobody listens")
    diary.journal.connection("node-1", LinkState.REFUSED, "default_ttl differs")
    assert [(level, line["detail"]) for level, line in diary.lines()] == [
        ("warning", "nobody listens"),
        ("error", "default_ttl differs"),
    ]


def test_a_twin_is_an_error(diary: Diary) -> None:
    diary.journal.connection("node-1", LinkState.TWIN, "two processes have the identity of node-1")
    [(level, _)] = diary.lines()
    assert level == "error"


def test_a_peer_that_stops_in_good_order_is_no_warning(diary: Diary) -> None:
    diary.journal.connection("node-1", LinkState.LEFT, "stopped in good order")
    [(level, line)] = diary.lines()
    assert (level, line["event"]) == ("info", "peer left")


def test_trouble_of_one_member_hides_none_of_another(diary: Diary) -> None:
    for member in ("node-1", "node-2"):
        diary.journal.connection(member, LinkState.UNREACHABLE, "nobody listens")
    assert [line["peer"] for _, line in diary.lines()] == ["node-1", "node-2"]


def test_strangers_are_told_once_a_minute_with_their_count(diary: Diary) -> None:
    for _ in range(1000):
        diary.journal.stranger("10.0.0.99", NO_TLS)
    [(level, first)] = diary.lines()
    assert (level, first["addr"], first["times"], first["why"]) == ("warning", "10.0.0.99", 1, NO_TLS)
    diary.now += STRANGER_SECONDS
    diary.journal.stranger("10.0.0.98", NO_TLS)
    [(_, again)] = diary.lines()
    assert again["times"] == 1000


def test_strangers_of_another_kind_are_told_at_once(diary: Diary) -> None:
    diary.journal.stranger("10.0.0.99", NO_TLS)
    diary.journal.stranger("10.0.0.99", "it shows no certificate: no replica")
    assert len(diary.lines()) == 2


def test_a_stranger_cannot_fill_memory_or_the_log_with_kinds(diary: Diary) -> None:
    for number in range(1000):
        diary.journal.stranger("10.0.0.99", f"complaint {number}")
    assert len(diary.lines()) == MAX_KINDS + 1


def test_what_a_peer_says_is_cut(diary: Diary) -> None:
    diary.journal.connection("node-1", LinkState.REFUSED, "x" * 10_000)
    [(_, line)] = diary.lines()
    assert line["detail"] == "x" * 500
