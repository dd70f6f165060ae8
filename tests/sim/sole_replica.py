"""A sole replica without sockets: real signer, real quorum of one, real guard in a real file, a disk that may fail."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path

from cmkms.guard.birth import GuardSite, OpenedGuard, open_guard
from cmkms.guard.disk import OpenFile, PosixDisk
from cmkms.guard.guard import Guard, GuardClocks
from cmkms.guard.quorum import SoleQuorum
from cmkms.guard.released import load_released, store_released
from cmkms.home import Home
from cmkms.signing import Dispatch, Signer
from cmkms.signing.signer import SignRequest
from tests.unit.signing.delayed_quorum import Asked, CountingKey, StillClock, ask
from tests.unit.signing.messages import CHAIN, KEY

CLOCKS = GuardClocks(wall=lambda: 1_700_000_000.0, monotonic=lambda: 0.0)


class BreakableFile:
    """A file whose writes or syncs fail once its disk is broken; a write that fails has reached the page cache."""

    def __init__(self, file: OpenFile, disk: BreakableDisk) -> None:
        self._file = file
        self._disk = disk

    def read(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        if self._disk.writes_fail:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._file.write(offset, data)

    def sync(self) -> None:
        if self._disk.syncs_fail:
            raise OSError(errno.EIO, "Input/output error")
        self._file.sync()

    def still_named_by_its_path(self) -> bool:
        return self._file.still_named_by_its_path()

    def close(self) -> None:
        self._file.close()


class BreakableDisk(PosixDisk):
    """A local disk that can be told to fail the guard's writes or syncs."""

    def __init__(self) -> None:
        self.writes_fail = False
        self.syncs_fail = False

    def open_locked(self, path: Path) -> OpenFile:
        return BreakableFile(super().open_locked(path), self)


def new_home(path: Path) -> Home:
    """An empty home, as `cmkms init` lays it out."""
    for folder in (path, path / "data", path / "priv"):
        folder.mkdir(mode=0o700, exist_ok=True)
    return Home(path)


@dataclass(slots=True)
class SoleReplica:
    """One home and its lives. `key` counts what was signed in all of them."""

    home: Home
    refuse_after: float | None = None
    disk: BreakableDisk = field(default_factory=BreakableDisk)
    key: CountingKey = field(default_factory=CountingKey)
    clock: StillClock = field(default_factory=StillClock)
    site: GuardSite = field(init=False)
    guard: Guard = field(init=False)
    quorum: SoleQuorum = field(init=False)
    signer: Signer = field(init=False)
    dispatch: Dispatch = field(init=False)

    def __post_init__(self) -> None:
        state_file = self.home.path / "priv" / "priv_validator_state.json"
        self.site = GuardSite(
            self.home, CHAIN, "node-0", bytes(32), KEY.type_name, KEY.pub_key, state_file, ("node-0",)
        )
        self.start(never_signed=True)

    def start(self, *, never_signed: bool = False) -> None:
        opened = open_guard(self.site, self.disk, never_signed=never_signed, clocks=CLOCKS)
        if not isinstance(opened, OpenedGuard):
            raise TypeError(f"not born: {opened}")
        self.guard = opened.guard
        self.quorum = SoleQuorum(opened.guard, self.site.key_hash, opened.generation)
        self.signer = Signer(CHAIN, self.key, self.quorum, released=load_released(self.site))
        self.dispatch = Dispatch(CHAIN, self.signer, self.clock.later, refuse_after=self.refuse_after)

    def store_released(self) -> None:
        if self.signer.released is not None:
            store_released(self.site, self.disk, self.signer.released)

    def restart(self) -> None:
        """Die at once, and live again from what is on disk."""
        self.guard.close()
        self.start()

    def ask(self, request: SignRequest) -> Asked:
        return ask(self.dispatch, request)
