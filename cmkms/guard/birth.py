"""From files to a guard: the first start (birth), every later one, and the refusals in between.

The order of a birth of one, each step durable before the next; killed after any of them, the next start goes on:

1. the last released signature, if the state file names one;
2. the guard's file, unarmed, with a fresh nonce and the floor that the operator gave;
3. the born marker with that nonce, apart from it in `priv/`;
4. the guard arms: from here on it answers, and its loss cannot be mistaken for a first start;
5. the state file is renamed, so that it is never taken for a newer one.

A birth of several begins with a file that is bound to nothing (`UnarmedGuard`). What is agreed on is `founding.py`'s;
then come `Guard.bind`, on every replica `Guard.arm`, which does 3 and 4, and `after_arming`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from nacl.utils import random as random_bytes

from cmkms.errors import DiskError, OperatorError
from cmkms.guard.born import BornMarker, MarkerError, read_founders, read_marker, write_founders, write_marker
from cmkms.guard.change import Change
from cmkms.guard.change_file import only_joins, read_change, write_change
from cmkms.guard.claims import NO_FLOOR, FloorClaim
from cmkms.guard.disk import Disk
from cmkms.guard.file import MAX_READ_BYTES, GuardFile, survey
from cmkms.guard.floor import Floor, GuardRefusedError, claimed, find_floor, set_state_file_aside
from cmkms.guard.fuse import Fuse
from cmkms.guard.generation import (
    FIRST_GENERATION,
    NO_GENERATION,
    NONCE_BYTES,
    GenerationId,
    Member,
    next_generation,
)
from cmkms.guard.guard import Guard, GuardClocks
from cmkms.guard.hrs import NEVER
from cmkms.guard.objections import lost_objection, marker_of, objections, released_objection, unreadable_objection
from cmkms.guard.record import GuardRecord
from cmkms.guard.released import load_released, store_released
from cmkms.guard.site import GuardSite
from cmkms.home import read_bounded

__all__ = [
    "SYSTEM_CLOCKS",
    "GuardRefusedError",
    "GuardSite",
    "JoiningGuard",
    "OpenedGuard",
    "UnarmedGuard",
    "Unborn",
    "after_arming",
    "open_guard",
    "readable_record",
    "write_new_guard",
]


@dataclass(frozen=True, slots=True)
class OpenedGuard:
    """An armed guard, or one whose fuse is blown; `notes` are for the log, in order. Its members: `guard.members`."""

    guard: Guard
    generation: GenerationId
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnarmedGuard:
    """A guard of several that is bound to no generation yet, or bound and not armed. `floor` is this replica's word."""

    guard: Guard
    floor: FloorClaim
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JoiningGuard:
    """A guard of several that waits for a change of generation: made anew for a lost one, or moved and not armed yet.

    It answers nothing, and takes part in no birth.
    """

    guard: Guard
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unborn:
    """No guard yet, and no floor to begin at. `waiting_for` says what the operator can do. Only of one replica."""

    waiting_for: str


Opened = OpenedGuard | UnarmedGuard | JoiningGuard | Unborn
"""How a guard can be at a start."""

_Opened = TypeVar("_Opened")

SYSTEM_CLOCKS: Final = GuardClocks(wall=time.time, monotonic=time.perf_counter)


def open_guard(
    site: GuardSite, disk: Disk, *, never_signed: bool = False, clocks: GuardClocks = SYSTEM_CLOCKS
) -> Opened:
    """Open the guard of `site`, or give birth to it. `never_signed` is the operator's word for a key without a state.

    Raises GuardRefusedError, StateFileError, GuardBusyError, GuardUnopenedError, OperatorError; DiskError where not
    even birth can be written. A guard that cannot be trusted comes back with its fuse blown.
    """
    opening = _Opening(site, disk, clocks, never_signed=never_signed)
    if opening.fuse.blown is not None:
        return opening.fused()
    marker = marker_of(site)
    if isinstance(marker, MarkerError):
        raise GuardRefusedError(unreadable_objection(site, marker))
    try:
        file = GuardFile.open(disk, site.path)
    except FileNotFoundError:
        if why := lost_objection(site, marker):
            raise GuardRefusedError(why) from None
        return opening.birth()
    except DiskError as error:
        opening.fuse.blow(str(error), clocks.wall())
        return opening.fused()
    return opening.closing_on_error(file, lambda: opening.resume(file, marker))


def after_arming(site: GuardSite, disk: Disk, guard: Guard) -> tuple[str, ...]:
    """Keep the signature of the state file that this replica was given, and rename the file. Returns notes for the log.

    Call it once the guard is armed; killed before, the next start does the same. Raises GuardRefusedError for a state
    file that has changed since the start and knows of more than the guard, StateFileError, OperatorError.
    """
    record = guard.record
    if record is None or not record.armed:
        return ()
    return set_state_file_aside(site, disk, record)


