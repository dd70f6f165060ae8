"""Puts a new guard in the place of one that is lost, rotten or fused, on its operator's word; only of a sole replica.

The new guard is sealed strictly at what the operator says: nothing at or below it is ever signed again. It must never
begin below anything that this home still knows of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cmkms.errors import OperatorError
from cmkms.guard.birth import SYSTEM_CLOCKS, readable_record, write_new_guard
from cmkms.guard.born import BornMarker, write_marker
from cmkms.guard.change_file import last_change
from cmkms.guard.disk import Disk, LockHeldError
from cmkms.guard.file import GuardBusyError, GuardFile
from cmkms.guard.floor import Floor, GuardRefusedError, floor_of, read_state
from cmkms.guard.generation import FIRST_GENERATION, NO_GENERATION, GenerationId, Member
from cmkms.guard.hrs import HRS, MAX_HEIGHT, NEVER, end_of
from cmkms.guard.lock import HomeLock
from cmkms.guard.objections import marker_of
from cmkms.guard.record import GuardRecord
from cmkms.guard.released import load_released, store_released
from cmkms.guard.site import GuardSite

__all__ = ["Replacement", "check_height", "plan_replacement", "refuse_if_busy", "replace_guard"]


@dataclass(frozen=True, slots=True)
class Replacement:
    """What `replace_guard` would do: the record that is left, and the seal under which nothing is signed again."""

    readable: GuardRecord | None
    seal: HRS
    floor: Floor
    before: GenerationId
    lowers: bool = False
    """By its operator's word it may stand below what was signed: a test net was reset under its old chain id."""


def plan_replacement(site: GuardSite, source: Path | int, *, lowers: bool = False) -> Replacement:
    """Work out a new guard for one that is lost, rotten or fused: from a state file, or above a height.

    The new guard is sealed strictly: nothing at or below the seal is ever signed again. Raises GuardRefusedError
    where the old guard's readable record stands higher than what was given, unless it `lowers`, and StateFileError.
    """
    marker = _readable_marker(site)
    _refuse_several(site, marker)
    readable = _left_behind(site, marker)
    _refuse_left(site, marker, readable)
    now = int(SYSTEM_CLOCKS.wall())
    if isinstance(source, Path):
        state = read_state(site, source)
        # An unknown age must not make the ceiling a wall: the operator names the point, the node soon shows the rest.
        accepted_at = min(max(state.timestamp_seconds or 0, 0), now)
        floor = Floor(state.hrs, None, accepted_at, floor_of(state, source, now).origin, state)
    else:
        check_height(source, lowest=0 if lowers else 1)
        floor = Floor(end_of(source), None, 0, f"the operator's word (--above {source})")
    if floor.hrs == NEVER and not lowers:
        raise GuardRefusedError(f"{floor.origin} says that nothing was ever signed; a guard that was born has signed")
    if not lowers:
        _refuse_too_low(site, readable, floor.hrs)
    before = marker.generation if marker else readable.generation if readable else NO_GENERATION
    return Replacement(readable, floor.hrs, floor, before, lowers)


def replace_guard(site: GuardSite, disk: Disk, plan: Replacement) -> GuardRecord:
    """Put a new guard, with a new nonce and generation, in the place of the old one, which is kept beside it.

    The marker moves first: killed half-way, the home refuses to start until this command has been run again.
    """
    lock = HomeLock(site.home, "cmkms guard replace")
    try:
        if site.path.exists():
            refuse_if_busy(site, disk)
        # Once more: the signer may have gone on while its operator read the plan.
        marker = _readable_marker(site)
        readable = _left_behind(site, marker)
        _refuse_left(site, marker, readable)
        if not plan.lowers:
            _refuse_too_low(site, readable, plan.seal)
        return _replace(site, disk, plan)
    finally:
        lock.close()


