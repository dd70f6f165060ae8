"""The bytes of what coordinators and guards say to each other. Pure.

On the path of every signature: microseconds count. Each message has one form; what was decoded would be encoded as the
very same bytes.
"""

from __future__ import annotations

import struct
from typing import Final

from cmkms.errors import BrokenInvariantError
from cmkms.guard.decide import Accepted, Conflict, Held, Refused, RefusedBecause, Regression, Sealed, Verdict
from cmkms.guard.generation import GenerationId
from cmkms.guard.record import MAX_CHAIN_ID_BYTES, MAX_SIGN_BYTES
from cmkms.guard.rpc import Accept, Answered, Outranked, Peek, Peeked
from cmkms.peers.wire import (
    DIGEST_BYTES,
    NONCE_BYTES,
    PeerProtocolError,
    Reader,
    chain_id_of,
    decode_utf8,
    hrs_of,
    pack_chain_id,
    pack_choice,
    pack_generation,
    pack_hrs,
    pack_optional_sign_bytes,
    pack_sign_bytes,
    pack_text,
    sign_bytes_of,
)

__all__ = [
    "ACCEPT",
    "ANSWERED",
    "PEEK",
    "PEEKED",
    "decode_accept",
    "decode_answered",
    "decode_peek",
    "decode_peeked",
    "encode_accept",
    "encode_answered",
    "encode_peek",
    "encode_peeked",
]

ACCEPT: Final = 16
ANSWERED: Final = 17
PEEK: Final = 18
PEEKED: Final = 19

_ACCEPT: Final = struct.Struct(f">BQQQ{DIGEST_BYTES}s{DIGEST_BYTES}sBH")
"""Type, rpc, term, generation, key hash, the lengths of chain id and sign-bytes, which follow."""
_ANSWERED: Final = struct.Struct(f">BQQ{DIGEST_BYTES}sQIB{DIGEST_BYTES}sB{NONCE_BYTES}sQB")
"""Type, rpc, generation, height/round/step, digest, the nonce's length (0 or 16) and nonce, sequence, the length of the
chain id, which follows, and the verdict after it."""
_PEEK: Final = struct.Struct(">BQQ")
"""Type, rpc, term."""
_TERM: Final = struct.Struct(">Q")
_NO_NONCE: Final = bytes(NONCE_BYTES)


class _Kind:
    """The first byte of a verdict. Plain integers: this is the hot path."""

    ACCEPTED: Final = 0
    ACCEPTED_ADVANCING: Final = 1
    HELD: Final = 2
    CONFLICT: Final = 3
    SEALED: Final = 4
    REGRESSION: Final = 5
    REFUSED: Final = 6
    OUTRANKED: Final = 7


_REASONS: Final = {
    RefusedBecause.CHAIN: 1,
    RefusedBecause.KEY: 2,
    RefusedBecause.GENERATION: 3,
    RefusedBecause.NOT_ARMED: 4,
    RefusedBecause.FUSE: 5,
    RefusedBecause.PAUSED: 6,
    RefusedBecause.MAX_HEIGHT: 7,
    RefusedBecause.CEILING: 8,
}
"""Numbers on the wire: one that was ever used never means anything else."""
_REASON_OF: Final = {number: reason for reason, number in _REASONS.items()}

_YES: Final = Accepted(advances=True)
_YES_AGAIN: Final = Accepted(advances=False)


def encode_accept(message: Accept) -> bytes:
    """Return the frame of an `Accept`."""
    chain_id = chain_id_of(message.chain_id)
    sign_bytes = sign_bytes_of(message.sign_bytes)
    generation = message.generation
    if len(generation.hash) != DIGEST_BYTES or len(message.key_hash) != DIGEST_BYTES:
        raise BrokenInvariantError("a hash that is none goes on no wire")
    head = _ACCEPT.pack(
        ACCEPT,
        message.rpc,
        message.term,
        generation.number,
        generation.hash,
        message.key_hash,
        len(chain_id),
        len(sign_bytes),
    )
    return head + chain_id + sign_bytes


def decode_accept(data: bytes) -> Accept:
    """Read an `Accept`. Raises PeerProtocolError."""
    try:
        _, rpc, term, number, hash_, key_hash, chain_length, bytes_length = _ACCEPT.unpack_from(data)
    except struct.error:
        raise _too_short(data) from None
    start = _ACCEPT.size + chain_length
    if len(data) != start + bytes_length:
        raise PeerProtocolError(f"an accept of {len(data)} bytes that announces {start + bytes_length}")
    _check_lengths(chain_length, bytes_length)
    chain_id = decode_utf8(data[_ACCEPT.size : start])
    return Accept(rpc, term, chain_id, key_hash, GenerationId(number, hash_), data[start:])


def encode_answered(message: Answered) -> bytes:
    """Return the frame of an `Answered`."""
    chain_id = chain_id_of(message.chain_id)
    generation, hrs, nonce = message.generation, message.hrs, message.nonce
    if len(generation.hash) != DIGEST_BYTES or len(message.digest) != DIGEST_BYTES:
        raise BrokenInvariantError("a hash that is none goes on no wire")
    if len(nonce) not in {0, NONCE_BYTES}:
        raise BrokenInvariantError(f"a nonce of {len(nonce)} bytes goes on no wire")
    head = _ANSWERED.pack(
        ANSWERED,
        message.rpc,
        generation.number,
        generation.hash,
        hrs.height,
        hrs.round,
        hrs.step,
        message.digest,
        len(nonce),
        nonce,
        message.sequence,
        len(chain_id),
    )
    return head + chain_id + _encode_verdict(message.verdict)


