"""One process, one home: the lock that `start` and every changing command take first.

The guard's own lock is what safety rests on; this one covers a home whose guard is not born yet, and names the holder.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from cmkms.errors import DiskError, UnavailableError
from cmkms.home import Home, make_private_dir

__all__ = ["HomeLock", "HomeLockedError"]

_MAX_HOLDER_BYTES = 200


class HomeLockedError(UnavailableError):
    """Another live process uses this home."""


class HomeLock:
    """Holds a home for as long as it is open."""

    def __init__(self, home: Home, holder: str) -> None:
        """Take the lock; `holder` says who this is to whoever finds it taken. Raises HomeLockedError, DiskError."""
        make_private_dir(home.data_dir)
        try:
            self._descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise DiskError(f"{home.lock_file}: cannot be opened to lock the home: {error.strerror}") from error
        try:
            self._take(home.lock_file, holder)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _take(self, path: Path, holder: str) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            who = os.pread(self._descriptor, _MAX_HOLDER_BYTES, 0).decode(errors="replace").strip()
            raise HomeLockedError(
                f"{path.parent.parent} is in use by {who or 'another process'}: two signers on one home would sign "
                f"twice. Stop it first"
            ) from error
        except OSError as error:
            raise DiskError(f"{path}: this file system has no locks ({error.strerror}); use a local disk") from error
        with suppress(OSError):
            # The lock is held; a full disk only keeps the next one from learning by whom.
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{holder} (process {os.getpid()})\n".encode()[:_MAX_HOLDER_BYTES], 0)

    def close(self) -> None:
        """Let the home go."""
        os.close(self._descriptor)
