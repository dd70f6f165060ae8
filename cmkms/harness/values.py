"""Votes, proposals, block ids and times as the validator's side knows them.

Plain values with plain integers, so that a judge can also hold what no honest peer would send. No encoding here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

__all__ = ["HRS", "NIL_BLOCK", "NO_POL", "ZERO_TIME", "BlockID", "MessageType", "Proposal", "Time", "Vote", "step_of"]

NANOS_PER_SECOND: Final = 1_000_000_000

NO_POL: Final = -1
"""Proof-of-lock round of a proposal that has none (CometBFT `types/proposal.go`)."""


class MessageType(IntEnum):
    """SignedMsgType of CometBFT (`proto/tendermint/types/types.proto`)."""

    UNKNOWN = 0
    PREVOTE = 1
    PRECOMMIT = 2
    PROPOSAL = 32


_STEPS: Final = {MessageType.PROPOSAL: 1, MessageType.PREVOTE: 2, MessageType.PRECOMMIT: 3}


def step_of(message_type: int) -> int:
    """The step a type is signed at: 1 propose, 2 prevote, 3 precommit; 0 for anything else (`privval/file.go`)."""
    return next((step for known, step in _STEPS.items() if known == message_type), 0)


@dataclass(frozen=True, slots=True, order=True)
class HRS:
    """Height, round and step: the place at which a key signs once. Ordered as the chain goes on."""

    height: int
    round: int
    step: int

    def __str__(self) -> str:
        return f"{self.height}/{self.round}/{self.step}"


@dataclass(frozen=True, slots=True)
class Time:
    """A moment in Unix seconds and nanoseconds, as `google.protobuf.Timestamp` carries it."""

    seconds: int = 0
    nanos: int = 0

    @classmethod
    def now(cls) -> Time:
        """The wall clock of this machine."""
        return cls.from_nanos(time.time_ns())

    @classmethod
    def from_nanos(cls, nanos: int) -> Time:
        """The moment that lies `nanos` nanoseconds after the Unix epoch."""
        return cls(*divmod(nanos, NANOS_PER_SECOND))

    def later(self, nanos: int) -> Time:
        """The moment `nanos` nanoseconds after this one."""
        return Time.from_nanos(self.seconds * NANOS_PER_SECOND + self.nanos + nanos)


ZERO_TIME: Final = Time(-62135596800, 0)
"""Go's zero time, 0001-01-01: what a Go decoder makes of an absent timestamp."""


@dataclass(frozen=True, slots=True)
class BlockID:
    """A block's hash and the header of its part set. All empty: a vote for nil."""

    hash: bytes = b""
    parts_total: int = 0
    parts_hash: bytes = b""

    @property
    def is_nil(self) -> bool:
        """Whether this names no block at all (CometBFT `BlockID.IsZero`)."""
        return not self.hash and not self.parts_total and not self.parts_hash


NIL_BLOCK: Final = BlockID()


@dataclass(frozen=True, slots=True)
class Vote:
    """A prevote or precommit, with what a node sends along and what a signer fills in."""

    type: int
    height: int
    round: int
    block_id: BlockID = NIL_BLOCK
    time: Time = ZERO_TIME
    validator_address: bytes = b""
    validator_index: int = 0
    signature: bytes = b""
    extension: bytes = b""
    extension_signature: bytes = b""

    @property
    def hrs(self) -> HRS:
        """Where this vote is signed."""
        return HRS(self.height, self.round, step_of(self.type))


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal of a block. `pol_round` is -1 where there is no proof of lock."""

    height: int
    round: int
    pol_round: int = NO_POL
    block_id: BlockID = NIL_BLOCK
    time: Time = ZERO_TIME
    signature: bytes = b""
    type: int = MessageType.PROPOSAL

    @property
    def hrs(self) -> HRS:
        """Where this proposal is signed: the forced type makes it step 1 whatever `type` says."""
        return HRS(self.height, self.round, _STEPS[MessageType.PROPOSAL])
