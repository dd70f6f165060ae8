"""Virtual time: what happens when, in one order for one seed."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Events", "Scheduled"]


@dataclass(slots=True, eq=False)
class Scheduled:
    """Something that is to happen. It can be called off."""

    job: Callable[[], None]
    off: bool = False

    def cancel(self) -> None:
        self.off = True


class Events:
    """A clock that only moves from one event to the next."""

    def __init__(self) -> None:
        self.now = 0.0
        self.count = 0
        self._queue: list[tuple[float, int, Scheduled]] = []

    def later(self, delay: float, job: Callable[[], None]) -> Scheduled:
        self.count += 1
        one = Scheduled(job)
        heapq.heappush(self._queue, (self.now + delay if delay > 0 else self.now, self.count, one))
        return one

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Let up to `seconds` pass, or until something is so; tells whether it is."""
        queue, end = self._queue, self.now + seconds
        while not until():
            if not queue or queue[0][0] > end:
                self.now = end
                return until()
            at, _, one = heapq.heappop(queue)
            if not one.off:
                self.now = at
                one.job()
        return True
