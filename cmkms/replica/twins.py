"""Tells a member whose identity two live processes use from one that was only followed by its next life. Pure."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_TWINS", "TWIN_SECONDS", "Twins"]

MAX_TWINS: Final = 64
"""Former lives that are remembered as having spoken again."""
TWIN_SECONDS: Final = 1.0
"""A live process dials ten times a second; what a dead one left in the socket's queue is read long before."""
TWIN_REPEAT_SECONDS: Final = 60.0


class Twins:
    """Former lives that spoke again. One that was killed while it dialled may be heard once; a live one dials again."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, bytes], float] = {}

    def live(self, member: str, boot: bytes, now: float) -> bool:
        """Tell whether this former life has to be taken for a live process, which is told now and every minute."""
        if len(self._due) >= MAX_TWINS:
            self._due.clear()
        if now < self._due.setdefault((member, boot), now + TWIN_SECONDS):
            return False
        self._due[member, boot] = now + TWIN_REPEAT_SECONDS
        return True
