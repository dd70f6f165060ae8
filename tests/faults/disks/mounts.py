"""Small file systems for a home: full ones, read-only ones, ones whose device has gone. Undone whatever happens.

The process that mounts has a mount namespace of its own from the first time on: nobody else sees its mounts, holds
them by a copy, or keeps them when it is gone. What a killed run left is a folder, which the next one removes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest

__all__ = ["SmallExt4", "fill", "mounted_ext4", "mounted_tmpfs", "needs_root"]

_PREFIX: Final = "cmkms-disks-"
_NAME: Final = re.compile(rf"{_PREFIX}(\d+)-")

_EXT4_IOC_SHUTDOWN: Final = 0x8004587D
"""_IOR('X', 125, __u32) of fs/ext4/ext4.h."""
_NO_LOG_FLUSH: Final = struct.pack("I", 2)

_EXT4_BYTES: Final = 8 << 20
_UNMOUNT_SECONDS: Final = 10.0
_CLONE_NEWNS: Final = 0x00020000
"""linux/sched.h."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@contextmanager
def mounted_tmpfs(kib: int) -> Generator[Path]:
    """A file system in memory with so much room, empty."""
    with _place() as place:
        at = place / "home"
        at.mkdir()
        _mount(at, "-t", "tmpfs", "-o", f"size={kib}k,mode=0700", "cmkms-disks")
        yield at


class SmallExt4:
    """An ext4 of 8 MiB on a loop device, empty and mounted at `home`; what may go wrong with it, goes wrong here."""

    def __init__(self, place: Path) -> None:
        self.home = place / "home"
        self._image = place / "image"
        self.home.mkdir()
        with self._image.open("wb") as file:
            file.truncate(_EXT4_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", str(self._image)], check=True)
        self._mount()
        (self.home / "lost+found").rmdir()
        self.home.chmod(0o700)

    def become_read_only(self) -> None:
        """Have the kernel find an error in it, which makes it read-only, with all files that are open in it."""
        device = self.home.stat().st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1", encoding="ascii")

    def lose_its_device(self) -> None:
        """From here on each write and sync of a file fails with EIO."""
        descriptor = os.open(self.home, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(descriptor)

    def mount_again(self, how: str = "rw") -> None:
        """What an operator does: unmount it, and mount it again, `rw` or `ro`. Nobody may use it."""
        deadline = time.monotonic() + _UNMOUNT_SECONDS
        while subprocess.run(["umount", str(self.home)], capture_output=True, check=False).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.home} is in use")
            time.sleep(0.02)
        self._mount(how)

    def _mount(self, how: str = "rw") -> None:
        _mount(self.home, "-t", "ext4", "-o", f"loop,errors=remount-ro,{how}", str(self._image))


@contextmanager
def mounted_ext4() -> Generator[SmallExt4]:
    """A small ext4."""
    with _place() as place:
        yield SmallExt4(place)


def fill(path: Path) -> None:
    """Take all the room there is."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (4096, 512, 1):
            _write_until_full(descriptor, size)
    finally:
        os.close(descriptor)


def _write_until_full(descriptor: int, size: int) -> None:
    try:
        while True:
            os.write(descriptor, bytes(size))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


@cache
def _leave_the_others() -> None:
    """Get a mount namespace for this process and all that it starts."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        pytest.skip(f"no mount namespace here: {os.strerror(ctypes.get_errno())}")
    _mount(Path("/"), "--make-rprivate")


@contextmanager
def _place() -> Generator[Path]:
    _leave_the_others()
    _remove_leftovers()
    place = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    try:
        yield place
    finally:
        _remove(place)


def _mount(at: Path, *arguments: str) -> None:
    done = subprocess.run(["mount", *arguments, str(at)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


def _remove_leftovers() -> None:
    for place in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        found = _NAME.match(place.name)
        if found is not None and not Path(f"/proc/{found[1]}").exists():
            _remove(place)


def _remove(place: Path) -> None:
    if (place / "home").is_mount():
        subprocess.run(["umount", "-l", str(place / "home")], check=True)
    shutil.rmtree(place)
