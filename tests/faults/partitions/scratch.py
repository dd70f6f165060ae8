"""Directories for homes and logs that do not pile up: those of a run that was killed go at the start of the next one.

What else a run has made, namespaces, devices and mounts, the kernel removes with its last process.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.faults.partitions.namespaces import outside_pid

__all__ = ["scratch", "sweep"]

_PREFIX: Final = "cmkms-hosts-"
_NAME: Final = re.compile(rf"{_PREFIX}(\d+)-\w+")


@contextmanager
def scratch() -> Generator[Path]:
    """A directory for this run, named after its process outside of the namespaces, and removed in the end."""
    sweep()
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{outside_pid()}-") as directory:
        yield Path(directory)


def sweep() -> None:
    """Remove what runs have left whose processes are no more. Inside, too, /proc shows the processes outside."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        named = _NAME.fullmatch(path.name)
        if named and not Path("/proc", named[1]).exists():
            shutil.rmtree(path, ignore_errors=True)
