from __future__ import annotations

import logging
import os
import pty
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog

from cmkms.errors import ConfigError
from cmkms.telemetry.logs import configure_logging

if TYPE_CHECKING:
    from .conftest import LogPipe


HIDDEN = "value-of-a-" + "local-variable"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("not for eyes")


def fail(hidden: str) -> None:
    """Raise, with `hidden` in a local variable."""
    raise ValueError("boom")


def test_a_json_line_has_time_level_and_event_first(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    structlog.get_logger().info("signed", height=5)
    [line] = log_pipe.lines()
    assert re.fullmatch(
        r'\{"ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","level":"info","event":"signed","height":5\}', line
    )


def test_a_plain_line_is_readable_and_without_colours(log_pipe: LogPipe) -> None:
    log_pipe.configure("plain")
    structlog.get_logger().warning("refused", reason="conflict")
    [line] = log_pipe.lines()
    assert "\x1b" not in line
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[warning\s*\] refused\s+reason=conflict$", line)


def test_a_console_line_has_colours(log_pipe: LogPipe) -> None:
    log_pipe.configure("console")
    structlog.get_logger().info("signed")
    assert "\x1b[" in log_pipe.text()


def test_automatic_form_is_json_where_no_terminal_is(log_pipe: LogPipe) -> None:
    log_pipe.configure("auto")
    structlog.get_logger().info("signed")
    assert log_pipe.objects()[0]["event"] == "signed"


def test_automatic_form_is_console_on_a_terminal(log_pipe: LogPipe) -> None:
    master, slave = pty.openpty()
    configure_logging("info", "auto", fd=slave)
    structlog.get_logger().info("signed")
    shown = os.read(master, 4096).decode()
    os.close(slave)
    os.close(master)
    assert "signed" in shown
    assert not shown.startswith("{")


def test_a_console_line_shows_height_round_and_step_once(log_pipe: LogPipe) -> None:
    log_pipe.configure("plain")
    structlog.get_logger().info("signed", hrs="5/0/3", height=5, round=0, step=3)
    [line] = log_pipe.lines()
    assert "hrs=5/0/3" in line
    assert "height" not in line


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 3), ("warning", 2), ("warn", 2), ("error", 1)])
def test_only_lines_of_the_level_and_above_are_written(log_pipe: LogPipe, level: str, heard: int) -> None:
    log_pipe.configure("json", level)
    logger = structlog.get_logger()
    for write in (logger.debug, logger.info, logger.warning, logger.error):
        write("x")
    assert len(log_pipe.lines()) == heard


def test_an_unknown_level_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"log_level: 'loud'.*debug, info, warning, error"):
        configure_logging("loud", "json")


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"log_format: 'xml'.*auto, console, json, plain"):
        configure_logging("info", "xml")


def test_standard_library_records_come_in_the_same_form(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    logging.getLogger("some.library").warning("took %d s", 3)
    [line] = log_pipe.objects()
    assert line["level"] == "warning"
    assert line["event"] == "took 3 s"
    assert line["logger"] == "some.library"


def test_a_traceback_of_the_standard_library_is_one_line(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    try:
        fail(HIDDEN)
    except ValueError:
        logging.getLogger("some.library").exception("it failed")
    [line] = log_pipe.objects()
    assert "ValueError: boom" in line["exception"]


def test_a_traceback_is_one_json_line_without_local_variables(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    try:
        fail(HIDDEN)
    except ValueError:
        structlog.get_logger().exception("it failed")
    [line] = log_pipe.objects()
    assert line["level"] == "error"
    assert "ValueError: boom" in line["exception"]
    assert HIDDEN not in str(line)


@pytest.mark.parametrize("log_format", ["console", "plain"])
def test_a_console_traceback_shows_no_local_variables(log_pipe: LogPipe, log_format: str) -> None:
    log_pipe.configure(log_format)
    try:
        fail(HIDDEN)
    except ValueError:
        structlog.get_logger().exception("it failed")
    text = log_pipe.text()
    assert "ValueError: boom" in text
    assert HIDDEN not in text


def test_warnings_and_chatter_of_uvicorn_are_not_written(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn").info("Started server process")
    assert log_pipe.lines() == []


def test_errors_of_uvicorn_are_written(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    logging.getLogger("uvicorn.error").error("Exception in ASGI application")
    assert log_pipe.objects()[0]["logger"] == "uvicorn.error"


@pytest.mark.parametrize("log_format", ["console", "plain", "json"])
def test_text_from_the_wire_cannot_start_a_line_or_drive_the_terminal(log_pipe: LogPipe, log_format: str) -> None:
    log_pipe.configure(log_format)
    logger = structlog.get_logger()
    logger.info("refused", chain="a\n2026-01-01 forged\x1b]0;title\x07\u2028\x9b31m", who="\x1b]0;\x07")
    logger.info("refused\nforged\x1b]0;title\x07\u2028\x9b31m")
    text = log_pipe.text()
    assert len(text.splitlines()) == 2
    assert "\x1b]" not in text
    assert "\x07" not in text
    assert "\x9b" not in text


def test_a_value_that_cannot_be_shown_costs_its_line_and_not_the_caller(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    structlog.get_logger().info("signed", value=Unprintable())
    [line] = log_pipe.objects()
    assert line["event"] == "a log line could not be rendered"
    assert line["error"] == "RuntimeError"


def test_a_standard_library_record_with_wrong_arguments_does_not_raise(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    logging.getLogger("some.library").warning("%d", "no number")
    assert "could not be formatted: TypeError" in log_pipe.text()


def test_a_reader_that_went_away_does_not_raise(log_pipe: LogPipe) -> None:
    log_pipe.configure("json")
    os.close(log_pipe.read_fd)
    structlog.get_logger().info("signed")
    logging.getLogger("some.library").warning("hello")


def test_a_full_disk_does_not_raise(log_pipe: LogPipe) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    configure_logging("info", "json", fd=fd)
    structlog.get_logger().info("signed")
    logging.getLogger("some.library").warning("hello")
    os.close(fd)


def test_the_last_configuration_wins(log_pipe: LogPipe, tmp_path: Path) -> None:
    logger = structlog.get_logger()
    path = tmp_path / "first"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    configure_logging("info", "json", fd=fd)
    logger.info("one")
    log_pipe.configure("json")
    logger.info("two")
    logging.getLogger("some.library").warning("three")
    os.close(fd)
    assert len(path.read_text().splitlines()) == 1
    assert [line["event"] for line in log_pipe.objects()] == ["two", "three"]
