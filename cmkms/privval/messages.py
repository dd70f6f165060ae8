"""The messages of CometBFT's privval protocol: requests decoded and validated, answers encoded.

One codec for every node from v0.34 to v0.40, and for v1 and v2. A request either means something that could be signed,
or it is an UndecodableRequestError that knows whether it can be answered. Whether it *may* be signed, and whether its
chain is ours, is not asked here.

Source: CometBFT proto/tendermint/privval/types.proto, privval/msgs.go, privval/signer_requestHandler.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp as WireTimestamp

from cmkms.errors import BrokenInvariantError
from cmkms.privval.errors import RequestKind, UndecodableRequestError, WireFormatError
from cmkms.privval.pb import privval_pb2, types_pb2
from cmkms.privval.values import (
    GO_ZERO_TIME,
    HASH_BYTES,
    MAX_NANOS,
    MAX_SECONDS,
    MIN_SECONDS,
    NIL_BLOCK,
    NO_POL_ROUND,
    BlockID,
    PartSetHeader,
    Proposal,
    SignedMsgType,
    Timestamp,
    Vote,
)
from cmkms.privval.wire import WireReader, WireType

__all__ = [
    "MAX_DESCRIPTION_BYTES",
    "PingRequest",
    "PubKeyRequest",
    "Request",
    "SignProposalRequest",
    "SignVoteRequest",
    "decode_request",
    "encode_error_response",
    "encode_ping_response",
    "encode_pub_key_response",
    "encode_request",
    "encode_signed_proposal_response",
    "encode_signed_vote_response",
]

MAX_DESCRIPTION_BYTES = 200
"""Of an error's text, in UTF-8. Answers stay below 300 bytes: nodes up to v0.39 lose the thread above 10 KiB."""

_KINDS = {kind.value: kind for kind in RequestKind}

_PUBLIC_KEY_FIELDS = {
    "ed25519": "ed25519",
    "secp256k1": "secp256k1",
    "bls12_381": "bls12381",
    "ml_dsa_65": "mldsa65",
    "secp256k1eth": "secp256k1eth",
}
"""From the name of a key type (crypto.PubKey.Type) to its field in the PublicKey message."""


@dataclass(frozen=True, slots=True)
class PubKeyRequest:
    """The node asks for the public key: at start, and once a block."""

    chain_id: str


@dataclass(frozen=True, slots=True)
class SignVoteRequest:
    """The node asks for a vote's signature. Nodes before v1 never set `skip_extension_signing`."""

    chain_id: str
    vote: Vote
    skip_extension_signing: bool


@dataclass(frozen=True, slots=True)
class SignProposalRequest:
    """The node asks for a proposal's signature."""

    chain_id: str
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class PingRequest:
    """The node asks whether the connection lives: every 3.3 seconds while it is idle."""


Request = PubKeyRequest | SignVoteRequest | SignProposalRequest | PingRequest


# ----------------------------------------------------------------------------------------------------------- requests


def decode_request(message: bytes) -> Request:
    """Decode one message of a node, without its length prefix.

    Unknown fields are skipped, as in Go. Of several requests in one message the last counts, as in a Go oneof.

    Raises:
        UndecodableRequestError: with the kind of error to answer, or without one where the connection has to end.
    """
    envelope = _open_envelope(message)
    try:
        match envelope.kind:
            case RequestKind.PUB_KEY:
                return PubKeyRequest(privval_pb2.PubKeyRequest.FromString(envelope.body).chain_id)
            case RequestKind.SIGN_VOTE:
                return _sign_vote_request(privval_pb2.SignVoteRequest.FromString(envelope.body))
            case RequestKind.SIGN_PROPOSAL:
                return _sign_proposal_request(privval_pb2.SignProposalRequest.FromString(envelope.body))
            case RequestKind.PING:
                return PingRequest()
    except DecodeError as error:
        raise UndecodableRequestError(
            envelope.kind, f"the {_describe(envelope.kind)} is not valid protobuf, or its text not UTF-8"
        ) from error


@dataclass(frozen=True, slots=True)
class _Envelope:
    """The request within a `Message`, still encoded."""

    kind: RequestKind
    body: bytes


def _open_envelope(message: bytes) -> _Envelope:
    """Find the request by hand: protobuf would merge two of a kind, and tell no kind where the body is broken."""
    kind: RequestKind | None = None
    body = b""
    reader = WireReader(message)
    try:
        while not reader.at_end:
            tag = reader.uvarint()
            found = _KINDS.get(tag >> 3)
            if found is not None:
                kind = found
                if tag & 7 != WireType.CHUNK:
                    raise WireFormatError(f"it has wire type {tag & 7}")  # noqa: TRY301 - told below, as the others
                body = reader.chunk()
            else:
                reader.value(tag & 7)
    except WireFormatError as error:
        raise _broken(kind, f"the {_describe(kind)} is not valid protobuf: {error}") from error
    if kind is None:
        raise UndecodableRequestError(None, "the message holds none of the requests that a node makes of its signer")
    return _Envelope(kind, body)


