"""Bugs of the guard's file and fuse: what is on disk, what a start believes, what a failed disk means."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from cmkms.errors import DiskError
from cmkms.guard import file, fuse
from cmkms.guard.decide import Accepted, AcceptRequest, Refused, RefusedBecause, Verdict, decide
from cmkms.guard.disk import OpenFile
from cmkms.guard.file import GuardFile, Survey
from cmkms.guard.guard import Guard
from cmkms.guard.hrs import NEVER
from cmkms.guard.record import GuardRecord
from tests.sim.mutations.bug import SeededBug, swapped
from tests.sim.mutations.bugs.deciding import lax_file
from tests.sim.mutations.profiles import FAILING_DISKS, RESTARTS, ROLLED_BACK, ROT

__all__ = ["FILES"]

DURABLE = "ACCEPTED: stored and on disk (fdatasync) before the answer leaves"


class _Unsynced:
    """An open file whose syncs do not happen."""

    def __init__(self, real: OpenFile) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def sync(self) -> None:
        pass


@contextmanager
def no_fsync() -> Generator[None]:
    begin = GuardFile.__init__

    def unsynced(guard_file: GuardFile, path: Path, opened: OpenFile, *args: Any) -> None:
        begin(guard_file, path, cast("OpenFile", _Unsynced(opened)), *args)

    with swapped(GuardFile, "__init__", unsynced):
        yield


@contextmanager
def forgets_on_restart() -> Generator[None]:
    def judged(path: Path, opened: OpenFile) -> GuardFile:
        found = strict(path, opened)
        found._record = replace(found.record, hrs=NEVER, sign_bytes=None)
        return found

    strict = GuardFile._judged
    with lax_file(), swapped(GuardFile, "_judged", staticmethod(judged)):
        yield


@contextmanager
def trusts_the_page_cache() -> Generator[None]:
    def judged(path: Path, opened: OpenFile) -> GuardFile:
        found = file.survey(opened.read(0, file.FILE_BYTES + 1))
        if found.rot or found.highest is None:
            raise file.GuardRottenError(f"the guard file {path} cannot be trusted: {found.rot}")
        return GuardFile(path, opened, found.highest, found.damage)

    with swapped(GuardFile, "_judged", staticmethod(judged)):
        yield


@contextmanager
def falls_back_to_the_older_slot() -> Generator[None]:
    strict = file.survey

    def lenient(data: bytes) -> Survey:
        found = strict(data)
        return replace(found, rot="") if "neither copy" in found.rot and found.highest is not None else found

    with swapped(file, "survey", lenient):
        yield


@contextmanager
def accepts_after_the_fuse() -> Generator[None]:
    """The memory is ahead of the disk when a write fails, and the fuse is not looked at."""
    accept, write = Guard.accept, GuardFile.write

    def regardless(guard: Guard, request: AcceptRequest) -> Verdict:
        blown, guard.fuse.blown = guard.fuse.blown, None
        try:
            return accept(guard, request)
        finally:
            guard.fuse.blown = blown or guard.fuse.blown

    def ahead(guard_file: GuardFile, record: GuardRecord) -> None:
        try:
            write(guard_file, record)
        except DiskError:
            guard_file._record, guard_file._usable = record, True
            raise

    with swapped(Guard, "accept", regardless), swapped(GuardFile, "write", ahead):
        yield


@contextmanager
def retries_a_failed_sync() -> Generator[None]:
    begin = GuardFile.__init__

    class Retrying(_Unsynced):
        def sync(self) -> None:
            try:
                self._real.sync()
            except OSError:
                self._real.sync()

    def retrying(guard_file: GuardFile, path: Path, opened: OpenFile, *args: Any) -> None:
        begin(guard_file, path, cast("OpenFile", Retrying(opened)), *args)

    with swapped(GuardFile, "__init__", retrying):
        yield


@contextmanager
def restart_clears_the_fuse() -> Generator[None]:
    def whole(_path: Path) -> None:
        return None

    with swapped(fuse, "read_fuse", whole):
        yield


@contextmanager
def repeat_does_not_wait_for_the_write() -> Generator[None]:
    """The write is handed to the disk, and synced by the next one. Who asks again meanwhile is told ACCEPTED."""
    accept = Guard.accept

    def pending(guard: Guard, request: AcceptRequest) -> Verdict:
        guard_file, record = guard._file, guard.record
        if guard_file is None or record is None or guard.blown:
            return accept(guard, request)
        if decide(record.state(guard.ceiling()), request) != Accepted(advances=True):
            return accept(guard, request)
        guard_file._file.sync()
        after = record.advanced(request.hrs, request.sign_bytes, record.accepted_at)
        guard_file._file.write(after.sequence % file.SLOTS * file.SLOT_BYTES, file._slot(after))
        guard_file._record = after
        return Refused(RefusedBecause.NOT_ARMED, "a write is under way")

    with swapped(Guard, "accept", pending):
        yield


FILES = (
    SeededBug("drop the fsync", "a guard answers before its record is on disk", DURABLE, no_fsync),
    SeededBug("answer a repeat from a write still pending",
              "whoever asks again is told ACCEPTED while the write is under way",
              "if the write is still under way, the answer waits for it", repeat_does_not_wait_for_the_write),
    SeededBug("forget on restart", "a guard begins from an empty record at every start",
              "a durable watermark that only moves forward", forgets_on_restart, RESTARTS),
    SeededBug("trust the page cache", "a start answers from what it reads, without writing and syncing it first",
              "at start the highest record is rewritten and fdatasync'ed before the first answer",
              trusts_the_page_cache, RESTARTS, pinned=2),
    SeededBug("fall back to the older slot", "a slot that has rotted is passed over, and the older one taken",
              "a slot that cannot be read in both copies is rot: a fuse, not a fall back to the older one",
              falls_back_to_the_older_slot, ROT, pinned=3),
    SeededBug("accept after the fuse", "a guard whose disk failed answers from its memory",
              "a failed write or fsync: the fuse; a fused guard answers nothing", accepts_after_the_fuse,
              FAILING_DISKS),
    SeededBug("retry a failed sync", "a failed fsync is tried again, which then succeeds",
              "a failed write or fsync is a fuse", retries_a_failed_sync, FAILING_DISKS),
    SeededBug("a restart clears the fuse", "the marker of a blown fuse is not read at a start",
              "a restart does not clear the fuse", restart_clears_the_fuse, ROLLED_BACK),
)  # fmt: skip
