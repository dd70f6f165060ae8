"""The bytes of every message of the peer link: one byte of type, then the fields. Strict, bounded. Pure.

Types below 128 must be known. Those above are optional: a receiver that does not know one skips it, so that a newer
release can say more to an older one.
"""

from __future__ import annotations

import struct
from typing import Final

from cmkms.guard.rpc import Accept, Answered, Peek, Peeked
from cmkms.peers import rpc_codec
from cmkms.peers.change_codec import encode_change, read_change
from cmkms.peers.claims_codec import MAX_GUARDS, encode_claims, read_claims
from cmkms.peers.messages import Blow, Declined, Frame, Goodbye, Hello, HelloMember, Propose, Raft, Status
from cmkms.peers.wire import (
    DIGEST_BYTES,
    NONCE_BYTES,
    PeerProtocolError,
    Reader,
    bounded,
    checked_count,
    checked_size,
    pack_chain_id,
    pack_choice,
    pack_member_id,
    pack_sign_bytes,
    pack_text,
)
from cmkms.privval.framing import MAX_REQUEST_BYTES
from cmkms.signing.answers import Rejected, RejectedBecause
from cmkms.signing.forwarding import Forward, Forwarded, ForwardedSignature, NotHolder

__all__ = ["MAX_FRAME_BYTES", "MAX_GUARDS", "MAX_HELLO_BYTES", "MAX_MEMBERS", "decode", "encode", "versions_of"]

MAX_FRAME_BYTES: Final = MAX_REQUEST_BYTES + 4096
"""The longest message is a forwarded request with a vote extension of 1 MiB; the rest of it takes some 100 bytes."""
MAX_HELLO_BYTES: Final = 256 * 1024
"""256 chains whose guards all have a reason to be refused, each of at most 960 bytes."""
MAX_FORWARDED_BYTES: Final = MAX_REQUEST_BYTES + 1024
"""A forwarded request is written anew, with fields that its node may have left out."""
MAX_MEMBERS: Final = 16
"""Replicas of one cluster: 5 are supported, and a list that is too long is to be read and refused by name."""
MAX_RAFT_BYTES: Final = MAX_REQUEST_BYTES
MAX_RELEASE_BYTES: Final = 32
MAX_SIGNATURE_BYTES: Final = 96
"""CometBFT `types/signable.go`, MaxSignatureSize: 64 for Ed25519, 96 for BLS12-381."""

_FIRST_OPTIONAL: Final = 128


class _Type:
    """The first byte of a frame."""

    HELLO: Final = 1
    DECLINED: Final = 2
    GOODBYE: Final = 3
    STATUS: Final = 4
    RAFT: Final = 5
    BLOW: Final = 6
    PROPOSE: Final = 7
    ACCEPT: Final = rpc_codec.ACCEPT
    ANSWERED: Final = rpc_codec.ANSWERED
    PEEK: Final = rpc_codec.PEEK
    PEEKED: Final = rpc_codec.PEEKED
    FORWARD: Final = 32
    FORWARDED: Final = 33


class _Outcome:
    """What a `Forwarded` carries."""

    SIGNATURE: Final = 1
    REJECTED: Final = 2
    NOT_HOLDER: Final = 3


_REJECTIONS: Final = {
    RejectedBecause.CONFLICT: 1,
    RejectedBecause.REGRESSION: 2,
    RejectedBecause.SEALED: 3,
    RejectedBecause.HELD: 4,
    RejectedBecause.UNKNOWN_CHAIN: 5,
    RejectedBecause.MAX_HEIGHT: 6,
    RejectedBecause.CEILING: 7,
    RejectedBecause.OUTAGE: 8,
    RejectedBecause.UNDECODABLE: 9,
    RejectedBecause.INTERNAL: 10,
    RejectedBecause.SPLIT: 11,
}
"""Numbers on the wire: one that was ever used never means anything else."""
_REJECTION_OF: Final = {number: reason for reason, number in _REJECTIONS.items()}

_HELLO: Final = struct.Struct(">BBB")
_U64: Final = struct.Struct(">Q")
_FORWARD: Final = struct.Struct(">BQ")
_HOPS: Final = struct.Struct(">BI")


