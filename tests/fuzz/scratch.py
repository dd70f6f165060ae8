"""A home of its own for decoders that read files: made once for a process, removed at its end.

It never holds anything worth keeping; whoever uses it writes a file and reads it back at once.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path

from cmkms.guard.site import GuardSite
from tests.unit.guard.world import make_site

__all__ = ["laid", "site"]

_MEMORY = "/dev/shm"  # noqa: S108 - mkdtemp makes a folder that is nobody else's
"""Thousands of files a second, none of which has to outlive the process."""


def site() -> GuardSite:
    """The guard's place in an empty home, one of three replicas."""
    return _site(os.getpid())


@functools.cache
def _site(_pid: int) -> GuardSite:
    folder = Path(tempfile.mkdtemp(prefix="cmkms-fuzz-", dir=_MEMORY if Path(_MEMORY).is_dir() else None))
    # At the end of a pool's process, too, which knows no atexit.
    Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=1)
    made = make_site(folder / "home", members=("node-0", "node-1", "node-2"))
    made.path.parent.mkdir(mode=0o700)
    (made.home.priv_dir / "born").mkdir(mode=0o700)
    return made


def laid(path: Path, data: bytes) -> Path:
    """Put these bytes into a file, closed to others as a secret has to be; returns the path."""
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path
