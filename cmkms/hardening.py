"""Keeps the process' memory, and so its keys, out of core dumps, debuggers and other users' reach. Linux only."""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Final

__all__ = ["harden_process"]

_PR_SET_DUMPABLE: Final = 4
"""prctl(2): a process that is not dumpable leaves no core, and cannot be traced by its own user."""
_PRIVATE_UMASK: Final = 0o077


def harden_process() -> None:
    """Make files private to their owner and this process unreadable for debuggers and core dumps."""
    os.umask(_PRIVATE_UMASK)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
