"""What two nodes of one validator ask for while replicas die: conflicting things, step after step, for as long as told.

It writes down what was answered and how far the answers have come. It never judges one.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from cmkms.harness.endpoint import NodeTimings
from cmkms.harness.errors import BadReplyError
from cmkms.harness.node import SimulatedNode, Witness
from cmkms.harness.observation import Observation
from cmkms.harness.values import HRS
from cmkms.harness.wire import ProposalReply, VoteReply, decode_reply
from tests.faults.cluster.contradictions import play

__all__ = ["TIMINGS", "Load", "Released"]

TIMINGS: Final = NodeTimings(accept=1.0, read_write=1.0, ping=1.0, retry_pause=0.05)
"""A node's own are longer: with these, a minute holds more lost connections and late answers than one of a node."""

_PAUSE_SECONDS: Final = 0.015
"""Between two steps at most: a chain is no faster, and replicas that start need the processors, too."""


class Released:
    """A witness that passes on what it sees, and knows the highest place that a signature was released for."""

    def __init__(self, record: Witness) -> None:
        self._record = record
        self.highest = HRS(0, 0, 0)
        self.count = 0

    def __call__(self, seen: Observation) -> None:
        self._record(seen)
        if seen.reply is None:
            return
        try:
            reply = decode_reply(seen.reply)
        except BadReplyError:
            return
        match reply:
            case VoteReply(signed) | ProposalReply(signed):
                self.count += 1
                self.highest = max(self.highest, signed.hrs)
            case _:
                pass


class Load:
    """Asks at all nodes at once, each for its own, until stopped."""

    def __init__(self, nodes: Sequence[SimulatedNode], rng: random.Random, released: Released) -> None:
        self._nodes = nodes
        self._rng = rng
        self._released = released
        self._task: asyncio.Task[None] | None = None
        self.outcomes: Counter[str] = Counter()

    def start(self, first_height: int) -> None:
        self._task = asyncio.create_task(self._ask(first_height))

    async def stop(self) -> None:
        """Ask no more. Raises what ended it, if anything did."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _ask(self, first_height: int) -> None:
        async for step in play(self._nodes, self._rng, first_height):
            self.outcomes.update(outcome.value for outcome in step.outcomes)
            await asyncio.sleep(self._rng.uniform(0.0, _PAUSE_SECONDS))

    async def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until something holds, while it asks on; False if it does not within `seconds`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not holds():
            if self._task is not None and self._task.done():
                await self.stop()
            if loop.time() > deadline:
                return False
            await asyncio.sleep(0.003)
        return True

    async def signatures(self, count: int, seconds: float) -> bool:
        """Wait for so many more signatures that are higher than all before: the chain goes on."""
        for _ in range(count):
            before = self._released.highest
            if not await self.until(lambda before=before: self._released.highest > before, seconds):  # type: ignore[misc]
                return False
        return True
