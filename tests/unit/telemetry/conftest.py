"""Logging that is set up for one test on a pipe of its own, and put back as it was."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from cmkms.telemetry.logs import configure_logging


class LogPipe:
    """A real pipe that logging writes into."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)

    def configure(self, log_format: str, level: str = "debug") -> None:
        # pytest's own handlers would raise where ours must not.
        logging.getLogger().handlers.clear()
        configure_logging(level, log_format, fd=self.write_fd)

    def text(self) -> str:
        pieces: list[bytes] = []
        while True:
            try:
                piece = os.read(self.read_fd, 1 << 20)
            except BlockingIOError:
                break
            if not piece:
                break
            pieces.append(piece)
        return b"".join(pieces).decode()

    def lines(self) -> list[str]:
        return self.text().splitlines()

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def close(self) -> None:
        for fd in (self.read_fd, self.write_fd):
            try:
                os.close(fd)
            except OSError:
                continue  # closed by the test, which is what it was about


@pytest.fixture
def log_pipe() -> Iterator[LogPipe]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    pipe = LogPipe()
    yield pipe
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    pipe.close()
