"""Virtual time: what happens when, in one order for one seed."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Events", "Scheduled"]


@dataclass(order=True, slots=True)
class Scheduled:
    """Something that is to happen. It can be called off."""

    at: float
    number: int
    job: Callable[[], None] = field(compare=False)
    off: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.off = True


class Events:
    """A clock that only moves from one event to the next."""

    def __init__(self) -> None:
        self.now = 0.0
        self.count = 0
        self._queue: list[Scheduled] = []

    def later(self, delay: float, job: Callable[[], None]) -> Scheduled:
        self.count += 1
        one = Scheduled(self.now + max(delay, 0.0), self.count, job)
        heapq.heappush(self._queue, one)
        return one

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Let up to `seconds` pass, or until something is so; tells whether it is."""
        end = self.now + seconds
        while not until() and self._queue and self._queue[0].at <= end:
            one = heapq.heappop(self._queue)
            if not one.off:
                self.now = one.at
                one.job()
        if until():
            return True
        self.now = end
        return False
