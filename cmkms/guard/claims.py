"""What a replica tells its peers about one of its guards, in its hello and whenever it changes. Pure values.

A claim is a member's own word about itself, on an authenticated channel. Births are agreed on by claims; accepts never
rest on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from cmkms.guard.generation import GenerationId
from cmkms.guard.hrs import HRS

__all__ = ["FloorClaim", "FloorKind", "GuardClaim", "GuardPhase"]


class GuardPhase(IntEnum):
    """How far a guard's life has come. The numbers go over the wire."""

    REFUSED = 0
    """This replica refuses to use its guard (lost, copied, another key): its operator has to act."""
    UNBOUND = 1
    """The file is there, with its nonce, and bound to nothing: it answers nothing."""
    BOUND = 2
    """The file is durably bound to one birth proposal. It answers nothing yet."""
    ARMED = 3
    FUSED = 4


class FloorKind(IntEnum):
    """Where a replica would have the key begin. The numbers go over the wire."""

    NONE = 0
    """It cannot tell: another replica has to."""
    NEVER_SIGNED = 1
    STATE = 2


@dataclass(frozen=True, slots=True)
class FloorClaim:
    """The state file that a replica was given, or its operator's word. `accepted_at`: Unix seconds."""

    kind: FloorKind
    hrs: HRS
    sign_bytes: bytes | None
    accepted_at: int


@dataclass(frozen=True, slots=True)
class GuardClaim:
    """One guard as its replica tells of it.

    `agrees` is the digest of the birth proposal that this replica would bind to, given the hellos it has seen; empty if
    there is none. `reason` says, for people, what the replica's operator has to do (REFUSED, FUSED), at most 500 bytes.
    """

    chain_id: str
    key_hash: bytes
    phase: GuardPhase
    generation: GenerationId
    nonce: bytes
    sequence: int
    hrs: HRS
    floor: FloorClaim
    agrees: bytes = b""
    reason: str = ""
