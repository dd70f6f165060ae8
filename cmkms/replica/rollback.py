"""Sees a guard of another replica go backwards: a restored snapshot, or a disk that lies about flushes. Pure.

A guard's sequence number and its watermark only ever rise within one file, and a peer's messages come in order. So a
lower one than was seen before means that the guard forgot what it may have answered for (design section 2). The number
alone would miss a guard that forgot one write: a start writes its record anew, under the next number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cmkms.guard.hrs import HRS, NEVER

__all__ = ["Rollback", "RollbackWatch"]

MAX_FILES: Final = 4096
"""Guard files remembered: a few for each chain of each replica. The one that was seen first is forgotten first."""


@dataclass(frozen=True, slots=True)
class Rollback:
    """A guard told the sequence number `told`, and must have been at `seen`, in one file's life."""

    nonce: bytes
    seen: int
    told: int


class RollbackWatch:
    """The highest sequence number and watermark seen of each guard file of each other replica."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, bytes], tuple[int, HRS]] = {}
        self._distrusted: set[tuple[str, str]] = set()

    def see(self, member: str, chain_id: str, nonce: bytes, sequence: int, hrs: HRS | None = None) -> Rollback | None:
        """Take what a guard tells of itself; returns how it went backwards, or None. `hrs`: its watermark, if told.

        Another nonce is another file, which counts for itself: whether it may answer is the generation's business.
        """
        key = (member, chain_id, nonce)
        seen, highest = self._seen.get(key, (0, NEVER))
        if sequence < seen or (hrs is not None and hrs < highest):
            self._distrusted.add((member, chain_id))
            return Rollback(nonce, max(seen, sequence + 1), sequence)
        if key not in self._seen and len(self._seen) >= MAX_FILES:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = sequence, hrs if hrs is not None else highest
        return None

    def trusts(self, member: str, chain_id: str) -> bool:
        """Tell whether this guard's answers count: never again in this process once it has gone backwards."""
        return (member, chain_id) not in self._distrusted
