"""What an observation means: which message was asked for, what came back, and what a signature in it is really over.

Pure reading, shared by recorder, oracle and the judge of guards; it finds no fault with anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cmkms.harness.errors import BadReplyError
from cmkms.harness.observation import Observation
from cmkms.harness.signbytes import proposal_sign_bytes, vote_sign_bytes
from cmkms.harness.values import HRS, MessageType, Proposal, Vote
from cmkms.harness.wire import (
    ErrorReply,
    ProposalReply,
    Reply,
    SignProposalRequest,
    SignVoteRequest,
    VoteReply,
    decode_reply,
    decode_request,
)

__all__ = ["Outcome", "Released", "Signed", "Unsigned", "describe", "read_answer", "verify_signature"]


class Outcome(Enum):
    """Why a sign request brought no signature."""

    UNANSWERED = "unanswered"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Released:
    """One message that was signed: where, its exact bytes, and the signature, which is good over them."""

    hrs: HRS
    sign_bytes: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """A reply with a signed message. `skips_extension`: the node asked for no extension signature."""

    seen: Observation
    chain_id: str
    asked: Vote | Proposal
    answered: Vote | Proposal
    skips_extension: bool

    @property
    def highest(self) -> HRS:
        """The highest place that the signature can be for."""
        return max(self.asked.hrs, self.answered.hrs)

    def claimed(self) -> bytes:
        """The asked message at the answered time: what a node takes the signature to be over."""
        return _sign_bytes(self.chain_id, self.asked, self.answered)

    def released(self) -> list[Released]:
        """All that the signature is good over: as claimed, as asked, or the reply in its own words; none if false."""
        meanings = {
            _sign_bytes(self.chain_id, self.answered, self.answered): self.answered.hrs,
            _sign_bytes(self.chain_id, self.asked, self.asked): self.asked.hrs,
            self.claimed(): self.asked.hrs,
        }
        signature = self.answered.signature
        return [
            Released(hrs, sign_bytes, signature)
            for sign_bytes, hrs in meanings.items()
            if verify_signature(self.seen.pub_key, sign_bytes, signature)
        ]


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A sign request without a signed reply. `leaked`: signatures inside an error reply; `said`: its words."""

    seen: Observation
    chain_id: str
    asked: Vote | Proposal
    outcome: Outcome
    leaked: bytes = b""
    said: str = ""

    @property
    def highest(self) -> HRS:
        """The place asked for."""
        return self.asked.hrs

    def sign_bytes(self) -> bytes:
        """What was asked to be signed."""
        return _sign_bytes(self.chain_id, self.asked, self.asked)

    def released(self) -> list[Released]:
        """What a leaked signature is good over: looked for where a signature for the asked message would stand."""
        sign_bytes, signature = self.sign_bytes(), self.leaked[:64]
        if not signature or not verify_signature(self.seen.pub_key, sign_bytes, signature):
            return []
        return [Released(self.asked.hrs, sign_bytes, signature)]


def read_answer(seen: Observation) -> Signed | Unsigned | None:
    """What an observation says; None if what was asked is no sign request at all."""
    try:
        request = decode_request(seen.request)
    except BadReplyError:
        return None
    match request:
        case SignVoteRequest(chain_id, vote, skips):
            return _read_reply(seen, chain_id, vote, skips_extension=skips)
        case SignProposalRequest(chain_id, proposal):
            return _read_reply(seen, chain_id, proposal, skips_extension=False)
        case _:
            return None


def describe(seen: Observation) -> dict[str, object]:
    """An observation in the words that people and other programs look for; bytes in hex.

    Chain, type, HRS as a text, the sign-bytes as the reply claims them (as asked, where there is no signature), the
    signatures, and what came of it.
    """
    answer = read_answer(seen)
    if answer is None:
        return {"outcome": Outcome.UNREADABLE.value}
    words: dict[str, object] = {
        "chain": answer.chain_id,
        "type": _type_name(answer.asked.type),
        "hrs": str(answer.asked.hrs),
    }
    if isinstance(answer, Unsigned):
        said = {"error": answer.said} if answer.outcome is Outcome.REFUSED else {}
        return {**words, "sign_bytes": answer.sign_bytes().hex(), "outcome": answer.outcome.value, **said}
    extension = answer.answered.extension_signature if isinstance(answer.answered, Vote) else b""
    return {
        **words,
        "sign_bytes": answer.claimed().hex(),
        "signature": answer.answered.signature.hex(),
        "extension_signature": extension.hex(),
        "outcome": "signed",
    }


def verify_signature(pub_key: bytes, sign_bytes: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature (64 bytes) over these bytes is good under this key (32 bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(pub_key).verify(signature, sign_bytes)
    except (InvalidSignature, ValueError):
        return False
    return True


def _read_reply(
    seen: Observation, chain_id: str, asked: Vote | Proposal, *, skips_extension: bool
) -> Signed | Unsigned:
    if seen.reply is None:
        return Unsigned(seen, chain_id, asked, Outcome.UNANSWERED)
    match _decoded(seen.reply):
        case VoteReply(vote):
            return Signed(seen, chain_id, asked, vote, skips_extension)
        case ProposalReply(proposal):
            return Signed(seen, chain_id, asked, proposal, skips_extension)
        case ErrorReply() as error:
            return Unsigned(seen, chain_id, asked, Outcome.REFUSED, error.leaked, error.description)
        case _:
            return Unsigned(seen, chain_id, asked, Outcome.UNREADABLE)


def _decoded(reply: bytes) -> Reply | None:
    try:
        return decode_reply(reply)
    except BadReplyError:
        return None


def _sign_bytes(chain_id: str, message: Vote | Proposal, time_of: Vote | Proposal) -> bytes:
    if isinstance(message, Vote):
        return vote_sign_bytes(chain_id, replace(message, time=time_of.time))
    return proposal_sign_bytes(chain_id, replace(message, time=time_of.time))


def _type_name(number: int) -> str:
    return next((known.name.lower() for known in MessageType if known == number), str(number))