def encode(message: Frame) -> bytes:
    """Return the message's frame, without the length before it. Texts for people are cut where they are too long.

    Raises BrokenInvariantError, struct.error or UnicodeError for a value that no peer would take: a bug of ours.
    """
    match message:
        case Accept():
            return rpc_codec.encode_accept(message)
        case Answered():
            return rpc_codec.encode_answered(message)
        case Raft(data=data):
            return bytes((_Type.RAFT,)) + checked_size("a raft message", data, MAX_RAFT_BYTES)
        case Peek():
            return rpc_codec.encode_peek(message)
        case Peeked():
            return rpc_codec.encode_peeked(message)
        case _:
            return _encode_slowly(message)


def decode(frame: bytes) -> Frame | None:
    """Read one frame. None stands for an optional message of a newer release, to be skipped.

    Raises PeerProtocolError for anything that `encode` would not have written.
    """
    if not frame:
        raise PeerProtocolError("an empty frame")
    match frame[0]:
        case _Type.ACCEPT:
            return rpc_codec.decode_accept(frame)
        case _Type.ANSWERED:
            return rpc_codec.decode_answered(frame)
        case _Type.RAFT:
            if len(frame) > 1 + MAX_RAFT_BYTES:
                raise PeerProtocolError(f"a raft message of {len(frame) - 1} bytes (at most {MAX_RAFT_BYTES})")
            return Raft(frame[1:])
        case _Type.PEEK:
            return rpc_codec.decode_peek(frame)
        case _Type.PEEKED:
            return rpc_codec.decode_peeked(frame)
        case kind if kind >= _FIRST_OPTIONAL:
            return None
        case kind:
            reader = Reader(frame, 1)
            message = _read(kind, reader)
            reader.end()
            return message


def versions_of(frame: bytes) -> tuple[int, int] | None:
    """Return the oldest and newest protocol version that a hello names, or None if this is no hello.

    They stand at the same place in every version; the rest is laid out as the oldest one says.
    """
    if len(frame) < _HELLO.size or frame[0] != _Type.HELLO:
        return None
    return frame[1], frame[2]


def _encode_slowly(message: Status | Forward | Forwarded | Hello | Blow | Propose | Declined | Goodbye) -> bytes:
    match message:
        case Status():
            return _encode_status(message)
        case Forward():
            return _encode_forward(message)
        case Forwarded():
            return _encode_forwarded(message)
        case Hello():
            return _encode_hello(message)
        case Blow(chain_id=chain_id, nonce=nonce, sequence=sequence):
            parts = pack_chain_id(chain_id) + pack_choice("a nonce", nonce, 0, NONCE_BYTES) + _U64.pack(sequence)
            return bytes((_Type.BLOW,)) + parts
        case Propose(change=change):
            return bytes((_Type.PROPOSE,)) + encode_change(change)
        case Declined(reason=reason):
            return bytes((_Type.DECLINED,)) + pack_text(reason)
        case Goodbye():
            return bytes((_Type.GOODBYE,))


def _read(kind: int, reader: Reader) -> Frame:
    match kind:
        case _Type.STATUS:
            return _read_status(reader)
        case _Type.FORWARD:
            return _read_forward(reader)
        case _Type.FORWARDED:
            return Forwarded(reader.u64(), reader.chain_id(), _read_outcome(reader))
        case _Type.HELLO:
            return _read_hello(reader)
        case _Type.BLOW:
            return Blow(reader.chain_id(), reader.choice("a nonce", 0, NONCE_BYTES), reader.u64())
        case _Type.PROPOSE:
            return Propose(read_change(reader))
        case _Type.DECLINED:
            return Declined(reader.text())
        case _Type.GOODBYE:
            return Goodbye()
        case _:
            raise PeerProtocolError(f"a message of unknown type {kind}")


# --------------------------------------------------------------------------------------------------- hello and status


def _encode_hello(message: Hello) -> bytes:
    parts = [
        _HELLO.pack(_Type.HELLO, message.oldest_version, message.newest_version),
        pack_text(message.release, MAX_RELEASE_BYTES),
        pack_member_id(message.member_id),
        pack_choice("a boot nonce", message.boot, NONCE_BYTES)[1:],
        message.ttl_ms.to_bytes(4, "big"),
        bytes((checked_count("members", len(message.members), MAX_MEMBERS),)),
    ]
    for member in message.members:
        parts += [pack_member_id(member.id), pack_choice("a pin", bytes.fromhex(member.pin), 0, DIGEST_BYTES)]
    parts.append(encode_claims(message.guards))
    return b"".join(parts)


