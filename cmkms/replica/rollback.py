"""Sees a guard of another replica go backwards: a restored snapshot, or a disk that lies about flushes. Pure.

A guard's sequence number only ever rises within one file, its watermark within one generation, and a peer's messages
come in order. So a lower one than was seen before means that the guard forgot what it may have answered for (design
section 2). The number alone would miss a guard that forgot one write: a start writes its record anew, under the next
number. With a new generation an operator may have lowered the watermark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

from cmkms.guard.generation import NO_GENERATION, GenerationId
from cmkms.guard.hrs import HRS, NEVER

__all__ = ["MAX_FILES", "Rollback", "RollbackWatch", "Watermark"]

_Kept = TypeVar("_Kept")

MAX_FILES: Final = 16
"""Guard files that are remembered of each guard; a new one takes an operator each time. The oldest goes first."""


@dataclass(frozen=True, slots=True)
class Rollback:
    """A guard told the sequence number `told`, and must have been at `seen`, in one file's life."""

    nonce: bytes
    seen: int
    told: int


@dataclass(frozen=True, slots=True)
class Watermark:
    """Where a guard stands, and in which generation."""

    generation: GenerationId
    hrs: HRS

    def is_behind(self, other: Watermark) -> bool:
        """Tell whether a guard that stood at the other can only have forgotten something to stand here."""
        if self.generation == other.generation:
            return self.hrs < other.hrs
        return self.generation.number < other.generation.number


_NOWHERE: Final = Watermark(NO_GENERATION, NEVER)


class RollbackWatch:
    """The highest sequence number and watermark seen of each guard file of each other replica."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[bytes, tuple[int, Watermark]]] = {}
        self._found: dict[tuple[str, str], dict[bytes, Rollback]] = {}

    def see(
        self, member: str, chain_id: str, nonce: bytes, sequence: int, mark: Watermark | None = None
    ) -> Rollback | None:
        """Take what a guard tells of itself; returns how it went backwards, the first time. `mark`: where it stands.

        Another nonce is another file, which counts for itself: whether it may answer is the generation's business.
        """
        files = self._seen.setdefault((member, chain_id), {})
        seen, highest = files.get(nonce, (0, _NOWHERE))
        if sequence < seen or (mark is not None and mark.is_behind(highest)):
            known = self._found.setdefault((member, chain_id), {})
            if nonce in known:
                return None
            found = Rollback(nonce, max(seen, sequence + 1), sequence)
            _keep(known, nonce, found)
            return found
        _keep(files, nonce, (sequence, mark if mark is not None else highest))
        return None

    def found(self, member: str) -> list[tuple[str, Rollback]]:
        """Return what was found of a replica's guards, each with its chain: it is told again when it comes back."""
        return [
            (chain_id, back)
            for (one, chain_id), found in self._found.items()
            if one == member
            for back in found.values()
        ]

    def trusts(self, member: str, chain_id: str, nonce: bytes) -> bool:
        """Tell whether this guard file's answers count: never again in this process once it has gone backwards."""
        return nonce not in self._found.get((member, chain_id), {})


def _keep(files: dict[bytes, _Kept], nonce: bytes, what: _Kept) -> None:
    if nonce not in files and len(files) >= MAX_FILES:
        del files[next(iter(files))]
    files[nonce] = what
