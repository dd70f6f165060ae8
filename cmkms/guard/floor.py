"""Where a key begins: the state file that an operator gave, or the operator's word, and what this home itself knows.

Reads files and judges them; changes nothing but a state file's name, once the guard holds what it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from cmkms.errors import DiskError, OperatorError
from cmkms.guard.claims import NO_FLOOR, FloorClaim, FloorKind
from cmkms.guard.disk import Disk
from cmkms.guard.hrs import HRS, NEVER
from cmkms.guard.record import MAX_SIGN_BYTES, GuardRecord, RecordTooLargeError
from cmkms.guard.released import load_released, store_released
from cmkms.guard.site import GuardSite
from cmkms.guard.state_file import MAX_STATE_FILE_BYTES, SignState, parse_state
from cmkms.home import read_bounded

__all__ = [
    "Floor",
    "GuardRefusedError",
    "claimed",
    "find_floor",
    "floor_of",
    "home_state",
    "read_state",
    "says_more",
    "set_state_file_aside",
    "state_objection",
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


def find_floor(site: GuardSite, now: float, *, never_signed: bool) -> Floor | None:
    """Return where the guard begins, by the state file or the operator's word; None if there is neither.

    Raises GuardRefusedError, StateFileError, OperatorError.
    """
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


def claimed(floor: Floor | None) -> FloorClaim:
    """Return what a replica tells the others of its floor. Raises RecordTooLargeError for what no guard can hold."""
    if floor is None:
        return NO_FLOOR
    if floor.hrs == NEVER:
        # No time: nothing was signed at it, and every replica must name the very same floor.
        return FloorClaim(FloorKind.NEVER_SIGNED, NEVER, None, 0)
    if floor.sign_bytes is not None and len(floor.sign_bytes) > MAX_SIGN_BYTES:
        raise RecordTooLargeError(
            f"{floor.origin}: sign-bytes of {len(floor.sign_bytes)} bytes do not fit a guard (at most {MAX_SIGN_BYTES})"
        )
    return FloorClaim(FloorKind.STATE, floor.hrs, floor.sign_bytes, floor.accepted_at)


def home_state(site: GuardSite) -> SignState | None:
    """Read the state file in the home; None if there is none. Raises StateFileError, OperatorError."""
    try:
        data = read_bounded(site.state_file, MAX_STATE_FILE_BYTES)
    except FileNotFoundError:
        return None
    return parse_state(data, str(site.state_file), site.chain_id, site.verify)


def read_state(site: GuardSite, path: Path) -> SignState:
    """Read a state file that an operator has named. Raises StateFileError, OperatorError."""
    try:
        data = read_bounded(path, MAX_STATE_FILE_BYTES)
    except FileNotFoundError:
        raise OperatorError(f"{path}: no such file") from None
    return parse_state(data, str(path), site.chain_id, site.verify)


def says_more(state: SignState, record: GuardRecord) -> str:
    """Say how a state file knows, or may know, of a signature that the guard does not; empty if it does not."""
    if state.hrs > record.hrs:
        return f"above the guard's {record.hrs}"
    if state.hrs == record.hrs and record.sign_bytes is not None and state.sign_bytes != record.sign_bytes:
        return "where the guard holds other sign-bytes"
    return ""


def state_objection(site: GuardSite, record: GuardRecord) -> str:
    """Say why the state file in the home forbids this bound guard; empty if it does not. Raises as `home_state`."""
    state = home_state(site)
    why = "" if state is None else says_more(state, record)
    if state is None or not why:
        return ""
    said = f"{site.state_file} says {state.hrs}, {why}"
    if not record.armed and not site.alone:
        return f"{said}, and the birth that it is bound to does not know of it. {site.start_over}"
    return (
        f"{said}: another signer has signed with this key since. Stop that signer, then: cmkms state import "
        f"--home {quote(str(site.home.path))} {quote(site.chain_id)} {quote(str(site.state_file))}"
        + ("" if site.alone else " (and the same on every other replica)")
    )


def set_state_file_aside(site: GuardSite, disk: Disk, record: GuardRecord) -> tuple[str, ...]:
    """Rename a state file that the armed guard in `record` has seen, its signature kept. Returns notes for the log.

    Raises GuardRefusedError for one that knows of more than the guard does, and as `home_state`.
    """
    if why := state_objection(site, record):
        raise GuardRefusedError(why)
    state = home_state(site)
    if state is None:
        return ()
    aside = site.state_file.with_name(f"{site.state_file.name}.imported-at-{record.hrs.height}")
    try:
        _keep_released(site, disk, state, record)
        disk.rename(site.state_file, aside)
    except DiskError as error:
        # A read-only mount, for one. The guard has it on its own disk: what is left over can only refuse a start.
        return (f"the state file is in the guard now, but could not be renamed ({error})",)
    return (f"the state file is in the guard now and was renamed to {aside.name}",)


def _keep_released(site: GuardSite, disk: Disk, state: SignState, record: GuardRecord) -> None:
    """Keep the signature at the guard's own point: a node that repeats its request is answered from it."""
    if state.signature is None or state.hrs != record.hrs:
        return
    released = load_released(site)
    if released is None or released.hrs < state.hrs:
        store_released(site, disk, state)


def _age(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, int(seconds))} seconds"
