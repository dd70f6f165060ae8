"""What a request ends with: a signature, or the reason why there is none. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cmkms.privval import Proposal, Vote

__all__ = ["Answer", "Rejected", "RejectedBecause", "SignedProposal", "SignedVote"]


class RejectedBecause(Enum):
    """Why a request is answered with an error. The values are labels of logs and metrics."""

    CONFLICT = "conflict"
    REGRESSION = "regression"
    SEALED = "sealed"
    SPLIT = "split"
    HELD = "held"
    UNKNOWN_CHAIN = "unknown_chain"
    MAX_HEIGHT = "max_height"
    CEILING = "ceiling"
    OUTAGE = "outage"
    UNDECODABLE = "undecodable"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class SignedVote:
    """A vote as it was signed: its timestamp may be an earlier one than the request's. `replayed`: nothing new."""

    vote: Vote
    signature: bytes
    extension_signature: bytes
    replayed: bool


@dataclass(frozen=True, slots=True)
class SignedProposal:
    """A proposal, signed exactly as it was asked for."""

    proposal: Proposal
    signature: bytes
    replayed: bool


@dataclass(frozen=True, slots=True)
class Rejected:
    """An error reply. A node never asks again after one, so it is only given where asking again is of no use."""

    because: RejectedBecause
    description: str


Answer = SignedVote | SignedProposal | Rejected
