"""An append-only file of everything that signers answered, one JSON line each, written by several processes at once.

Each line is one write to a file opened for appending, so lines never mix, and what was written outlives its writer.
A recorder judges nothing and loses nothing quietly: what it cannot write whole, or keep on disk, is an error.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cmkms.harness.answers import describe
from cmkms.harness.observation import Observation

__all__ = ["LINE_LIMIT_BYTES", "Recorder", "Recording", "read_observations", "read_recording"]

LINE_LIMIT_BYTES: Final = 1 << 20
"""Longest line. A request with the largest extension a node would send, twice in hex, is far below it."""

_VERSION: Final = 1
_SYNC_SECONDS: Final = 0.5
"""How much of a recording a power cut may take. A killed recorder loses nothing that it was called with."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Recorder:
    """Appends observations to a file; call it like a function, close it or use it as a context manager.

    It begins with a line that names its clock: CLOCK_MONOTONIC and the boot of the machine, so that times of all
    recorders of one host can be compared, and no others. A thread of its own syncs the file twice a second.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._over = threading.Event()
        self._unsynced = False
        self._trouble: OSError | None = None
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            self._write(b"\n")  # whoever wrote before was killed in the middle of a line: it stays a line of its own
        head = {"recording": _VERSION, "clock": _clock(), "pid": os.getpid(), "wall_clock": time.time()}
        self._write(json.dumps(head, separators=(",", ":")).encode() + b"\n")
        self._syncing = threading.Thread(target=self._sync_in_batches, name="recorder", daemon=True)
        self._syncing.start()

    def __call__(self, observation: Observation) -> None:
        """Append one observation.

        Raises:
            ValueError: it makes a line longer than `LINE_LIMIT_BYTES`.
            OSError: the line could not be written whole, or an earlier one not be synced.
        """
        words = {**observation.fields(), **describe(observation)}
        line = json.dumps(words, separators=(",", ":")).encode() + b"\n"
        if len(line) > LINE_LIMIT_BYTES:
            raise ValueError(f"an observation of {len(line)} bytes, a line holds {LINE_LIMIT_BYTES}")
        if self._trouble is not None:
            raise self._trouble
        self._write(line)

    def close(self) -> None:
        """Flush to disk and close. Harmless when repeated. Raises OSError as a call does."""
        if self._over.is_set():
            return
        self._over.set()
        self._syncing.join()
        try:
            os.fsync(self._fd)
        finally:
            os.close(self._fd)
        if self._trouble is not None:
            raise self._trouble

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        written = os.write(self._fd, line)
        self._unsynced = True
        if written != len(line):
            raise OSError(f"recorder wrote {written} of {len(line)} bytes: the record is not whole")

    def _sync_in_batches(self) -> None:
        while not self._over.wait(_SYNC_SECONDS):
            if self._unsynced:
                self._unsynced = False
                try:
                    os.fsync(self._fd)
                except OSError as error:
                    self._trouble = error
                    return


@dataclass(frozen=True, slots=True)
class Recording:
    """What could be read of a file. `torn`: lines that killed writers left unfinished; `clocks`: whose times it has."""

    observations: tuple[Observation, ...]
    torn: int
    clocks: frozenset[str]


def read_recording(path: Path) -> Recording:
    """Read a whole recording. Raises ValueError as `read_observations` does."""
    lines = _Lines(path)
    observations = tuple(lines.observations())
    return Recording(observations, lines.torn, frozenset(seen.clock for seen in observations))


def read_observations(path: Path) -> Iterator[Observation]:
    """Every whole line of a recording, in the order of writing.

    A line that breaks off, at the end of the file or where the next recorder began, belongs to a writer that was
    killed, and is left out.

    Raises:
        ValueError: any other line that is no observation, with its number.
    """
    return _Lines(path).observations()


class _Lines:
    """Reads lines one by one and counts those that were torn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clock = ""
        self.torn = 0

    def observations(self) -> Iterator[Observation]:
        broken = ""
        with self._path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LINE_LIMIT_BYTES + 1), b""), start=1):
                if not line.endswith(b"\n"):
                    if len(line) > LINE_LIMIT_BYTES:
                        raise ValueError(f"{self._path}, line {number}: longer than {LINE_LIMIT_BYTES} bytes")
                    self.torn += 1
                    return
                head = self._read_head(line)
                if broken and not head:
                    raise ValueError(broken)
                self.torn += bool(broken)
                broken = ""
                if not head:
                    try:
                        yield Observation.from_json(line.decode()).on(self._clock)
                    except (ValueError, KeyError, TypeError, AttributeError) as error:
                        broken = f"{self._path}, line {number}: no observation: {error}"
        if broken:
            raise ValueError(broken)

    def _read_head(self, line: bytes) -> bool:
        """Whether a recorder began here; its clock holds from here on."""
        if not line.startswith(b'{"recording":'):
            return False
        try:
            head = json.loads(line)
            version, self._clock = head["recording"], str(head["clock"])
        except (ValueError, KeyError):
            return False
        if version != _VERSION:
            raise ValueError(f"{self._path}: a recording of version {version}, this judge reads {_VERSION}")
        return True


def _clock() -> str:
    return f"CLOCK_MONOTONIC of boot {_BOOT_ID.read_text().strip()}"
