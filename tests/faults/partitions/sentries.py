"""Two nodes of one validator that do not agree, each at its own pace, and who watches what they get.

They ask as real nodes do, with a node's timers and retries, and never give a request up sooner: one that is stuck does
not hold the other up. The watch judges nothing itself; it hands all to the oracle and notes when the chain went on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cmkms.harness.errors import NodeSideError, RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Oracle
from cmkms.harness.recorder import Recorder
from cmkms.harness.values import HRS, MessageType, Vote
from cmkms.harness.wire import (
    ProposalReply,
    SignProposalRequest,
    SignVoteRequest,
    VoteReply,
    decode_reply,
    decode_request,
)
from tests.faults.cluster.contradictions import Message, Outcome, contradict

__all__ = ["Sentries", "Watch"]

_PACE: Final = 0.04
"""Seconds that a node lets pass between two requests: together they ask some 30 times a second, as a busy chain."""
_LAGGING: Final = 0.1
"""How often a node asks again for what it had before."""
_STEPS: Final = (MessageType.PROPOSAL, MessageType.PREVOTE, MessageType.PRECOMMIT)


class Watch:
    """Sees every answered request: to the oracle, to a file, and when something new was signed to `moments`.

    `moments` are CLOCK_MONOTONIC seconds of signatures above all before; `highest` is the place of the last of them.
    """

    def __init__(self, chain_id: str, recording: Path) -> None:
        self.oracle = Oracle([chain_id])
        self.moments: list[float] = []
        self.highest = HRS(0, 0, 0)
        self._signed = asyncio.Event()
        self._recorder = Recorder(recording)

    def __call__(self, seen: Observation) -> None:
        """Take one observation. Fit to be a node's witness."""
        self._recorder(seen)
        self.oracle(seen)
        if (hrs := _signed_at(seen)) is not None and hrs > self.highest:
            self.highest = hrs
            self.moments.append(seen.answered_at)
            self._signed.set()

    async def wait_signed(self, since: float, seconds: float) -> None:
        """Wait until something new is signed that was not before `since`, or until so many seconds after it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(since + seconds - time.monotonic()):
                while not self.moments or self.moments[-1] < since:
                    self._signed.clear()
                    await self._signed.wait()

    def close(self) -> None:
        """Close the recording."""
        self._recorder.close()


def _signed_at(seen: Observation) -> HRS | None:
    """Where something was signed; None for any other answer."""
    if seen.reply is None:
        return None
    match decode_request(seen.request), decode_reply(seen.reply):
        case SignVoteRequest(_, asked), VoteReply():
            return asked.hrs
        case SignProposalRequest(_, proposed), ProposalReply():
            return proposed.hrs
        case _:
            return None


class Sentries:
    """The nodes, and the place that the chain has come to: whoever has an answer there takes all of them on."""

    def __init__(self, nodes: Sequence[SimulatedNode], rng: random.Random, first_height: int = 10) -> None:
        self.nodes = tuple(nodes)
        self.outcomes: Counter[Outcome] = Counter()
        self._rng = rng
        self._places = self._chain(first_height)
        self._at: tuple[Message, ...] = next(self._places)
        self._before: list[Message] = []

    async def play(self) -> None:
        """Ask at every node until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(len(self.nodes)):
                group.create_task(self._play(number))

    async def _play(self, number: int) -> None:
        node = self.nodes[number]
        while True:
            at = self._at
            self.outcomes[await _ask(node, at[number])] += 1
            if self._before and self._rng.random() < _LAGGING:
                self.outcomes[await _ask(node, self._rng.choice(self._before))] += 1
            await asyncio.sleep(_PACE)
            if at is self._at:
                self._before = list(at)
                self._at = next(self._places)

    def _chain(self, height: int) -> Iterator[tuple[Message, ...]]:
        while True:
            for round_ in range(self._rng.choice([1, 1, 1, 2])):
                for kind in _STEPS:
                    yield contradict(self._rng, kind, height, round_, len(self.nodes))
            height += 1


async def _ask(node: SimulatedNode, message: Message) -> Outcome:
    try:
        if isinstance(message, Vote):
            await node.sign_vote(message)
        else:
            await node.sign_proposal(message)
    except RemoteSignerError:
        return Outcome.REFUSED
    except NodeSideError:
        return Outcome.NOTHING
    return Outcome.SIGNED
