"""What an operator does to a guard while its signer is stopped: raise it, export it, begin its birth anew.

Everything that changes a guard takes the home's lock and the guard's own first, so it can never run beside a signer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cmkms.guard.birth import SYSTEM_CLOCKS, JoiningGuard, OpenedGuard, UnarmedGuard, Unborn, open_guard
from cmkms.guard.born import read_marker
from cmkms.guard.disk import Disk
from cmkms.guard.floor import GuardRefusedError, floor_of, read_state
from cmkms.guard.guard import GuardClocks
from cmkms.guard.hrs import HRS
from cmkms.guard.inspection import inspect_guard
from cmkms.guard.lock import HomeLock
from cmkms.guard.record import GuardRecord
from cmkms.guard.released import is_forgotten, load_released, store_released
from cmkms.guard.replacement import check_height, refuse_if_busy
from cmkms.guard.site import GuardSite
from cmkms.guard.state_file import SignState, render_state
from cmkms.keys.consensus import ConsensusKey

__all__ = ["Raised", "allow_height", "caution", "export_state", "import_state", "restart_birth"]


@dataclass(frozen=True, slots=True)
class Raised:
    """What an import did: the watermark before and after, and whether it moved."""

    before: HRS
    after: HRS
    sealed: bool
    moved: bool


def import_state(site: GuardSite, disk: Disk, path: Path, *, clocks: GuardClocks = SYSTEM_CLOCKS) -> Raised:
    """Raise the guard to what CometBFT's state file `path` says; never lowers it.

    Raises StateFileError, LowersWatermarkError, GuardRefusedError, HomeLockedError, DiskError.
    """
    state = read_state(site, path)
    lock = HomeLock(site.home, "cmkms state import")
    try:
        opened = _open_born(site, disk, clocks)
        guard = opened.guard
        try:
            before = _record_of(opened).hrs
            floor = floor_of(state, path, clocks.wall())
            moved = guard.raise_to(state.hrs, state.sign_bytes, accepted_at=floor.accepted_at)
            after = _record_of(opened)
        finally:
            guard.close()
        if state.signature is not None and state.hrs == after.hrs:
            store_released(site, disk, state)
    finally:
        lock.close()
    return Raised(before, after.hrs, after.sign_bytes is None, moved)


def export_state(site: GuardSite, key: ConsensusKey) -> bytes:
    """Return the guard's watermark in CometBFT's form: what a plain node goes on from.

    Takes the home's lock: exported beside a running signer, it would be out of date at once. Of a replica alone the
    signature is made anew where it is not at hand; its guard, which is the majority, has accepted exactly these bytes.
    Of one of several nothing is signed here: a majority may have accepted other bytes. Raises GuardRefusedError for a
    guard whose record may not be its last: fused, rotten, copied, restored, another's.
    """
    lock = HomeLock(site.home, "cmkms state export")
    try:
        report = inspect_guard(site)
        released = load_released(site)
    finally:
        lock.close()
    record = report.record
    if record is None or report.problems:
        # The highest readable record may be an older one: a node that goes on from it signs the newest point again.
        raise GuardRefusedError(
            f"chain {site.chain_id} has no guard to export from: {'; '.join(report.problems)}. Nothing in this home "
            f"says for certain what was signed last. The way out: {site.way_out}"
        )
    lowered = released is not None and released.hrs > record.hrs and is_forgotten(released, record.generation.number)
    if released is not None and released.hrs >= record.hrs and not lowered:
        # Above its guard only where others of several have signed without it.
        return render_state(released)
    if record.sign_bytes is None or not site.alone:
        return render_state(SignState(record.hrs))
    return render_state(SignState(record.hrs, record.sign_bytes, key.sign(record.sign_bytes)))


def allow_height(site: GuardSite, disk: Disk, height: int, *, clocks: GuardClocks = SYSTEM_CLOCKS) -> int | None:
    """Raise the height ceiling to at least `height`; the watermark stays. Returns the ceiling in force then."""
    check_height(height)
    lock = HomeLock(site.home, "cmkms chain allow-height")
    try:
        guard = _open_born(site, disk, clocks).guard
        try:
            guard.allow_height(height)
            return guard.ceiling()
        finally:
            guard.close()
    finally:
        lock.close()


def caution(site: GuardSite) -> str:
    """Say what a change of one guard of several is worth by itself; empty for a replica that signs alone."""
    if site.alone:
        return ""
    majority = len(site.members) // 2 + 1
    return (
        f"This is ONE guard of {len(site.members)}, and by itself protects nothing: run the same command on every "
        f"replica ({', '.join(site.members)}); it is done when {majority} of them have it"
    )


def restart_birth(site: GuardSite, disk: Disk) -> Path:
    """Set an unarmed guard aside, so that the next start begins its birth with a new nonce. Returns where it lies now.

    What was bound with the old nonce can then never arm. Raises GuardRefusedError for a guard that may have answered:
    armed, with a born marker, or with a blown fuse; HomeLockedError, GuardBusyError, DiskError.
    """
    lock = HomeLock(site.home, "cmkms cluster birth --restart")
    try:
        _refuse_born(site)
        refuse_if_busy(site, disk)
        aside = site.path.with_name(f"guard.restarted-at-{int(SYSTEM_CLOCKS.wall())}")
        disk.rename(site.path, aside)
        return aside
    finally:
        lock.close()


def _refuse_born(site: GuardSite) -> None:
    chain, marker = site.chain_id, site.home.born_marker(site.chain_id)
    report = inspect_guard(site)
    if report.fuse is not None:
        why = f"its fuse is blown ({report.fuse.reason}), so nothing that its file says can be trusted"
    elif marker.exists() or marker.is_symlink():
        why = f"its born marker {marker} is there, so it is armed, or about to be at the next start"
    elif not site.path.exists():
        raise GuardRefusedError(
            f"chain {chain} has no guard here: nothing was begun, and the next start begins its birth"
        )
    elif report.record is None or report.record.armed or report.rotten:
        why = "it is armed, or cannot be read well enough to tell"
    else:
        return
    raise GuardRefusedError(
        f"the birth of the guard of chain {chain} is not begun anew: {why}. A guard that may have answered never "
        f"starts over. If it is in trouble, the way out is: {site.way_out}"
    )


def _open_born(site: GuardSite, disk: Disk, clocks: GuardClocks) -> OpenedGuard:
    if not site.path.exists() and read_marker(site.home.born_marker(site.chain_id)) is None:
        raise GuardRefusedError(
            f"chain {site.chain_id} has no guard yet: put the state file at {site.state_file} and start the signer, "
            f"which reads it at birth"
        )
    # A state file in the home may be the very one to import, and above the guard: it must not be in the way.
    opened = open_guard(replace(site, state_file=site.path.with_name("no-state-file")), disk, clocks=clocks)
    match opened:
        case Unborn(waiting_for=waiting_for):
            raise GuardRefusedError(waiting_for)
        case UnarmedGuard(guard=guard):
            guard.close()
            raise GuardRefusedError(
                f"the guard of chain {site.chain_id} is not born yet, and has nothing to raise: put the state file at "
                f"{site.state_file}, and start all replicas, which read it at birth. {site.start_over}"
            )
        case JoiningGuard(guard=guard):
            guard.close()
            raise GuardRefusedError(
                f"the guard of chain {site.chain_id} waits for a change of generation, which seals it above all that "
                f"was signed: start the replica, and run `cmkms cluster change {site.chain_id}`"
            )
        case OpenedGuard():
            return _unfused(site, opened)


def _unfused(site: GuardSite, opened: OpenedGuard) -> OpenedGuard:
    if opened.guard.fuse.blown is not None:
        opened.guard.close()
        raise GuardRefusedError(
            f"the fuse of the guard of {site.chain_id} is blown ({opened.guard.fuse.blown.reason}). "
            f"The way out: {site.way_out}"
        )
    return opened


def _record_of(opened: OpenedGuard) -> GuardRecord:
    record = opened.guard.record
    if record is None:
        raise GuardRefusedError("the guard has no readable record; see `cmkms guard replace --help`")
    return record
