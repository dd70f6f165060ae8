"""Sees a guard of another replica go backwards: a restored snapshot, or a disk that lies about flushes. Pure.

A guard's sequence number only ever rises within one file, and a peer's messages come in order. So a lower number than
one seen before means that the guard forgot what it may have answered for (design section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Rollback", "RollbackWatch"]

MAX_FILES: Final = 4096
"""Guard files remembered: a few for each chain of each replica. The one that was seen first is forgotten first."""


@dataclass(frozen=True, slots=True)
class Rollback:
    """A guard told `told` after `seen`, in one file's life."""

    nonce: bytes
    seen: int
    told: int


class RollbackWatch:
    """The highest sequence number seen of each guard file of each other replica."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, bytes], int] = {}
        self._distrusted: set[tuple[str, str]] = set()

    def see(self, member: str, chain_id: str, nonce: bytes, sequence: int) -> Rollback | None:
        """Take what a guard tells of itself; returns how it went backwards, or None.

        Another nonce is another file, which counts for itself: whether it may answer is the generation's business.
        """
        key = (member, chain_id, nonce)
        seen = self._seen.get(key)
        if seen is not None and sequence < seen:
            self._distrusted.add((member, chain_id))
            return Rollback(nonce, seen, sequence)
        if seen is None and len(self._seen) >= MAX_FILES:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = sequence
        return None

    def trusts(self, member: str, chain_id: str) -> bool:
        """Tell whether this guard's answers count: never again in this process once it has gone backwards."""
        return (member, chain_id) not in self._distrusted