def _broken(kind: RequestKind | None, reason: str) -> UndecodableRequestError:
    """A ping's answer has no room for an error, so that a broken ping cannot be answered at all."""
    return UndecodableRequestError(None if kind is RequestKind.PING else kind, reason)


def _describe(kind: RequestKind | None) -> str:
    return "message" if kind is None else f"{kind.name.lower().replace('_', ' ')} request"


def _sign_vote_request(wire: privval_pb2.SignVoteRequest) -> SignVoteRequest:
    if not wire.HasField("vote"):
        raise UndecodableRequestError(RequestKind.SIGN_VOTE, "the request holds no vote")
    vote = _vote(wire.vote)
    return SignVoteRequest(wire.chain_id, vote, wire.skip_extension_signing)


def _sign_proposal_request(wire: privval_pb2.SignProposalRequest) -> SignProposalRequest:
    if not wire.HasField("proposal"):
        raise UndecodableRequestError(RequestKind.SIGN_PROPOSAL, "the request holds no proposal")
    return SignProposalRequest(wire.chain_id, _proposal(wire.proposal))


def _vote(wire: types_pb2.Vote) -> Vote:
    kind = RequestKind.SIGN_VOTE
    if wire.type == SignedMsgType.PREVOTE:
        vote_type = SignedMsgType.PREVOTE
    elif wire.type == SignedMsgType.PRECOMMIT:
        vote_type = SignedMsgType.PRECOMMIT
    else:
        raise UndecodableRequestError(kind, f"vote type {wire.type} is neither prevote (1) nor precommit (2)")
    _check_height_and_round(kind, wire.height, wire.round)
    block_id = _block_id(kind, wire.block_id) if wire.HasField("block_id") else NIL_BLOCK
    timestamp = _timestamp(kind, wire.timestamp) if wire.HasField("timestamp") else GO_ZERO_TIME
    extension = wire.extension
    if extension and (vote_type is SignedMsgType.PREVOTE or block_id.is_nil):
        raise UndecodableRequestError(kind, "a vote extension is legal only on a precommit for a block")
    return Vote(vote_type, wire.height, wire.round, block_id, timestamp, extension)


def _proposal(wire: types_pb2.Proposal) -> Proposal:
    kind = RequestKind.SIGN_PROPOSAL
    _check_height_and_round(kind, wire.height, wire.round)
    if wire.pol_round < NO_POL_ROUND:
        raise UndecodableRequestError(kind, f"proof-of-lock round {wire.pol_round} is below -1, which means none")
    block_id = _block_id(kind, wire.block_id) if wire.HasField("block_id") else NIL_BLOCK
    timestamp = _timestamp(kind, wire.timestamp) if wire.HasField("timestamp") else GO_ZERO_TIME
    return Proposal(wire.height, wire.round, wire.pol_round, block_id, timestamp)


def _check_height_and_round(kind: RequestKind, height: int, round_: int) -> None:
    if height < 1:
        raise UndecodableRequestError(kind, f"height {height} is below 1, the first height of a chain")
    if round_ < 0:
        raise UndecodableRequestError(kind, f"round {round_} is negative")


def _block_id(kind: RequestKind, wire: types_pb2.BlockID) -> BlockID:
    block_hash = wire.hash
    parts = wire.part_set_header
    parts_hash = parts.hash
    if len(block_hash) not in {0, HASH_BYTES}:
        raise UndecodableRequestError(kind, f"the block hash has {len(block_hash)} bytes, not 0 or {HASH_BYTES}")
    if len(parts_hash) not in {0, HASH_BYTES}:
        raise UndecodableRequestError(kind, f"the parts hash has {len(parts_hash)} bytes, not 0 or {HASH_BYTES}")
    return BlockID(block_hash, PartSetHeader(parts.total, parts_hash))


def _timestamp(kind: RequestKind, wire: WireTimestamp) -> Timestamp:
    seconds = wire.seconds
    nanos = wire.nanos
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise UndecodableRequestError(kind, f"the timestamp ({seconds} s) lies outside of the years 1 to 9999")
    if not 0 <= nanos <= MAX_NANOS:
        raise UndecodableRequestError(kind, f"the timestamp has {nanos} nanoseconds, not 0 to {MAX_NANOS}")
    return Timestamp(seconds, nanos)


# ------------------------------------------------------------------------------------------------------------ answers


