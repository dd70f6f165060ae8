"""The fuse: once blown, a guard answers nothing any more, and a restart does not mend it.

Blowing always works in memory. Its marker on disk is written as well as the disk allows: where even that fails, the
next start rewrites and syncs the guard's record before it answers, which is safe too (design section 2, "The file").
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Final

from cmkms.errors import CmkmsError, DiskError
from cmkms.guard.disk import Disk
from cmkms.home import read_bounded
from cmkms.status import FuseStatus

__all__ = ["Fuse", "read_fuse"]

_MAX_MARKER_BYTES: Final = 4096
_MAX_REASON: Final = 500


class Fuse:
    """One guard's fuse. `blown` is None while the guard may answer."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self.blown: FuseStatus | None = read_fuse(path)

    def blow(self, reason: str, now: float) -> bool:
        """Blow for good; the first reason stays. Tells whether the marker is on disk, so that a restart finds it."""
        if self.blown is not None:
            return True
        self.blown = FuseStatus(reason[:_MAX_REASON], now)
        marker = json.dumps({"reason": self.blown.reason, "since": now}, indent=2)
        try:
            self._disk.create(self._path, marker.encode())
        except DiskError:
            return False
        return True


def read_fuse(path: Path) -> FuseStatus | None:
    """Read the marker; None: the fuse is whole. One that cannot be read counts as blown: it is there."""
    try:
        marker = json.loads(read_bounded(path, _MAX_MARKER_BYTES))
        return FuseStatus(str(marker["reason"]), _finite(marker["since"]))
    except FileNotFoundError:
        return None
    except (CmkmsError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        return FuseStatus(f"the fuse's marker {path} is there but cannot be read ({error})", 0.0)


def _finite(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"`since` is {value!r}, no point in time")
    return float(value)
