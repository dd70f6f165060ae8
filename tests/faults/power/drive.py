"""A drive that can lose power: ext4 on a drive with a volatile cache of its own, both made of files and loop devices.

Owns the mounts of one replica's home. What was not flushed all the way down is lost by `cut`, and nothing else is: it
must never take back what a flush returned for, unless it was made to lie about flushes.

Two file systems are stacked. The inner one is the home's: its page cache is the machine's memory. It lies in a file of
the outer one, through a loop device, which turns each flush of the inner file system into an fsync of that file: so the
outer one's page cache is the cache of the drive, and the file below both is its platter. Mount only where nobody else
copies the mounts (`apart.py`): what another namespace holds cannot be unmounted. A cut shuts down the outer
file system first (EXT4_IOC_SHUTDOWN without a log flush): from that instant on no flush comes through any more, not
even the one with which the inner file system notes its own end.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import random
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["Drive", "DriveError"]

_EXT4_IOC_SHUTDOWN: Final = 0x8004587D
"""_IOR('X', 125, __u32) of fs/ext4/ext4.h: direction read (2), 4 bytes, type 'X', number 125."""
_NO_LOG_FLUSH: Final = struct.pack("I", 2)
"""EXT4_GOING_FLAGS_NOLOGFLUSH: as if the power went, with nothing written on the way down."""

_PLATTER_BYTES: Final = 48 << 20
_DRIVE_BYTES: Final = 24 << 20
"""Room for a home and a journal; every byte of it is written beforehand, so that no cut takes the place itself away."""
_PAGE: Final = 4096
_STRETCH: Final = 16 * _PAGE
"""What a drive's cache writes or forgets as one piece here."""

_SURVIVES: Final = 0.25
"""How likely a piece that nobody flushed is on the platter all the same."""

_WRITE_AND_WAIT: Final = 7
"""SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE and _WAIT_AFTER: pages are handed down, and no flush is sent."""

_UNMOUNT_SECONDS: Final = 10.0
_COMMAND_SECONDS: Final = 30.0
_NUMBER: Final = struct.Struct(">Q")


class DriveError(RuntimeError):
    """A command of the system failed: holds what it said."""


class Drive:
    """One home's drive, mounted at `home`. With `lies`, it says that it flushed and does not (ext4's `nobarrier`).

    `unsynced_lost` counts the cuts that took a write nobody had asked to be synced: each cut makes one itself.
    """

    def __init__(self, folder: Path, home: Path, *, lies: bool = False) -> None:
        """`folder` is a new one's name, for what the drive is made of. Raises DriveError."""
        self.home = home
        self.lies = lies
        self.cuts = 0
        self.unsynced_lost = 0
        self._platter = folder / "platter"
        self._image = folder / "cache" / "image"
        self._options = "loop,nobarrier" if lies else "loop"
        self._make()

    def _make(self) -> None:
        self._image.parent.mkdir(parents=True)
        with self._platter.open("wb") as file:
            file.truncate(_PLATTER_BYTES)
        self.home.mkdir(parents=True, exist_ok=True)
        _make_file_system(self._platter)
        _mount(self._platter, self._image.parent, "loop")
        with self._image.open("wb") as file:
            file.write(bytes(_DRIVE_BYTES))
        _make_file_system(self._image)
        _mount(self._image, self.home, self._options)
        (self.home / "lost+found").rmdir()
        self.home.chmod(0o700)
        self._canary.write_bytes(_NUMBER.pack(0).ljust(_PAGE, b"\0"))
        self.settle()

    @property
    def _canary(self) -> Path:
        return self.home / "canary"

    def settle(self) -> None:
        """Bring everything onto the platter, even of a drive that lies."""
        for where in (self.home, self._image.parent):
            _sync(where)

    def cut(self, rng: random.Random | None = None) -> None:
        """Take the power away, now; `rng` chooses which of the unflushed writes reach the platter all the same."""
        if rng is not None:
            self._let_some_through(rng)
        self.cuts += 1
        _write_unsynced(self._canary, self.cuts)
        descriptors = [os.open(where, os.O_RDONLY | os.O_DIRECTORY) for where in (self._image.parent, self.home)]
        try:
            for descriptor in descriptors:
                fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def restore(self) -> None:
        """Power comes back: both file systems replay their journals. Nobody may use the home any more.

        Raises DriveError where somebody does, or where it cannot be mounted again.
        """
        _unmount(self.home)
        _unmount(self._image.parent)
        _mount(self._platter, self._image.parent, "loop")
        _mount(self._image, self.home, self._options)
        found = self._canary.read_bytes()
        self.unsynced_lost += _NUMBER.unpack_from(found)[0] != self.cuts
        # The next cut begins with this file on the platter.
        with self._canary.open("r+b") as file:
            file.write(_NUMBER.pack(self.cuts))
            file.flush()
            os.fsync(file.fileno())

    def remount(self, how: str) -> None:
        """Mount the home `ro` or `rw` while it is in use."""
        _run("mount", "-o", f"remount,{how}", str(self.home))

    def _let_some_through(self, rng: random.Random) -> None:
        """The kernel writes back when it likes, and a drive's cache empties itself in any order."""
        for path in self._files():
            _hand_down(path, rng, _PAGE)
        _hand_down(self._image, rng, _STRETCH)

    def _files(self) -> Iterator[Path]:
        for folder, _, names in os.walk(self.home):
            for name in names:
                path = Path(folder, name)
                if path.is_file() and path != self._canary:
                    yield path


def _hand_down(path: Path, rng: random.Random, piece: int) -> None:
    """Write some dirty pages of a file to what lies below, without a flush."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # replaced by its owner just now
        return
    try:
        for start in range(0, os.fstat(descriptor).st_size, piece):
            if rng.random() < _SURVIVES:
                libc.sync_file_range(descriptor, ctypes.c_int64(start), ctypes.c_int64(piece), _WRITE_AND_WAIT)
    finally:
        os.close(descriptor)


def _write_unsynced(path: Path, number: int) -> None:
    with path.open("r+b") as file:
        file.write(_NUMBER.pack(number))


def _sync(where: Path) -> None:
    """Everything of this file system is on what lies below."""
    descriptor = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise DriveError(f"syncfs {where}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)


def _make_file_system(image: Path) -> None:
    _run("mkfs.ext4", "-q", "-F", "-b", str(_PAGE), "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))


def _mount(image: Path, at: Path, options: str) -> None:
    _run("mount", "-t", "ext4", "-o", options, str(image), str(at))


def _unmount(at: Path) -> None:
    """Unmount; a killed process may take a moment to let go of its files."""
    deadline = time.monotonic() + _UNMOUNT_SECONDS
    while (done := subprocess.run(["umount", str(at)], capture_output=True, text=True, check=False)).returncode:
        if "busy" not in done.stderr or time.monotonic() > deadline:
            raise DriveError(f"umount {at}: {done.stderr.strip()}")
        time.sleep(0.01)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise DriveError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise DriveError(f"{' '.join(command)}: {done.stderr.strip() or os.strerror(errno.EIO)}")
