"""The eight messages of `tendermint.privval` (CometBFT v0.34 to v0.40): requests encoded, replies decoded.

The other two directions exist as well, for signers that tests build to be judged. Framing lives with the connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from cmkms.harness.errors import BadReplyError
from cmkms.harness.protobuf import Field, bytes_field, fields, int_field, length_field
from cmkms.harness.signbytes import block_id_bytes, time_bytes
from cmkms.harness.values import NIL_BLOCK, ZERO_TIME, BlockID, Proposal, Time, Vote

__all__ = [
    "ErrorReply",
    "Kind",
    "PingReply",
    "PingRequest",
    "ProposalReply",
    "PubKeyReply",
    "PubKeyRequest",
    "Reply",
    "Request",
    "SignProposalRequest",
    "SignVoteRequest",
    "VoteReply",
    "decode_reply",
    "decode_request",
    "encode_reply",
    "encode_request",
]


class Kind(IntEnum):
    """Tags of the outer oneof (`proto/tendermint/privval/types.proto`). A reply's tag is its request's plus one."""

    PUB_KEY = 1
    SIGN_VOTE = 3
    SIGN_PROPOSAL = 5
    PING = 7


@dataclass(frozen=True, slots=True)
class PubKeyRequest:
    """Asks for the consensus public key."""

    chain_id: str


@dataclass(frozen=True, slots=True)
class SignVoteRequest:
    """Asks for a prevote or precommit. `skip_extension_signing` is a field of v1 and v2 nodes only."""

    chain_id: str
    vote: Vote
    skip_extension_signing: bool = False


@dataclass(frozen=True, slots=True)
class SignProposalRequest:
    """Asks for a proposal."""

    chain_id: str
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class PingRequest:
    """Asks whether the signer is alive."""


@dataclass(frozen=True, slots=True)
class PubKeyReply:
    """The public key in the form of v0.34-v0.40 (`pub_key`) and in that of v1 and v2 (the other two fields)."""

    pub_key: bytes
    v1_pub_key: bytes = b""
    v1_key_type: str = ""


@dataclass(frozen=True, slots=True)
class VoteReply:
    """A vote as the signer gives it back, with its signatures and, perhaps, an earlier time."""

    vote: Vote


@dataclass(frozen=True, slots=True)
class ProposalReply:
    """A proposal as the signer gives it back."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class PingReply:
    """The signer is alive."""


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """A RemoteSignerError inside a reply of the given kind. `leaked` is a signature in it, where none may be."""

    kind: Kind
    code: int
    description: str
    leaked: bytes = b""


Request: TypeAlias = PubKeyRequest | SignVoteRequest | SignProposalRequest | PingRequest
Reply: TypeAlias = PubKeyReply | VoteReply | ProposalReply | PingReply | ErrorReply

ED25519_TAG: Final = 1
"""Oneof tag of an Ed25519 key in `tendermint.crypto.PublicKey`."""

_ERROR_FIELD: Final = 2
"""Where each reply keeps its RemoteSignerError."""

_VOTE_SIGNATURE: Final = 8
_PROPOSAL_SIGNATURE: Final = 7

_SKIP_FIELD: Final = 3
"""`skip_extension_signing` of v1 and v2 nodes."""


def encode_request(request: Request) -> bytes:
    """A request as a node sends it, undelimited."""
    match request:
        case PubKeyRequest(chain_id):
            return length_field(Kind.PUB_KEY, bytes_field(1, chain_id.encode()))
        case SignVoteRequest(chain_id, vote, skip):
            body = length_field(1, _encode_vote(vote)) + bytes_field(2, chain_id.encode()) + int_field(3, int(skip))
            return length_field(Kind.SIGN_VOTE, body)
        case SignProposalRequest(chain_id, proposal):
            body = length_field(1, _encode_proposal(proposal)) + bytes_field(2, chain_id.encode())
            return length_field(Kind.SIGN_PROPOSAL, body)
        case PingRequest():
            return length_field(Kind.PING, b"")


def decode_request(message: bytes) -> Request:
    """Read a request the way a signer would. For the signers that tests build; raises BadReplyError."""
    tag, body = _only_field(message)
    parts = {field.number: field for field in fields(body)}
    match tag:
        case Kind.PUB_KEY:
            return PubKeyRequest(_text(parts, 1))
        case Kind.SIGN_VOTE:
            return SignVoteRequest(_text(parts, 2), _decode_vote(_sub(parts, 1)), _SKIP_FIELD in parts)
        case Kind.SIGN_PROPOSAL:
            return SignProposalRequest(_text(parts, 2), _decode_proposal(_sub(parts, 1)))
        case Kind.PING:
            return PingRequest()
        case _:
            raise BadReplyError(f"unknown request of kind {tag}")


def encode_reply(reply: Reply) -> bytes:
    """A reply as a signer of v0.34 to v0.40 sends it, undelimited. For the signers that tests build."""
    match reply:
        case PubKeyReply(pub_key, v1_pub_key, v1_key_type):
            body = length_field(1, bytes_field(ED25519_TAG, pub_key))
            body += bytes_field(3, v1_pub_key) + bytes_field(4, v1_key_type.encode())
            return length_field(Kind.PUB_KEY + 1, body)
        case VoteReply(vote):
            return length_field(Kind.SIGN_VOTE + 1, length_field(1, _encode_vote(vote)))
        case ProposalReply(proposal):
            return length_field(Kind.SIGN_PROPOSAL + 1, length_field(1, _encode_proposal(proposal)))
        case PingReply():
            return length_field(Kind.PING + 1, b"")
        case ErrorReply(kind, code, description, leaked):
            error = length_field(_ERROR_FIELD, int_field(1, code) + bytes_field(2, description.encode()))
            signature_field = _VOTE_SIGNATURE if kind is Kind.SIGN_VOTE else _PROPOSAL_SIGNATURE
            carried = length_field(1, bytes_field(signature_field, leaked)) if leaked else b""
            return length_field(kind + 1, carried + error)


