"""The born marker: says, apart from the guard's file, that a guard was born for a chain, and which.

It lies in `priv/` while the guard lies in `data/`: a home whose marker names a guard that is not there has lost it, and
must never start from nothing again (design section 2, "A lost, rotten or rolled-back file never returns"). The file of
the founders, beside the guard, only helps a restart between binding and arming: nothing rests on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cmkms.errors import BrokenInvariantError, OperatorError
from cmkms.guard.disk import Disk
from cmkms.guard.generation import NO_GENERATION, GenerationId, Member, generation_hash
from cmkms.guard.member_json import parse_members, render_members
from cmkms.guard.record import GuardRecord
from cmkms.guard.site import GuardSite
from cmkms.home import read_bounded

__all__ = [
    "BornMarker",
    "MarkerError",
    "read_founders",
    "read_marker",
    "render_marker",
    "write_founders",
    "write_marker",
]

_MAX_MARKER_BYTES: Final = 16 * 1024
_FORMAT: Final = 1


class MarkerError(OperatorError):
    """A born marker that cannot be read."""


@dataclass(frozen=True, slots=True)
class BornMarker:
    """The guard that was born: its generation, what the hash of that links to (`Change.link`), and its members."""

    generation: GenerationId
    previous: bytes
    members: tuple[Member, ...]

    def fits(self, record: GuardRecord) -> str:
        """Say why this marker does not speak of that guard; empty if it does."""
        expected = generation_hash(record.chain_id, record.key_hash, self.previous, self.members)
        if self.generation.hash != expected:
            return "the marker's own hash does not match its content"
        if record.generation != self.generation:
            return f"the guard is of generation {record.generation}, the marker of {self.generation}"
        member = self.member(record.member_id)
        if member is None or member.nonce != record.nonce:
            return "the guard's file is not the one that was born"
        return ""

    def member(self, member_id: str) -> Member | None:
        """Return the member of that id."""
        return next((member for member in self.members if member.id == member_id), None)


def read_marker(path: Path) -> BornMarker | None:
    """Read a marker; None where there is none. Raises MarkerError."""
    try:
        data = read_bounded(path, _MAX_MARKER_BYTES)
    except FileNotFoundError:
        return None
    try:
        return _parse(json.loads(data))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise MarkerError(f"{path}: not a born marker ({_said(error)})") from error


def render_marker(marker: BornMarker, chain_id: str) -> bytes:
    """Write a marker as JSON. `chain_id` is for whoever reads the file."""
    fields = {
        "format": _FORMAT,
        "chain_id": chain_id,
        "generation": marker.generation.number,
        "generation_hash": marker.generation.hash.hex(),
        "previous_hash": marker.previous.hex(),
        "members": render_members(marker.members),
    }
    return (json.dumps(fields, indent=2) + "\n").encode()


def write_marker(
    site: GuardSite, disk: Disk, record: GuardRecord, previous: bytes, members: tuple[Member, ...]
) -> Path:
    """Write the marker of the guard in `record`; `previous` is what its generation's hash links to. Durable.

    Raises DiskError.
    """
    path = site.home.born_marker(site.chain_id)
    disk.make_dir(path.parent)
    _write(path, site, disk, record, BornMarker(record.generation, previous, members))
    return path


def write_founders(site: GuardSite, disk: Disk, record: GuardRecord, members: tuple[Member, ...]) -> None:
    """Write, in the marker's form, with whom the guard in `record` is about to be bound. Durable. Raises DiskError."""
    _write(site.founders_file, site, disk, record, BornMarker(record.generation, NO_GENERATION.hash, members))


def read_founders(site: GuardSite, record: GuardRecord) -> tuple[Member, ...]:
    """Read with whom the guard in `record` is bound; empty where that is not known, or was written for another."""
    try:
        found = read_marker(site.founders_file)
    except OperatorError:
        return ()
    return () if found is None or found.fits(record) else found.members


def _write(path: Path, site: GuardSite, disk: Disk, record: GuardRecord, marker: BornMarker) -> None:
    if why := marker.fits(record):
        raise BrokenInvariantError(f"{path} would not fit its guard: {why}")
    disk.create(path, render_marker(marker, site.chain_id))


def _said(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _parse(fields: dict[str, Any]) -> BornMarker:
    if fields["format"] != _FORMAT:
        raise ValueError(f"format {fields['format']!r}, this release reads {_FORMAT}")
    generation = GenerationId(int(fields["generation"]), bytes.fromhex(fields["generation_hash"]))
    return BornMarker(generation, bytes.fromhex(fields["previous_hash"]), parse_members(fields["members"]))