class _Opening:
    """One run of `open_guard`: the site, and what there is to tell about it."""

    def __init__(self, site: GuardSite, disk: Disk, clocks: GuardClocks, *, never_signed: bool) -> None:
        self._site = site
        self._disk = disk
        self._clocks = clocks
        self._never_signed = never_signed
        self._notes: list[str] = []
        self.fuse: Final = Fuse(disk, site.home.fuse_file(site.chain_id))

    def fused(self) -> OpenedGuard:
        record = readable_record(self._site.path)
        generation = NO_GENERATION if record is None else record.generation
        marker = marker_of(self._site)
        members = marker.members if isinstance(marker, BornMarker) else ()
        return OpenedGuard(self._guard(None, record, members), generation, tuple(self._notes))

    def birth(self) -> Opened:
        if only_joins(self._site):
            return self._begin_to_join()
        if not self._site.alone:
            return self._begin_together()
        floor = self._floor()
        if floor is None:
            return Unborn(_unborn(self._site))
        self._disk.make_dir(self._site.path.parent)
        if floor.state is not None and floor.state.signature is not None:
            store_released(self._site, self._disk, floor.state)
        write_new_guard(self._site, self._disk, floor, NO_GENERATION)
        file = GuardFile.open(self._disk, self._site.path)
        return self.closing_on_error(file, lambda: self._arm(file, (self._own(file.record),), floor.origin))

    def _begin_together(self) -> UnarmedGuard:
        # Whatever speaks against this floor does so before there is a file.
        floor = self._offered()
        self._disk.make_dir(self._site.path.parent)
        write_unbound_guard(self._site, self._disk)
        return self._unarmed(GuardFile.open(self._disk, self._site.path), floor)

    def _begin_to_join(self) -> JoiningGuard:
        if self._site.alone:
            raise GuardRefusedError(
                f"the guard of chain {self._site.chain_id} was given up, to be made anew by a change of generation, "
                f"and the peer list names {self._site.member_id} only. Put the old peer list back"
            )
        self._disk.make_dir(self._site.path.parent)
        write_unbound_guard(self._site, self._disk)
        return self._joining(GuardFile.open(self._disk, self._site.path), None)

    def _joining(self, file: GuardFile, change: Change | None) -> JoiningGuard:
        if self._site.alone:
            raise GuardRefusedError(
                f"the guard of chain {self._site.chain_id} is in the middle of a change of generation, and the peer "
                f"list names {self._site.member_id} only. Put the old peer list back until the change is done"
            )
        members = () if change is None else change.members
        return JoiningGuard(self._guard(file, None, members, change), tuple(self._notes))

    def resume(self, file: GuardFile, marker: BornMarker | None) -> OpenedGuard | UnarmedGuard | JoiningGuard:
        self._notes += [f"the guard's file had a damaged copy, mended from the other ({why})" for why in file.damage]
        change = read_change(self._site, file.record)
        against = objections(self._site, file.record, marker, change)
        if against:
            raise GuardRefusedError(against[0])
        if not file.record.armed and (marker is None or marker.generation != file.record.generation):
            unbound = file.record.generation == NO_GENERATION
            if change is not None or file.record.generation.number > FIRST_GENERATION:
                return self._joining(file, change)
            if unbound and only_joins(self._site):
                return self._joining(file, None)
        members = (self._own(file.record),) if marker is None else marker.members
        if not file.record.armed:
            if marker is None and not self._site.alone:
                # A bound guard begins where it is bound to, whatever is said now.
                unbound = file.record.generation == NO_GENERATION
                return self._unarmed(file, self._offered() if unbound else NO_FLOOR)
            return self._arm(file, members, "where a birth or a change that was interrupted had begun")
        if marker is None:
            path = write_marker(self._site, self._disk, file.record, NO_GENERATION.hash, members)
            self._notes.append(f"the born marker was missing and has been written anew: {path}")
        if self._never_signed:
            self._notes.append(
                "--never-signed has no effect: this guard is born. Remove it from the start command: "
                "on an empty home it would let this key begin from nothing"
            )
        self._notes += set_state_file_aside(self._site, self._disk, file.record)
        return self._opened(file, members)

    def _unarmed(self, file: GuardFile, floor: FloorClaim) -> UnarmedGuard:
        members = read_founders(self._site, file.record)
        return UnarmedGuard(self._guard(file, None, members), floor, tuple(self._notes))

    def _offered(self) -> FloorClaim:
        floor = self._floor()
        if floor is not None:
            self._notes.append(f"offered to the other replicas as where to begin: {floor.hrs}, from {floor.origin}")
        return claimed(floor)

    def _floor(self) -> Floor | None:
        floor = find_floor(self._site, self._clocks.wall(), never_signed=self._never_signed)
        if floor is None:
            return None if self._site.alone else self._known_floor()
        if why := released_objection(self._site, floor.hrs):
            raise GuardRefusedError(why)
        return floor

    def _known_floor(self) -> Floor | None:
        """Without a word of its operator, a home made anew still knows what this key has signed: what it kept."""
        released = load_released(self._site)
        if released is None:
            return None
        accepted_at = min(max(released.timestamp_seconds or 0, 0), int(self._clocks.wall()))
        return Floor(
            released.hrs, released.sign_bytes, accepted_at, "the last signature that this home knows of", released
        )

    def _arm(self, file: GuardFile, members: tuple[Member, ...], origin: str) -> OpenedGuard:
        if read_marker(self._site.home.born_marker(self._site.chain_id)) is None:
            write_marker(self._site, self._disk, file.record, NO_GENERATION.hash, members)
        file.write(replace(file.record, sequence=file.record.sequence + 1, armed=True))
        self._notes.append(f"born: generation {file.record.generation}, at {file.record.hrs}, from {origin}")
        self._notes += set_state_file_aside(self._site, self._disk, file.record)
        return self._opened(file, members)

    def _opened(self, file: GuardFile, members: tuple[Member, ...]) -> OpenedGuard:
        change = read_change(self._site, file.record)
        return OpenedGuard(self._guard(file, None, members, change), file.record.generation, tuple(self._notes))

    def _guard(
        self,
        file: GuardFile | None,
        record: GuardRecord | None,
        members: tuple[Member, ...],
        change: Change | None = None,
    ) -> Guard:
        site, disk = self._site, self._disk
        guard = Guard(
            site.path,
            file,
            self.fuse,
            self._clocks,
            max_block_rate=site.max_block_rate,
            last_record=record,
            members=members,
            change=change,
        )
        guard.write_founders = lambda record, members: write_founders(site, disk, record, members)
        guard.write_change = lambda change: write_change(site, disk, change)
        guard.write_marker = lambda record, previous, members: write_marker(site, disk, record, previous, members)
        return guard

    def _own(self, record: GuardRecord) -> Member:
        return Member(self._site.member_id, self._site.identity, record.nonce)

    @staticmethod
    def closing_on_error(file: GuardFile, work: Callable[[], _Opened]) -> _Opened:
        try:
            return work()
        except BaseException:
            file.close()
            raise


