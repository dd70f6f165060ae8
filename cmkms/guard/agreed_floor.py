"""Where several guards begin, by the floors that their replicas give. Pure.

The floors make a join-semilattice: the higher point wins, at the same point other bytes make a seal, and the later time
stays. So the floor that some are bound to already, joined with what was said before, is that floor again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cmkms.guard.claims import FloorClaim, FloorKind
from cmkms.guard.hrs import HRS, NEVER, place_of
from cmkms.guard.record import MAX_SIGN_BYTES
from cmkms.privval import SignBytesError, parse_sign_bytes

__all__ = ["AgreedFloor", "agreed_floor", "unknown_floor", "unusable_floor"]

_MAX_ACCEPTED_AT: Final = 2**63 - 1
"""A point in time from another machine must fit the record."""


@dataclass(frozen=True, slots=True)
class AgreedFloor:
    """Where all of them begin. `sign_bytes` None: a seal, or never signed; `accepted_at`: Unix seconds."""

    hrs: HRS
    sign_bytes: bytes | None
    accepted_at: int

    def __str__(self) -> str:
        return "as a key that has never signed" if self.hrs == NEVER else f"at {self.hrs}"


def agreed_floor(floors: Iterable[FloorClaim]) -> AgreedFloor | None:
    """Join floors that do not contradict each other; None if not one of them tells anything."""
    telling = [floor for floor in floors if floor.kind is not FloorKind.NONE]
    states = [floor for floor in telling if floor.kind is FloorKind.STATE]
    if not states:
        return AgreedFloor(NEVER, None, 0) if telling else None
    hrs = max(floor.hrs for floor in states)
    highest = [floor for floor in states if floor.hrs == hrs]
    variants = {floor.sign_bytes for floor in highest}
    sign_bytes = variants.pop() if len(variants) == 1 else None
    # The latest: a height ceiling that is too low is lifted by a command, one that is too high protects nothing.
    return AgreedFloor(hrs, sign_bytes, max(floor.accepted_at for floor in highest))


def unusable_floor(floor: FloorClaim, chain_id: str) -> str:
    """Say why a floor from another machine cannot be a guard's; empty if it can."""
    if floor.kind is not FloorKind.STATE:
        return ""
    if floor.hrs.height == 0 or not 0 <= floor.accepted_at <= _MAX_ACCEPTED_AT:
        return f"{floor.hrs} at {floor.accepted_at} is no point that a key has signed"
    if floor.sign_bytes is None:
        return ""
    if len(floor.sign_bytes) > MAX_SIGN_BYTES:
        return f"its sign-bytes have {len(floor.sign_bytes)} bytes, and a guard holds {MAX_SIGN_BYTES}"
    try:
        parse_sign_bytes(floor.sign_bytes)
        signed_on, point = place_of(floor.sign_bytes)
    except SignBytesError as error:
        return f"its sign-bytes are not those of a vote or proposal ({error})"
    if (signed_on, point) != (chain_id, floor.hrs):
        return f"its sign-bytes are of {point} on {signed_on!r}"
    return ""


def unknown_floor(chain_id: str) -> str:
    """Say what to do where no replica knows what the key has signed."""
    return (
        f"no replica knows what this key has signed on {chain_id}. Stop the signer that used it, copy its "
        f"priv_validator_state.json to where a replica looks for it (priv/ in its home) and start that replica again; "
        f"or, if this key has certainly never signed there, start a replica once with --never-signed {chain_id}"
    )
