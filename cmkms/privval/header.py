"""Reads of canonical sign-bytes just what orders them: type, height, round and chain id. The guard's hot path.

`parse_sign_bytes` says everything, strictly, at ten times the price. This reader walks the same fields once and only
promises to agree with it on canonical bytes. That is enough where it is used: a signature over bytes that are not
canonical verifies for no vote and no proposal. Pure.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from cmkms.privval.errors import SignBytesError
from cmkms.privval.values import SignedMsgType

__all__ = ["SignBytesHeader", "read_header"]

_SFIXED64: Final = struct.Struct("<q")
_CONTINUES: Final = 0x80
_TYPE, _HEIGHT, _ROUND, _POL_ROUND = 0x08, 0x11, 0x19, 0x20
_VOTE_TAGS: Final = (0x22, 0x2A, 0x32)
_PROPOSAL_TAGS: Final = (0x2A, 0x32, 0x3A)
_SIGNED_TYPES: Final = {int(kind): kind for kind in SignedMsgType if kind is not SignedMsgType.UNKNOWN}


@dataclass(frozen=True, slots=True)
class SignBytesHeader:
    """What orders a vote or proposal, and whose it is."""

    type: SignedMsgType
    height: int
    round: int
    chain_id: str


def read_header(data: bytes) -> SignBytesHeader:
    """Read the header of canonical sign-bytes, length prefix included. Raises SignBytesError where it cannot walk."""
    try:
        return _walk(data)
    except (IndexError, struct.error) as error:
        raise SignBytesError("these are no sign-bytes of a vote or proposal: they end too early") from error
    except KeyError as error:
        raise SignBytesError("these are no sign-bytes of a vote or proposal: of another type") from error
    except UnicodeDecodeError as error:
        raise SignBytesError("these are no sign-bytes of a vote or proposal: the chain id is not UTF-8") from error


def _walk(data: bytes) -> SignBytesHeader:
    at = 1 if data[0] < _CONTINUES else 2
    length = data[0] if at == 1 else data[0] - _CONTINUES + (data[1] << 7)
    if at + length != len(data) or data[at] != _TYPE:
        raise SignBytesError("these are no sign-bytes of a vote or proposal: wrong length or first field")
    kind = _SIGNED_TYPES[data[at + 1]]
    at += 2
    height = round_ = 0
    if data[at] == _HEIGHT:
        height = _SFIXED64.unpack_from(data, at + 1)[0]
        at += 9
    if data[at] == _ROUND:
        round_ = _SFIXED64.unpack_from(data, at + 1)[0]
        at += 9
    tags = _VOTE_TAGS
    if kind is SignedMsgType.PROPOSAL:
        tags = _PROPOSAL_TAGS
        at = _past_pol_round(data, at)
    return SignBytesHeader(kind, height, round_, _chain_id(data, at, *tags))


def _past_pol_round(data: bytes, at: int) -> int:
    if data[at] != _POL_ROUND:
        return at
    at += 1
    while data[at] >= _CONTINUES:
        at += 1
    return at + 1


def _chain_id(data: bytes, at: int, block_id: int, timestamp: int, chain_id: int) -> str:
    """Walk past block id and timestamp, which are shorter than 128 bytes, to the last field."""
    if data[at] == block_id:
        at += 2 + data[at + 1]
    if data[at] != timestamp:
        raise SignBytesError("these are no sign-bytes of a vote or proposal: no timestamp")
    at += 2 + data[at + 1]
    if at == len(data):
        return ""
    if data[at] != chain_id or at + 2 + data[at + 1] != len(data):
        raise SignBytesError("these are no sign-bytes of a vote or proposal: an unknown field")
    return data[at + 2 :].decode()
