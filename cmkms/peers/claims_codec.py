"""The bytes of what a replica claims of its guards, in hellos and heartbeats. Pure.

Each claim has one form; what was decoded would be encoded as the very same bytes.
"""

from __future__ import annotations

import struct
from typing import Final

from cmkms.guard.claims import FloorClaim, FloorKind, GuardClaim, GuardPhase
from cmkms.peers.wire import (
    DIGEST_BYTES,
    NONCE_BYTES,
    PeerProtocolError,
    Reader,
    bounded,
    checked_count,
    pack_chain_id,
    pack_choice,
    pack_generation,
    pack_hrs,
    pack_optional_sign_bytes,
    pack_text,
)

__all__ = ["MAX_GUARDS", "encode_claims", "read_claims"]

MAX_GUARDS: Final = 256
"""Chains of one replica."""

_U64: Final = struct.Struct(">Q")


def encode_claims(claims: tuple[GuardClaim, ...]) -> bytes:
    """Return claims with their count (two bytes) before them."""
    count = checked_count("guards", len(claims), MAX_GUARDS)
    return count.to_bytes(2, "big") + b"".join(_encode_claim(claim) for claim in claims)


def _encode_claim(claim: GuardClaim) -> bytes:
    floor = claim.floor
    return b"".join(
        (
            pack_chain_id(claim.chain_id),
            pack_choice("a key's hash", claim.key_hash, 0, DIGEST_BYTES),
            bytes((claim.phase,)),
            pack_generation(claim.generation),
            pack_choice("a nonce", claim.nonce, NONCE_BYTES),
            _U64.pack(claim.sequence),
            pack_hrs(claim.hrs),
            bytes((floor.kind,)),
            pack_hrs(floor.hrs),
            pack_optional_sign_bytes(floor.sign_bytes),
            _U64.pack(floor.accepted_at),
            pack_choice("a proposal's digest", claim.agrees, 0, DIGEST_BYTES),
            pack_text(claim.reason),
        )
    )


def read_claims(reader: Reader) -> tuple[GuardClaim, ...]:
    """Take claims. Raises PeerProtocolError."""
    return tuple(_read_claim(reader) for _ in range(bounded("guards", reader.u16(), MAX_GUARDS)))


def _read_claim(reader: Reader) -> GuardClaim:
    return GuardClaim(
        chain_id=reader.chain_id(),
        key_hash=reader.choice("a key's hash", 0, DIGEST_BYTES),
        phase=_phase_of(reader.u8()),
        generation=reader.generation(),
        nonce=reader.choice("a nonce", NONCE_BYTES),
        sequence=reader.u64(),
        hrs=reader.hrs(),
        floor=FloorClaim(_floor_kind_of(reader.u8()), reader.hrs(), reader.optional_sign_bytes(), reader.u64()),
        agrees=reader.choice("a proposal's digest", 0, DIGEST_BYTES),
        reason=reader.text(),
    )


def _phase_of(number: int) -> GuardPhase:
    try:
        return GuardPhase(number)
    except ValueError:
        raise PeerProtocolError(f"a guard in unknown phase {number}") from None


def _floor_kind_of(number: int) -> FloorKind:
    try:
        return FloorKind(number)
    except ValueError:
        raise PeerProtocolError(f"a floor of unknown kind {number}") from None
