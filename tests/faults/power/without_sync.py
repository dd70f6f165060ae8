"""A signer that is broken on purpose: cmkms in a world where syncing a file does nothing.

Put before cmkms' own arguments in place of `python -m cmkms`. What it writes is in the page cache and nowhere else. It
keeps no note of what it released, either: where the file system writes one by itself in time, it would speak against
the guard that has forgotten.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from pathlib import Path


def _nothing(_descriptor: int) -> None:
    """Say that it was synced."""


def _no_note(*_: object) -> None:
    """Say that it was kept."""


os.fsync = _nothing  # type: ignore[assignment]
os.fdatasync = _nothing  # type: ignore[assignment]
# As `python -m` would: the tree that the tests run in, not the folder of this file.
sys.path[0] = str(Path.cwd())
importlib.import_module("cmkms.guard.released").store_released = _no_note  # type: ignore[attr-defined]
runpy.run_module("cmkms", run_name="__main__", alter_sys=True)
