"""Checks what a chain committed, with nothing but the answers of its RPC: an own encoder of precommits, an own Ed25519.

Shares no code with the signer under test: a mistake in cmkms' sign-bytes must not be repeated by its judge.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["Committed", "Flag", "check_commit", "precommit_sign_bytes"]

# tendermint.types.SignedMsgType, as the RPC shows it.
_PRECOMMIT = 2

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


class Flag(IntEnum):
    """tendermint.types.BlockIDFlag: what became of a validator's precommit, as far as the next proposer saw it."""

    ABSENT = 1
    COMMIT = 2
    NIL = 3


@dataclass(frozen=True, slots=True)
class Committed:
    """One block and what each validator's precommit for it was: each that is there was verified."""

    height: int
    round: int
    flags: Mapping[str, Flag]
    """By the validator's address."""


def check_commit(
    chain_id: str, height: int, commit: Mapping[str, Any], block: Mapping[str, Any], validators: Mapping[str, Any]
) -> Committed:
    """Verify every signature under the block of `height` and that the block carries no evidence.

    `commit`, `block` and `validators` are the results of the RPC calls of the same names. Raises AssertionError.
    """
    signed = commit["signed_header"]["commit"]
    assert commit["canonical"], f"height {height}: the commit is not final yet"
    assert int(signed["height"]) == height
    assert signed["block_id"] == block["block_id"], f"height {height}: the commit is for another block"
    assert not block["block"]["evidence"]["evidence"], f"height {height} carries evidence of a double sign"
    flags: dict[str, Flag] = {}
    # A commit has one place for each validator, in the order of the set (types/block.go, Commit).
    for validator, signature in zip(validators["validators"], signed["signatures"], strict=True):
        flag = flags[validator["address"]] = Flag(signature["block_id_flag"])
        if flag is not Flag.ABSENT:
            _verify(chain_id, signed, validator, signature)
    return Committed(height, int(signed["round"]), flags)


def _verify(
    chain_id: str, commit: Mapping[str, Any], validator: Mapping[str, Any], signature: Mapping[str, Any]
) -> None:
    height, round_ = int(commit["height"]), int(commit["round"])
    assert signature["validator_address"] == validator["address"]
    block_id = commit["block_id"] if signature["block_id_flag"] == Flag.COMMIT else None
    sign_bytes = precommit_sign_bytes(chain_id, height, round_, block_id, signature["timestamp"])
    public_key = Ed25519PublicKey.from_public_bytes(base64.b64decode(validator["pub_key"]["value"]))
    try:
        public_key.verify(base64.b64decode(signature["signature"]), sign_bytes)
    except InvalidSignature as error:
        raise AssertionError(f"height {height}: the commit's signature does not verify") from error


def precommit_sign_bytes(
    chain_id: str, height: int, round_: int, block_id: Mapping[str, Any] | None, timestamp: str
) -> bytes:
    """CanonicalVote of a precommit, with its length in front (types/canonical.go, types/vote.go). No block: for nil."""
    body = (
        _varint_field(1, _PRECOMMIT)
        + _sfixed64_field(2, height)
        + _sfixed64_field(3, round_)
        + (b"" if block_id is None else _message_field(4, _block(block_id)))
        + _message_field(5, _timestamp(timestamp))
        + _bytes_field(6, chain_id.encode())
    )
    return _uvarint(len(body)) + body


def _block(block_id: Mapping[str, Any]) -> bytes:
    parts = block_id["parts"]
    part_set = _varint_field(1, int(parts["total"])) + _bytes_field(2, bytes.fromhex(parts["hash"]))
    return _bytes_field(1, bytes.fromhex(block_id["hash"])) + _message_field(2, part_set)


def _timestamp(text: str) -> bytes:
    match = _RFC3339.fullmatch(text)
    assert match is not None, f"not a time of the RPC: {text!r}"
    seconds = int(datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp())
    return _varint_field(1, seconds) + _varint_field(2, int((match[2] or "").ljust(9, "0")))


def _uvarint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _varint_field(number: int, value: int) -> bytes:
    return _uvarint(number << 3) + _uvarint(value) if value else b""


def _sfixed64_field(number: int, value: int) -> bytes:
    return _uvarint(number << 3 | 1) + value.to_bytes(8, "little", signed=True) if value else b""


def _bytes_field(number: int, value: bytes) -> bytes:
    return _message_field(number, value) if value else b""


def _message_field(number: int, value: bytes) -> bytes:
    return _uvarint(number << 3 | 2) + _uvarint(len(value)) + value
