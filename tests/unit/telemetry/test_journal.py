from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import structlog

from cmkms.telemetry.events import ConnectionEvent, SignEvent
from cmkms.telemetry.journal import Journal, three_digits
from cmkms.telemetry.metrics import MeasuredChain, Metrics

if TYPE_CHECKING:
    from .conftest import LogPipe

ADDRESS = "tcp://10.0.0.1:26659"

SIGNED = SignEvent(
    chain_id="testnet-1",
    kind="precommit",
    height=1234,
    round=1,
    step=3,
    block_hash=bytes.fromhex("A1B2C3D4") + bytes(28),
    who=ADDRESS,
    result="signed",
    seconds=0.00041234,
)

REFUSED = replace(SIGNED, result="refused", reason="regression", detail="round 1 is below round 2")

TROUBLE = ConnectionEvent("testnet-1", ADDRESS, "dialling", "refused", "Connection refused")


class Clock:
    """A clock that goes only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def journal(clock: Clock | None = None) -> Journal:
    clock = clock or Clock()
    metrics = Metrics("1.0", [MeasuredChain("testnet-1", (ADDRESS,))])
    return Journal(structlog.get_logger(), metrics, clock=clock, unix_clock=clock)


def test_a_signature_is_one_json_line_with_all_that_is_asked_for_later(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    journal().signed(SIGNED)
    [line] = log_pipe.objects()
    del line["ts"]
    assert line == {
        "level": "info",
        "event": "signed",
        "chain": "testnet-1",
        "type": "precommit",
        "hrs": "1234/1/3",
        "height": 1234,
        "round": 1,
        "step": 3,
        "block": "A1B2C3D4",
        "ms": 0.412,
        "who": ADDRESS,
    }


def test_a_signature_is_one_readable_line(log_pipe: LogPipe) -> None:
    log_pipe.configure("plain")
    journal().signed(SIGNED)
    [line] = log_pipe.lines()
    assert re.search(
        r"\[info\s*\] signed\s+chain=testnet-1 type=precommit hrs=1234/1/3 block=A1B2C3D4 ms=0.412 who=tcp://", line
    )


def test_a_vote_for_no_block_says_nil(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    journal().signed(replace(SIGNED, block_hash=b""))
    assert log_pipe.objects()[0]["block"] == "nil"


@pytest.mark.parametrize(
    ("event", "level", "text"),
    [
        (SIGNED, "info", "signed"),
        (replace(SIGNED, result="replayed"), "info", "replayed"),
        (replace(SIGNED, result="gone"), "info", "gone"),
        (REFUSED, "warning", "refused"),
        (replace(REFUSED, reason="conflict"), "error", "refused"),
    ],
)
def test_each_ending_has_its_level(log_pipe: LogPipe, event: SignEvent, level: str, text: str) -> None:
    log_pipe.configure("json")
    journal().signed(event)
    [line] = log_pipe.objects()
    assert (line["level"], line["event"]) == (level, text)


def test_a_refusal_is_one_line_with_reason_and_detail(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    journal().signed(REFUSED)
    [line] = log_pipe.objects()
    assert line["reason"] == "regression"
    assert line["detail"] == "round 1 is below round 2"
    assert line["hrs"] == "1234/1/3"


def test_a_detail_without_a_reason_is_told_too(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    journal().signed(replace(SIGNED, result="gone", detail="the node hung up"))
    assert log_pipe.objects()[0]["detail"] == "the node hung up"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.41234, 0.412), (12.345, 12.3), (5012.0, 5010.0), (0.0, 0.0), (99.96, 100.0)]
)
def test_milliseconds_have_three_significant_digits(value: float, shown: float) -> None:
    assert three_digits(value) == shown


def test_the_first_trouble_of_a_connection_is_a_warning_at_once(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    journal().connection(TROUBLE)
    [line] = log_pipe.objects()
    assert line["level"] == "warning"
    assert line["reason"] == "refused"
    assert line["addr"] == ADDRESS
    assert line["detail"] == "Connection refused"


def test_repeated_trouble_is_one_line_in_thirty_seconds_with_its_count(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    clock = Clock()
    written = journal(clock)
    for _ in range(97):
        written.connection(TROUBLE)
        clock.now += 0.5
    lines = log_pipe.objects()
    assert [line["times"] for line in lines] == [1, 61]
    assert lines[1]["event"] == "validator connection: refused 61 times since 1970-01-01T00:16:40Z"


def test_another_trouble_is_a_line_at_once(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    written = journal()
    written.connection(TROUBLE)
    written.connection(replace(TROUBLE, reason="closed"))
    assert [line["reason"] for line in log_pipe.objects()] == ["refused", "closed"]


def test_two_addresses_do_not_hide_each_other(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    written = journal()
    written.connection(TROUBLE)
    written.connection(replace(TROUBLE, address="unix:///run/node.sock"))
    assert len(log_pipe.lines()) == 2


def test_a_connection_is_told_with_who_answered_and_since_when_it_was_missing(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    written = journal()
    written.connection(TROUBLE)
    written.connection(ConnectionEvent("testnet-1", ADDRESS, "connected", remote_id="ab" * 20))
    line = log_pipe.objects()[1]
    assert line["level"] == "info"
    assert line["event"] == "validator connected (in trouble since 1970-01-01T00:16:40Z)"
    assert line["remote_id"] == "ab" * 20


def test_states_on_the_way_are_for_debugging_only(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    journal().connection(ConnectionEvent("testnet-1", ADDRESS, "handshaking"))
    [line] = log_pipe.objects()
    assert (line["level"], line["state"]) == ("debug", "handshaking")


def test_trouble_that_a_connection_survives_is_told_rarely_and_does_not_say_it_is_down(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    written = journal()
    connected = ConnectionEvent("testnet-1", ADDRESS, "connected")
    written.connection(connected)
    for _ in range(1000):
        written.connection(replace(connected, reason="undecodable", detail="field 3 is no bytes"))
    written.connection(connected)
    assert [line["event"] for line in log_pipe.objects()] == [
        "validator connected",
        "validator connection: undecodable",
    ]
