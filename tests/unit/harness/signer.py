"""A small correct signer, made of the harness' own codec, and the seeded faults that turn it into a guilty one.

It keeps its state in memory and exists to be judged: the oracle has to catch each fault, and none in the correct one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import Enum, auto

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cmkms.harness.signbytes import extension_sign_bytes, proposal_sign_bytes, vote_sign_bytes
from cmkms.harness.values import HRS, ZERO_TIME, MessageType, Proposal, Time, Vote
from cmkms.harness.wire import (
    ErrorReply,
    Kind,
    PingReply,
    PingRequest,
    ProposalReply,
    PubKeyReply,
    PubKeyRequest,
    Reply,
    SignProposalRequest,
    SignVoteRequest,
    VoteReply,
    decode_request,
    encode_reply,
)


class Fault(Enum):
    NONE = auto()
    SIGNS_EVERYTHING = auto()
    FORGETS_ON_RESTART = auto()
    COMPARES_HEIGHT_ONLY = auto()
    IGNORES_ROUNDS = auto()
    IGNORES_STEPS = auto()
    IGNORES_BLOCK = auto()
    SIGNS_TIMES_ANEW = auto()
    LIES_ABOUT_TIME = auto()
    ALLOWS_REGRESSION = auto()
    SIGNS_ANY_CHAIN = auto()
    SIGNS_FOR_ANOTHER_CHAIN = auto()
    IGNORES_POL_ROUND = auto()
    LATE_REPLIES = auto()
    BREAKS_SIGNATURES = auto()
    USES_ANOTHER_KEY = auto()
    EXTENDS_NIL_PRECOMMITS = auto()
    EXTENDS_PREVOTES = auto()
    FORGETS_EXTENSION = auto()
    SIGNS_RAW_EXTENSION = auto()
    STALE_EXTENSION = auto()
    LEAKS_IN_ERRORS = auto()
    ECHOES_ANOTHER_BLOCK = auto()


class Refused(Exception):  # noqa: N818
    """The state does not allow this signature."""


NOWHERE = HRS(0, 0, 0)


@dataclass(frozen=True)
class State:
    hrs: HRS = NOWHERE
    sign_bytes: bytes = b""
    timeless: bytes = b""
    signature: bytes = b""
    time: Time = ZERO_TIME


class Signer:
    def __init__(self, chain_id: str, fault: Fault = Fault.NONE, seed: bytes = b"validator") -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest())
        self.other_key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"other").digest())
        self.pub_key = self.key.public_key().public_bytes_raw()
        self.chain_id = chain_id
        self.fault = fault
        self.state = State()
        self.previous = b""
        self.extension = b""

    def restart(self) -> None:
        if self.fault is Fault.FORGETS_ON_RESTART:
            self.state = State()

    def answer(self, message: bytes) -> bytes:
        reply = encode_reply(self._answer(message))
        if self.fault is Fault.LATE_REPLIES:
            reply, self.previous = self.previous or reply, reply
        return reply

    def _answer(self, message: bytes) -> Reply:
        match decode_request(message):
            case PubKeyRequest():
                return PubKeyReply(self.pub_key, self.pub_key, "ed25519")
            case PingRequest():
                return PingReply()
            case SignVoteRequest(chain_id, vote):
                return self._guarded(Kind.SIGN_VOTE, chain_id, vote)
            case SignProposalRequest(chain_id, proposal):
                return self._guarded(Kind.SIGN_PROPOSAL, chain_id, proposal)

    def _guarded(self, kind: Kind, chain_id: str, message: Vote | Proposal) -> Reply:
        if chain_id != self.chain_id and self.fault is not Fault.SIGNS_ANY_CHAIN:
            return ErrorReply(kind, 0, "unknown chain")
        chain_id = "another" if self.fault is Fault.SIGNS_FOR_ANOTHER_CHAIN else chain_id
        try:
            signature, time = self._sign(chain_id, message)
        except Refused as error:
            leaked = self.key.sign(_sign_bytes(chain_id, message)) if self.fault is Fault.LEAKS_IN_ERRORS else b""
            return ErrorReply(kind, 0, str(error), leaked)
        if self.fault is Fault.BREAKS_SIGNATURES:
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        if isinstance(message, Proposal):
            return ProposalReply(replace(message, time=time, signature=signature))
        extension_signature = self._extend(chain_id, message)
        vote = replace(message, time=time, signature=signature, extension=b"", extension_signature=extension_signature)
        if self.fault is Fault.ECHOES_ANOTHER_BLOCK:
            vote = replace(vote, block_id=replace(vote.block_id, hash=bytes(32)))
        return VoteReply(vote)

    def _sign(self, chain_id: str, message: Vote | Proposal) -> tuple[bytes, Time]:
        sign_bytes = _sign_bytes(chain_id, message)
        timeless = _sign_bytes(chain_id, replace(message, time=ZERO_TIME))
        if self.fault is Fault.IGNORES_POL_ROUND and isinstance(message, Proposal):
            timeless = _sign_bytes(chain_id, replace(message, time=ZERO_TIME, pol_round=0))
        state, hrs = self.state, message.hrs
        anything = self.fault is Fault.SIGNS_EVERYTHING
        if not anything and self._is_below(hrs, state.hrs):
            raise Refused("regression")
        if not anything and self._is_same(hrs, state.hrs):
            if sign_bytes != state.sign_bytes and timeless != state.timeless and self.fault is not Fault.IGNORES_BLOCK:
                raise Refused("conflicting data")
            if self.fault not in {Fault.SIGNS_TIMES_ANEW, Fault.IGNORES_BLOCK, Fault.IGNORES_POL_ROUND}:
                return state.signature, message.time if self.fault is Fault.LIES_ABOUT_TIME else state.time
        key = self.other_key if self.fault is Fault.USES_ANOTHER_KEY else self.key
        self.state = State(hrs, sign_bytes, timeless, key.sign(sign_bytes), message.time)
        return self.state.signature, message.time

    def _is_below(self, hrs: HRS, last: HRS) -> bool:
        match self.fault:
            case Fault.ALLOWS_REGRESSION:
                return False
            case Fault.COMPARES_HEIGHT_ONLY:
                return hrs.height < last.height
            case Fault.IGNORES_ROUNDS:
                return (hrs.height, hrs.step) < (last.height, last.step)
            case Fault.IGNORES_STEPS:
                return (hrs.height, hrs.round) < (last.height, last.round)
            case _:
                return hrs < last

    def _is_same(self, hrs: HRS, last: HRS) -> bool:
        return hrs == last and self.fault is not Fault.COMPARES_HEIGHT_ONLY

    def _extend(self, chain_id: str, vote: Vote) -> bytes:
        if vote.type == MessageType.PREVOTE and self.fault is not Fault.EXTENDS_PREVOTES:
            return b""
        if vote.block_id.is_nil and self.fault is not Fault.EXTENDS_NIL_PRECOMMITS:
            return b""
        if self.fault is Fault.FORGETS_EXTENSION:
            return b""
        if self.fault is Fault.SIGNS_RAW_EXTENSION:
            return self.key.sign(vote.extension)
        if self.fault is Fault.STALE_EXTENSION:
            self.extension = self.extension or vote.extension
            vote = replace(vote, extension=self.extension)
        return self.key.sign(extension_sign_bytes(chain_id, vote))


def _sign_bytes(chain_id: str, message: Vote | Proposal) -> bytes:
    if isinstance(message, Vote):
        return vote_sign_bytes(chain_id, message)
    return proposal_sign_bytes(chain_id, message)
