"""Runs a program in namespaces of its own: mounts that nobody else sees or holds, and processes that end with it.

Whatever becomes of the program, or of the tests, the kernel undoes its mounts and loop devices and ends its processes.
What remains of a run that was killed is a folder of plain files, which the next one removes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["run_apart", "why_not_apart", "workplace"]

_PREFIX: Final = "cmkms-power-"
_NAME: Final = re.compile(rf"{_PREFIX}(\d+)-(\d+)-")
"""The maker's process id and the clock tick of its start, which no other process shares."""
_START_TIME: Final = 19
"""Index of the start time in /proc/PID/stat, counted behind the name of the program."""

_APART: Final = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
)
"""Both of util-linux. The first dies with its parent, the second with the first, and the kernel ends all the others.

Mounts in a namespace that another process has copied stay busy: hence one that is made before anything is mounted.
"""


def why_not_apart() -> str:
    """Why nothing can be run apart on this machine; empty where it can."""
    if os.geteuid() != 0:
        return "mounts and loop devices need root"
    missing = [name for name in ("setpriv", "unshare", "mount", "mkfs.ext4") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} missing"
    tried = subprocess.run([*_APART, "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() or f"unshare ended with {tried.returncode}" if tried.returncode else ""


def run_apart(module: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a module of this tree apart to its end. Its standard error comes through; what it printed is returned."""
    return subprocess.run(
        [*_APART, sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


@contextmanager
def workplace() -> Generator[Path]:
    """Give a new folder with a unique name, which is removed at the end, as are those of runs that were killed."""
    _remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-{_started_at(os.getpid())}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        found = _NAME.match(folder.name)
        if found is not None and _started_at(int(found[1])) != int(found[2]):
            shutil.rmtree(folder, ignore_errors=True)


def _started_at(pid: int) -> int:
    """When a process started, in clock ticks since boot; -1 if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return -1
    return int(stat.rpartition(")")[2].split()[_START_TIME])