def decode_reply(message: bytes) -> Reply:
    """Read a reply as a node of v0.34 to v0.40 does, and the v1 fields of a public key beside.

    Raises:
        BadReplyError: not exactly one known reply, or broken encoding.
    """
    tag, body = _only_field(message)
    parts = {field.number: field for field in fields(body)}
    if tag in {Kind.PUB_KEY + 1, Kind.SIGN_VOTE + 1, Kind.SIGN_PROPOSAL + 1} and _ERROR_FIELD in parts:
        error = {field.number: field for field in fields(parts[_ERROR_FIELD].raw())}
        code = error[1].signed(32) if 1 in error else 0
        return ErrorReply(Kind(tag - 1), code, _text(error, 2), _leaked(tag, _sub(parts, 1)))
    match tag:
        case 2:
            return PubKeyReply(_decode_public_key(_sub(parts, 1)), _sub(parts, 3), _text(parts, 4))
        case 4:
            return VoteReply(_decode_vote(_sub(parts, 1)))
        case 6:
            return ProposalReply(_decode_proposal(_sub(parts, 1)))
        case 8:
            return PingReply()
        case _:
            raise BadReplyError(f"a message of kind {tag} is no reply")


def _leaked(tag: int, body: bytes) -> bytes:
    """Any signature inside the vote or proposal of an error reply."""
    if tag == Kind.SIGN_VOTE + 1:
        vote = _decode_vote(body)
        return vote.signature + vote.extension_signature
    return _decode_proposal(body).signature if tag == Kind.SIGN_PROPOSAL + 1 else b""


def _only_field(message: bytes) -> tuple[int, bytes]:
    found = list(fields(message))
    if len(found) != 1:
        raise BadReplyError(f"a privval message holds one field, this one {len(found)} ({len(message)} bytes)")
    return found[0].number, found[0].raw()


def _sub(parts: dict[int, Field], number: int) -> bytes:
    return parts[number].raw() if number in parts else b""


def _text(parts: dict[int, Field], number: int) -> str:
    return _sub(parts, number).decode("utf-8", "replace")


def _decode_public_key(data: bytes) -> bytes:
    for field in fields(data):
        if field.number == ED25519_TAG:
            return field.raw()
        raise BadReplyError(f"public key of kind {field.number}, expected Ed25519 (1)")
    return b""


def _encode_vote(vote: Vote) -> bytes:
    return (
        int_field(1, vote.type)
        + int_field(2, vote.height)
        + int_field(3, vote.round)
        + length_field(4, block_id_bytes(vote.block_id))
        + length_field(5, time_bytes(vote.time))
        + bytes_field(6, vote.validator_address)
        + int_field(7, vote.validator_index)
        + bytes_field(_VOTE_SIGNATURE, vote.signature)
        + bytes_field(9, vote.extension)
        + bytes_field(10, vote.extension_signature)
    )


def _encode_proposal(proposal: Proposal) -> bytes:
    return (
        int_field(1, proposal.type)
        + int_field(2, proposal.height)
        + int_field(3, proposal.round)
        + int_field(4, proposal.pol_round)
        + length_field(5, block_id_bytes(proposal.block_id))
        + length_field(6, time_bytes(proposal.time))
        + bytes_field(_PROPOSAL_SIGNATURE, proposal.signature)
    )


def _decode_vote(data: bytes) -> Vote:
    parts = {field.number: field for field in fields(data)}
    return Vote(
        type=_number(parts, 1, 32),
        height=_number(parts, 2),
        round=_number(parts, 3, 32),
        block_id=_decode_block_id(parts, 4),
        time=_decode_time(parts, 5),
        validator_address=_sub(parts, 6),
        validator_index=_number(parts, 7, 32),
        signature=_sub(parts, _VOTE_SIGNATURE),
        extension=_sub(parts, 9),
        extension_signature=_sub(parts, 10),
    )


def _decode_proposal(data: bytes) -> Proposal:
    parts = {field.number: field for field in fields(data)}
    return Proposal(
        type=_number(parts, 1, 32),
        height=_number(parts, 2),
        round=_number(parts, 3, 32),
        pol_round=_number(parts, 4, 32),
        block_id=_decode_block_id(parts, 5),
        time=_decode_time(parts, 6),
        signature=_sub(parts, _PROPOSAL_SIGNATURE),
    )


def _number(parts: dict[int, Field], number: int, bits: int = 64) -> int:
    return parts[number].signed(bits) if number in parts else 0


def _decode_time(parts: dict[int, Field], number: int) -> Time:
    """An absent time is Go's zero time, year 1; an empty one is the Unix epoch."""
    if number not in parts:
        return ZERO_TIME
    inner = {field.number: field for field in fields(parts[number].raw())}
    return Time(_number(inner, 1), _number(inner, 2, 32))


def _decode_block_id(parts: dict[int, Field], number: int) -> BlockID:
    if number not in parts:
        return NIL_BLOCK
    inner = {field.number: field for field in fields(parts[number].raw())}
    header = {field.number: field for field in fields(_sub(inner, 2))}
    total = header[1].unsigned() & 0xFFFFFFFF if 1 in header else 0
    return BlockID(_sub(inner, 1), total, _sub(header, 2))