def _replace(site: GuardSite, disk: Disk, plan: Replacement) -> GuardRecord:
    path, home = site.path, site.home
    fresh = _fresh_path(site)
    disk.make_dir(path.parent)
    record = write_new_guard(site, disk, plan.floor, plan.before, path=fresh)
    file = GuardFile.open(disk, fresh)
    try:
        old = plan.readable
        # A pause or a last height is how a key moves elsewhere: a new file does not undo it.
        switches = (False, None) if old is None else (old.paused, old.max_height)
        sequence = file.record.sequence + 1
        file.write(replace(file.record, sequence=sequence, armed=True, paused=switches[0], max_height=switches[1]))
        armed = file.record
    finally:
        file.close()
    write_marker(site, disk, record, plan.before.hash, (Member(site.member_id, site.identity, record.nonce),))
    if plan.floor.state is not None and plan.floor.state.signature is not None:
        store_released(site, disk, plan.floor.state)
    stamp = int(SYSTEM_CLOCKS.wall())
    if path.exists():
        disk.rename(path, path.with_name(f"guard.replaced-at-{stamp}"))
    disk.rename(fresh, path)
    fuse_file = home.fuse_file(site.chain_id)
    if fuse_file.exists():
        disk.rename(fuse_file, fuse_file.with_name(f"fuse.replaced-at-{stamp}.json"))
    return armed


def _fresh_path(site: GuardSite) -> Path:
    return site.path.with_name("guard.new")


def _readable_marker(site: GuardSite) -> BornMarker | None:
    marker = marker_of(site)
    return marker if isinstance(marker, BornMarker) else None


def _refuse_several(site: GuardSite, marker: BornMarker | None) -> None:
    """One guard of several is never put right by its own replica: the others count on what it has lost."""
    members = site.members if marker is None else tuple(member.id for member in marker.members)
    if len(members) > 1:
        raise GuardRefusedError(
            f"the guard of chain {site.chain_id} is one of {len(members)} ({', '.join(members)}), and cmkms guard "
            f"replace is for a replica that signs alone: a guard made anew here could help to sign what the lost one "
            f"has helped to sign already. The way out: {replace(site, members=members).way_out}"
        )


def _refuse_left(site: GuardSite, marker: BornMarker | None, readable: GuardRecord | None) -> None:
    """A guard that has left its generation, or was about to, may have others in its place, who sign already.

    The change is on disk before the move, and the marker is written after it: so this is seen whatever else is lost.
    """
    born = NO_GENERATION.number if marker is None else marker.generation.number
    change = last_change(site)
    others = () if change is None else tuple(member.id for member in change.members if member.id != site.member_id)
    left = change is not None and change.number >= born and bool(others)
    on_its_way = (
        readable is not None and not readable.armed and readable.generation.number > max(born, FIRST_GENERATION)
    )
    if left or on_its_way:
        names = ", ".join(others) or "others"
        raise GuardRefusedError(
            f"the guard of chain {site.chain_id} has left its generation, or was about to, for one with {names}: they "
            f"may sign already, and a guard made anew here, alone, would sign beside them. Put their peer list back, "
            f"run `cmkms guard replace {site.chain_id}` without a height, start this replica, and run `cmkms cluster "
            f"change {site.chain_id}` on one that signs"
        )


def _left_behind(site: GuardSite, marker: BornMarker | None) -> GuardRecord | None:
    """Return the highest readable record of the guard that is to be replaced.

    A replacement that was killed when the old file had left its place has left its own, which the marker names.
    """
    if not site.path.exists() and marker is not None:
        fresh = readable_record(_fresh_path(site))
        if fresh is not None and not marker.fits(fresh):
            return fresh
    return readable_record(site.path)


def check_height(height: int, *, lowest: int = 1) -> None:
    """Raise OperatorError for what is no height."""
    if not lowest <= height <= MAX_HEIGHT:
        raise OperatorError(f"{height} is no height; expected {lowest} to {MAX_HEIGHT}")


def _refuse_too_low(site: GuardSite, readable: GuardRecord | None, seal: HRS) -> None:
    if readable is not None and readable.hrs > seal:
        raise GuardRefusedError(
            f"the old guard's record can still be read and stands at {readable.hrs}, above {seal}: the given point is "
            f"too low, and so may that record be. Name a height above the newest block of the chain"
        )
    released = load_released(site)
    if released is not None and released.hrs > seal:
        # This key's own signature: whatever became of the guard's record, this much is certain.
        raise GuardRefusedError(
            f"{site.home.released_file(site.chain_id)} holds a signature at {released.hrs}, above {seal}: the given "
            f"point is too low, and more may have been signed since. Name a height above the newest block of the chain"
        )


def refuse_if_busy(site: GuardSite, disk: Disk) -> None:
    """Raise GuardBusyError where a live process holds the old guard; any other fault of it is why it is replaced."""
    try:
        disk.open_locked(site.path).close()
    except LockHeldError as error:
        raise GuardBusyError(f"{error}: two signers on one home would sign twice. Stop it first") from error
    except OSError:
        return
