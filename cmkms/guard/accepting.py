"""One guard as coordinators see it, the own one and those of other replicas: answers accepts and peeks.

It adds one hint to the guard's decision: whoever peeked with a higher term has taken over, and lower terms are ignored
(design section 3). The hint lives in memory and is no part of safety. Pure: the guard is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from cmkms.guard.decide import AcceptRequest, Refused, RefusedBecause, Verdict
from cmkms.guard.generation import NO_GENERATION, NONCE_BYTES
from cmkms.guard.hrs import NEVER
from cmkms.guard.record import GuardRecord
from cmkms.guard.rpc import Accept, Answered, Outranked, Peek, Peeked, digest_of

__all__ = ["GuardService", "ServiceGuard"]

MAX_TERM: Final = 2**63 - 1
_NO_NONCE: Final = bytes(NONCE_BYTES)


class ServiceGuard(Protocol):
    """A guard, as this service needs it; `cmkms.guard.guard.Guard` is one."""

    def accept(self, request: AcceptRequest, /) -> Verdict:
        """Decide one request; ACCEPTED means durable."""
        ...

    @property
    def record(self) -> GuardRecord | None:
        """The durable record; None where nothing can be read."""
        ...

    @property
    def blown(self) -> str:
        """Why the guard's fuse is blown; empty while it is whole."""
        ...


class GuardService:
    """Answers for the guard of one chain."""

    def __init__(self, chain_id: str, guard: ServiceGuard, newest_term: Callable[[], int] = lambda: MAX_TERM) -> None:
        """`newest_term` is the newest that this replica knows of: what claims to come from later ranks no higher."""
        self._chain_id = chain_id
        self._guard = guard
        self._newest_term = newest_term
        self._term = 0

    def accept(self, request: Accept) -> Answered:
        """Answer an accept; ACCEPTED in it is durable. Raises SignBytesError for bytes of no HRS."""
        asked = AcceptRequest.of(request.key_hash, request.generation, request.sign_bytes)
        verdict: Verdict | Outranked
        if request.term < (outranked := min(self._term, self._newest_term())):
            verdict = Outranked(outranked)
        elif request.chain_id != self._chain_id:
            verdict = Refused(RefusedBecause.CHAIN)
        else:
            verdict = self._guard.accept(asked)
        record = self._guard.record
        return Answered(
            request.rpc,
            request.chain_id,
            request.generation,
            asked.hrs,
            digest_of(request.sign_bytes),
            record.nonce if record is not None else _NO_NONCE,
            record.sequence if record is not None else 0,
            verdict,
        )

    def peek(self, request: Peek) -> Peeked:
        """Tell the durable watermark, and remember the term of whoever asked."""
        self._term = max(self._term, request.term)
        record = self._guard.record
        if record is None:
            return Peeked(
                request.rpc, request.term, self._chain_id, NO_GENERATION, _NO_NONCE, 0, usable=False, hrs=NEVER,
                sign_bytes=None,
            )  # fmt: skip
        return Peeked(
            request.rpc,
            request.term,
            self._chain_id,
            record.generation,
            record.nonce,
            record.sequence,
            usable=record.armed and not self._guard.blown,
            hrs=record.hrs,
            sign_bytes=record.sign_bytes,
        )
