"""What of the view is still to be said to the others, and when. Pure; the clock is passed in.

Off the signing path: what is released often is said seldom, as the newest state replaces those before it.
"""

from __future__ import annotations

from typing import Final

from cmkms.cluster.view import View
from cmkms.errors import PeerError

__all__ = ["Sharing"]

_SHARE_EVERY: Final = 0.1
"""Seconds between two shares of one member: a chain signs a few times a second."""


class Sharing:
    """One member's view, and the part of it that the leader has not been told of."""

    def __init__(self, view: View, now: float) -> None:
        self._view = view
        self._pending = View()
        self._due_at = now
        self.skipped = 0

    def learn(self, news: View) -> None:
        """Merge what is new here. What others know already is said no further."""
        if self._view.merge(news):
            self._pending.merge(news)

    def apply(self, delta: bytes) -> None:
        """Merge a committed change. What another release wrote may not be readable: it is left out, and counted."""
        try:
            self._view.merge(delta)
        except PeerError:
            self.skipped += 1

    def start_over(self, now: float) -> None:
        """Say the whole view, at once: there is a new leader, and what the last one was told may be lost."""
        self._pending.merge(self._view)
        self._due_at = now

    def due(self, now: float) -> bool:
        """Whether there is something to say, and it is time."""
        return bool(self._pending) and now >= self._due_at

    def take(self, now: float) -> View:
        """Return what is to be said now. It is on its way then, or put back."""
        pending, self._pending = self._pending, View()
        self._due_at = now + _SHARE_EVERY
        return pending

    def put_back(self, news: View) -> None:
        """Keep what could not be sent for the next time."""
        self._pending.merge(news)
