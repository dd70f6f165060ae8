"""From files to a guard: the first start (birth), every later one, and the refusals in between.

The order of a birth of one, each step durable before the next; killed after any of them, the next start goes on:

1. the last released signature, if the state file names one;
2. the guard's file, unarmed, with a fresh nonce and the floor that the operator gave;
3. the born marker with that nonce, apart from it in `priv/`;
4. the guard arms: from here on it answers, and its loss cannot be mistaken for a first start;
5. the state file is renamed, so that it is never taken for a newer one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Final

from nacl.utils import random as random_bytes

from cmkms.errors import DiskError, OperatorError
from cmkms.guard.born import BornMarker, MarkerError, read_marker, render_marker
from cmkms.guard.disk import Disk
from cmkms.guard.file import MAX_READ_BYTES, GuardFile, survey
from cmkms.guard.fuse import Fuse
from cmkms.guard.generation import (
    NO_GENERATION,
    NONCE_BYTES,
    GenerationId,
    Member,
    first_generation,
    next_generation,
)
from cmkms.guard.guard import Guard, GuardClocks
from cmkms.guard.hrs import HRS, NEVER
from cmkms.guard.record import GuardRecord
from cmkms.guard.released import load_released
from cmkms.guard.site import GuardSite
from cmkms.guard.state_file import MAX_STATE_FILE_BYTES, SignState, parse_state, render_state
from cmkms.home import read_bounded

__all__ = [
    "SYSTEM_CLOCKS",
    "Floor",
    "GuardRefusedError",
    "GuardSite",
    "OpenedGuard",
    "Unborn",
    "floor_of",
    "home_state",
    "open_guard",
    "readable_record",
    "says_more",
    "write_marker",
    "write_new_guard",
]


class GuardRefusedError(OperatorError):
    """This home's guard must not be used as it is: says what is wrong and which command is the way out."""


@dataclass(frozen=True, slots=True)
class Floor:
    """Where a guard begins: nothing below `hrs` is ever accepted. `sign_bytes` None seals `hrs` itself."""

    hrs: HRS
    sign_bytes: bytes | None
    accepted_at: int
    origin: str
    state: SignState | None = None


@dataclass(frozen=True, slots=True)
class OpenedGuard:
    """An armed guard, or one whose fuse is blown; `notes` are for the log, in order."""

    guard: Guard
    generation: GenerationId
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unborn:
    """No guard yet, and no floor to begin at. `waiting_for` says what the operator can do."""

    waiting_for: str


SYSTEM_CLOCKS: Final = GuardClocks(wall=time.time, monotonic=time.perf_counter)


def open_guard(
    site: GuardSite, disk: Disk, *, never_signed: bool = False, clocks: GuardClocks = SYSTEM_CLOCKS
) -> OpenedGuard | Unborn:
    """Open the guard of `site`, or give birth to it. `never_signed` is the operator's word for a key without a state.

    Raises GuardRefusedError, StateFileError, GuardBusyError, GuardUnopenedError, OperatorError; DiskError where not
    even birth can be written. A guard that cannot be trusted comes back with its fuse blown.
    """
    opening = _Opening(site, disk, clocks)
    if opening.fuse.blown is not None:
        return opening.fused()
    marker = _marker(site)
    try:
        file = GuardFile.open(disk, site.path)
    except FileNotFoundError:
        if marker is not None:
            raise GuardRefusedError(_lost(site)) from None
        return opening.birth(never_signed=never_signed)
    except DiskError as error:
        opening.fuse.blow(str(error), clocks.wall())
        return opening.fused()
    try:
        return opening.resume(file, marker, never_signed=never_signed)
    except BaseException:
        file.close()
        raise


