"""The guard's file: two slots, each with the record twice, rewritten in place and on disk before anyone is answered.

Theory of operation
-------------------
The file is four 4 KiB blocks, two for each slot. A record with sequence number s goes to slot s mod 2, once in each
of the slot's blocks, so the record before it stays untouched, and a sector that a drive loses takes one copy with it.
A record fits one sector, so no write is ever torn; a slot that can be read in neither copy has therefore rotted, and
the record it held may have been answered for: that blows the fuse, and is never a reason to use the older slot.

At opening, the file is synced, and then the highest record is written anew and synced, before anything is answered: a
killed process may have left it in the page cache only, and after a failed sync the cache no longer tells what the disk
holds. Whatever the instants of kills and power cuts, the two slots hold successive records.

One write at a time; a failed write or sync leaves the file unusable for good (`DiskError`).
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cmkms.errors import BrokenInvariantError, DiskError, UnavailableError
from cmkms.guard.disk import Disk, LockHeldError, OpenFile
from cmkms.guard.generation import FIRST_GENERATION, NO_GENERATION
from cmkms.guard.record import RECORD_BYTES, GuardRecord, RecordDamagedError, decode_record, encode_record

__all__ = [
    "BLOCK_BYTES",
    "FILE_BYTES",
    "MAX_READ_BYTES",
    "GuardBusyError",
    "GuardFile",
    "GuardRottenError",
    "GuardUnopenedError",
    "Survey",
    "survey",
]

BLOCK_BYTES: Final = 4096
"""A physical sector of today's drives: what one failing write can take with it."""
COPIES: Final = 2
SLOTS: Final = 2
SLOT_BYTES: Final = COPIES * BLOCK_BYTES
FILE_BYTES: Final = SLOTS * SLOT_BYTES
MAX_READ_BYTES: Final = 1024 * 1024
"""A guard file has 16 KiB; more is read only to say how much too long it is."""
_PADDING: Final = bytes(BLOCK_BYTES - RECORD_BYTES)


class GuardBusyError(UnavailableError):
    """Another live process holds this guard: only one may."""


class GuardUnopenedError(UnavailableError):
    """The guard's file is there but cannot be opened at all."""


class GuardRottenError(DiskError):
    """The file's content cannot be trusted: it must never answer again (the fuse)."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What can be read of a guard file. `highest` is None if no copy of any slot can be read.

    `rot` says why the file must not answer again; empty: it may. `damage` lists single bad copies, which are mended.
    """

    highest: GuardRecord | None
    rot: str
    damage: tuple[str, ...]


def survey(data: bytes) -> Survey:
    """Judge a whole guard file by its bytes. Pure; never raises, whatever the bytes are."""
    if len(data) != FILE_BYTES:
        return Survey(_highest(_copies(data)[0]), f"it has {len(data)} bytes instead of {FILE_BYTES}", ())
    newest: list[GuardRecord] = []
    damage: list[str] = []
    rot = ""
    for slot in range(SLOTS):
        records, bad = _copies(data[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES])
        damage += [f"slot {slot}, copy {copy}: {why}" for copy, why in bad]
        best = _highest(records)
        if best is None:
            rot = rot or f"slot {slot} can be read in neither copy ({bad[0][1]})"
        else:
            newest.append(best)
            rot = rot or _misplaced(slot, records)
    if not rot:
        rot = _inconsistent(newest[0], newest[1])
    return Survey(_highest(newest), rot, tuple(damage))


class GuardFile:
    """One open guard file, locked for life. Make the first with `create`, open it with `open`."""

    def __init__(self, path: Path, file: OpenFile, record: GuardRecord, damage: tuple[str, ...]) -> None:
        self._path = path
        self._file = file
        self._record = record
        self._usable = True
        self.damage: Final = damage

    @staticmethod
    def create(disk: Disk, path: Path, record: GuardRecord) -> None:
        """Make a whole new file whose both slots hold `record`. Durable on return. Raises DiskError."""
        slots = {one.sequence % SLOTS: _slot(one) for one in (record, replace(record, sequence=record.sequence + 1))}
        disk.create(path, slots[0] + slots[1])

    @classmethod
    def open(cls, disk: Disk, path: Path) -> GuardFile:
        """Open, lock and judge the file, and rewrite its highest record so that it is certainly on disk.

        Raises GuardBusyError, GuardUnopenedError, GuardRottenError (content), DiskError (I/O), FileNotFoundError.
        """
        try:
            file = disk.open_locked(path)
        except LockHeldError as error:
            holder = f"process {error.pid}" if error.pid else "another process"
            raise GuardBusyError(
                f"the guard {path} is in use by {holder}: two signers on one home would sign twice. Stop it first"
            ) from error
        except FileNotFoundError:
            raise
        except OSError as error:
            # Nothing was read and nobody was answered: a wrong user or a symbolic link is no reason for the fuse.
            raise GuardUnopenedError(_why_unopened(path, error)) from error
        try:
            return cls._judged(path, file)
        except BaseException:
            file.close()
            raise

    @classmethod
    def _judged(cls, path: Path, file: OpenFile) -> GuardFile:
        try:
            found = survey(file.read(0, FILE_BYTES + 1))
        except OSError as error:
            raise GuardRottenError(f"cannot read the guard file {path}: {error}") from error
        if found.rot or found.highest is None:
            raise GuardRottenError(f"the guard file {path} cannot be trusted: {found.rot}")
        try:
            # What a killed process left in the cache only: on disk before its successor overwrites the older slot, or
            # a power cut in between leaves two records that do not follow each other, and a fuse for nothing.
            file.sync()
        except OSError as error:
            raise DiskError(f"cannot write the guard file {path}: {error}") from error
        opened = cls(path, file, found.highest, found.damage)
        opened.write(replace(found.highest, sequence=found.highest.sequence + 1))
        if found.damage:
            # The other slot too: both copies of both slots are sound again, before the first answer.
            opened.write(replace(opened.record, sequence=opened.record.sequence + 1))
        return opened

    @property
    def record(self) -> GuardRecord:
        """The record that is durable now."""
        return self._record

    def write(self, record: GuardRecord) -> None:
        """Make `record` durable; the successor of the present one. Raises DiskError: the file is dead then."""
        if not self._usable:
            raise DiskError(f"the guard file {self._path} has failed before")
        why = _not_a_successor(self._record, record)
        if why:
            raise BrokenInvariantError(f"the guard {self._path} is not written: {why}")
        data = _slot(record)
        self._usable = False
        try:
            if not self._file.still_named_by_its_path():
                raise GuardRottenError(f"the guard file {self._path} was replaced or removed under the running signer")
            self._file.write(record.sequence % SLOTS * SLOT_BYTES, data)
            self._file.sync()
        except OSError as error:
            raise DiskError(f"cannot write the guard file {self._path}: {error}") from error
        self._usable = True
        self._record = record

    def close(self) -> None:
        """Close the file and drop its lock."""
        self._usable = False
        self._file.close()


