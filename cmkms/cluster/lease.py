"""The lease: for how long one replica may believe that it alone coordinates. Pure; the clock is passed in.

It keeps two coordinators from wasting each other's votes, and is no part of safety. It counts from when the leader
*sent* what was acknowledged, never from when the acknowledgement came.
"""

from __future__ import annotations

from dataclasses import dataclass

from cmkms.cluster.timing import Timing

__all__ = ["Lease", "Mandate"]


@dataclass(frozen=True, slots=True)
class Lease:
    """Who coordinates, since which term, and until when (CLOCK_BOOTTIME, seconds) that is believed."""

    holder: str
    term: int
    until: float


class Mandate:
    """What this replica's own leadership is worth at any moment.

    1. It holds while this replica leads and a majority, itself included, has acknowledged something of this term that
       was sent less than a lease ago.
    2. A new leadership starts with nothing: acknowledgements of an earlier one count for nothing.
    3. Given up once, it does not come back in the same leadership.
    """

    def __init__(self, me: str, members: tuple[str, ...], timing: Timing) -> None:
        self._me = me
        self._others = frozenset(members) - {me}
        self._needed = len(members) // 2  # of others, beside this replica: that makes a majority
        self._timing = timing
        self._term: int | None = None
        self._since = 0.0
        self._acknowledged: dict[str, float] = {}

    @property
    def term(self) -> int | None:
        """The term in which this replica leads, None while it does not."""
        return self._term

    def begin(self, term: int, now: float) -> None:
        """Start anew: this replica was elected in `term`."""
        self._term, self._since = term, now
        self._acknowledged.clear()

    def end(self) -> None:
        """Give the lease up, at once."""
        self._term = None
        self._acknowledged.clear()

    def acknowledge(self, member: str, term: int, sent: float, now: float) -> None:
        """Count what `member` acknowledged: something of `term`, sent at `sent` by this replica's own clock."""
        if term != self._term or member not in self._others or sent > now:
            return
        self._acknowledged[member] = max(sent, self._acknowledged.get(member, sent))

    def lease(self, now: float) -> Lease | None:
        """Return the lease if this replica holds it at `now`."""
        if self._term is None:
            return None
        until = self._until(now)
        return Lease(self._me, self._term, until) if until is not None and now < until else None

    def defended(self, now: float) -> bool:
        """Whether others should not be voted for: the lease is held, or so young that it may still be on its way."""
        if self._term is None:
            return False
        return now < self._since + self._timing.lease or self.lease(now) is not None

    def _until(self, now: float) -> float | None:
        if self._needed == 0:
            return now + self._timing.lease
        if len(self._acknowledged) < self._needed:
            return None
        return sorted(self._acknowledged.values(), reverse=True)[self._needed - 1] + self._timing.lease
