"""The judge: reads everything that signers answered and names each broken promise. Pure, and fit for many processes.

Its rules, each checked on every signed reply:

* one message: a key signs one canonical sign-bytes per chain, height, round and step; the time is part of it;
* true signature: it verifies over the bytes the reply claims, and the reply answers the request it followed;
* forward order: what is asked after an answer was given lies at its height, round and step or beyond,
  and after a precommit nothing earlier of that height and round is signed;
* refusal: an error reply carries no signature;
* own chain: nothing is signed for a chain that is not configured;
* extension: signed for a precommit of a block, over the requester's own bytes, and for nothing else.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cmkms.harness.errors import BadReplyError
from cmkms.harness.observation import Observation
from cmkms.harness.signbytes import extension_sign_bytes, proposal_sign_bytes, vote_sign_bytes
from cmkms.harness.values import HRS, MessageType, Proposal, Vote
from cmkms.harness.wire import (
    ErrorReply,
    ProposalReply,
    SignProposalRequest,
    SignVoteRequest,
    VoteReply,
    decode_reply,
    decode_request,
)

__all__ = ["Oracle", "Rule", "Violation", "judge", "verify_signature"]

_PRECOMMIT_STEP: Final = 3


class Rule(Enum):
    """The promises, by what breaks them."""

    TWO_MESSAGES = "two different messages signed at one height, round and step"
    FALSE_SIGNATURE = "the signature does not verify over what the reply claims"
    OTHER_REQUEST = "the reply answers another request than the one asked"
    WENT_BACK = "signed below a height, round and step already answered"
    AFTER_PRECOMMIT = "signed a proposal or prevote after the precommit of its height and round"
    FOREIGN_CHAIN = "signed for a chain that is not configured"
    LEAK = "an error reply carries a signature"
    EXTENSION = "extension signature wrong, missing, or where none may be"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise: which, at which observation, and in words."""

    rule: Rule
    hrs: HRS
    node: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule.name} at {self.hrs} (asked by {self.node}): {self.rule.value}; {self.detail}"


@dataclass(frozen=True, slots=True)
class _Signed:
    """A signed reply, decoded: what was asked and what came back."""

    seen: Observation
    chain_id: str
    asked: Vote | Proposal
    answered: Vote | Proposal

    def claimed(self) -> bytes:
        """The asked message at the answered time: what a node takes the signature to be over."""
        return _sign_bytes(self.chain_id, self.asked, self.answered)

    def meanings(self) -> dict[bytes, HRS]:
        """Every sign-bytes the signature may really be over, and its place: claimed, as asked, and in its own words."""
        return {
            _sign_bytes(self.chain_id, self.answered, self.answered): self.answered.hrs,
            _sign_bytes(self.chain_id, self.asked, self.asked): self.asked.hrs,
            self.claimed(): self.asked.hrs,
        }


@dataclass(frozen=True, slots=True, order=True)
class _Mark:
    """The highest place answered up to a moment."""

    answered_at: float
    highest: HRS


