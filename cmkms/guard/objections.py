"""Why a guard's file that can be read must not be used all the same: one list, for `start` and for whoever only looks.

Each objection is a whole sentence with the way out. What it rests on is passed in or read; nothing is changed here.
"""

from __future__ import annotations

from dataclasses import replace

from cmkms.errors import CmkmsError, OperatorError
from cmkms.guard.born import BornMarker, MarkerError, read_marker
from cmkms.guard.change import Change
from cmkms.guard.floor import state_objection
from cmkms.guard.generation import FIRST_GENERATION, NO_GENERATION, Member, first_generation
from cmkms.guard.hrs import HRS
from cmkms.guard.record import GuardRecord
from cmkms.guard.released import is_forgotten, load_released
from cmkms.guard.site import GuardSite

__all__ = ["lost_objection", "marker_of", "objections", "released_objection", "unreadable_objection"]


def marker_of(site: GuardSite) -> BornMarker | MarkerError | None:
    """Read the born marker; one that cannot be read is given as the error that says so."""
    try:
        return read_marker(site.home.born_marker(site.chain_id))
    except MarkerError as error:
        return error
    except OperatorError as error:
        return MarkerError(str(error))


def objections(
    site: GuardSite, record: GuardRecord, marker: BornMarker | MarkerError | None, change: Change | None = None
) -> tuple[str, ...]:
    """Return every reason against the guard in `record`, the gravest first; empty for one that may be used.

    `change` is what led to the generation in the record, where it is known.
    """
    found = _of_another(site, record)
    match marker:
        case MarkerError():
            found.append(unreadable_objection(site, marker))
        case None:
            found.append(_without_marker(site, record, change))
        case BornMarker() if _is_on_its_way(record, marker):
            found.append(_of_identity(site, marker))
        case BornMarker():
            found.append(_of_marker(site, record, marker))
    if record.armed or record.generation != NO_GENERATION:
        if site.alone or not record.armed:
            # One of several may lie behind what the others have signed, and has been told of: it catches up by itself.
            found.append(released_objection(site, record.hrs, record.generation.number))
        try:
            found.append(state_objection(site, record))
        except CmkmsError as error:
            found.append(str(error))
    return tuple(one for one in found if one)


def unreadable_objection(site: GuardSite, error: MarkerError) -> str:
    """Say what to do about a born marker that cannot be read: it may go if the guard itself is there, and alone."""
    if not site.path.exists():
        return f"{error}, and the guard {site.path} is not there. The way out: {site.way_out}"
    if not site.alone:
        # It alone names the other members, and a guard that does not know them cannot count.
        return f"{error}; put back the one of this home's backup: it names the other members of the guard's generation"
    return f"{error}; move it away and start again: the guard is there to tell"


def lost_objection(site: GuardSite, marker: BornMarker | None) -> str:
    """Say why a guard that is not there must not be made anew; empty where none was ever born."""
    if marker is None:
        return ""
    return (
        f"the guard of chain {site.chain_id} is lost: {site.home.born_marker(site.chain_id)} says that it was "
        f"born, but {site.path} is not there. Do NOT restore it from a backup. The way out: {site.way_out}"
    )


def released_objection(site: GuardSite, hrs: HRS, generation: int = NO_GENERATION.number) -> str:
    """Say why a guard must not go on from `hrs`: this key's own released signature lies above it.

    `generation` is the guard's.
    """
    released = load_released(site)
    if released is None or released.hrs <= hrs or is_forgotten(released, generation):
        return ""
    kept = site.home.released_file(site.chain_id)
    return (
        f"the guard of chain {site.chain_id} would go on from {hrs}, but {kept} holds this key's signature at "
        f"{released.hrs}: an older guard was restored, or the word that it began by was wrong. More may have "
        f"been signed than that file knows. The way out: {site.way_out}"
    )


