"""Checks what a chain committed, with nothing but the answers of its RPC: an own encoder of precommits, an own Ed25519.

Shares no code with the signer under test: a mistake in cmkms' sign-bytes must not be repeated by its judge.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["Committed", "check_commit", "precommit_sign_bytes"]

# tendermint.types.SignedMsgType and BlockIDFlag, as the RPC shows them.
_PRECOMMIT = 2
_FLAG_COMMIT = 2

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


@dataclass(frozen=True, slots=True)
class Committed:
    """One block that its sole validator committed: verified."""

    height: int
    round: int


def check_commit(
    chain_id: str, height: int, commit: Mapping[str, Any], block: Mapping[str, Any], validators: Mapping[str, Any]
) -> Committed:
    """Verify the one signature under the block of `height` and that the block carries no evidence.

    `commit`, `block` and `validators` are the results of the RPC calls of the same names. Raises AssertionError.
    """
    signed = commit["signed_header"]["commit"]
    assert commit["canonical"], f"height {height}: the commit is not final yet"
    assert int(signed["height"]) == height
    assert signed["block_id"] == block["block_id"], f"height {height}: the commit is for another block"
    assert not block["block"]["evidence"]["evidence"], f"height {height} carries evidence of a double sign"
    (validator,) = validators["validators"]
    (signature,) = signed["signatures"]
    assert signature["block_id_flag"] == _FLAG_COMMIT, f"height {height}: not signed for the block"
    assert signature["validator_address"] == validator["address"]
    sign_bytes = precommit_sign_bytes(
        chain_id, height, int(signed["round"]), signed["block_id"], signature["timestamp"]
    )
    public_key = Ed25519PublicKey.from_public_bytes(base64.b64decode(validator["pub_key"]["value"]))
    try:
        public_key.verify(base64.b64decode(signature["signature"]), sign_bytes)
    except InvalidSignature as error:
        raise AssertionError(f"height {height}: the commit's signature does not verify") from error
    return Committed(height, int(signed["round"]))


def precommit_sign_bytes(chain_id: str, height: int, round_: int, block_id: Mapping[str, Any], timestamp: str) -> bytes:
    """CanonicalVote of a precommit for a block, with its length in front (types/canonical.go, types/vote.go)."""
    parts = block_id["parts"]
    part_set = _varint_field(1, int(parts["total"])) + _bytes_field(2, bytes.fromhex(parts["hash"]))
    block = _bytes_field(1, bytes.fromhex(block_id["hash"])) + _message_field(2, part_set)
    body = (
        _varint_field(1, _PRECOMMIT)
        + _sfixed64_field(2, height)
        + _sfixed64_field(3, round_)
        + _message_field(4, block)
        + _message_field(5, _timestamp(timestamp))
        + _bytes_field(6, chain_id.encode())
    )
    return _uvarint(len(body)) + body


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
