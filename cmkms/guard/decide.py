"""The guard's decision: what one guard answers to one accept request. The heart of the promise never to sign twice.

The rules, in the order in which they are applied (design section 2):

1. Another chain, key or generation, a guard that is not armed, paused, or a height above `max_height` or the ceiling:
   REFUSED.
2. A height/round/step above the watermark: ACCEPTED, once it is durable.
3. The watermark's own height/round/step:
   - the watermark is a seal (it holds no bytes): SEALED;
   - identical bytes: ACCEPTED, nothing is written;
   - bytes that differ only in the timestamp: HELD, with the stored bytes;
   - anything else: CONFLICT, with the stored bytes.
4. A lower height/round/step: REGRESSION.

Pure: no clock, disk or network. A blown fuse and durability are the business of `guard.py`, which calls this.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from cmkms.guard.generation import GenerationId
from cmkms.guard.hrs import HRS, place_of
from cmkms.privval.signbytes import differ_only_in_timestamp

__all__ = [
    "AcceptRequest",
    "Accepted",
    "Conflict",
    "GuardState",
    "Held",
    "Refused",
    "RefusedBecause",
    "Regression",
    "Sealed",
    "Verdict",
    "decide",
]


class RefusedBecause(Enum):
    """Why a guard does not even look at its watermark."""

    CHAIN = "other chain"
    KEY = "other key"
    GENERATION = "other generation"
    NOT_ARMED = "guard not armed"
    FUSE = "fuse blown"
    PAUSED = "paused"
    MAX_HEIGHT = "above max_height"
    CEILING = "above the height ceiling"


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    """A coordinator asks a guard to accept `sign_bytes`. Make it with `of`: the HRS is read from the bytes themselves,
    so that a request cannot claim one height and sign another.
    """

    chain_id: str
    key_hash: bytes
    generation: GenerationId
    hrs: HRS
    sign_bytes: bytes

    @classmethod
    def of(cls, key_hash: bytes, generation: GenerationId, sign_bytes: bytes) -> AcceptRequest:
        """Read chain id and HRS out of canonical sign-bytes (length prefix included).

        Raises SignBytesError: see `place_of`.
        """
        chain_id, hrs = place_of(sign_bytes)
        return cls(chain_id, key_hash, generation, hrs, sign_bytes)


@dataclass(frozen=True, slots=True)
class GuardState:
    """What a guard has on disk, as far as it decides. `sign_bytes` None is a seal: nothing at or below `hrs` again.

    `ceiling` is the height above which a request is taken for a broken or hostile node; None: no ceiling.
    """

    chain_id: str
    key_hash: bytes
    generation: GenerationId
    armed: bool
    hrs: HRS
    sign_bytes: bytes | None
    paused: bool = False
    max_height: int | None = None
    ceiling: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """These very bytes are this guard's at this HRS. `advances`: they are not on disk yet and must be, first."""

    advances: bool


@dataclass(frozen=True, slots=True)
class Held:
    """The guard holds bytes that differ only in the timestamp."""

    sign_bytes: bytes


@dataclass(frozen=True, slots=True)
class Conflict:
    """The guard holds other bytes at this HRS."""

    sign_bytes: bytes


@dataclass(frozen=True, slots=True)
class Sealed:
    """The guard is sealed at this HRS."""

    hrs: HRS


@dataclass(frozen=True, slots=True)
class Regression:
    """The guard stands above this HRS."""

    hrs: HRS


@dataclass(frozen=True, slots=True)
class Refused:
    """The guard does not answer for this request at all."""

    because: RefusedBecause
    detail: str = ""


Verdict = Accepted | Held | Conflict | Sealed | Regression | Refused

_ADVANCES: Final = Accepted(advances=True)
_REPEATS: Final = Accepted(advances=False)


def decide(state: GuardState, request: AcceptRequest) -> Verdict:
    """Decide one request against one durable state. The order of the rules stands in the module's docstring."""
    refusal = _refusal(state, request)
    if refusal is not None:
        return refusal
    if request.hrs > state.hrs:
        return _ADVANCES
    if request.hrs < state.hrs:
        return Regression(state.hrs)
    if state.sign_bytes is None:
        return Sealed(state.hrs)
    if request.sign_bytes == state.sign_bytes:
        return _REPEATS
    if differ_only_in_timestamp(request.sign_bytes, state.sign_bytes):
        return Held(state.sign_bytes)
    return Conflict(state.sign_bytes)


def _refusal(state: GuardState, request: AcceptRequest) -> Refused | None:
    if request.chain_id != state.chain_id:
        return Refused(RefusedBecause.CHAIN)
    if request.key_hash != state.key_hash:
        return Refused(RefusedBecause.KEY)
    if request.generation != state.generation:
        return Refused(RefusedBecause.GENERATION, f"guard is at {state.generation}, asked for {request.generation}")
    if not state.armed:
        return Refused(RefusedBecause.NOT_ARMED)
    if state.paused:
        return Refused(RefusedBecause.PAUSED)
    height = request.hrs.height
    if state.max_height is not None and height > state.max_height:
        return Refused(RefusedBecause.MAX_HEIGHT, f"height {height} is above max_height {state.max_height}")
    if state.ceiling is not None and height > state.ceiling:
        return Refused(RefusedBecause.CEILING, f"height {height} is above the ceiling {state.ceiling}")
    return None