def _read_hello(reader: Reader) -> Hello:
    return Hello(
        oldest_version=reader.u8(),
        newest_version=reader.u8(),
        release=reader.text(MAX_RELEASE_BYTES),
        member_id=reader.member_id(),
        boot=reader.take(NONCE_BYTES),
        ttl_ms=reader.u32(),
        members=tuple(
            HelloMember(reader.member_id(), reader.choice("a pin", 0, DIGEST_BYTES).hex())
            for _ in range(bounded("members", reader.u8(), MAX_MEMBERS))
        ),
        guards=read_claims(reader),
    )


def _encode_status(message: Status) -> bytes:
    parts = [
        bytes((_Type.STATUS,)),
        _U64.pack(message.term),
        pack_member_id(message.holder),
        bytes((checked_count("members", len(message.hears), MAX_MEMBERS),)),
        *(pack_member_id(member) for member in message.hears),
        message.nodes.to_bytes(4, "big"),
        checked_count("chains", len(message.able), MAX_GUARDS).to_bytes(2, "big"),
        *(pack_chain_id(chain_id) for chain_id in message.able),
        encode_claims(message.guards),
    ]
    return b"".join(parts)


def _read_status(reader: Reader) -> Status:
    return Status(
        term=reader.u64(),
        holder=reader.member_id(),
        hears=tuple(reader.member_id() for _ in range(bounded("members", reader.u8(), MAX_MEMBERS))),
        nodes=reader.u32(),
        able=tuple(reader.chain_id() for _ in range(bounded("chains", reader.u16(), MAX_GUARDS))),
        guards=read_claims(reader),
    )


# --------------------------------------------------------------------------------------------------------- forwarding


def _encode_forward(message: Forward) -> bytes:
    return b"".join(
        (
            _FORWARD.pack(_Type.FORWARD, message.rpc),
            pack_chain_id(message.chain_id),
            pack_member_id(message.target),
            _HOPS.pack(message.hops, message.budget_ms),
            checked_size("a request", message.request, MAX_FORWARDED_BYTES),
        )
    )


def _read_forward(reader: Reader) -> Forward:
    message = Forward(
        rpc=reader.u64(),
        chain_id=reader.chain_id(),
        target=reader.member_id(),
        hops=reader.u8(),
        budget_ms=reader.u32(),
        request=reader.rest(),
    )
    bounded("bytes of a request", len(message.request), MAX_FORWARDED_BYTES)
    return message


def _encode_forwarded(message: Forwarded) -> bytes:
    return _FORWARD.pack(_Type.FORWARDED, message.rpc) + pack_chain_id(message.chain_id) + _encode_outcome(message)


def _encode_outcome(message: Forwarded) -> bytes:
    match message.answer:
        case ForwardedSignature(sign_bytes=sign_bytes, replayed=replayed) as granted:
            parts = (
                bytes((_Outcome.SIGNATURE,)),
                pack_sign_bytes(sign_bytes),
                _pack_signature(granted.signature),
                _pack_signature(granted.extension_signature),
                bytes((replayed,)),
            )
            return b"".join(parts)
        case Rejected(because=because, description=description):
            return bytes((_Outcome.REJECTED, _REJECTIONS[because])) + pack_text(description)
        case NotHolder(holder=holder, term=term):
            return bytes((_Outcome.NOT_HOLDER,)) + pack_member_id(holder) + _U64.pack(term)


def _read_outcome(reader: Reader) -> ForwardedSignature | Rejected | NotHolder:
    match reader.u8():
        case _Outcome.SIGNATURE:
            return ForwardedSignature(
                reader.sign_bytes(), _read_signature(reader), _read_signature(reader), reader.flag()
            )
        case _Outcome.REJECTED:
            return Rejected(_rejection_of(reader.u8()), reader.text())
        case _Outcome.NOT_HOLDER:
            return NotHolder(reader.member_id(), reader.u64())
        case kind:
            raise PeerProtocolError(f"an answer of unknown kind {kind}")


def _rejection_of(number: int) -> RejectedBecause:
    reason = _REJECTION_OF.get(number)
    if reason is None:
        raise PeerProtocolError(f"a rejection for unknown reason {number}")
    return reason


def _pack_signature(signature: bytes) -> bytes:
    return bytes((checked_count("bytes of a signature", len(signature), MAX_SIGNATURE_BYTES),)) + signature


def _read_signature(reader: Reader) -> bytes:
    return reader.take(bounded("bytes of a signature", reader.u8(), MAX_SIGNATURE_BYTES))
