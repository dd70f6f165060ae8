"""What cmkms and CometBFT's reference signer are both asked: scripts, each played to signers that never signed before.

The order within a script matters: a signer answers by what it signed before. Where the design wants another answer
than the reference gives, the question says so and why; nothing else may differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain

from cmkms.harness.values import NIL_BLOCK, ZERO_TIME, BlockID, MessageType, Proposal, Time, Vote
from cmkms.harness.wire import PingRequest, PubKeyRequest, Request, SignProposalRequest, SignVoteRequest

__all__ = ["CHAIN_ID", "SCRIPTS", "Difference", "Outcome", "Question"]

CHAIN_ID = "questions-1"


class Outcome(StrEnum):
    """What a signer made of a request."""

    ANSWERED = "answered"
    SIGNED = "signed"
    REFUSED = "refused with an error"
    UNREADABLE = "answered what no node reads"
    SILENT = "did not answer"
    CLOSED = "closed the connection"
    DIED = "died"


@dataclass(frozen=True, slots=True)
class Difference:
    """The design wants cmkms to answer otherwise than the reference signer does."""

    reference: Outcome | tuple[Outcome, ...]
    cmkms: Outcome
    why: str

    @property
    def of_the_reference(self) -> tuple[Outcome, ...]:
        """What the reference may make of it: more than one where that depends on its luck."""
        return (self.reference,) if isinstance(self.reference, Outcome) else self.reference


@dataclass(frozen=True, slots=True)
class Question:
    """One request, or the bytes of one that no honest node sends; its place in the script said by `name`."""

    name: str
    request: Request | bytes
    difference: Difference | None = None


def _block(name: str) -> BlockID:
    return BlockID(hashlib.sha256(name.encode()).digest(), 1, hashlib.sha256(f"parts of {name}".encode()).digest())


_A, _B = _block("A"), _block("B")
_NOON = Time(1_795_176_000, 123_456_789)
_LATER, _EARLIER = _NOON.later(1), _NOON.later(-1_500_000_000)
_MAX_HEIGHT, _MAX_ROUND, _MAX_PARTS = 2**63 - 1, 2**31 - 1, 2**32 - 1


def _prevote(height: int, round_: int = 0, block: BlockID = _A, time: Time = _NOON, extension: bytes = b"") -> Vote:
    return Vote(MessageType.PREVOTE, height, round_, block, time, b"v" * 20, extension=extension)


def _precommit(height: int, round_: int = 0, block: BlockID = _A, time: Time = _NOON, extension: bytes = b"") -> Vote:
    return Vote(MessageType.PRECOMMIT, height, round_, block, time, b"v" * 20, extension=extension)


def _proposal(height: int, round_: int = 0, pol: int = -1, block: BlockID = _A, time: Time = _NOON) -> Proposal:
    return Proposal(height, round_, pol, block, time)


def _ask(name: str, what: Vote | Proposal, difference: Difference | None = None, chain_id: str = CHAIN_ID) -> Question:
    if isinstance(what, Vote):
        return Question(name, SignVoteRequest(chain_id, what), difference)
    return Question(name, SignProposalRequest(chain_id, what), difference)


_OTHER_TIME_OF_A_PROPOSAL = Difference(
    Outcome.SIGNED,
    Outcome.REFUSED,
    "a node keeps its own time in a proposal, so that the stored signature with the stored time is not valid there",
)
_STRICTER = Difference(
    Outcome.SIGNED, Outcome.REFUSED, "no node asks for this (ValidateBasic refuses it), so who asks is not a node"
)
_NOT_A_CRASH = Difference(Outcome.DIED, Outcome.REFUSED, "the reference panics; a request never ends cmkms")
_NOT_SILENCE = Difference(
    Outcome.SILENT, Outcome.REFUSED, "the reference logs it and waits; cmkms answers what has a kind to be answered"
)


def _greetings() -> tuple[Question, ...]:
    return (
        Question("a ping", PingRequest()),
        Question("the public key", PubKeyRequest(CHAIN_ID)),
        Question("the public key of another chain", PubKeyRequest("another-chain")),
        Question("the public key of no chain", PubKeyRequest("")),
    )


def _a_height() -> tuple[Question, ...]:
    """Height 100, round 0: each step, its repetitions, and all that could make two signatures of it."""
    with_extension = _precommit(100, extension=b"price: 1")
    return (
        _ask("a proposal", _proposal(100)),
        _ask("the same proposal", _proposal(100)),
        _ask("the same proposal with a later time", _proposal(100, time=_LATER), _OTHER_TIME_OF_A_PROPOSAL),
        _ask("the same proposal with an earlier time", _proposal(100, time=_EARLIER), _OTHER_TIME_OF_A_PROPOSAL),
        _ask("another proposal", _proposal(100, block=_B)),
        _ask("the same proposal with a proof of lock", _proposal(100, pol=0)),
        _ask("a proposal after other ones were refused", _proposal(100)),
        _ask("a prevote", _prevote(100)),
        _ask("the same prevote", _prevote(100)),
        _ask("the same prevote with a later time", _prevote(100, time=_LATER)),
        _ask("the same prevote with an earlier time", _prevote(100, time=_EARLIER)),
        _ask("the same prevote with the time of year 1", _prevote(100, time=ZERO_TIME)),
        _ask("the same prevote of another index", replace(_prevote(100), validator_index=7, validator_address=b"")),
        _ask("the same prevote with a signature in it", replace(_prevote(100), signature=b"s" * 64)),
        _ask("the first prevote again", _prevote(100)),
        _ask("a prevote for another block", _prevote(100, block=_B)),
        _ask("a prevote for another block at another time", _prevote(100, block=_B, time=_LATER)),
        _ask("a prevote for nil after one for a block", _prevote(100, block=NIL_BLOCK)),
        _ask("a prevote for the block with one more part", _prevote(100, block=replace(_A, parts_total=2))),
        _ask("a proposal after the prevote", _proposal(100)),
        _ask("a precommit with an extension", with_extension),
        _ask("the same precommit", with_extension),
        _ask("the same precommit with another extension", replace(with_extension, extension=b"price: 2")),
        _ask("the same precommit without an extension", _precommit(100)),
        _ask("the same precommit with a later time", replace(with_extension, time=_LATER)),
        _ask("a precommit for another block", _precommit(100, block=_B)),
        _ask("a precommit for nil after one for a block", _precommit(100, block=NIL_BLOCK)),
        _ask("the same prevote after the precommit", _prevote(100)),
        _ask("the same proposal after the precommit", _proposal(100)),
    )


def _later_rounds() -> tuple[Question, ...]:
    """Height 100, rounds 1 and more: a proof of lock, nil, and steps that were left out."""
    return (
        _ask("a proposal of round 1 with a proof of lock", _proposal(100, 1, pol=0)),
        _ask("the same without the proof of lock", _proposal(100, 1, pol=-1)),
        _ask("the same proposal of round 1", _proposal(100, 1, pol=0)),
        _ask("a prevote for nil", _prevote(100, 1, NIL_BLOCK)),
        _ask("the same prevote for nil", _prevote(100, 1, NIL_BLOCK)),
        _ask("the same prevote for nil at a later time", _prevote(100, 1, NIL_BLOCK, _LATER)),
        _ask("a prevote for a block after one for nil", _prevote(100, 1)),
        _ask("a precommit for a block after a prevote for nil", _precommit(100, 1)),
        _ask("a precommit of the round before", _precommit(100, 0)),
        _ask("a prevote of the round before", _prevote(100, 0)),
        _ask("a precommit of round 3 with nothing before it", _precommit(100, 3, NIL_BLOCK)),
        _ask("the same precommit for nil", _precommit(100, 3, NIL_BLOCK)),
        _ask("the same precommit for nil at an earlier time", _precommit(100, 3, NIL_BLOCK, _EARLIER)),
        _ask("a precommit for a block after one for nil", _precommit(100, 3)),
        _ask("a precommit of round 2", _precommit(100, 2)),
        _ask("a precommit of the last round there can be", _precommit(100, _MAX_ROUND)),
    )


def _what_may_not_leave_a_trace() -> tuple[Question, ...]:
    """A refused request is not remembered: what comes after it at its place is signed."""
    return (
        _ask("a prevote with an extension", _prevote(101, extension=b"x")),
        _ask("another prevote at its place", _prevote(101, block=_B)),
        _ask("a precommit for nil with an extension", _precommit(101, block=NIL_BLOCK, extension=b"x")),
        _ask("another precommit at its place", _precommit(101, block=_B)),
        _ask("a vote of another chain", _prevote(102), chain_id="another-chain"),
        _ask("a vote of no chain", _prevote(102), chain_id=""),
        _ask("a vote of a chain with a longer name", _prevote(102), chain_id=CHAIN_ID + "0"),
        _ask("another vote at their place", _prevote(102, block=_B)),
        _ask("a proposal of another chain", _proposal(103), chain_id="another-chain"),
        _ask("another proposal at its place", _proposal(103, block=_B)),
        _ask("a precommit of the height before", _precommit(102)),
        _ask("a prevote of height 1", _prevote(1)),
        _ask("a prevote of a negative height", _prevote(-1)),
        _ask("a proposal of a height long gone", _proposal(100)),
    )


def _moments() -> tuple[Question, ...]:
    """Times that an encoder may get wrong, each signed, repeated, and asked again at noon."""
    moments = {
        "the Unix epoch": Time(0, 0),
        "a nanosecond before the Unix epoch": Time(-1, 999_999_999),
        "a whole second before the Unix epoch": Time(-1, 0),
        "Go's zero time": ZERO_TIME,
        "the second after Go's zero time": Time(ZERO_TIME.seconds + 1, 1),
        "the last moment of year 9999": Time(253_402_300_799, 999_999_999),
        "a time without nanoseconds": Time(1_795_176_000, 0),
    }
    return tuple(
        chain.from_iterable(
            (
                _ask(f"a prevote at {name}", _prevote(height, time=moment)),
                _ask(f"the same prevote at {name}", _prevote(height, time=moment)),
                _ask(f"the prevote of {name} at noon", _prevote(height)),
                _ask(f"a precommit for nil at {name}", _precommit(height, block=NIL_BLOCK, time=moment)),
                _ask(f"a proposal at {name}", _proposal(height, 1, time=moment)),
            )
            for height, (name, moment) in enumerate(moments.items(), start=110)
        )
    )


def _blocks() -> tuple[Question, ...]:
    """Block ids that are neither whole nor nil, and heights with gaps."""
    return (
        _ask("a prevote for a hash without parts", _prevote(130, block=BlockID(_A.hash))),
        _ask("a prevote for nil after a hash without parts", _prevote(130, block=NIL_BLOCK)),
        _ask("a precommit for a hash without parts", _precommit(130, block=BlockID(_A.hash))),
        _ask("a prevote for parts without a hash", _prevote(131, block=BlockID(b"", 1, _A.parts_hash))),
        _ask("a precommit for a number of parts alone", _precommit(131, block=BlockID(b"", 3, b""))),
        _ask("a prevote for as many parts as can be", _prevote(132, block=replace(_A, parts_total=_MAX_PARTS))),
        _ask("a precommit after a gap of heights", _precommit(1132)),
        _ask("a prevote of a height in the gap", _prevote(500)),
    )


_TOO_LONG_TO_GIVE_BACK = Difference(
    Outcome.UNREADABLE,
    Outcome.SIGNED,
    "the reference sends the extension back, and nodes up to v0.39 read 10 KiB; a node does not need it back",
)
_TOO_LONG_TO_READ = Difference(
    (Outcome.UNREADABLE, Outcome.SILENT),
    Outcome.SIGNED,
    "the reference reads no request above 10 KiB either, and takes its pieces for more; an extension may have 1 MiB",
)
_ABSURD_HEIGHT = Difference(
    Outcome.SIGNED, Outcome.REFUSED, "one absurd height would make the key useless: the height ceiling"
)
_STILL_USABLE = Difference(Outcome.REFUSED, Outcome.SIGNED, "which the reference's key now is, and cmkms' is not")
_SKIPPED = Difference(
    Outcome.SIGNED,
    Outcome.SIGNED,
    "a node of v1 that asks for no extension signature gets none; v0.38 has no such field",
)

# SignVoteRequest (outer tag 3) with a chain id (2) and nothing else.
_VOTELESS = bytes([0x1A, len(CHAIN_ID) + 2, 0x12, len(CHAIN_ID)]) + CHAIN_ID.encode()

SCRIPTS: Mapping[str, tuple[Question, ...]] = {
    "a validator's life": (
        *_greetings(),
        *_a_height(),
        *_later_rounds(),
        *_what_may_not_leave_a_trace(),
        *_moments(),
        *_blocks(),
        *_greetings(),
    ),
    "height 0": (_ask("a prevote of height 0", _prevote(0), _STRICTER), _ask("height 1 after it", _prevote(1))),
    "a negative round": (
        _ask("a prevote of round -1", _prevote(5, -1), _STRICTER),
        _ask("round 0 after it", _prevote(5, 0)),
    ),
    "proofs of lock that cannot be": (
        _ask("a proof of lock in round -2", _proposal(5, 0, pol=-2), _STRICTER),
        _ask("a proof of lock in the proposal's own round", _proposal(6, 1, pol=1)),
    ),
    "an absurd height": (
        _ask("height 100", _prevote(100)),
        _ask("the last height there can be", _prevote(_MAX_HEIGHT), _ABSURD_HEIGHT),
        _ask("height 101 after it", _prevote(101), _STILL_USABLE),
    ),
    "extensions of v1": (
        Question(
            "a precommit whose node wants no extension signature",
            SignVoteRequest(CHAIN_ID, _precommit(5), skip_extension_signing=True),
            _SKIPPED,
        ),
    ),
    "a long extension": (
        _ask("an extension of 10000 bytes", _precommit(5, extension=b"x" * 10_000), _TOO_LONG_TO_GIVE_BACK),
    ),
    "a very long extension": (_ask("an extension of 1 MiB", _precommit(5, extension=b"x" * 2**20), _TOO_LONG_TO_READ),),
    "a vote of no type": (_ask("a vote of type 0", replace(_prevote(5), type=0), _NOT_A_CRASH),),
    "a proposal as a vote": (_ask("a vote of type 32", replace(_prevote(5), type=32), _NOT_A_CRASH),),
    "a short hash": (_ask("a prevote for 31 bytes", _prevote(5, block=replace(_A, hash=b"h" * 31)), _NOT_A_CRASH),),
    "no vote": (Question("a vote request without a vote", _VOTELESS, _NOT_A_CRASH),),
    "a time that is none": (_ask("a prevote with negative nanoseconds", _prevote(5, time=Time(1, -1)), _NOT_SILENCE),),
}
