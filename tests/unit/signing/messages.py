"""What a validator asks for in these tests: small votes and proposals of one chain."""

from __future__ import annotations

from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from cmkms.keys import Ed25519Key
from cmkms.privval import (
    NIL_BLOCK,
    BlockID,
    PartSetHeader,
    Proposal,
    SignedMsgType,
    SignProposalRequest,
    SignVoteRequest,
    Timestamp,
    Vote,
)

CHAIN: Final = "testnet-1"
KEY: Final = Ed25519Key(bytes(range(32)))

BLOCK_A: Final = BlockID(b"A" * 32, PartSetHeader(1, b"a" * 32))
BLOCK_B: Final = BlockID(b"B" * 32, PartSetHeader(1, b"b" * 32))
NIL: Final = NIL_BLOCK


def at(seconds: int) -> Timestamp:
    return Timestamp(1_700_000_000 + seconds, 5)


def prevote(
    height: int = 10, round_: int = 0, block: BlockID = BLOCK_A, seconds: int = 0, chain: str = CHAIN
) -> SignVoteRequest:
    vote = Vote(SignedMsgType.PREVOTE, height, round_, block, at(seconds))
    return SignVoteRequest(chain, vote, skip_extension_signing=False)


def precommit(
    height: int = 10,
    round_: int = 0,
    block: BlockID = BLOCK_A,
    seconds: int = 0,
    *,
    extension: bytes = b"",
    skip: bool = False,
) -> SignVoteRequest:
    vote = Vote(SignedMsgType.PRECOMMIT, height, round_, block, at(seconds), extension)
    return SignVoteRequest(CHAIN, vote, skip_extension_signing=skip)


def proposal(
    height: int = 10, round_: int = 0, block: BlockID = BLOCK_A, seconds: int = 0, pol_round: int = -1
) -> SignProposalRequest:
    return SignProposalRequest(CHAIN, Proposal(height, round_, pol_round, block, at(seconds)))


def is_signature(sign_bytes: bytes, signature: bytes) -> bool:
    """Whether the key of these tests made this signature."""
    try:
        VerifyKey(KEY.pub_key).verify(sign_bytes, signature)
    except BadSignatureError:
        return False
    return True
