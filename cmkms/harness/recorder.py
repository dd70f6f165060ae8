"""An append-only file of everything a signer answered, one JSON line each, written by several processes at once.

Each line is one write to a file opened for appending, so lines never mix. A recorder judges nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from cmkms.harness.observation import Observation

__all__ = ["Recorder", "read_observations"]


class Recorder:
    """Appends observations to a file; call it like a function, close it or use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._closed = False

    def __call__(self, observation: Observation) -> None:
        """Append one observation. Raises OSError when the line could not be written whole."""
        line = observation.to_json().encode() + b"\n"
        written = os.write(self._fd, line)
        if written != len(line):
            raise OSError(f"recorder wrote {written} of {len(line)} bytes: the record is not whole")

    def close(self) -> None:
        """Flush to disk and close. Harmless when repeated."""
        if not self._closed:
            self._closed = True
            os.fsync(self._fd)
            os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_observations(path: Path) -> Iterator[Observation]:
    """Every whole line of a recording, in the order of writing.

    A last line without its line break belongs to a writer that was killed, and is left out.

    Raises:
        ValueError: a whole line that is no observation, with its number.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith("\n"):
                return
            try:
                observation = Observation.from_json(line)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: no observation: {error}") from error
            yield observation
