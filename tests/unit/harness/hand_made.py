"""Exchanges made by hand, right or wrong in one way of one's choosing, with a key of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl import bindings

from cmkms.harness.chain import block_id
from cmkms.harness.observation import Observation
from cmkms.harness.signbytes import extension_sign_bytes, proposal_sign_bytes, vote_sign_bytes
from cmkms.harness.values import BlockID, MessageType, Proposal, Time, Vote
from cmkms.harness.wire import (
    ErrorReply,
    Kind,
    ProposalReply,
    SignProposalRequest,
    SignVoteRequest,
    VoteReply,
    encode_reply,
    encode_request,
)

CHAIN = "hand-made-1"

SEED = hashlib.sha256(b"the validator").digest()
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"somebody else").digest())
PUB_KEY = KEY.public_key().public_bytes_raw()

Message = Vote | Proposal
Sign = Callable[[bytes], bytes]


def prevote(height: int, round_: int = 0, block: BlockID | None = None, seconds: int = 0) -> Vote:
    return Vote(MessageType.PREVOTE, height, round_, block_id(height, round_) if block is None else block, at(seconds))


def precommit(height: int, round_: int = 0, block: BlockID | None = None, extension: bytes = b"extension") -> Vote:
    block = block_id(height, round_) if block is None else block
    return Vote(MessageType.PRECOMMIT, height, round_, block, at(0), extension=b"" if block.is_nil else extension)


def proposal(height: int, round_: int = 0, pol_round: int = -1, seconds: int = 0) -> Proposal:
    return Proposal(height, round_, pol_round, block_id(height, round_), at(seconds))


def at(seconds: int) -> Time:
    return Time(1_700_000_000 + seconds)


def sign_bytes(message: Message, chain: str = CHAIN) -> bytes:
    return vote_sign_bytes(chain, message) if isinstance(message, Vote) else proposal_sign_bytes(chain, message)


def request(message: Message, chain: str = CHAIN, *, skips_extension: bool = False) -> bytes:
    if isinstance(message, Vote):
        return encode_request(SignVoteRequest(chain, message, skips_extension))
    return encode_request(SignProposalRequest(chain, message))


def reply(message: Message) -> bytes:
    """A reply that says this, signatures and all."""
    if isinstance(message, Vote):
        return encode_reply(VoteReply(replace(message, extension=b"")))
    return encode_reply(ProposalReply(message))


def signed(message: Message, chain: str = CHAIN, *, over: Message | None = None, sign: Sign = KEY.sign) -> Message:
    """The message as a right signer gives it back, or with a signature over something else, or made otherwise."""
    message = replace(message, signature=sign(sign_bytes(over or message, chain)))
    if isinstance(message, Vote) and message.type == MessageType.PRECOMMIT and not message.block_id.is_nil:
        return replace(message, extension_signature=KEY.sign(extension_sign_bytes(chain, message)))
    return message


def exchange(
    times: tuple[float, float], asked: Message, answered: Message | bytes | None = None, chain: str = CHAIN
) -> Observation:
    """One exchange, asked and answered at these moments; rightly answered if nothing else is given."""
    if answered is None:
        answered = signed(asked, chain)
    came = answered if isinstance(answered, bytes) else reply(answered)
    return Observation("node", 1, *times, PUB_KEY, request(asked, chain), came)


def unanswered(times: tuple[float, float], asked: Message) -> Observation:
    return Observation("node", 1, *times, PUB_KEY, request(asked), None)


def refused(times: tuple[float, float], asked: Message, leaked: bytes = b"") -> Observation:
    kind = Kind.SIGN_VOTE if isinstance(asked, Vote) else Kind.SIGN_PROPOSAL
    return exchange(times, asked, encode_reply(ErrorReply(kind, 0, "no", leaked)))


def signed_by_chance(data: bytes) -> bytes:
    """A good Ed25519 signature under `KEY` with a nonce that is not the one of RFC 8032."""
    digest = hashlib.sha512(SEED).digest()
    scalar = bytearray(digest[:32])
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    nonce = bindings.crypto_core_ed25519_scalar_reduce(hashlib.sha512(b"by chance" + data).digest())
    point = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
    hashed = bindings.crypto_core_ed25519_scalar_reduce(hashlib.sha512(point + PUB_KEY + data).digest())
    secret = bindings.crypto_core_ed25519_scalar_reduce(bytes(scalar) + bytes(32))
    product = bindings.crypto_core_ed25519_scalar_mul(hashed, secret)
    return point + bindings.crypto_core_ed25519_scalar_add(nonce, product)