class Oracle:
    """Judges observations one by one, in any order; keeps every violation in `violations`.

    `chain_ids` are the configured chains. `signed`, `refused` and `unreadable` count replies. The two orders of time
    are exact when observations come in the order of their answers (online, or through `judge`).
    """

    def __init__(self, chain_ids: Iterable[str]) -> None:
        self._chain_ids = frozenset(chain_ids)
        self._messages: dict[tuple[bytes, str, HRS], bytes] = {}
        self._marks: dict[tuple[bytes, str], list[_Mark]] = {}
        self.violations: list[Violation] = []
        self.signed = 0
        self.refused = 0
        self.unreadable = 0

    def __call__(self, seen: Observation) -> list[Violation]:
        """Judge one observation; returns what is new. Fit to be a node's witness."""
        signed = self._decode(seen)
        if not isinstance(signed, _Signed):
            self.violations += signed
            return signed
        self.signed += 1
        found = [
            *self._own_chain(signed),
            *self._same_request(signed),
            *self._true_signature(signed),
            *self._one_message(signed),
            *self._forward(signed),
            *self._extension(signed),
        ]
        self.violations += found
        return found

    @property
    def double_signs(self) -> int:
        """How often a second, different message was signed at one place: what costs a validator its stake."""
        return sum(violation.rule is Rule.TWO_MESSAGES for violation in self.violations)

    def _decode(self, seen: Observation) -> _Signed | list[Violation]:
        """The signed reply, or what there is to say of one that is none."""
        try:
            request, reply = decode_request(seen.request), decode_reply(seen.reply)
        except BadReplyError:
            self.unreadable += 1
            return []
        match request, reply:
            case SignVoteRequest(chain_id, asked), VoteReply(answered):
                return _Signed(seen, chain_id, asked, answered)
            case SignProposalRequest(chain_id, asked), ProposalReply(answered):
                return _Signed(seen, chain_id, asked, answered)
            case SignVoteRequest(_, asked) | SignProposalRequest(_, asked), ErrorReply():
                self.refused += 1
                return [Violation(Rule.LEAK, asked.hrs, seen.node, reply.description)] if reply.leaked else []
            case _:
                self.unreadable += 1
                return []

    def _own_chain(self, signed: _Signed) -> list[Violation]:
        if signed.chain_id in self._chain_ids:
            return []
        return [_violation(Rule.FOREIGN_CHAIN, signed, f"chain {signed.chain_id!r}")]

    @staticmethod
    def _same_request(signed: _Signed) -> list[Violation]:
        asked, answered = signed.asked, signed.answered
        differing = [
            name
            for name in ("type", "height", "round", "block_id", "pol_round")
            if getattr(asked, name, None) != getattr(answered, name, None)
        ]
        return [_violation(Rule.OTHER_REQUEST, signed, f"differs in {', '.join(differing)}")] if differing else []

    @staticmethod
    def _true_signature(signed: _Signed) -> list[Violation]:
        claimed = signed.claimed()
        if verify_signature(signed.seen.pub_key, claimed, signed.answered.signature):
            return []
        return [_violation(Rule.FALSE_SIGNATURE, signed, f"claimed bytes {claimed.hex()}")]

    def _one_message(self, signed: _Signed) -> list[Violation]:
        """Compares what the signature is really over; a false claim cannot hide a second message."""
        found: list[Violation] = []
        for sign_bytes, hrs in signed.meanings().items():
            if not verify_signature(signed.seen.pub_key, sign_bytes, signed.answered.signature):
                continue
            place = (signed.seen.pub_key, signed.chain_id, hrs)
            first = self._messages.setdefault(place, sign_bytes)
            if first != sign_bytes:
                found.append(_violation(Rule.TWO_MESSAGES, signed, f"{first.hex()} and {sign_bytes.hex()}"))
        return found

    def _forward(self, signed: _Signed) -> list[Violation]:
        marks = self._marks.setdefault((signed.seen.pub_key, signed.chain_id), [])
        hrs = signed.asked.hrs
        before = bisect_left(marks, signed.seen.asked_at, key=lambda mark: mark.answered_at)
        highest = marks[before - 1].highest if before else None
        if not marks or hrs > marks[-1].highest:
            insort(marks, _Mark(signed.seen.answered_at, hrs))
        if highest is None or hrs >= highest:
            return []
        same_round = (hrs.height, hrs.round) == (highest.height, highest.round)
        rule = Rule.AFTER_PRECOMMIT if same_round and highest.step == _PRECOMMIT_STEP else Rule.WENT_BACK
        return [_violation(rule, signed, f"{highest} was answered before this was asked")]

    @staticmethod
    def _extension(signed: _Signed) -> list[Violation]:
        asked, answered = signed.asked, signed.answered
        if not isinstance(asked, Vote) or not isinstance(answered, Vote):
            return []
        signature = answered.extension_signature
        if asked.type != MessageType.PRECOMMIT or asked.block_id.is_nil:
            return [_violation(Rule.EXTENSION, signed, "on a prevote or nil precommit")] if signature else []
        if _skips_extension(signed.seen.request):
            return []
        if not signature:
            return [_violation(Rule.EXTENSION, signed, "missing on a precommit of a block")]
        if verify_signature(signed.seen.pub_key, extension_sign_bytes(signed.chain_id, asked), signature):
            return []
        return [_violation(Rule.EXTENSION, signed, "does not verify over the asked extension")]


def judge(observations: Iterable[Observation], chain_ids: Iterable[str]) -> Oracle:
    """Judge a whole recording, in the order of the answers, whatever order it was written in."""
    oracle = Oracle(chain_ids)
    for observation in sorted(observations, key=lambda seen: seen.answered_at):
        oracle(observation)
    return oracle


def verify_signature(pub_key: bytes, sign_bytes: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature (64 bytes) over these bytes is good under this key (32 bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(pub_key).verify(signature, sign_bytes)
    except (InvalidSignature, ValueError):
        return False
    return True


def _sign_bytes(chain_id: str, message: Vote | Proposal, time_of: Vote | Proposal) -> bytes:
    if isinstance(message, Vote):
        return vote_sign_bytes(chain_id, replace(message, time=time_of.time))
    return proposal_sign_bytes(chain_id, replace(message, time=time_of.time))


def _skips_extension(request: bytes) -> bool:
    decoded = decode_request(request)
    return isinstance(decoded, SignVoteRequest) and decoded.skip_extension_signing


def _violation(rule: Rule, signed: _Signed, detail: str) -> Violation:
    return Violation(rule, signed.asked.hrs, signed.seen.node, detail)
