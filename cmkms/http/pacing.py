"""Keeps the making of pages from taking the event loop away from signing, however many clients ask at once.

Pages are made one at a time, each followed by a rest as long as several of it, so that HTTP never has more than a
fixed share of the loop. Thirty clients asking for `/metrics` without a pause would delay every signature by 0.2 s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

from cmkms.errors import PeerError

__all__ = ["MAX_WAITING", "REST_RATIO", "BusyError", "Pacing"]

REST_RATIO: Final = 4.0
"""After a page that took 1 ms the next one waits 4 ms: pages take a fifth of the loop at most."""

MAX_WAITING: Final = 16
"""Askers in line. A page takes about 1 ms, so the last waits about 0.1 s; more are told to come again."""

_Page = TypeVar("_Page")


class BusyError(PeerError):
    """Clients ask faster than pages may be made."""


class Pacing:
    """The line in which askers wait."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._rest_until = 0.0

    async def make(self, page: Callable[[], _Page]) -> _Page:
        """Make a page when it is its turn; at once if nobody asked just before.

        Raises:
            BusyError: too many wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise BusyError("clients ask faster than pages may be made")
        self._waiting += 1
        try:
            async with self._turn:
                await self._rest()
                started = time.perf_counter()
                try:
                    return page()
                finally:
                    done = time.perf_counter()
                    self._rest_until = done + REST_RATIO * (done - started)
        finally:
            self._waiting -= 1

    async def _rest(self) -> None:
        left = self._rest_until - time.perf_counter()
        if left > 0:
            await asyncio.sleep(left)