def decode_answered(data: bytes) -> Answered:
    """Read an `Answered`. Raises PeerProtocolError."""
    try:
        fields = _ANSWERED.unpack_from(data)
    except struct.error:
        raise _too_short(data) from None
    _, rpc, number, hash_, height, round_, step, digest, nonce_length, nonce, sequence, chain_length = fields
    if nonce_length != NONCE_BYTES:
        if nonce_length or nonce != _NO_NONCE:
            raise PeerProtocolError(f"a nonce of {nonce_length} bytes")
        nonce = b""
    start = _ANSWERED.size + chain_length
    _check_lengths(chain_length, 0)
    if len(data) <= start:
        raise _too_short(data)
    return Answered(
        rpc,
        decode_utf8(data[_ANSWERED.size : start]),
        GenerationId(number, hash_),
        hrs_of(height, round_, step),
        digest,
        nonce,
        sequence,
        _decode_verdict(data, start),
    )


def encode_peek(message: Peek) -> bytes:
    """Return the frame of a `Peek`."""
    return _PEEK.pack(PEEK, message.rpc, message.term) + pack_chain_id(message.chain_id)


def decode_peek(data: bytes) -> Peek:
    """Read a `Peek`. Raises PeerProtocolError."""
    reader = Reader(data, 1)
    message = Peek(reader.u64(), reader.u64(), reader.chain_id())
    reader.end()
    return message


def encode_peeked(message: Peeked) -> bytes:
    """Return the frame of a `Peeked`."""
    return b"".join(
        (
            _PEEK.pack(PEEKED, message.rpc, message.term),
            pack_chain_id(message.chain_id),
            pack_generation(message.generation),
            pack_choice("a nonce", message.nonce, 0, NONCE_BYTES),
            _TERM.pack(message.sequence),
            bytes((message.usable,)),
            pack_hrs(message.hrs),
            pack_optional_sign_bytes(message.sign_bytes),
        )
    )


def decode_peeked(data: bytes) -> Peeked:
    """Read a `Peeked`. Raises PeerProtocolError."""
    reader = Reader(data, 1)
    message = Peeked(
        rpc=reader.u64(),
        term=reader.u64(),
        chain_id=reader.chain_id(),
        generation=reader.generation(),
        nonce=reader.choice("a nonce", 0, NONCE_BYTES),
        sequence=reader.u64(),
        usable=reader.flag(),
        hrs=reader.hrs(),
        sign_bytes=reader.optional_sign_bytes(),
    )
    reader.end()
    return message


def _encode_verdict(verdict: Verdict | Outranked) -> bytes:
    match verdict:
        case Accepted(advances=advances):
            return bytes((_Kind.ACCEPTED_ADVANCING if advances else _Kind.ACCEPTED,))
        case Held(sign_bytes=held):
            return bytes((_Kind.HELD,)) + pack_sign_bytes(held)
        case Conflict(sign_bytes=held):
            return bytes((_Kind.CONFLICT,)) + pack_sign_bytes(held)
        case Sealed(hrs=hrs):
            return bytes((_Kind.SEALED,)) + pack_hrs(hrs)
        case Regression(hrs=hrs):
            return bytes((_Kind.REGRESSION,)) + pack_hrs(hrs)
        case Refused(because=because, detail=detail):
            return bytes((_Kind.REFUSED, _REASONS[because])) + pack_text(detail)
        case Outranked(term=term):
            return bytes((_Kind.OUTRANKED,)) + _TERM.pack(term)


def _decode_verdict(data: bytes, start: int) -> Verdict | Outranked:
    kind = data[start]
    if kind <= _Kind.ACCEPTED_ADVANCING and len(data) == start + 1:
        return _YES if kind else _YES_AGAIN
    reader = Reader(data, start + 1)
    verdict = _read_verdict(kind, reader)
    reader.end()
    return verdict


def _read_verdict(kind: int, reader: Reader) -> Verdict | Outranked:
    match kind:
        case _Kind.ACCEPTED | _Kind.ACCEPTED_ADVANCING:
            return Accepted(advances=kind == _Kind.ACCEPTED_ADVANCING)
        case _Kind.HELD:
            return Held(reader.sign_bytes())
        case _Kind.CONFLICT:
            return Conflict(reader.sign_bytes())
        case _Kind.SEALED:
            return Sealed(reader.hrs())
        case _Kind.REGRESSION:
            return Regression(reader.hrs())
        case _Kind.REFUSED:
            return Refused(_reason_of(reader.u8()), reader.text())
        case _Kind.OUTRANKED:
            return Outranked(reader.u64())
        case _:
            raise PeerProtocolError(f"a verdict of unknown kind {kind}")


def _reason_of(number: int) -> RefusedBecause:
    reason = _REASON_OF.get(number)
    if reason is None:
        raise PeerProtocolError(f"a refusal for unknown reason {number}")
    return reason


def _check_lengths(chain_id: int, sign_bytes: int) -> None:
    if chain_id > MAX_CHAIN_ID_BYTES or sign_bytes > MAX_SIGN_BYTES:
        raise PeerProtocolError(f"a chain id of {chain_id} bytes, sign-bytes of {sign_bytes} bytes")


def _too_short(data: bytes) -> PeerProtocolError:
    return PeerProtocolError(f"a message of {len(data)} bytes ends early")