def encode_pub_key_response(key_type: str, pub_key: bytes) -> bytes:
    """Return an answer that both generations read: the key as a message for nodes up to v0.40, as bytes for v1 and v2.

    `key_type` is CometBFT's name of it, such as "ed25519".
    """
    field = _PUBLIC_KEY_FIELDS.get(key_type)
    if field is None:
        raise BrokenInvariantError(f"no node knows a key of type {key_type!r}")
    message = types_pb2.PublicKey()
    setattr(message, field, pub_key)
    response = privval_pb2.PubKeyResponse(pub_key=message, pub_key_bytes=pub_key, pub_key_type=key_type)
    return privval_pb2.Message(pub_key_response=response).SerializeToString()


def encode_request(request: SignVoteRequest | SignProposalRequest) -> bytes:
    """Return a sign request as a node frames it: what one replica forwards to another. `decode_request` reads it."""
    if isinstance(request, SignVoteRequest):
        vote = request.vote
        asked = privval_pb2.SignVoteRequest(
            vote=types_pb2.Vote(
                type=vote.type,
                height=vote.height,
                round=vote.round,
                block_id=_wire_block_id(vote.block_id),
                timestamp=WireTimestamp(seconds=vote.timestamp.seconds, nanos=vote.timestamp.nanos),
                extension=vote.extension,
            ),
            chain_id=request.chain_id,
            skip_extension_signing=request.skip_extension_signing,
        )
        return privval_pb2.Message(sign_vote_request=asked).SerializeToString()
    proposal = _wire_proposal(request.proposal, b"")
    wanted = privval_pb2.SignProposalRequest(proposal=proposal, chain_id=request.chain_id)
    return privval_pb2.Message(sign_proposal_request=wanted).SerializeToString()


def encode_signed_vote_response(vote: Vote, signature: bytes, extension_signature: bytes) -> bytes:
    """Return a signed vote. Its extension is left out: the node does not read it back, and it may be 1 MiB long."""
    wire = types_pb2.Vote(
        type=vote.type,
        height=vote.height,
        round=vote.round,
        block_id=_wire_block_id(vote.block_id),
        timestamp=WireTimestamp(seconds=vote.timestamp.seconds, nanos=vote.timestamp.nanos),
        signature=signature,
        extension_signature=extension_signature,
    )
    response = privval_pb2.SignedVoteResponse(vote=wire)
    return privval_pb2.Message(signed_vote_response=response).SerializeToString()


def encode_signed_proposal_response(proposal: Proposal, signature: bytes) -> bytes:
    """Return a signed proposal."""
    response = privval_pb2.SignedProposalResponse(proposal=_wire_proposal(proposal, signature))
    return privval_pb2.Message(signed_proposal_response=response).SerializeToString()


def encode_ping_response() -> bytes:
    """Return the answer to a ping."""
    return privval_pb2.Message(ping_response=privval_pb2.PingResponse()).SerializeToString()


def encode_error_response(kind: RequestKind, code: int, description: str) -> bytes:
    """Return an error as the answer to a request of this kind. Nodes do not look at the code, but log both.

    The description is cut to MAX_DESCRIPTION_BYTES. Code 0 is "unknown", which Go's own signer always sends.
    """
    error = privval_pb2.RemoteSignerError(code=code, description=_cut(description))
    match kind:
        case RequestKind.PUB_KEY:
            message = privval_pb2.Message(pub_key_response=privval_pb2.PubKeyResponse(error=error))
        case RequestKind.SIGN_VOTE:
            message = privval_pb2.Message(signed_vote_response=privval_pb2.SignedVoteResponse(error=error))
        case RequestKind.SIGN_PROPOSAL:
            message = privval_pb2.Message(signed_proposal_response=privval_pb2.SignedProposalResponse(error=error))
        case _:
            raise BrokenInvariantError(f"the answer to a {_describe(kind)} has no room for an error")
    return message.SerializeToString()


def _cut(description: str) -> str:
    return description.encode(errors="replace")[:MAX_DESCRIPTION_BYTES].decode(errors="ignore")


def _wire_proposal(proposal: Proposal, signature: bytes) -> types_pb2.Proposal:
    return types_pb2.Proposal(
        type=SignedMsgType.PROPOSAL,
        height=proposal.height,
        round=proposal.round,
        pol_round=proposal.pol_round,
        block_id=_wire_block_id(proposal.block_id),
        timestamp=WireTimestamp(seconds=proposal.timestamp.seconds, nanos=proposal.timestamp.nanos),
        signature=signature,
    )


def _wire_block_id(block_id: BlockID) -> types_pb2.BlockID:
    parts = block_id.part_set_header
    return types_pb2.BlockID(
        hash=block_id.hash, part_set_header=types_pb2.PartSetHeader(total=parts.total, hash=parts.hash)
    )
