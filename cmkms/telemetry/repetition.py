"""Decides which lines about one validator connection are worth writing, so that an outage does not fill the disk.

Pure: the clock's readings are passed in. Whatever is held back, the last line written about a connection is never
"connected" while it is down for longer than `CHANGE_SECONDS`, and never "down" once it is up.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "CHANGE_BURST",
    "CHANGE_SECONDS",
    "REPEAT_SECONDS",
    "VAIN_BURST",
    "VAIN_SECONDS",
    "ConnectionLines",
    "Line",
    "Repeats",
]

REPEAT_SECONDS = 30.0
"""The same trouble again is told this often. A redial comes every half second: 60 tries in one line."""

CHANGE_BURST = 10
"""So many changes of trouble are told at once; only flapping makes more."""

CHANGE_SECONDS = 5.0
"""Then one more change is told every so many seconds."""

VAIN_BURST = 20
"""So many different requests in vain are told at once. A confused node has a handful; a hostile one never ends."""

VAIN_SECONDS = 1.0
"""Then one more is told every so many seconds, and how many were held back."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line to write: `times` the trouble was seen since `since_unix` (Unix seconds)."""

    times: int
    since_unix: float


class Repeats:
    """What one validator asks again and again in vain: told at once, then now and then with its count."""

    __slots__ = ("_budget", "_budget_at", "_held_back", "_key", "_times", "_told_at")

    def __init__(self) -> None:
        self._budget = float(VAIN_BURST)
        self._budget_at = 0.0
        self._held_back = 0
        self._key: object = None
        self._times = 0
        self._told_at = 0.0

    def tell(self, key: object, now: float) -> int:
        """Return how often `key` came in a row if that is to be told now, else 0."""
        if key != self._key:
            if not self._may_tell_another(now):
                self._held_back += 1
                return 0
            self._key, self._times, self._told_at = key, 1, now
            return 1
        self._times += 1
        if now - self._told_at < REPEAT_SECONDS:
            return 0
        self._told_at = now
        return self._times

    def take_held_back(self) -> int:
        """Return, and forget, how many were not told because there were too many different ones."""
        held_back, self._held_back = self._held_back, 0
        return held_back

    def _may_tell_another(self, now: float) -> bool:
        refill = max(0.0, now - self._budget_at) / VAIN_SECONDS
        self._budget, self._budget_at = min(float(VAIN_BURST), self._budget + refill), now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True


class ConnectionLines:
    """What was written, and what was held back, about one validator address."""

    __slots__ = ("_budget", "_budget_at", "_reason", "_since", "_times", "_written_at", "_written_up")

    def __init__(self) -> None:
        self._reason = ""
        self._times = 0
        self._since = 0.0
        self._written_at = float("-inf")
        self._written_up = False
        self._budget = float(CHANGE_BURST)
        self._budget_at = 0.0

    def trouble(self, reason: str, now: float, unix: float) -> Line | None:
        """The connection is down because of `reason`; the line to write, if any.

        Args:
            reason: The label of the trouble.
            now: Seconds of a clock that never goes back.
            unix: Unix seconds, only shown.
        """
        if reason == self._reason and not self._written_up:
            self._times += 1
            if now - self._written_at < REPEAT_SECONDS:
                return None
        elif self._may_tell_change(now):
            self._reason = reason
            self._times = 1
            self._since = unix
        else:
            return None
        self._written_at = now
        self._written_up = False
        return Line(self._times, self._since)

    def connected(self, unix: float) -> Line | None:
        """The connection is up; the line to write, if any: how often the last told trouble was seen before."""
        if self._written_up:
            return None
        line = Line(self._times, self._since or unix)
        self._written_up = True
        self._times = 0
        return line

    def _may_tell_change(self, now: float) -> bool:
        refill = (now - self._budget_at) / CHANGE_SECONDS
        self._budget = min(float(CHANGE_BURST), self._budget + max(0.0, refill))
        self._budget_at = now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True