def _of_another(site: GuardSite, record: GuardRecord) -> list[str]:
    """A guard of another chain, replica or key: a copied home, a changed id, another key under it."""
    out = "see `cmkms guard replace --help`" if record.armed or site.alone else site.start_over
    found = [
        f"{site.path} is the guard of {what} {said!r}, but the configuration says {expected!r}; "
        f"put the right one into the configuration, or {out}"
        for what, said, expected in (
            ("chain", record.chain_id, site.chain_id),
            ("replica", record.member_id, site.member_id),
        )
        if said != expected
    ]
    if record.key_hash != site.key_hash:
        found.append(
            f"{site.path} guards another consensus key than the one in use; put the old key back, or, if the key "
            f"of chain {site.chain_id} was changed on purpose, {out}"
        )
    return found


def _of_marker(site: GuardSite, record: GuardRecord, marker: BornMarker) -> str:
    why = marker.fits(record) or _of_identity(site, marker)
    if why:
        return (
            f"the guard {site.path} and its born marker {site.home.born_marker(site.chain_id)} "
            f"do not belong together ({why}). If one of them was restored or copied: {site.way_out}"
        )
    return _of_other_members(site, tuple(member.id for member in marker.members))


def _is_on_its_way(record: GuardRecord, marker: BornMarker) -> bool:
    """Whether this guard has left the generation of its marker for a later one, and is not armed there yet.

    The marker must be sound and name this very file: the generation is all that may differ.
    """
    left = not record.armed and record.generation.number > marker.generation.number
    return left and not marker.fits(replace(record, generation=marker.generation))


def _of_identity(site: GuardSite, marker: BornMarker) -> str:
    member = marker.member(site.member_id)
    if member is not None and member.identity == site.identity:
        return ""
    kept = site.home.identity_file
    return f"it was born with another identity than {kept} holds: put the old identity back, from its backup"


def _of_other_members(site: GuardSite, born_with: tuple[str, ...]) -> str:
    """A replica that signs alone must be the only guard there is: it asks nobody else.

    Several replicas may be configured beside fewer or more guards: whom they ask is what the generation says.
    """
    if not site.alone or born_with == site.members:
        return ""
    return (
        f"the guard of chain {site.chain_id} is one of {len(born_with)} ({', '.join(born_with)}), but the peer list "
        f"now names {site.members[0]} only. The peer list is no way to change which replicas sign: put the old one "
        f"back, run `cmkms cluster change {site.chain_id} --member {site.members[0]}`, and shorten the list after that"
    )


def _without_marker(site: GuardSite, record: GuardRecord, change: Change | None) -> str:
    if not record.armed and record.generation.number > FIRST_GENERATION:
        # Sealed for a generation that it joins: of its first life there is no marker, and it was never armed.
        return "" if change is not None or not site.alone else f"{site.path} waits for a change of generation"
    alone = record.generation == first_generation(
        site.chain_id, site.key_hash, Member(site.member_id, site.identity, record.nonce)
    )
    if record.armed:
        # Only a guard that was certainly born here, alone and with this identity, is taken without its marker.
        return _armed_without_marker(site, alone=alone)
    if alone and not site.alone:
        return (
            f"the guard {site.path} was begun for a replica that signs alone, and not finished; the peer list names "
            f"{', '.join(site.members)}. Put the old peer list back, or: {site.start_over}"
        )
    if site.alone and not alone:
        return (
            f"the guard {site.path} was begun together with other replicas, or with another identity, and not "
            f"finished; the peer list names {site.members[0]} only. Put the old peer list back, or: {site.start_over}"
        )
    return ""


def _armed_without_marker(site: GuardSite, *, alone: bool) -> str:
    if not alone:
        return (
            f"{site.path} has no born marker, and was not born alone with the identity that is here: restore "
            f"{site.home.born_marker(site.chain_id)} and {site.home.identity_file} from this home's backup. "
            f"If there is none: {site.way_out}"
        )
    return _of_other_members(site, (site.member_id,))
