"""A disk in memory that does everything that a real one does to a guard: it forgets, fails, lies and dies.

What is written goes to the page cache; only a sync, or the kernel by itself, brings it to the platter. A killed process
loses nothing of the cache; a power cut loses all of it, except what happened to be on its way: each dirty sector, or
each dirty page, for itself. A failed sync leaves the cache clean and the platter as it may be (the behaviour of Linux
since 4.13, known as fsyncgate). Sectors are never torn: that much is promised by every drive.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cmkms.errors import DiskError
from cmkms.guard.disk import LockHeldError, OpenFile

__all__ = ["PAGE_BYTES", "SECTOR_BYTES", "Killed", "Medium", "SimulatedDisk"]

SECTOR_BYTES: Final = 512
PAGE_BYTES: Final = 4096

Chance = Callable[[], bool]


class Killed(BaseException):
    """The process ends here, in the middle of whatever it was doing."""


@dataclass
class Medium:
    """One file: what the kernel shows of it, and what is really there."""

    cache: bytearray
    platter: bytearray
    dirty: set[int] = field(default_factory=set[int])
    unreadable: bool = False
    locked_by: int = 0

    def write(self, offset: int, data: bytes) -> None:
        self.cache[offset : offset + len(data)] = data
        first, last = offset // SECTOR_BYTES, (offset + len(data) - 1) // SECTOR_BYTES
        self.dirty |= set(range(first, last + 1))

    def flush(self, sectors: Iterable[int]) -> None:
        for sector in sectors:
            span = slice(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
            self.platter[span] = self.cache[span]
            self.dirty.discard(sector)

    def some_dirty(self, chance: Chance, *, pages: bool) -> set[int]:
        """Choose which dirty sectors reach the platter: each for itself, or only whole pages."""
        if not pages:
            return {sector for sector in sorted(self.dirty) if chance()}
        per_page = PAGE_BYTES // SECTOR_BYTES
        chosen = {page for page in sorted({sector // per_page for sector in self.dirty}) if chance()}
        return {sector for sector in self.dirty if sector // per_page in chosen}


class SimulatedDisk:
    """`cmkms.guard.disk.Disk` over media in memory. One life of the process after the other uses the same disk."""

    def __init__(self) -> None:
        self.media: dict[Path, Medium] = {}
        self.life = 1
        self.operations = 0
        self.kill_at = 0
        """Die at this operation of `operations` (1 is the first); 0: live on."""
        self.write_error: OSError | None = None
        """The next write fails by this, once."""
        self.written_before_error = 0
        """Of a write that fails: bytes that reach the cache all the same."""
        self.sync_error: OSError | None = None
        """The next sync fails by this, once, and its pages turn clean."""
        self.flushed_before_error: Chance = lambda: False
        """Of a sync that fails: whether a sector reaches the platter all the same."""
        self.full = False
        """No new file can be made."""

    # ------------------------------------------------------------------------------------------------ what befalls it

    def kill(self) -> None:
        """End the process: its locks go, the page cache stays."""
        self.life += 1
        self.kill_at = 0
        self.write_error = self.sync_error = None
        for medium in self.media.values():
            medium.locked_by = 0

    def cut_power(self, chance: Chance = lambda: False, *, pages: bool = False) -> None:
        """End everything: of what was not synced, only what `chance` says reaches the platter."""
        self.kill()
        for medium in self.media.values():
            medium.flush(medium.some_dirty(chance, pages=pages))
            medium.cache[:] = medium.platter
            medium.dirty.clear()

    def write_back(self, chance: Chance, *, pages: bool = False) -> None:
        """Let the kernel write some dirty sectors in its own time."""
        for medium in self.media.values():
            medium.flush(medium.some_dirty(chance, pages=pages))

    def rot(self, path: Path, offset: int) -> None:
        """Damage one byte where it lies, for good."""
        medium = self.media[path]
        medium.platter[offset] ^= 0xFF
        medium.cache[offset] = medium.platter[offset]

    def lose(self, path: Path) -> None:
        """Remove a file."""
        del self.media[path]

    def exists(self, path: Path) -> bool:
        return path in self.media

    # ------------------------------------------------------------------------------------------ what the guard asks for

    def open_locked(self, path: Path) -> OpenFile:
        medium = self.media.get(path)
        if medium is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if medium.locked_by:
            raise LockHeldError(path, medium.locked_by)
        medium.locked_by = self.life
        return SimulatedFile(self, path, medium)

    def create(self, path: Path, data: bytes) -> None:
        self.passes()
        if self.full:
            raise DiskError(f"{path}: could not be written: {os.strerror(errno.ENOSPC)}")
        self.media[path] = Medium(bytearray(data), bytearray(data))
        self.passes()

    def rename(self, old: Path, new: Path) -> None:
        self.passes()
        self.media[new] = self.media.pop(old)
        self.passes()

    def make_dir(self, path: Path) -> None:
        """Directories are of no interest here."""

    def passes(self) -> None:
        """Come past one of the points at which a process can be killed."""
        self.operations += 1
        if self.operations == self.kill_at:
            raise Killed


class SimulatedFile:
    """`cmkms.guard.disk.OpenFile`. Belongs to one life of the process."""

    def __init__(self, disk: SimulatedDisk, path: Path, medium: Medium) -> None:
        self._disk = disk
        self._path = path
        self._medium = medium
        self._life = disk.life
        self._open = True

    def read(self, offset: int, length: int) -> bytes:
        self._use()
        if self._medium.unreadable:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self._path))
        return bytes(self._medium.cache[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self._use()
        disk = self._disk
        disk.passes()
        error, disk.write_error = disk.write_error, None
        if error is not None:
            if disk.written_before_error:
                self._medium.write(offset, data[: disk.written_before_error])
            raise error
        half = len(data) // 2
        self._medium.write(offset, data[:half])
        disk.passes()
        self._medium.write(offset + half, data[half:])
        disk.passes()

    def sync(self) -> None:
        self._use()
        disk, medium = self._disk, self._medium
        disk.passes()
        error, disk.sync_error = disk.sync_error, None
        if error is not None:
            medium.flush(medium.some_dirty(disk.flushed_before_error, pages=False))
            medium.dirty.clear()
            raise error
        medium.flush(set(medium.dirty))
        disk.passes()

    def still_named_by_its_path(self) -> bool:
        self._use()
        return self._disk.media.get(self._path) is self._medium

    def close(self) -> None:
        if self._open and self._life == self._disk.life:
            self._medium.locked_by = 0
        self._open = False

    def _use(self) -> None:
        assert self._open, "a closed file is used"
        assert self._life == self._disk.life, "a dead process uses its file"