def _why_unopened(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return f"the guard {path} is a symbolic link, which is never followed; put the file itself there"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"the guard {path} may not be opened by user {os.geteuid()}: start cmkms as the user who owns its home"
    if error.errno == errno.EROFS:
        return f"the guard {path} lies on a file system that is mounted read-only: see what the kernel says of its disk"
    return f"the guard {path} cannot be opened: {error.strerror or error}"


def _slot(record: GuardRecord) -> bytes:
    return (encode_record(record) + _PADDING) * COPIES


def _copies(data: bytes) -> tuple[list[GuardRecord], list[tuple[int, str]]]:
    """Read the record at the head of each block; return those that are sound, and why the others are not."""
    records: list[GuardRecord] = []
    bad: list[tuple[int, str]] = []
    for copy, start in enumerate(range(0, len(data), BLOCK_BYTES)):
        try:
            records.append(decode_record(data[start : start + RECORD_BYTES]))
        except RecordDamagedError as error:
            bad.append((copy, str(error)))
    return records, bad


def _highest(records: list[GuardRecord]) -> GuardRecord | None:
    return max(records, key=lambda record: record.sequence, default=None)


def _misplaced(slot: int, records: list[GuardRecord]) -> str:
    for record in records:
        if record.sequence % SLOTS != slot:
            return f"slot {slot} holds record {record.sequence}, which belongs to the other slot"
    return ""


def _inconsistent(one: GuardRecord, other: GuardRecord) -> str:
    """Say why two slots cannot be two successive states of one guard; empty if they can."""
    older, newer = sorted((one, other), key=lambda record: record.sequence)
    return _not_a_successor(older, newer)


def _not_a_successor(older: GuardRecord, newer: GuardRecord) -> str:
    """Say why `newer` cannot be the next state of the guard that was in `older`; empty if it can.

    Checked before each write and at each start: a second lock behind the decision.
    """
    if newer.sequence != older.sequence + 1:
        return f"records {older.sequence} and {newer.sequence} are not successive: a write went missing"
    if newer.hrs < older.hrs and not _is_lowered(older, newer):
        return f"its record went backwards, from {older.hrs} to {newer.hrs}"
    if newer.hrs == older.hrs and newer.sign_bytes is not None and newer.sign_bytes != older.sign_bytes:
        return f"its record has other sign-bytes at {newer.hrs} than before"
    if newer.armed and newer.generation == NO_GENERATION:
        return "its record is armed, but bound to no generation"
    same = (older.chain_id, older.member_id, older.key_hash, older.nonce)
    if (newer.chain_id, newer.member_id, newer.key_hash, newer.nonce) != same:
        return "its records belong to different guards"
    return _not_the_next_generation(older, newer)


def _is_lowered(older: GuardRecord, newer: GuardRecord) -> bool:
    """Whether it enters another generation, sealed and not armed yet: so its operator's word may lower it."""
    return newer.generation != older.generation and newer.sign_bytes is None and not newer.armed


def _not_the_next_generation(older: GuardRecord, newer: GuardRecord) -> str:
    """Say why `newer` may not be of its generation after `older`. A guard enters a generation unarmed, and never turns
    back; one that moved to a change that never got its majority may still join the one that did.
    """
    before, after = older.generation, newer.generation
    if after == before:
        return "its record is not armed any more" if older.armed and not newer.armed else ""
    sidewards = after.number == before.number > FIRST_GENERATION and not older.armed
    if newer.armed or not (after.number > before.number or sidewards):
        return f"its record went from generation {before} to {after}"
    return ""
