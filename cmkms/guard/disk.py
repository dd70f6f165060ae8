"""The few disk operations that the guard's file rests on, behind one interface.

`PosixDisk` is the real one. Tests put a disk behind the same interface that loses unsynced writes, fails or lies, so
the file's code runs unchanged under every fault.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import Protocol

from cmkms.errors import CmkmsError
from cmkms.home import make_private_dir, rename_durably, write_durably

__all__ = ["Disk", "LockHeldError", "OpenFile", "PosixDisk"]


class LockHeldError(CmkmsError):
    """Another process holds the file's lock. `pid` is 0 where the kernel does not tell."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"{path} is locked by process {pid}" if pid else f"{path} is locked by another process")
        self.path = path
        self.pid = pid


class OpenFile(Protocol):
    """One open, locked file of fixed size."""

    def read(self, offset: int, length: int) -> bytes:
        """Read up to `length` bytes. Raises OSError."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Hand `data` to the operating system, whole. Raises OSError."""
        ...

    def sync(self) -> None:
        """Return when all that was written is on stable storage (fdatasync). Raises OSError."""
        ...

    def still_named_by_its_path(self) -> bool:
        """Tell whether the path names this very file: a replaced file would be locked a second time by another."""
        ...

    def close(self) -> None:
        """Close the file, which drops the lock."""
        ...


class Disk(Protocol):
    """Where guard files live."""

    def open_locked(self, path: Path) -> OpenFile:
        """Open an existing file for reading and writing and lock it for life.

        Raises LockHeldError where another process holds it, FileNotFoundError, OSError.
        """
        ...

    def create(self, path: Path, data: bytes) -> None:
        """Make `path` hold exactly `data`, durably and at once; an existing file is replaced. Raises DiskError."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name in its directory, durably; a file of that name is replaced. Raises DiskError."""
        ...

    def make_dir(self, path: Path) -> None:
        """Make a directory for the owner only, durably, if it is not there. Raises DiskError."""
        ...


class PosixDisk:
    """A local file system, with flock(2) and fdatasync(2)."""

    def open_locked(self, path: Path) -> OpenFile:
        """See `Disk.open_locked`. A symbolic link is not followed."""
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return _PosixFile(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def create(self, path: Path, data: bytes) -> None:
        """See `Disk.create`: written, not only allocated, so that later writes need no metadata (no ENOSPC)."""
        write_durably(path, data)

    def rename(self, old: Path, new: Path) -> None:
        """See `Disk.rename`."""
        rename_durably(old, new)

    def make_dir(self, path: Path) -> None:
        """See `Disk.make_dir`."""
        make_private_dir(path)


class _PosixFile:
    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        try:
            # flock, not fcntl locks: those vanish as soon as any code of this process closes the file once.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeldError(path, _lock_holder(os.fstat(descriptor))) from error
        status = os.fstat(descriptor)
        self._inode = (status.st_dev, status.st_ino)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is not a regular file")

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)

    def write(self, offset: int, data: bytes) -> None:
        written = os.pwrite(self._descriptor, data, offset)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were written to {self._path}")

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def still_named_by_its_path(self) -> bool:
        try:
            status = self._path.lstat()
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._inode

    def close(self) -> None:
        os.close(self._descriptor)


def _lock_holder(status: os.stat_result) -> int:
    """Return the pid of the process that holds a flock on this inode, as /proc/locks tells; 0 if it does not."""
    # The device too: the same inode number on another disk is somebody else, who must not be stopped for this.
    inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    for line in lines:
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == inode:  # noqa: PLR2004
            return max(0, int(words[4]))
    return 0
