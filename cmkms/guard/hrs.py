"""Height, round and step: the total order in which a validator signs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cmkms.privval.errors import SignBytesError
from cmkms.privval.header import read_header
from cmkms.privval.values import SignedMsgType

__all__ = ["HRS", "MAX_HEIGHT", "MAX_ROUND", "NEVER", "Step", "end_of", "place_of"]

MAX_HEIGHT: Final = 2**63 - 1
"""Heights are int64 in CometBFT (`types/block.go`)."""
MAX_ROUND: Final = 2**31 - 1
"""Rounds are int32 in CometBFT (`types/vote.go`)."""


class Step(IntEnum):
    """What is signed within a round, in the order of signing (CometBFT `privval/file.go`)."""

    NONE = 0
    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3

    @classmethod
    def of(cls, kind: SignedMsgType) -> Step:
        """Return the step at which a message of this type is signed. Raises KeyError for UNKNOWN."""
        return _STEP_OF[kind]


_STEP_OF: Final = {
    SignedMsgType.PROPOSAL: Step.PROPOSE,
    SignedMsgType.PREVOTE: Step.PREVOTE,
    SignedMsgType.PRECOMMIT: Step.PRECOMMIT,
}


@dataclass(frozen=True, slots=True, order=True)
class HRS:
    """One point of the order. `height` and `round` count from 0; height 0 means that nothing was ever signed."""

    height: int
    round: int
    step: Step

    def __post_init__(self) -> None:
        if not 0 <= self.height <= MAX_HEIGHT or not 0 <= self.round <= MAX_ROUND:
            raise ValueError(f"height {self.height} or round {self.round} is out of range")

    def __str__(self) -> str:
        """Show as operators write it: height/round/step."""
        return f"{self.height}/{self.round}/{int(self.step)}"


NEVER: Final = HRS(0, 0, Step.NONE)
"""The watermark of a key that has never signed on its chain."""


def end_of(height: int) -> HRS:
    """Return the last point of a height: a guard that is sealed there signs above it only. Of height 0: `NEVER`."""
    return HRS(height, MAX_ROUND, Step.PRECOMMIT) if height else NEVER


def place_of(sign_bytes: bytes) -> tuple[str, HRS]:
    """Read out of canonical sign-bytes, length prefix included, on which chain and at which point they are signed.

    Raises SignBytesError for bytes that are no vote or proposal, or of a height or round that no chain has.
    """
    header = read_header(sign_bytes)
    try:
        return header.chain_id, HRS(header.height, header.round, Step.of(header.type))
    except ValueError as error:
        raise SignBytesError(f"these are no sign-bytes of a vote or proposal: {error}") from error