class _Opening:
    """One run of `open_guard`: the site, and what there is to tell about it."""

    def __init__(self, site: GuardSite, disk: Disk, clocks: GuardClocks) -> None:
        self._site = site
        self._disk = disk
        self._clocks = clocks
        self._notes: list[str] = []
        self.fuse: Final = Fuse(disk, site.home.fuse_file(site.chain_id))

    def fused(self) -> OpenedGuard:
        record = readable_record(self._site.path)
        generation = NO_GENERATION if record is None else record.generation
        return self._opened(None, generation, record)

    def birth(self, *, never_signed: bool) -> OpenedGuard | Unborn:
        floor = find_floor(self._site, self._clocks.wall(), never_signed=never_signed)
        if floor is None:
            return Unborn(_unborn(self._site))
        self._check_released(floor.hrs)
        self._disk.make_dir(self._site.path.parent)
        if floor.state is not None and floor.state.signature is not None:
            self._disk.create(self._site.home.released_file(self._site.chain_id), render_state(floor.state))
        write_new_guard(self._site, self._disk, floor, NO_GENERATION)
        file = GuardFile.open(self._disk, self._site.path)
        try:
            return self._arm(file, floor.origin)
        except BaseException:
            file.close()
            raise

    def resume(self, file: GuardFile, marker: BornMarker | None, *, never_signed: bool) -> OpenedGuard:
        self._notes += [f"the guard's file had a damaged copy, mended from the other ({why})" for why in file.damage]
        self._check_owner(file.record)
        if marker is None:
            self._adopt_without_marker(file.record)
        else:
            self._check_marker(file.record, marker)
        self._check_released(file.record.hrs)
        if not file.record.armed:
            return self._arm(file, "the floor given at a first start that was interrupted")
        if never_signed:
            self._notes.append(
                "--never-signed has no effect: this guard is born. Remove it from the start command: "
                "on an empty home it would let this key begin from nothing"
            )
        self._settle_state_file(file.record)
        return self._opened(file, file.record.generation, None)

    def _arm(self, file: GuardFile, origin: str) -> OpenedGuard:
        generation = file.record.generation
        if read_marker(self._site.home.born_marker(self._site.chain_id)) is None:
            write_marker(self._site, self._disk, file.record, NO_GENERATION)
        file.write(replace(file.record, sequence=file.record.sequence + 1, armed=True))
        self._notes.append(f"born: generation {generation}, at {file.record.hrs}, from {origin}")
        self._settle_state_file(file.record)
        return self._opened(file, generation, None)

    def _opened(self, file: GuardFile | None, generation: GenerationId, record: GuardRecord | None) -> OpenedGuard:
        guard = Guard(
            self._site.path,
            file,
            self.fuse,
            self._clocks,
            max_block_rate=self._site.max_block_rate,
            last_record=record,
        )
        return OpenedGuard(guard, generation, tuple(self._notes))

    def _check_owner(self, record: GuardRecord) -> None:
        """Refuse a guard of another chain, replica or key: a copied home, a changed id, another key under it."""
        site = self._site
        for what, found, expected in (
            ("chain", record.chain_id, site.chain_id),
            ("replica", record.member_id, site.member_id),
        ):
            if found != expected:
                raise GuardRefusedError(
                    f"{site.path} is the guard of {what} {found!r}, but the configuration says {expected!r}; "
                    f"put the right one into the configuration, or see `cmkms guard replace --help`"
                )
        if record.key_hash != site.key_hash:
            raise GuardRefusedError(
                f"{site.path} guards another consensus key than the one in use; put the old key back, or, if the key "
                f"of chain {site.chain_id} was changed on purpose, see `cmkms guard replace --help`"
            )

    def _check_marker(self, record: GuardRecord, marker: BornMarker) -> None:
        why = marker.fits(record)
        member = marker.member(self._site.member_id)
        if not why and (member is None or member.identity != self._site.identity):
            kept = self._site.home.identity_file
            why = f"it was born with another identity than {kept} holds: put the old identity back, from its backup"
        if why:
            raise GuardRefusedError(
                f"the guard {self._site.path} and its born marker {self._site.home.born_marker(self._site.chain_id)} "
                f"do not belong together ({why}). If one of them was restored or copied: {self._site.way_out}"
            )

    def _check_released(self, hrs: HRS) -> None:
        """Refuse to begin below this key's own released signature: an older guard was restored, or none was kept."""
        site = self._site
        released = load_released(site)
        if released is not None and released.hrs > hrs:
            kept = site.home.released_file(site.chain_id)
            raise GuardRefusedError(
                f"the guard of chain {site.chain_id} would go on from {hrs}, but {kept} holds this key's signature at "
                f"{released.hrs}: an older guard was restored, or the word that it began by was wrong. More may have "
                f"been signed than that file knows. The way out: {site.way_out}"
            )

    def _adopt_without_marker(self, record: GuardRecord) -> None:
        """Take a guard whose marker is gone only if it was certainly born here: alone, with this identity."""
        site = self._site
        member = Member(site.member_id, site.identity, record.nonce)
        if record.generation != first_generation(site.chain_id, site.key_hash, member):
            raise GuardRefusedError(
                f"{site.path} has no born marker, and this replica's identity is not the one that it was born with: "
                f"restore {site.home.priv_dir}, or see `cmkms guard replace --help`"
            )
        if record.armed:
            path = write_marker(site, self._disk, record, NO_GENERATION)
            self._notes.append(f"the born marker was missing and has been written anew: {path}")

    def _settle_state_file(self, record: GuardRecord) -> None:
        """Set a state file aside that the guard has seen; refuse one that knows of more than the guard does."""
        site = self._site
        state = home_state(site)
        if state is None:
            return
        why = says_more(state, record)
        if why:
            raise GuardRefusedError(
                f"{site.state_file} says {state.hrs}, {why}: another signer has signed with this key since. "
                f"Stop that signer, then: cmkms state import --home {quote(str(site.home.path))} "
                f"{quote(site.chain_id)} {quote(str(site.state_file))}"
            )
        aside = site.state_file.with_name(f"{site.state_file.name}.imported-at-{record.hrs.height}")
        try:
            self._disk.rename(site.state_file, aside)
        except DiskError as error:
            # A read-only mount, for one. The guard has it on its own disk: what is left over can only refuse a start.
            self._notes.append(f"the state file is in the guard now, but could not be renamed ({error})")
        else:
            self._notes.append(f"the state file is in the guard now and was renamed to {aside.name}")


