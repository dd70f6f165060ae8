"""One guard through many lives of its process, on a simulated disk, and everything that it ever ACCEPTED."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from cmkms.errors import DiskError
from cmkms.guard.decide import Accepted, Refused, Verdict
from cmkms.guard.file import GuardFile
from cmkms.guard.fuse import Fuse
from cmkms.guard.guard import Guard
from cmkms.guard.hrs import HRS, NEVER
from cmkms.status import FuseStatus
from tests.sim.guard.disk import Killed, SimulatedDisk
from tests.unit.guard.world import CLOCKS, record, request

__all__ = ["GUARD", "Lives", "disk_error"]

GUARD: Final = Path("/simulated/guard")
FUSE: Final = Path("/simulated/fuse.json")


def disk_error(number: int = errno.EIO) -> OSError:
    return OSError(number, os.strerror(number))


class Lives:
    """Drives Guard and GuardFile; `accepted` is what left the guard, in any life."""

    def __init__(self, at: HRS = NEVER, sign_bytes: bytes | None = None) -> None:
        self.disk = SimulatedDisk()
        self.accepted: dict[HRS, bytes] = {}
        self.highest = at
        self.guard: Guard | None = None
        self.nonces = 0
        GuardFile.create(self.disk, GUARD, record(at, sign_bytes))
        self.start()

    @property
    def fused(self) -> bool:
        return self.guard is not None and self.guard.fuse.blown is not None

    @property
    def watermark(self) -> HRS:
        assert self.guard is not None
        assert self.guard.record is not None
        return self.guard.record.hrs

    def start(self) -> None:
        """Begin a life: what `open_guard` does between birth and answer. The fuse's marker is looked for first."""
        assert self.guard is None, "this life has begun"
        try:
            self.guard = self._open()
        except Killed:
            self.disk.kill()

    def _open(self) -> Guard:
        fuse = Fuse(self.disk, FUSE)
        if self.disk.exists(FUSE):
            fuse.blown = FuseStatus("found at start", 0.0)
            return Guard(GUARD, None, fuse, CLOCKS)
        try:
            file = GuardFile.open(self.disk, GUARD)
        except DiskError as error:
            fuse.blow(str(error), 0.0)
            return Guard(GUARD, None, fuse, CLOCKS)
        assert file.record.hrs >= self.highest, "the watermark went back over a restart"
        return Guard(GUARD, file, fuse, CLOCKS)

    def ask(self, sign_bytes: bytes) -> Verdict | None:
        """Ask the living guard; None if the process died over it. Holds every ACCEPTED against all there ever were."""
        assert self.guard is not None
        was_fused = self.fused
        asked = request(sign_bytes)
        try:
            verdict = self.guard.accept(asked)
        except Killed:
            self.guard = None
            self.disk.kill()
            return None
        if isinstance(verdict, Accepted):
            assert not was_fused, "a guard with a blown fuse accepted"
            assert self.accepted.setdefault(asked.hrs, sign_bytes) == sign_bytes, f"signed twice at {asked.hrs}"
            assert asked.hrs >= self.highest, "an acceptance below an earlier one"
            self.highest = max(self.highest, asked.hrs)
        if was_fused:
            assert isinstance(verdict, Refused)
        return verdict

    def kill(self) -> None:
        self.guard = None
        self.disk.kill()

    def stop(self) -> None:
        """End the life in good order."""
        if self.guard is not None:
            self.guard.close()
        self.guard = None
        self.disk.kill()

    def cut_power(self, keep: bool | None = None) -> None:
        """Lose the page cache; `keep` True: all of it made it to the platter all the same."""
        self.guard = None
        self.disk.cut_power(lambda: bool(keep))

    def replace(self, seal: HRS) -> None:
        """What `cmkms guard replace` leaves: another nonce, sealed at `seal`; the fuse's marker out of the way."""
        self.nonces += 1
        new = replace(record(seal), nonce=self.nonces.to_bytes(16, "big"))
        GuardFile.create(self.disk, GUARD, new)
        self.disk.media.pop(FUSE, None)
        self.highest = max(self.highest, seal)
