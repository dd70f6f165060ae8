"""Reads and judges a guard without touching it: no lock, no write, so it works beside a running signer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cmkms.errors import CmkmsError
from cmkms.guard.born import BornMarker
from cmkms.guard.change_file import read_change
from cmkms.guard.file import MAX_READ_BYTES, survey
from cmkms.guard.fuse import read_fuse
from cmkms.guard.generation import FIRST_GENERATION, NO_GENERATION
from cmkms.guard.objections import lost_objection, marker_of, objections, unreadable_objection
from cmkms.guard.record import GuardRecord
from cmkms.guard.site import GuardSite
from cmkms.home import read_bounded
from cmkms.status import FuseStatus

__all__ = ["GuardReport", "inspect_guard"]


@dataclass(frozen=True, slots=True)
class GuardReport:
    """What can be read of a guard without touching it. `problems` is empty for a guard that would start and answer.

    `members` are the ids of its generation in order, where the born marker tells them.
    """

    chain_id: str
    path: Path
    record: GuardRecord | None
    fuse: FuseStatus | None
    damage: tuple[str, ...]
    problems: tuple[str, ...]
    members: tuple[str, ...] = ()
    rotten: bool = False

    @property
    def state(self) -> str:
        """One of: missing, unbound, bound, moved, armed, fused; what else there is against it stands in `problems`."""
        if self.fuse is not None:
            return "fused"
        if self.record is None:
            return "missing"
        if self.record.armed:
            return "armed"
        if self.record.generation == NO_GENERATION:
            return "unbound"
        return "moved" if self.record.generation.number > FIRST_GENERATION else "bound"


def inspect_guard(site: GuardSite) -> GuardReport:
    """Read and judge the guard of `site`. Never raises for what is wrong with it."""
    problems: list[str] = []
    fuse = read_fuse(site.home.fuse_file(site.chain_id))
    if fuse is not None:
        problems.append(f"the fuse is blown: {fuse.reason}")
    marker = marker_of(site)
    members = tuple(member.id for member in marker.members) if isinstance(marker, BornMarker) else ()
    try:
        found = survey(read_bounded(site.path, MAX_READ_BYTES))
    except FileNotFoundError:
        match marker:
            case None:
                problems.append("not born yet")
            case BornMarker():
                problems.append(lost_objection(site, marker))
            case _:
                problems.append(unreadable_objection(site, marker))
        return GuardReport(site.chain_id, site.path, None, fuse, (), tuple(problems), members)
    except CmkmsError as error:
        return GuardReport(site.chain_id, site.path, None, fuse, (), (*problems, str(error)), members)
    if found.highest is not None:
        problems += [one for one in (_unfinished(site, found.highest),) if one]
        problems += objections(site, found.highest, marker, read_change(site, found.highest))
    if site.path.is_symlink():
        problems.append("it is a symbolic link; put the file itself there")
    if found.rot:
        problems.append(f"rotten: {found.rot}")
    return GuardReport(
        site.chain_id, site.path, found.highest, fuse, found.damage, tuple(problems), members, rotten=bool(found.rot)
    )


def _unfinished(site: GuardSite, record: GuardRecord) -> str:
    if record.armed:
        return ""
    if site.alone:
        return "not armed: a first start was interrupted; the next start goes on with it"
    together = ", ".join(site.members)
    if record.generation == NO_GENERATION:
        return f"not born yet: bound to nothing until {together} are all started and agree"
    return f"not born yet: bound to generation {record.generation}; it arms once {together} are all known to be bound"
