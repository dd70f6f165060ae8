"""The change that a guard has moved to, beside the guard: whom to wait for after a restart, and what to tell others.

Nothing rests on it: the generation's hash, which is in the guard's record, says whether it is the right one, and the
other replicas know it too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from cmkms.errors import BrokenInvariantError, OperatorError
from cmkms.guard.change import Change
from cmkms.guard.disk import Disk
from cmkms.guard.hrs import HRS, Step
from cmkms.guard.member_json import name_of, parse_members, render_members
from cmkms.guard.record import GuardRecord
from cmkms.guard.site import GuardSite
from cmkms.home import read_bounded

__all__ = [
    "change_path",
    "joins_path",
    "last_change",
    "only_joins",
    "parse_change",
    "read_change",
    "render_change",
    "write_change",
]

_MAX_BYTES: Final = 32 * 1024
"""Two generations of at most 16 members, each of under 300 bytes."""
_FORMAT: Final = 1


def change_path(site: GuardSite) -> Path:
    """Return where it lies."""
    return site.path.with_name("change.json")


def write_change(site: GuardSite, disk: Disk, change: Change) -> None:
    """Write it durably. Raises DiskError."""
    if (change.chain_id, change.key_hash) != (site.chain_id, site.key_hash):
        raise BrokenInvariantError(f"a change of chain {change.chain_id} is kept at {site.path}")
    disk.make_dir(site.path.parent)
    disk.create(change_path(site), render_change(change))


def read_change(site: GuardSite, record: GuardRecord | None) -> Change | None:
    """Read the change to the very generation of `record`; None where there is none, or it is another's."""
    found = last_change(site)
    return found if found is not None and record is not None and found.after == record.generation else None


def last_change(site: GuardSite) -> Change | None:
    """Read the change that this guard moved to last, or was about to; None where there is none, or it is another's."""
    try:
        found = parse_change(read_bounded(change_path(site), _MAX_BYTES))
    except (FileNotFoundError, OperatorError):
        return None
    if found is None or (found.chain_id, found.key_hash) != (site.chain_id, site.key_hash):
        return None
    return found


def joins_path(site: GuardSite) -> Path:
    """Return where it is noted that this home's guard was given up, and may only come back by a change."""
    return site.path.with_name("joins.json")


def only_joins(site: GuardSite) -> bool:
    """Tell whether a guard of this home was given up: a new one may join a generation, and never be born."""
    return joins_path(site).exists()


def render_change(change: Change) -> bytes:
    """Write a change as JSON."""
    fields: dict[str, Any] = {
        "format": _FORMAT,
        "chain_id": change.chain_id,
        "key_hash": change.key_hash.hex(),
        "number": change.number,
        "previous_hash": change.previous.hex(),
        "leaving": render_members(change.leaving),
        "members": render_members(change.members),
    }
    if (lowered := change.lowers_to) is not None:
        fields["lowers_to"] = [lowered.height, lowered.round, int(lowered.step)]
    return (json.dumps(fields, indent=2) + "\n").encode()


def parse_change(data: bytes) -> Change | None:
    """Read a change back; None for what is none."""
    try:
        fields: dict[str, Any] = json.loads(data)
        if fields["format"] != _FORMAT:
            return None
        return Change(
            name_of(fields["chain_id"]),
            bytes.fromhex(fields["key_hash"]),
            int(fields["number"]),
            bytes.fromhex(fields["previous_hash"]),
            parse_members(fields["leaving"]),
            parse_members(fields["members"]),
            _lowered(fields.get("lowers_to")),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _lowered(value: list[int] | None) -> HRS | None:
    if value is None:
        return None
    height, round_, step = value
    return HRS(int(height), int(round_), Step(step))
