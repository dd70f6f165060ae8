"""The judge: reads everything that signers answered and names each broken promise. Pure, and fit for many processes.

Its rules, each checked on every answer, in whatever order exchanges become known:

* one message: a key signs one canonical sign-bytes per chain, height, round and step; the time is part of it;
* true signature: it verifies over the bytes the reply claims, and the reply answers the request it followed;
* forward order: no message is signed that was first asked for after a higher height, round and step had been answered,
  and after a precommit nothing earlier of that height and round; copies of what was released before are nothing new;
* refusal: an error reply carries no signature;
* own chain: nothing is signed for a chain that is not configured;
* extension: signed for a precommit of a block, over the requester's own bytes, and for nothing else;
* liveness, where it is told when all was healed: a higher place than ever before is signed in time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cmkms.harness.answers import Outcome, Released, Signed, Unsigned, read_answer, verify_signature
from cmkms.harness.observation import Observation
from cmkms.harness.order import Change, Order
from cmkms.harness.signbytes import extension_sign_bytes
from cmkms.harness.values import HRS, MessageType, Vote

__all__ = ["Oracle", "Rule", "Violation", "judge", "verify_signature"]

_PRECOMMIT_STEP: Final = 3

_NOWHERE: Final = HRS(0, 0, 0)


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
    SILENT = "nothing new was signed in time after all was healed"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise: which, at which observation, and in words."""

    rule: Rule
    hrs: HRS
    node: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule.name} at {self.hrs} (asked by {self.node}): {self.rule.value}; {self.detail}"