def find_floor(site: GuardSite, now: float, *, never_signed: bool) -> Floor | None:
    """Return where the guard begins, by the state file or the operator's word; None if there is neither."""
    state = home_state(site)
    if never_signed:
        if state is not None:
            raise GuardRefusedError(
                f"--never-signed {site.chain_id} and a state file ({site.state_file}, at {state.hrs}) contradict each "
                f"other: give one of them"
            )
        return Floor(NEVER, None, int(now), "the operator's word that this key has never signed (--never-signed)")
    return None if state is None else floor_of(state, site.state_file, now)


def floor_of(state: SignState, path: Path, now: float) -> Floor:
    """Return the floor that a state file gives. Its age, for the height ceiling, is that of what was signed."""
    signed_at = state.timestamp_seconds
    accepted_at = int(path.stat().st_mtime) if signed_at is None else signed_at
    accepted_at = min(max(accepted_at, 0), int(now))
    age = _age(now - accepted_at)
    origin = f"{path.name} (at {state.hrs}, {age} old)"
    if state.hrs == NEVER:
        origin = f"{path.name}, which says that this key has NEVER signed: make sure that this is true"
    return Floor(state.hrs, state.sign_bytes, accepted_at, origin, state)


def write_new_guard(
    site: GuardSite, disk: Disk, floor: Floor, before: GenerationId, *, path: Path | None = None
) -> GuardRecord:
    """Write a new, unarmed guard file with a fresh nonce for the generation after `before`. Returns its record."""
    nonce = random_bytes(NONCE_BYTES)
    member = Member(site.member_id, site.identity, nonce)
    record = GuardRecord(
        chain_id=site.chain_id,
        member_id=site.member_id,
        key_hash=site.key_hash,
        nonce=nonce,
        generation=next_generation(site.chain_id, site.key_hash, before, (member,)),
        sequence=0,
        armed=False,
        hrs=floor.hrs,
        sign_bytes=floor.sign_bytes,
        accepted_at=floor.accepted_at,
    )
    GuardFile.create(disk, path or site.path, record)
    return record


def write_marker(site: GuardSite, disk: Disk, record: GuardRecord, before: GenerationId) -> Path:
    """Write the born marker of the guard in `record`, whose generation follows `before`. Durable; returns its path."""
    member = Member(site.member_id, site.identity, record.nonce)
    marker = BornMarker(record.generation, before.hash, (member,))
    path = site.home.born_marker(site.chain_id)
    disk.make_dir(path.parent)
    disk.create(path, render_marker(marker, site.chain_id))
    return path


def readable_record(path: Path) -> GuardRecord | None:
    """Return the highest record that can be read of a guard file, sound or not; takes no lock and writes nothing."""
    try:
        return survey(read_bounded(path, MAX_READ_BYTES)).highest
    except (FileNotFoundError, OperatorError, DiskError):
        return None


def home_state(site: GuardSite) -> SignState | None:
    """Read the state file in the home; None if there is none. Raises StateFileError, OperatorError."""
    try:
        data = read_bounded(site.state_file, MAX_STATE_FILE_BYTES)
    except FileNotFoundError:
        return None
    return parse_state(data, str(site.state_file), site.chain_id, site.verify)


def says_more(state: SignState, record: GuardRecord) -> str:
    """Say how a state file knows, or may know, of a signature that the guard does not; empty if it does not."""
    if state.hrs > record.hrs:
        return f"above the guard's {record.hrs}"
    if state.hrs == record.hrs and record.sign_bytes is not None and state.sign_bytes != record.sign_bytes:
        return "where the guard holds other sign-bytes"
    return ""


def _marker(site: GuardSite) -> BornMarker | None:
    """Read the born marker; one that is damaged may go if the guard itself is there, and only then."""
    try:
        return read_marker(site.home.born_marker(site.chain_id))
    except MarkerError as error:
        if site.path.exists():
            raise GuardRefusedError(f"{error}; move it away and start again: the guard is there to tell") from error
        raise GuardRefusedError(
            f"{error}, and the guard {site.path} is not there. The way out: {site.way_out}"
        ) from error


def _unborn(site: GuardSite) -> str:
    return (
        f"nothing tells what this key has signed on {site.chain_id}. Stop the signer that used it and copy its "
        f"priv_validator_state.json to {site.state_file}; or, if this key has certainly never signed there, start once "
        f"with --never-signed {site.chain_id}"
    )


def _lost(site: GuardSite) -> str:
    return (
        f"the guard of chain {site.chain_id} is lost: {site.home.born_marker(site.chain_id)} says that it was born, "
        f"but {site.path} is not there. Do NOT restore it from a backup. The way out: {site.way_out}"
    )


def _age(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, int(seconds))} seconds"
