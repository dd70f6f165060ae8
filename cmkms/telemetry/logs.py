"""Sets up logging: structlog and the standard library through the same processors, to standard error.

Console form on a terminal, one JSON object a line otherwise. Whatever happens to a line (it cannot be rendered, nobody
reads the descriptor, the disk is full), the code that logged goes on.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from cmkms.errors import ConfigError
from cmkms.telemetry.lines import LineWriter
from cmkms.telemetry.redaction import redact

__all__ = ["LOG_FORMATS", "LOG_LEVELS", "configure_logging"]

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("auto", "console", "json", "plain")

_STDERR_FD = 2

_QUIET_LOGGERS: Final = {
    # A port scanner makes uvicorn warn at every connection; only what breaks inside our own answers matters.
    "uvicorn": logging.ERROR,
    "uvicorn.error": logging.ERROR,
    "uvicorn.access": logging.ERROR,
    "asyncio": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What could start a new line or drive a terminal. A chain id and a peer's error text come from the wire."""

_CONTROL_IN_TRACEBACK = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

_LEVEL_ALIASES: Final = {"warn": "warning", "exception": "error", "fatal": "critical"}

_SPLIT_HRS: Final = ("height", "round", "step")


def configure_logging(level: str, log_format: str, *, fd: int = _STDERR_FD) -> None:
    """Send all logging of this process to `fd`. May be called again; the last call wins.

    Args:
        level: One of `LOG_LEVELS`; `warn` is taken too.
        log_format: `console`, `plain` (console without colours), `json`, or `auto`: console on a terminal, else JSON.
        fd: An open descriptor, standard error by default.

    Raises:
        ConfigError: `level` or `log_format` is none of these.
    """
    number = _level_number(level)
    render = _renderer(log_format, fd)
    writer = LineWriter(fd, lambda lost: render.line("warning", "log lines were lost", lost=lost))
    before: list[Processor] = [
        _Head(),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*before, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _LineLogger(writer),
        # A cached logger would keep the descriptor of an earlier call. The journal binds its logger once by itself.
        cache_logger_on_first_use=False,
    )
    _route_standard_library(number, before, render, writer)


def _level_number(level: str) -> int:
    name = level.strip().lower()
    name = "warning" if name == "warn" else name
    if name not in LOG_LEVELS:
        raise ConfigError(f"log_level: {level!r} is not a level; use one of {', '.join(LOG_LEVELS)}")
    return logging.getLevelNamesMapping()[name.upper()]


def _renderer(log_format: str, fd: int) -> _Renderer:
    name = log_format.strip().lower()
    if name not in LOG_FORMATS:
        raise ConfigError(f"log_format: {log_format!r} is not a format; use one of {', '.join(LOG_FORMATS)}")
    if name == "auto":
        name = "console" if os.isatty(fd) else "json"
    return _Renderer(_encode_json if name == "json" else _Console(colors=name == "console"))


def _route_standard_library(number: int, before: list[Processor], render: _Renderer, writer: LineWriter) -> None:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *before],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
    )
    handler = _LineHandler(writer)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _LineHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    logging.captureWarnings(capture=True)
    for name, floor in _QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(max(floor, number))


class _Head:
    """Puts `ts` (RFC 3339, UTC, milliseconds), `level` and `event` first: a human reads JSON from the left, too."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def __call__(self, _logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
        level = _LEVEL_ALIASES.get(method, method)
        # Keys keep the place at which they came first.
        return {
            "ts": self.timestamp(time.time_ns()),
            "level": level,
            "event": event_dict.get("event", ""),
            **event_dict,
        }

    def timestamp(self, unix_ns: int) -> str:
        """`unix_ns` as text. The part up to the second is made once a second (hot path)."""
        second, ns = divmod(unix_ns, 1_000_000_000)
        if second != self._second:
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._second = second
        return f"{self._prefix}{ns // 1_000_000:03d}Z"


class _Renderer:
    """The last processor: event in, line out. Never raises, since it runs inside whoever logs."""

    __slots__ = ("_render",)

    def __init__(self, render: Callable[[EventDict], str]) -> None:
        self._render = render

    def __call__(self, _logger: WrappedLogger, _method: str, event_dict: EventDict) -> str:
        try:
            return self._render(event_dict)
        except Exception as error:  # noqa: BLE001 - any object may be in an event, and its __str__ may do anything
            return self.line("error", "a log line could not be rendered", error=type(error).__name__)

    def line(self, level: str, event: str, **fields: object) -> str:
        """A line of our own, outside any logger."""
        return self._render({**_Head()(None, level, {"event": event}), **fields})


# json.dumps with options builds an encoder at each call; this one is built once (hot path).
_encode_json = json.JSONEncoder(separators=(",", ":"), default=str).encode


class _Console:
    """For eyes: `hrs` instead of three numbers, no control characters, no local variables in tracebacks."""

    __slots__ = ("_render",)

    def __init__(self, *, colors: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(
            colors=colors,
            force_colors=colors,
            timestamp_key="ts",
            pad_event_to=10,
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,
        )

    def __call__(self, event_dict: EventDict) -> str:
        hidden = _SPLIT_HRS if "hrs" in event_dict else ()
        tame = {key: _tame(key, value) for key, value in event_dict.items() if key not in hidden}
        return str(self._render(None, "", tame))


def _tame(key: str, value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    pattern = _CONTROL_IN_TRACEBACK if key == "exception" else _CONTROL
    return pattern.sub(lambda found: f"\\x{ord(found[0]):02x}", str(value))


class _LineLogger:
    """What structlog calls at the end of the processors, by the name of the level."""

    __slots__ = ("critical", "debug", "error", "info", "msg", "warning")

    def __init__(self, writer: LineWriter) -> None:
        self.msg = self.debug = self.info = self.warning = self.error = self.critical = writer.write


class _LineHandler(logging.Handler):
    """Standard library records (uvicorn, asyncio, warnings) into the same writer."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a record's arguments may not fit its text
            line = f"a log record of {record.name} could not be formatted: {type(error).__name__}"
        self._writer.write(line)
