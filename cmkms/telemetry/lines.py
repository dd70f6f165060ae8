"""Writes finished log lines to a file descriptor without ever waiting for its reader.

A signer whose standard error nobody reads (a stalled log collector, a terminal stopped by ^S, a full disk) must go on
signing: a line that cannot be taken at once is dropped and counted, and the count is told as soon as lines get through.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

__all__ = ["MAX_LINE_BYTES", "PIECE_BYTES", "LineWriter"]

PIECE_BYTES = 4096
"""At most this much a write. Once poll() reports room, Linux takes PIPE_BUF (4096) bytes into a pipe or a stream
socket without blocking; more could wait for the reader."""

MAX_LINE_BYTES = 64 * 1024
"""Longer lines are cut. The longest honest one is a traceback of a few KiB."""

CUT_MARK = b"... (cut)"


class LineWriter:
    """One descriptor that takes whole lines. `write` neither blocks nor raises."""

    def __init__(self, fd: int, lost_line: Callable[[int], str]) -> None:
        """Take `fd`, which stays open and belongs to the caller.

        Args:
            fd: Where lines go, normally 2.
            lost_line: Makes the line that tells how many lines were lost.
        """
        self._fd = fd
        self._lost_line = lost_line
        self._lost = 0
        self._torn = False
        # Re-entrant: a signal handler that logs may interrupt a write of its own thread.
        self._lock = threading.RLock()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    @property
    def lost(self) -> int:
        """Lines dropped since the last one that was written."""
        return self._lost

    def write(self, line: str) -> None:
        """Write one line, given without its newline, or drop it."""
        data = line.encode("utf-8", "backslashreplace")
        if len(data) > MAX_LINE_BYTES:
            data = data[: MAX_LINE_BYTES - len(CUT_MARK)] + CUT_MARK
        with self._lock:
            if self._lost and self._send(self._lost_line(self._lost).encode() + b"\n"):
                self._lost = 0
            if self._lost or not self._send(data + b"\n"):
                self._lost += 1

    def _send(self, data: bytes) -> bool:
        """Hand over all of `data`; False if the descriptor would not take it now."""
        if self._torn:
            data = b"\n" + data
        sent = 0
        try:
            while sent < len(data) and self._poll.poll(0):
                sent += os.write(self._fd, data[sent : sent + PIECE_BYTES])
        except (OSError, RuntimeError):
            # Reader gone, disk full, descriptor closed; or poll() interrupted by a handler that polls (RuntimeError).
            pass
        if sent:
            self._torn = sent < len(data)
        return sent == len(data)
