"""What an operator does to a guard while its signer is stopped: look, verify, raise, replace, export.

Everything that changes a guard takes the home's lock and the guard's own first, so it can never run beside a signer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cmkms.errors import CmkmsError, OperatorError
from cmkms.guard.birth import (
    SYSTEM_CLOCKS,
    Floor,
    GuardRefusedError,
    GuardSite,
    OpenedGuard,
    floor_of,
    home_state,
    open_guard,
    readable_record,
    says_more,
    write_marker,
    write_new_guard,
)
from cmkms.guard.born import BornMarker, read_marker
from cmkms.guard.disk import Disk, LockHeldError
from cmkms.guard.file import MAX_READ_BYTES, GuardBusyError, GuardFile, survey
from cmkms.guard.fuse import read_fuse
from cmkms.guard.generation import NO_GENERATION, GenerationId
from cmkms.guard.guard import GuardClocks
from cmkms.guard.hrs import HRS, MAX_HEIGHT, MAX_ROUND, NEVER, Step
from cmkms.guard.lock import HomeLock
from cmkms.guard.record import GuardRecord
from cmkms.guard.released import load_released, store_released
from cmkms.guard.state_file import MAX_STATE_FILE_BYTES, SignState, parse_state, render_state
from cmkms.home import read_bounded
from cmkms.keys.consensus import ConsensusKey
from cmkms.status import FuseStatus

__all__ = [
    "GuardReport",
    "Raised",
    "Replacement",
    "allow_height",
    "export_state",
    "import_state",
    "inspect_guard",
    "plan_replacement",
    "replace_guard",
]


@dataclass(frozen=True, slots=True)
class GuardReport:
    """What can be read of a guard without touching it. `problems` is empty for a guard that would start."""

    chain_id: str
    path: Path
    record: GuardRecord | None
    fuse: FuseStatus | None
    damage: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Raised:
    """What an import did: the watermark before and after, and whether it moved."""

    before: HRS
    after: HRS
    sealed: bool
    moved: bool


@dataclass(frozen=True, slots=True)
class Replacement:
    """What `replace_guard` would do: the record that is left, and the seal under which nothing is signed again."""

    readable: GuardRecord | None
    seal: HRS
    floor: Floor
    before: GenerationId


def inspect_guard(site: GuardSite) -> GuardReport:
    """Read and judge a guard. Takes no lock and writes nothing, so it works beside a running signer."""
    problems: list[str] = []
    fuse = read_fuse(site.home.fuse_file(site.chain_id))
    if fuse is not None:
        problems.append(f"the fuse is blown: {fuse.reason}")
    try:
        marker = read_marker(site.home.born_marker(site.chain_id))
    except CmkmsError as error:
        marker = None
        problems.append(str(error))
    try:
        found = survey(read_bounded(site.path, MAX_READ_BYTES))
    except FileNotFoundError:
        problems.append("lost: the born marker names a guard that is not there" if marker else "not born yet")
        return GuardReport(site.chain_id, site.path, None, fuse, (), tuple(problems))
    except CmkmsError as error:
        return GuardReport(site.chain_id, site.path, None, fuse, (), (*problems, str(error)))
    problems += _record_problems(site, found.highest, marker)
    problems += _contradictions(site, found.highest)
    if site.path.is_symlink():
        problems.append("it is a symbolic link; put the file itself there")
    if found.rot:
        problems.append(f"rotten: {found.rot}")
    return GuardReport(site.chain_id, site.path, found.highest, fuse, found.damage, tuple(problems))


def import_state(site: GuardSite, disk: Disk, path: Path, *, clocks: GuardClocks = SYSTEM_CLOCKS) -> Raised:
    """Raise the guard to what CometBFT's state file `path` says; never lowers it.

    Raises StateFileError, LowersWatermarkError, GuardRefusedError, HomeLockedError, DiskError.
    """
    state = _read_state(site, path)
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

    Takes the home's lock: exported beside a running signer, it would be out of date at once. The signature is made
    anew where it is not at hand; a majority, here the only guard, has accepted exactly these bytes. Raises
    GuardRefusedError for a guard whose record may not be its last: fused, rotten, copied, restored, another's.
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
            f"says for certain what was signed last. A new guard does, above the chain's newest block: {site.way_out}"
        )
    if released is not None and released.hrs == record.hrs:
        return render_state(released)
    if record.sign_bytes is None:
        return render_state(SignState(record.hrs))
    return render_state(SignState(record.hrs, record.sign_bytes, key.sign(record.sign_bytes)))


def allow_height(site: GuardSite, disk: Disk, height: int, *, clocks: GuardClocks = SYSTEM_CLOCKS) -> int | None:
    """Raise the height ceiling to at least `height`; the watermark stays. Returns the ceiling in force then."""
    _check_height(height)
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


def plan_replacement(site: GuardSite, source: Path | int) -> Replacement:
    """Work out a new guard for one that is lost, rotten or fused: from a state file, or above a height.

    The new guard is sealed strictly: nothing at or below the seal is ever signed again. Raises GuardRefusedError
    where the old guard's readable record stands higher than what was given, and StateFileError.
    """
    marker = _readable_marker(site)
    readable = _left_behind(site, marker)
    now = int(SYSTEM_CLOCKS.wall())
    if isinstance(source, Path):
        state = _read_state(site, source)
        # An unknown age must not make the ceiling a wall: the operator names the point, the node soon shows the rest.
        accepted_at = min(max(state.timestamp_seconds or 0, 0), now)
        floor = Floor(state.hrs, None, accepted_at, floor_of(state, source, now).origin, state)
    else:
        _check_height(source)
        floor = Floor(HRS(source, MAX_ROUND, Step.PRECOMMIT), None, 0, f"the operator's word (--above {source})")
    if floor.hrs == NEVER:
        raise GuardRefusedError(f"{floor.origin} says that nothing was ever signed; a guard that was born has signed")
    _refuse_too_low(site, readable, floor.hrs)
    before = marker.generation if marker else readable.generation if readable else NO_GENERATION
    return Replacement(readable, floor.hrs, floor, before)


def replace_guard(site: GuardSite, disk: Disk, plan: Replacement) -> GuardRecord:
    """Put a new guard, with a new nonce and generation, in the place of the old one, which is kept beside it.

    The marker moves first: killed half-way, the home refuses to start until this command has been run again.
    """
    lock = HomeLock(site.home, "cmkms guard replace")
    try:
        if site.path.exists():
            _refuse_if_busy(site, disk)
        # Once more: the signer may have gone on while its operator read the plan.
        _refuse_too_low(site, _left_behind(site, _readable_marker(site)), plan.seal)
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
    write_marker(site, disk, record, plan.before)
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
    try:
        return read_marker(site.home.born_marker(site.chain_id))
    except CmkmsError:
        return None


def _left_behind(site: GuardSite, marker: BornMarker | None) -> GuardRecord | None:
    """Return the highest readable record of the guard that is to be replaced.

    A replacement that was killed when the old file had left its place has left its own, which the marker names.
    """
    if not site.path.exists() and marker is not None:
        fresh = readable_record(_fresh_path(site))
        if fresh is not None and not marker.fits(fresh):
            return fresh
    return readable_record(site.path)


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


def _check_height(height: int) -> None:
    if not 1 <= height <= MAX_HEIGHT:
        raise OperatorError(f"{height} is no height; expected 1 to {MAX_HEIGHT}")


def _refuse_if_busy(site: GuardSite, disk: Disk) -> None:
    """Raise GuardBusyError where a live process holds the old guard; any other fault of it is why it is replaced."""
    try:
        disk.open_locked(site.path).close()
    except LockHeldError as error:
        raise GuardBusyError(f"{error}: two signers on one home would sign twice. Stop it first") from error
    except OSError:
        return


def _open_born(site: GuardSite, disk: Disk, clocks: GuardClocks) -> OpenedGuard:
    if not site.path.exists() and read_marker(site.home.born_marker(site.chain_id)) is None:
        raise GuardRefusedError(
            f"chain {site.chain_id} has no guard yet: put the state file at {site.state_file} and start the signer, "
            f"which reads it at birth"
        )
    # A state file in the home may be the very one to import, and above the guard: it must not be in the way.
    opened = open_guard(replace(site, state_file=site.path.with_name("no-state-file")), disk, clocks=clocks)
    if not isinstance(opened, OpenedGuard):
        raise GuardRefusedError(opened.waiting_for)
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


def _record_problems(site: GuardSite, record: GuardRecord | None, marker: BornMarker | None) -> list[str]:
    if record is None:
        return []
    problems: list[str] = []
    if not record.armed:
        problems.append("not armed: a first start was interrupted; the next start goes on with it")
    if record.chain_id != site.chain_id:
        problems.append(f"it is of chain {record.chain_id!r}")
    if record.member_id != site.member_id:
        problems.append(f"it is of replica {record.member_id!r}, the configuration says {site.member_id!r}")
    if record.key_hash != site.key_hash:
        problems.append("it guards another consensus key")
    if marker is None and record.armed:
        problems.append("its born marker is missing")
    elif marker is not None and (why := marker.fits(record)):
        problems.append(f"it does not belong to its born marker: {why}")
    elif marker is not None and ((member := marker.member(site.member_id)) is None or member.identity != site.identity):
        problems.append(f"it was born with another identity than {site.home.identity_file} holds")
    return problems


def _contradictions(site: GuardSite, record: GuardRecord | None) -> list[str]:
    """Say what else in this home knows of more than the guard does: a start refuses then, too."""
    if record is None:
        return []
    problems: list[str] = []
    released = load_released(site)
    if released is not None and released.hrs > record.hrs:
        problems.append(f"{released.hrs} was signed, above its {record.hrs}: an older guard was restored")
    try:
        state = home_state(site)
    except CmkmsError as error:
        return [*problems, str(error)]
    if state is not None and (why := says_more(state, record)):
        problems.append(f"{site.state_file} says {state.hrs}, {why}; see `cmkms state import --help`")
    return problems


def _read_state(site: GuardSite, path: Path) -> SignState:
    try:
        data = read_bounded(path, MAX_STATE_FILE_BYTES)
    except FileNotFoundError:
        raise OperatorError(f"{path}: no such file") from None
    return parse_state(data, str(path), site.chain_id, site.verify)
