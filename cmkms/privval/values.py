"""The values that a validator signs: votes, proposals, and what they are made of.

Pure and frozen. They hold what a message said; whether it may be signed is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique

__all__ = [
    "GO_ZERO_TIME",
    "HASH_BYTES",
    "MAX_NANOS",
    "MAX_SECONDS",
    "MIN_SECONDS",
    "NIL_BLOCK",
    "NO_POL_ROUND",
    "BlockID",
    "PartSetHeader",
    "Proposal",
    "SignedMsgType",
    "Timestamp",
    "Vote",
]

HASH_BYTES = 32
"""SHA-256. Go refuses to canonicalise a hash of any other length but 0 (types/block.go, BlockID.ValidateBasic)."""

MIN_SECONDS = -62_135_596_800
"""0001-01-01T00:00:00Z, the first second that google.protobuf.Timestamp and gogoproto's stdtime allow."""

MAX_SECONDS = 253_402_300_799
"""9999-12-31T23:59:59Z, the last one."""

MAX_NANOS = 999_999_999
"""Nanoseconds count forward within the second, also before 1970."""

NO_POL_ROUND = -1
"""The `pol_round` of a proposal that rests on no earlier proof of lock."""


@unique
class SignedMsgType(IntEnum):
    """What kind of message is signed (types/signed_msg_type.go). UNKNOWN is never signed."""

    UNKNOWN = 0
    PREVOTE = 1
    PRECOMMIT = 2
    PROPOSAL = 32


@dataclass(frozen=True, slots=True)
class PartSetHeader:
    """Into how many parts a block was cut, and the root hash over them (0 or 32 bytes)."""

    total: int = 0
    hash: bytes = b""


_NO_PARTS = PartSetHeader()


@dataclass(frozen=True, slots=True)
class BlockID:
    """The block that is voted for. `hash` has 0 or 32 bytes."""

    hash: bytes = b""
    part_set_header: PartSetHeader = _NO_PARTS

    @property
    def is_nil(self) -> bool:
        """Whether this names no block at all. A part set header without a block hash does name something."""
        parts = self.part_set_header
        return not self.hash and not parts.total and not parts.hash


NIL_BLOCK = BlockID()


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A point in time: whole seconds since 1970 (negative before), and nanoseconds forward from there."""

    seconds: int
    nanos: int


GO_ZERO_TIME = Timestamp(MIN_SECONDS, 0)
"""Go's `time.Time{}`. An absent timestamp decodes to it, and not to 1970, which is an empty but present one."""


@dataclass(frozen=True, slots=True)
class Vote:
    """A prevote or precommit. Without the validator's address and index: they are not signed, nor read from answers."""

    type: SignedMsgType
    height: int
    round: int
    block_id: BlockID
    timestamp: Timestamp
    extension: bytes = b""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposed block. `pol_round` is -1 where there is no proof of lock."""

    height: int
    round: int
    pol_round: int
    block_id: BlockID
    timestamp: Timestamp
