"""What a replica tells its peers about one of its guards, in its hello and whenever it changes. Pure values.

A claim is a member's own word about itself, on an authenticated channel. Births are agreed on by claims; accepts never
rest on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cmkms.guard.generation import FIRST_GENERATION, NO_GENERATION, NONCE_BYTES, GenerationId, birth_digest
from cmkms.guard.hrs import HRS, NEVER
from cmkms.guard.record import GuardRecord

__all__ = [
    "MAX_REASON_BYTES",
    "NO_FLOOR",
    "NO_NONCE",
    "FloorClaim",
    "FloorKind",
    "GuardClaim",
    "GuardPhase",
    "claim_of",
    "refused_claim",
    "short_reason",
    "state_name",
]

MAX_REASON_BYTES: Final = 500
"""A claim goes to every peer five times a second, and a reason is a sentence."""
NO_NONCE: Final = bytes(NONCE_BYTES)


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


_STATES: Final = {
    GuardPhase.REFUSED: "refused",
    GuardPhase.UNBOUND: "unborn",
    GuardPhase.BOUND: "bound",
    GuardPhase.ARMED: "armed",
    GuardPhase.FUSED: "fused",
}


def state_name(phase: GuardPhase, generation: GenerationId) -> str:
    """Return how a guard's state is called in a status: one that left its generation, and is in no other, "moved"."""
    if phase is GuardPhase.BOUND and generation.number > FIRST_GENERATION:
        return "moved"
    return _STATES[phase]


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


NO_FLOOR: Final = FloorClaim(FloorKind.NONE, NEVER, None, 0)


@dataclass(frozen=True, slots=True)
class GuardClaim:
    """One guard as its replica tells of it.

    `agrees` is the digest of the birth proposal that this replica would bind to, given the claims it has seen, or that
    its guard is bound to; after birth, the hash of the generation that it is ready to begin; empty if there is none.
    The `floor` of a bound guard is the one it is bound to. `reason` says, for people, what the replica's operator has
    to do (REFUSED, FUSED), at most 500 bytes.
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

    def answers_for(self, generation: GenerationId) -> bool:
        """Tell whether this guard answers accepts of that generation."""
        return self.phase is GuardPhase.ARMED and self.generation == generation

    def has_entered(self, generation: GenerationId) -> bool:
        """Tell whether this guard is bound to that generation, answering for it or not yet."""
        return self.phase in {GuardPhase.BOUND, GuardPhase.ARMED} and self.generation == generation


def claim_of(
    record: GuardRecord | None,
    chain_id: str,
    key_hash: bytes,
    phase: GuardPhase,
    *,
    floor: FloorClaim,
    agrees: bytes,
    reason: str,
) -> GuardClaim:
    """Return what a replica tells of a guard with this record, and what it adds of its own: `floor`, `agrees`, why."""
    if record is not None and not record.armed and record.generation != NO_GENERATION:
        # What it is bound to outlives the file or the word that it came from, and its fuse.
        kind = FloorKind.NEVER_SIGNED if record.hrs == NEVER else FloorKind.STATE
        floor = FloorClaim(kind, record.hrs, record.sign_bytes, record.accepted_at)
        if record.generation.number == FIRST_GENERATION:
            agrees = birth_digest(record.generation, record.hrs, record.sign_bytes, record.accepted_at)
    elif phase is not GuardPhase.UNBOUND:
        floor = NO_FLOOR
    return GuardClaim(
        chain_id=chain_id,
        key_hash=key_hash,
        phase=phase,
        generation=NO_GENERATION if record is None else record.generation,
        nonce=NO_NONCE if record is None else record.nonce,
        sequence=0 if record is None else record.sequence,
        hrs=NEVER if record is None else record.hrs,
        floor=floor,
        agrees=agrees,
        reason=short_reason(reason),
    )


def refused_claim(chain_id: str, key_hash: bytes, reason: str, agrees: bytes = b"") -> GuardClaim:
    """Return what a replica tells of a guard that it refuses to use; `reason` says what its operator has to do."""
    return GuardClaim(
        chain_id=chain_id,
        key_hash=key_hash,
        phase=GuardPhase.REFUSED,
        generation=NO_GENERATION,
        nonce=NO_NONCE,
        sequence=0,
        hrs=NEVER,
        floor=NO_FLOOR,
        agrees=agrees,
        reason=short_reason(reason),
    )


def short_reason(reason: str) -> str:
    """Cut a reason to what a claim may carry."""
    return reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode(errors="ignore")
