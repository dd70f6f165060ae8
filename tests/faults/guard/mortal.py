"""A process that kills itself with SIGKILL at a chosen disk operation, on a real disk."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from cmkms.guard.disk import OpenFile, PosixDisk

__all__ = ["MortalDisk", "in_a_process_that_dies"]


class MortalDisk(PosixDisk):
    """Dies at operation `dies_at`, counted from 1; before and after each change, and in the middle of a write."""

    def __init__(self, dies_at: int) -> None:
        self._left = dies_at

    def passes(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def open_locked(self, path: Path) -> OpenFile:
        self.passes()
        return _MortalFile(self, super().open_locked(path))

    def create(self, path: Path, data: bytes) -> None:
        self.passes()
        super().create(path, data)
        self.passes()

    def rename(self, old: Path, new: Path) -> None:
        self.passes()
        super().rename(old, new)
        self.passes()

    def make_dir(self, path: Path) -> None:
        self.passes()
        super().make_dir(path)
        self.passes()


class _MortalFile:
    def __init__(self, disk: MortalDisk, file: OpenFile) -> None:
        self._disk = disk
        self._file = file

    def read(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        half = len(data) // 2
        self._disk.passes()
        self._file.write(offset, data[:half])
        self._disk.passes()
        self._file.write(offset + half, data[half:])
        self._disk.passes()

    def sync(self) -> None:
        self._disk.passes()
        self._file.sync()
        self._disk.passes()

    def still_named_by_its_path(self) -> bool:
        return self._file.still_named_by_its_path()

    def close(self) -> None:
        self._file.close()


def in_a_process_that_dies(work: Callable[[], None]) -> bool:
    """Run `work` in a process of its own. Tells whether it was killed; raises if it failed by itself."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it was, the parent learns of it by the exit code
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the child failed: see its standard error"
    return False
