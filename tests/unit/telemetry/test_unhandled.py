"""What nobody waits for: a bug of ours ends the process, a broken connection is a quiet line, the rest is told.

Errors are raised as in life: by a function that the event loop calls, or an object that is taken apart.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import uvloop

from cmkms.control.address import short_name
from cmkms.http.address import hosts_for
from cmkms.peers.frames import with_length
from cmkms.telemetry.unhandled import log_unraisable, loop_exception_handler

if TYPE_CHECKING:
    from .conftest import LogPipe


class Watched:
    """An event loop with our handler, and what came of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log_pipe: LogPipe) -> None:
        log_pipe.configure("json")
        self.loop = loop
        self.bugs: list[BaseException] = []
        self._pipe = log_pipe
        loop.set_exception_handler(loop_exception_handler(structlog.get_logger(), self.bugs.append))

    def calls(self, callback: Callable[..., object], *arguments: Any) -> None:
        self.loop.call_soon(callback, *arguments)
        self.loop.run_until_complete(asyncio.sleep(0))

    def lines(self) -> list[tuple[str, str]]:
        """Level and event of each line."""
        return [(line["level"], line["event"]) for line in self._pipe.objects()]


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def watched(request: pytest.FixtureRequest, log_pipe: LogPipe) -> Iterator[Watched]:
    loop = request.param()
    yield Watched(loop, log_pipe)
    loop.close()


def fail(error: BaseException) -> None:
    raise error


def raised(error: BaseException) -> BaseException:
    """As it is where a library has caught it."""
    try:
        fail(error)
    except BaseException as caught:  # noqa: BLE001 - whatever it is
        return caught
    return error


def test_a_bug_of_ours_ends_the_process(watched: Watched) -> None:
    watched.calls(with_length, None)
    assert [type(bug) for bug in watched.bugs] == [TypeError]
    assert watched.lines() == []


def test_an_error_of_the_system_that_our_code_lets_through_is_a_bug_too(watched: Watched, tmp_path: Path) -> None:
    watched.calls(short_name(tmp_path / "gone" / "@control").__enter__)
    assert [type(bug) for bug in watched.bugs] == [FileNotFoundError]


def test_a_task_of_ours_that_nobody_waits_for_is_a_bug(watched: Watched) -> None:
    async def begun() -> None:
        with_length(None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    task = watched.loop.create_task(begun())
    watched.loop.run_until_complete(asyncio.wait({task}))
    del task
    gc.collect()
    assert [type(bug) for bug in watched.bugs] == [TypeError]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "Connection reset by peer"),
        ConnectionAbortedError(),
        OSError(113, "No route to host"),
        TimeoutError(),
        ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"),
        ssl.SSLCertVerificationError(1, "certificate verify failed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_connection_that_broke_is_a_line_for_whoever_debugs(watched: Watched, error: OSError) -> None:
    watched.loop.call_exception_handler(
        {"message": "Fatal error on transport", "exception": raised(error), "transport": object()}
    )
    assert watched.bugs == []
    assert watched.lines() == [("debug", "a connection broke")]


def test_that_line_holds_no_stack(watched: Watched, log_pipe: LogPipe) -> None:
    watched.loop.call_exception_handler(
        {"message": "SSL handshake failed", "exception": raised(ConnectionResetError())}
    )
    [line] = log_pipe.objects()
    assert set(line) == {"ts", "level", "event", "what", "reason"}
    assert (line["what"], line["reason"]) == ("SSL handshake failed", "ConnectionResetError")


def test_an_error_in_a_library_is_told_with_its_stack(watched: Watched, log_pipe: LogPipe) -> None:
    watched.calls(json.loads, "{")
    [line] = log_pipe.objects()
    assert (line["level"], line["event"]) == ("error", "an error in a library")
    assert "JSONDecodeError" in line["exception"]
    assert "loads" in line["source"]
    assert watched.bugs == []


def test_who_breaks_what_serves_http_does_not_end_the_signer(watched: Watched) -> None:
    watched.calls(hosts_for, None)
    assert watched.bugs == []
    assert watched.lines() == [("error", "an error in a library")]


def test_what_the_loop_complains_of_without_an_error_is_told(watched: Watched, log_pipe: LogPipe) -> None:
    watched.loop.call_exception_handler({"message": "Task was destroyed but it is pending!", "task": "x" * 5000})
    [line] = log_pipe.objects()
    assert (line["level"], line["event"]) == ("error", "the event loop complains")
    assert line["what"] == "Task was destroyed but it is pending!"
    assert len(line["source"]) == 300


class Stubborn:
    def __del__(self) -> None:
        raise ValueError("it will not go")


def test_what_cannot_be_raised_anywhere_is_a_line_of_the_log(
    log_pipe: LogPipe, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    log_pipe.configure("json")
    log_unraisable(structlog.get_logger())
    Stubborn()
    gc.collect()
    [line] = log_pipe.objects()
    assert (line["level"], line["event"]) == ("error", "an object could not be taken apart")
    assert "it will not go" in line["exception"]
    assert capfd.readouterr().err == ""
