"""The bytes of a change of generation on the peer link: two generations by their members. Strict, bounded. Pure."""

from __future__ import annotations

import struct
from typing import Final

from cmkms.guard.change import Change
from cmkms.guard.generation import Member
from cmkms.peers.wire import (
    DIGEST_BYTES,
    NONCE_BYTES,
    Reader,
    bounded,
    checked_count,
    pack_chain_id,
    pack_choice,
    pack_hrs,
    pack_member_id,
)

__all__ = ["MAX_GENERATION_MEMBERS", "encode_change", "read_change"]

MAX_GENERATION_MEMBERS: Final = 16
"""As many as a peer list may name."""
_U64: Final = struct.Struct(">Q")


def encode_change(change: Change) -> bytes:
    """Return a change's bytes."""
    return b"".join(
        (
            pack_chain_id(change.chain_id),
            pack_choice("a key's hash", change.key_hash, DIGEST_BYTES),
            _U64.pack(change.number),
            pack_choice("a generation's hash", change.previous, DIGEST_BYTES),
            _encode_members(change.leaving),
            _encode_members(change.members),
            b"\0" if change.lowers_to is None else b"\1" + pack_hrs(change.lowers_to),
        )
    )


def read_change(reader: Reader) -> Change:
    """Take a change. Raises PeerProtocolError."""
    return Change(
        chain_id=reader.chain_id(),
        key_hash=reader.choice("a key's hash", DIGEST_BYTES),
        number=reader.u64(),
        previous=reader.choice("a generation's hash", DIGEST_BYTES),
        leaving=_read_members(reader),
        members=_read_members(reader),
        lowers_to=reader.hrs() if reader.flag() else None,
    )


def _encode_members(members: tuple[Member, ...]) -> bytes:
    parts = [bytes((checked_count("members", len(members), MAX_GENERATION_MEMBERS),))]
    for member in members:
        parts += [
            pack_member_id(member.id),
            pack_choice("an identity", member.identity, DIGEST_BYTES),
            pack_choice("a nonce", member.nonce, NONCE_BYTES),
        ]
    return b"".join(parts)


def _read_members(reader: Reader) -> tuple[Member, ...]:
    return tuple(
        Member(
            reader.member_id(),
            reader.choice("an identity", DIGEST_BYTES),
            reader.choice("a nonce", NONCE_BYTES),
        )
        for _ in range(bounded("members", reader.u8(), MAX_GENERATION_MEMBERS))
    )