class Oracle:
    """Judges observations one by one; keeps every violation in `violations`.

    `chain_ids` are the configured chains; None judges whatever chain turns up. A signer that knows no vote extensions
    is judged with `extensions` off: none may be missing then. `signed`, `refused`, `unanswered` and `unreadable` count
    what came of the requests.
    A verdict on the forward order is withdrawn when an earlier request for that message becomes known; once everything
    has been seen, it does not matter in which order.
    """

    def __init__(self, chain_ids: Iterable[str] | None, *, extensions: bool = True) -> None:
        self._chain_ids = None if chain_ids is None else frozenset(chain_ids)
        self._extensions = extensions
        self._messages: dict[tuple[bytes, str, HRS], bytes] = {}
        self._orders: defaultdict[tuple[bytes, str, str], Order] = defaultdict(Order)
        self._out_of_order: dict[tuple[Order, Released], Violation] = {}
        self.violations: list[Violation] = []
        self.signed = 0
        self.refused = 0
        self.unanswered = 0
        self.unreadable = 0

    def __call__(self, seen: Observation) -> list[Violation]:
        """Judge one observation; returns what is new. Fit to be a node's witness."""
        found = self._judge(read_answer(seen))
        self.violations += found
        return found

    @property
    def double_signs(self) -> int:
        """How often a second, different message was signed at one place: what costs a validator its stake."""
        return sum(violation.rule is Rule.TWO_MESSAGES for violation in self.violations)

    def check_liveness(self, healed_at: float, seconds: float) -> list[Violation]:
        """Judge whether, for each key and chain seen, a place above all before was signed within `seconds` of a moment.

        `healed_at` is a moment of the observations' clock. Whoever calls this has asked for such a place in time.
        """
        found = [] if self._orders else [Violation(Rule.SILENT, _NOWHERE, "anybody", "nothing was ever signed")]
        for (_, chain_id, _), order in self._orders.items():
            signed_at = order.first_above(healed_at)
            if signed_at is None or signed_at > healed_at + seconds:
                took = "nothing at all" if signed_at is None else f"the first after {signed_at - healed_at:.3f} s"
                hrs = order.highest_at(healed_at) or _NOWHERE
                found.append(Violation(Rule.SILENT, hrs, "anybody", f"{took} on {chain_id!r}, allowed {seconds:g} s"))
        self.violations += found
        return found

    def _judge(self, answer: Signed | Unsigned | None) -> list[Violation]:
        match answer:
            case Signed():
                return self._judge_signed(answer)
            case Unsigned():
                return self._judge_unsigned(answer)
            case None:
                self.unreadable += 1
                return []

    def _judge_signed(self, signed: Signed) -> list[Violation]:
        self.signed += 1
        released = signed.released()
        return [
            *self._own_chain(signed),
            *self._same_request(signed),
            *self._true_signature(signed, released),
            *self._one_message(signed, released),
            *self._forward(signed, released),
            *self._extension(signed),
        ]

    def _judge_unsigned(self, answer: Unsigned) -> list[Violation]:
        match answer.outcome:
            case Outcome.REFUSED:
                self.refused += 1
            case Outcome.UNANSWERED:
                self.unanswered += 1
            case Outcome.UNREADABLE:
                self.unreadable += 1
        if answer.outcome is not Outcome.REFUSED:
            order = self._order_of(answer)
            self._learn(order.unanswered(answer.asked.hrs, answer.sign_bytes(), answer.seen.asked_at), order, answer)
        if not answer.leaked:
            return []
        released = answer.released()
        leak = _violation(Rule.LEAK, answer, answer.said)
        return [leak, *self._one_message(answer, released), *self._forward(answer, released)]

    def _own_chain(self, signed: Signed) -> list[Violation]:
        if self._chain_ids is None or signed.chain_id in self._chain_ids:
            return []
        return [_violation(Rule.FOREIGN_CHAIN, signed, f"chain {signed.chain_id!r}")]

    @staticmethod
    def _same_request(signed: Signed) -> list[Violation]:
        asked, answered = signed.asked, signed.answered
        differing = [
            name
            for name in ("type", "height", "round", "block_id", "pol_round")
            if getattr(asked, name, None) != getattr(answered, name, None)
        ]
        return [_violation(Rule.OTHER_REQUEST, signed, f"differs in {', '.join(differing)}")] if differing else []

    @staticmethod
    def _true_signature(signed: Signed, released: list[Released]) -> list[Violation]:
        claimed = signed.claimed()
        if any(message.sign_bytes == claimed for message in released):
            return []
        return [_violation(Rule.FALSE_SIGNATURE, signed, f"claimed bytes {claimed.hex()}")]

    def _one_message(self, answer: Signed | Unsigned, released: list[Released]) -> list[Violation]:
        """Compares what the signature is really over; a false claim cannot hide a second message."""
        found: list[Violation] = []
        for message in released:
            place = (answer.seen.pub_key, answer.chain_id, message.hrs)
            first = self._messages.setdefault(place, message.sign_bytes)
            if first != message.sign_bytes:
                detail = f"{first.hex()} and {message.sign_bytes.hex()}"
                found.append(_violation(Rule.TWO_MESSAGES, answer, detail, message.hrs))
        return found

    def _forward(self, answer: Signed | Unsigned, released: list[Released]) -> list[Violation]:
        order, seen = self._order_of(answer), answer.seen
        return [
            violation
            for message in released
            for violation in self._learn(order.released(message, seen.asked_at, seen.answered_at), order, answer)
        ]

    def _order_of(self, answer: Signed | Unsigned) -> Order:
        return self._orders[answer.seen.pub_key, answer.chain_id, answer.seen.clock]

    def _learn(self, change: Change, order: Order, answer: Signed | Unsigned) -> list[Violation]:
        """Withdraw what is excused now; returns what is condemned now."""
        for message in change.excused:
            self.violations.remove(self._out_of_order.pop((order, message)))
        found: list[Violation] = []
        for message, above in change.condemned.items():
            same_round = (message.hrs.height, message.hrs.round) == (above.height, above.round)
            rule = Rule.AFTER_PRECOMMIT if same_round and above.step == _PRECOMMIT_STEP else Rule.WENT_BACK
            violation = _violation(rule, answer, f"{above} had been answered before this was first asked", message.hrs)
            self._out_of_order[order, message] = violation
            found.append(violation)
        return found

    def _extension(self, signed: Signed) -> list[Violation]:
        asked, answered = signed.asked, signed.answered
        if not isinstance(answered, Vote):
            return []
        signature = answered.extension_signature
        if not isinstance(asked, Vote) or asked.type != MessageType.PRECOMMIT or asked.block_id.is_nil:
            return [_violation(Rule.EXTENSION, signed, "not on a precommit of a block")] if signature else []
        if not signature:
            wanted = self._extensions and not signed.skips_extension
            return [_violation(Rule.EXTENSION, signed, "missing on a precommit of a block")] if wanted else []
        if verify_signature(signed.seen.pub_key, extension_sign_bytes(signed.chain_id, asked), signature):
            return []
        return [_violation(Rule.EXTENSION, signed, "does not verify over the asked extension")]


def judge(observations: Iterable[Observation], chain_ids: Iterable[str] | None, *, extensions: bool = True) -> Oracle:
    """Judge a whole recording, or several together, in whatever order they were written."""
    oracle = Oracle(chain_ids, extensions=extensions)
    for observation in sorted(observations, key=lambda seen: seen.answered_at):
        oracle(observation)
    return oracle


def _violation(rule: Rule, answer: Signed | Unsigned, detail: str, hrs: HRS | None = None) -> Violation:
    return Violation(rule, hrs or answer.asked.hrs, answer.seen.node, detail)