def write_new_guard(
    site: GuardSite, disk: Disk, floor: Floor, before: GenerationId, *, path: Path | None = None
) -> GuardRecord:
    """Write a new, unarmed guard file of one, with a fresh nonce for the generation after `before`."""
    nonce = random_bytes(NONCE_BYTES)
    member = Member(site.member_id, site.identity, nonce)
    generation = next_generation(site.chain_id, site.key_hash, before, (member,))
    record = replace(_new_record(site, nonce), generation=generation)
    record = replace(record, hrs=floor.hrs, sign_bytes=floor.sign_bytes, accepted_at=floor.accepted_at)
    GuardFile.create(disk, path or site.path, record)
    return record


def write_unbound_guard(site: GuardSite, disk: Disk) -> GuardRecord:
    """Write a new guard file with a fresh nonce that is bound to no generation."""
    record = _new_record(site, random_bytes(NONCE_BYTES))
    GuardFile.create(disk, site.path, record)
    return record


def _new_record(site: GuardSite, nonce: bytes) -> GuardRecord:
    return GuardRecord(
        chain_id=site.chain_id,
        member_id=site.member_id,
        key_hash=site.key_hash,
        nonce=nonce,
        generation=NO_GENERATION,
        sequence=0,
        armed=False,
        hrs=NEVER,
        sign_bytes=None,
        accepted_at=0,
    )


def readable_record(path: Path) -> GuardRecord | None:
    """Return the highest record that can be read of a guard file, sound or not; takes no lock and writes nothing."""
    try:
        return survey(read_bounded(path, MAX_READ_BYTES)).highest
    except (FileNotFoundError, OperatorError, DiskError):
        return None


def _unborn(site: GuardSite) -> str:
    return (
        f"nothing tells what this key has signed on {site.chain_id}. Stop the signer that used it and copy its "
        f"priv_validator_state.json to {site.state_file}; or, if this key has certainly never signed there, start once "
        f"with --never-signed {site.chain_id}"
    )
