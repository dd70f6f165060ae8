"""What a validator's node and its remote signer say to each other: frames, messages, and the bytes that are signed.

Pure: bytes in, values and events out. No clock, socket, disk, log or event loop is reached from here, and nothing here
decides what may be signed.
"""

from __future__ import annotations

from cmkms.privval.errors import (
    CipherError,
    FramingError,
    HandshakeError,
    RequestKind,
    SignBytesError,
    UndecodableRequestError,
)
from cmkms.privval.framing import MAX_REQUEST_BYTES
from cmkms.privval.messages import (
    PingRequest,
    PubKeyRequest,
    Request,
    SignProposalRequest,
    SignVoteRequest,
    decode_request,
    encode_error_response,
    encode_ping_response,
    encode_pub_key_response,
    encode_request,
    encode_signed_proposal_response,
    encode_signed_vote_response,
)
from cmkms.privval.session import (
    Event,
    HandshakeDone,
    RequestReceived,
    RequestUndecodable,
    SendBytes,
    ValidatorSession,
)
from cmkms.privval.signbytes import (
    CanonicalMessage,
    differ_only_in_timestamp,
    encode_sign_bytes,
    extension_sign_bytes,
    parse_sign_bytes,
    proposal_sign_bytes,
    vote_sign_bytes,
)
from cmkms.privval.values import (
    GO_ZERO_TIME,
    NIL_BLOCK,
    BlockID,
    PartSetHeader,
    Proposal,
    SignedMsgType,
    Timestamp,
    Vote,
)

__all__ = [
    "GO_ZERO_TIME",
    "MAX_REQUEST_BYTES",
    "NIL_BLOCK",
    "BlockID",
    "CanonicalMessage",
    "CipherError",
    "Event",
    "FramingError",
    "HandshakeDone",
    "HandshakeError",
    "PartSetHeader",
    "PingRequest",
    "Proposal",
    "PubKeyRequest",
    "Request",
    "RequestKind",
    "RequestReceived",
    "RequestUndecodable",
    "SendBytes",
    "SignBytesError",
    "SignProposalRequest",
    "SignVoteRequest",
    "SignedMsgType",
    "Timestamp",
    "UndecodableRequestError",
    "ValidatorSession",
    "Vote",
    "decode_request",
    "differ_only_in_timestamp",
    "encode_error_response",
    "encode_ping_response",
    "encode_pub_key_response",
    "encode_request",
    "encode_sign_bytes",
    "encode_signed_proposal_response",
    "encode_signed_vote_response",
    "extension_sign_bytes",
    "parse_sign_bytes",
    "proposal_sign_bytes",
    "vote_sign_bytes",
]
