"""`python -m tests.faults.partitions.altered NAME ...`: cmkms with one thing wrong with it, or with its world.

The rest of the command line goes to cmkms as it is. What is broken in cmkms is broken on purpose, so that a campaign is
seen to catch it; what is wrong with its world is what disks and clocks do. For tests only.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

__all__ = ["DIALS", "FAILING", "Dials"]

DIALS: Final = "dials="
"""Followed by the path of a file: the world is as bad as its dials say, at every moment."""

FAILING: Final = -1.0
"""A sync that takes this long fails, as on a disk that is broken."""

_LAYOUT: Final = struct.Struct("<dd")


class Dials:
    """A file of two numbers that a test turns: by how much a sync takes longer, and the wall clock is off; seconds."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_LAYOUT.pack(0.0, 0.0))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _LAYOUT.size)

    @property
    def sync_seconds(self) -> float:
        """How much longer a sync of a file takes."""
        return float(_LAYOUT.unpack(self._memory[:])[0])

    @property
    def clock_seconds(self) -> float:
        """How far the wall clock is off."""
        return float(_LAYOUT.unpack(self._memory[:])[1])

    def turn(self, *, sync_seconds: float = 0.0, clock_seconds: float = 0.0) -> None:
        """Make it so from now on."""
        self._memory[:] = _LAYOUT.pack(sync_seconds, clock_seconds)


def _worse_world(path: Path) -> None:
    dials, sync, clock = Dials(path), os.fdatasync, time.time

    def slow_sync(fd: FileDescriptorLike) -> None:
        if dials.sync_seconds == FAILING:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        time.sleep(dials.sync_seconds)
        sync(fd)

    os.fdatasync = slow_sync
    time.time = lambda: clock() + dials.clock_seconds
    time.time_ns = lambda: int(time.time() * 1e9)


def _majority_of_one() -> None:
    """Each replica takes itself for a majority, in the quorum of the guards and in the lease."""
    from cmkms.cluster.lease import Mandate  # noqa: PLC0415 - what is broken is chosen first
    from cmkms.guard.majority import MajorityQuorum  # noqa: PLC0415

    quorum_made, mandate_made = MajorityQuorum.__init__, Mandate.__init__

    def quorum(self: MajorityQuorum, *args: object, **kwargs: object) -> None:
        quorum_made(self, *args, **kwargs)  # type: ignore[arg-type]
        self._quorum = 1

    def mandate(self: Mandate, *args: object, **kwargs: object) -> None:
        mandate_made(self, *args, **kwargs)  # type: ignore[arg-type]
        self._needed = 0

    MajorityQuorum.__init__ = quorum  # type: ignore[method-assign]
    Mandate.__init__ = mandate  # type: ignore[method-assign]


def _no_elections() -> None:
    """A replica stands for election only after minutes of silence."""
    from cmkms.cluster import timing  # noqa: PLC0415 - as above

    timing._ELECTION_MIN, timing._ELECTION_MAX = 500, 1000  # type: ignore[misc]


_SABOTAGES: Final[dict[str, Callable[[], None]]] = {
    "majority-of-one": _majority_of_one,
    "no-elections": _no_elections,
}


def _main(argv: list[str]) -> None:
    name, *arguments = argv
    if name.startswith(DIALS):
        _worse_world(Path(name.removeprefix(DIALS)))
    else:
        _SABOTAGES[name]()
    from cmkms.cli import main  # noqa: PLC0415 - with the world as it is now

    sys.argv = ["cmkms", *arguments]
    main()


if __name__ == "__main__":
    _main(sys.argv[1:])
