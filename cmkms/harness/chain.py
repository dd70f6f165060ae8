"""Plays a sole validator's chain at a simulated node: proposal, prevote, precommit, height after height.

It asks exactly what consensus would ask, in its order; it keeps no memory beyond the height at hand.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from cmkms.harness.errors import ChainHaltedError, NodeSideError, RemoteSignerError
from cmkms.harness.node import Answer, SimulatedNode
from cmkms.harness.values import HRS, NIL_BLOCK, BlockID, MessageType, Proposal, Time, Vote
from cmkms.harness.wire import ProposalReply, VoteReply

__all__ = ["ChainPlan", "StepSigned", "block_id", "run_chain"]

_ADDRESS_BYTES: Final = 20


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """What kind of chain to play. The defaults make a chain as quick as its signer.

    `heights` None goes on until stopped; `block_seconds` is the shortest time a height takes; with `late_round_every`
    of k, each k-th height fails its round 0 with nil votes; `extension_bytes` go with each non-nil precommit.
    """

    first_height: int = 1
    heights: int | None = 10
    block_seconds: float = 0.0
    late_round_every: int = 0
    extension_bytes: int = 32
    seed: int = 0
    validator_address: bytes = field(default=bytes(_ADDRESS_BYTES))


@dataclass(frozen=True, slots=True)
class StepSigned:
    """One signature a chain got: where, how long the answered request took (s), how long consensus waited (s)."""

    hrs: HRS
    latency: float
    waited: float
    answered_at: float
    attempts: int


def block_id(height: int, round_: int, seed: int = 0) -> BlockID:
    """The block a seeded chain proposes at a height and round: always the same one."""
    name = f"{seed}/{height}/{round_}".encode()
    return BlockID(hashlib.sha256(b"block " + name).digest(), 1, hashlib.sha256(b"parts " + name).digest())


async def run_chain(node: SimulatedNode, plan: ChainPlan) -> AsyncGenerator[StepSigned]:
    """Run a chain and yield each signature as it comes.

    Raises:
        ChainHaltedError: a prevote or precommit was refused, or all retries failed: the chain stands still for good.
    """
    loop = asyncio.get_running_loop()
    heights = count(plan.first_height)
    for height in heights:
        if plan.heights is not None and height >= plan.first_height + plan.heights:
            return
        due = loop.time() + plan.block_seconds
        async for step in _play_height(node, plan, height):
            yield step
        await _refresh_pub_key(node)
        await asyncio.sleep(max(0.0, due - loop.time()))


async def _refresh_pub_key(node: SimulatedNode) -> None:
    """Consensus asks for the key once a block; on failure it keeps the old one."""
    try:
        await node.pub_key()
    except NodeSideError:
        return


async def _play_height(node: SimulatedNode, plan: ChainPlan, height: int) -> AsyncGenerator[StepSigned]:
    fails_first = bool(plan.late_round_every) and height % plan.late_round_every == 0
    for round_ in count():
        block = block_id(height, round_, plan.seed)
        proposed = await _propose(node, Proposal(height, round_, block_id=block, time=Time.now()))
        if proposed is not None:
            yield _step(HRS(height, round_, 1), proposed)
        voted = NIL_BLOCK if proposed is None or (fails_first and round_ == 0) else block
        for kind in (MessageType.PREVOTE, MessageType.PRECOMMIT):
            vote = _vote(plan, kind, height, round_, voted)
            yield _step(vote.hrs, await _vote_or_halt(node, vote))
        if not voted.is_nil:
            return


def _vote(plan: ChainPlan, kind: MessageType, height: int, round_: int, block: BlockID) -> Vote:
    extension = b""
    if kind is MessageType.PRECOMMIT and not block.is_nil:
        extension = random.Random(f"{plan.seed}/{height}").randbytes(plan.extension_bytes)  # noqa: S311 - a filler
    return Vote(kind, height, round_, block, Time.now(), plan.validator_address, extension=extension)


async def _propose(node: SimulatedNode, proposal: Proposal) -> Answer[ProposalReply] | None:
    """A refused proposal costs a round, not the chain: the validators go on with nil."""
    try:
        return await node.sign_proposal(proposal)
    except RemoteSignerError:
        return None


async def _vote_or_halt(node: SimulatedNode, vote: Vote) -> Answer[VoteReply]:
    try:
        return await node.sign_vote(vote)
    except NodeSideError as error:
        raise ChainHaltedError(f"no signature for the vote at {vote.hrs}: {error}") from error


def _step(hrs: HRS, answer: Answer[ProposalReply] | Answer[VoteReply]) -> StepSigned:
    return StepSigned(hrs, answer.latency, answer.waited, answer.answered_at, answer.attempts)
