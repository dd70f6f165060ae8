"""Reads the bytes that are signed, for the judge: by the harness' own reader, not by the product's.

It must never share a line with what it judges: a mistake in both would be seen by neither.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import lru_cache

from cmkms.harness.protobuf import fields, read_uvarint
from cmkms.harness.signbytes import extension_sign_bytes, proposal_sign_bytes, vote_sign_bytes
from cmkms.harness.values import HRS, MessageType, Proposal, Vote, step_of
from cmkms.harness.wire import SignProposalRequest, SignVoteRequest, decode_request

__all__ = ["Asked", "SignedBytes", "described", "extension_place", "read_request", "read_signed", "shown"]

_TIME_FIELD = {MessageType.PREVOTE: 5, MessageType.PRECOMMIT: 5, MessageType.PROPOSAL: 6}
_BLOCK_FIELD = 4


@dataclass(frozen=True, slots=True)
class SignedBytes:
    """What a message that is signed says of itself. `content`: all of it but the timestamp."""

    hrs: HRS
    content: tuple[tuple[int, int | bytes], ...]
    is_vote: bool
    is_nil: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What a node asks for: the bytes to be signed, and those of the extension, empty where none belongs to it."""

    sign_bytes: bytes
    extension_bytes: bytes


def _fields_of(sign_bytes: bytes) -> list[tuple[int, int | bytes]]:
    prefix = read_uvarint(sign_bytes)
    assert prefix is not None
    length, start = prefix
    assert length == len(sign_bytes) - start, "the length before the bytes is not theirs"
    return [(field.number, field.value) for field in fields(sign_bytes[start:])]


def _place_in(known: dict[int, int | bytes]) -> tuple[int, int]:
    height, round_ = known.get(2, 0), known.get(3, 0)
    assert isinstance(height, int)
    assert isinstance(round_, int)
    return height, round_


@lru_cache(maxsize=512)
def read_signed(sign_bytes: bytes) -> SignedBytes | None:
    """Read a vote or proposal; None for a vote extension, which names no type."""
    found = _fields_of(sign_bytes)
    known = dict(found)
    kind = known.get(1)
    if not isinstance(kind, int):
        return None
    message_type = MessageType(kind)
    content = tuple((number, value) for number, value in found if number != _TIME_FIELD[message_type])
    is_vote = message_type is not MessageType.PROPOSAL
    place = HRS(*_place_in(known), step_of(kind))
    return SignedBytes(place, content, is_vote, is_vote and _BLOCK_FIELD not in known)


def extension_place(sign_bytes: bytes) -> tuple[int, int]:
    """Return the height and round of a vote extension."""
    return _place_in(dict(_fields_of(sign_bytes)))


def shown(sign_bytes: bytes) -> str:
    """Return a few characters by which a reader tells messages apart."""
    return f"#{zlib.crc32(sign_bytes):08x}"


def described(sign_bytes: bytes) -> str:
    """Say in a few words what is to be signed."""
    said = read_signed(sign_bytes)
    return f"{said.hrs}{' (nil)' if said.is_nil else ''} {shown(sign_bytes)}" if said else shown(sign_bytes)


@lru_cache(maxsize=256)
def read_request(request: bytes) -> Asked:
    """Work out what is to be signed for a request."""
    match decode_request(request):
        case SignVoteRequest(chain_id, Vote() as vote) as asked:
            plain = replace(vote, extension=b"")
            extended = vote.type == MessageType.PRECOMMIT and not vote.block_id.is_nil
            wanted = extended and not asked.skip_extension_signing
            return Asked(vote_sign_bytes(chain_id, plain), extension_sign_bytes(chain_id, vote) if wanted else b"")
        case SignProposalRequest(chain_id, Proposal() as proposal):
            return Asked(proposal_sign_bytes(chain_id, proposal), b"")
        case other:
            raise AssertionError(f"no node of these tests asks for {other}")
