"""Two nodes of one validator that do not agree: what each asks for at one height, round and step, drawn from a seed.

It plays at simulated nodes, which retry as real ones do, and counts what was answered. It never judges an answer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from cmkms.harness.chain import block_id
from cmkms.harness.errors import NodeSideError, RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.values import NIL_BLOCK, MessageType, Proposal, Time, Vote

__all__ = ["Asked", "Outcome", "ask", "contradict", "play"]

_GIVE_UP: Final = 3.0
"""Seconds after which both nodes go on: with other validators, the chain would."""

_LAGGING: Final = 0.1
"""How often a node asks again for what both had before."""

_WEIGHTS: Final = {"same": 2, "time": 5, "block": 3, "nil": 2}

Message = Vote | Proposal


class Outcome(Enum):
    """What a node got."""

    SIGNED = "signed"
    REFUSED = "refused"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Asked:
    """One step: what the nodes got, in their order."""

    height: int
    outcomes: tuple[Outcome, ...]

    @property
    def signed(self) -> bool:
        return Outcome.SIGNED in self.outcomes


async def play(nodes: Sequence[SimulatedNode], rng: random.Random, first_height: int) -> AsyncIterator[Asked]:
    """Ask at every node for one height after the other, each for its own; for ever."""
    height, before = first_height, tuple[Message, ...]()
    while True:
        for round_ in range(rng.choice([1, 1, 1, 2])):
            for kind in (MessageType.PROPOSAL, MessageType.PREVOTE, MessageType.PRECOMMIT):
                messages = contradict(rng, kind, height, round_, len(nodes))
                if before and rng.random() < _LAGGING:
                    await ask(rng.choice(nodes), rng.choice(before))
                yield Asked(height, tuple(await asyncio.gather(*map(ask, nodes, messages))))
                before = messages
        height += 1


async def ask(node: SimulatedNode, message: Message) -> Outcome:
    """Ask as a node does, with its retries, for as long as its round lasts."""
    try:
        async with asyncio.timeout(_GIVE_UP):
            if isinstance(message, Vote):
                await node.sign_vote(message)
            else:
                await node.sign_proposal(message)
    except RemoteSignerError:
        return Outcome.REFUSED
    except (NodeSideError, TimeoutError):
        return Outcome.NOTHING
    return Outcome.SIGNED


def contradict(rng: random.Random, kind: MessageType, height: int, round_: int, count: int) -> tuple[Message, ...]:
    """What so many nodes ask for at one place, in an order drawn anew each time: no node is always the odd one."""
    first = _message(kind, height, round_, Time.now())
    others = [_other(rng, first) for _ in range(count - 1)]
    messages = [first, *others]
    rng.shuffle(messages)
    return tuple(messages)


def _other(rng: random.Random, message: Message) -> Message:
    (how,) = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
    match how:
        case "same":
            return message
        case "time":
            return replace(message, time=message.time.later(rng.randrange(1, 10**9)))
        case "nil" if isinstance(message, Vote):
            return replace(message, block_id=NIL_BLOCK, extension=b"")
        case _:
            return replace(message, block_id=block_id(message.height, message.round, seed=rng.randrange(1, 4)))


def _message(kind: MessageType, height: int, round_: int, time: Time) -> Message:
    block = block_id(height, round_)
    if kind is MessageType.PROPOSAL:
        return Proposal(height, round_, block_id=block, time=time)
    extension = b"extension" if kind is MessageType.PRECOMMIT else b""
    return Vote(kind, height, round_, block, time, bytes(20), extension=extension)
