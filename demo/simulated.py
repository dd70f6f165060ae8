"""The demo without a node: the harness' simulated node plays a sole validator's chain, and its oracle watches."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Final

from cmkms.harness.chain import ChainPlan, StepSigned, block_id, run_chain
from cmkms.harness.errors import RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.values import MessageType, Time, Vote
from demo import script
from demo.stage import Stage
from demo.story import Story, Tone

__all__ = ["play"]

_PLAN: Final = ChainPlan(heights=None, block_seconds=0.1, late_round_every=25)
"""Ten blocks a second; now and then a height needs a second round."""

_PREVOTE_STEP: Final = 2
_CONNECT_SECONDS: Final = 10.0

_ANOTHER_ROUND: Final = 999
"""The seeded chain's block of a round that it never reaches: some other block."""


async def play(stage: Stage, story: Story, address: str) -> None:
    """Run the whole show into `story`.

    Raises:
        NodeSideError: the signer did not come, or the chain did not go on.
        SignerProcessError: a replica did not come up, or not come back.
    """
    oracle = Oracle([stage.chain_id])
    async with SimulatedNode(address, stage.chain_id, name="demo", witness=oracle) as node:
        story.validator = f"simulated node at {node.address}"
        pub_key = await stage.prepare(node.address, story)
        await node.endpoint.wait_served(_CONNECT_SECONDS)
        if await node.boot() != pub_key:
            raise RuntimeError("the signer answers another public key than that of its key file")
        story.tell("the node is connected: proposal, prevote, precommit, height after height", Tone.GOOD)
        story.signing_since = time.monotonic()
        blow = _Blow(stage, story, node)
        tasks = [asyncio.create_task(one) for one in script.all_of_it(stage, story, blow.strike)]
        try:
            await _run(node, story, oracle, blow, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _run(node: SimulatedNode, story: Story, oracle: Oracle, blow: _Blow, tasks: list[asyncio.Task[None]]) -> None:
    """Play the chain until the script and the time are over."""
    async with aclosing(run_chain(node, _PLAN)) as chain:
        async for step in chain:
            _note(story, step, oracle)
            if step.hrs.step == _PREVOTE_STEP:
                await blow.fall(step)
            if script.is_over(story, tasks) and step.hrs.step > _PREVOTE_STEP:
                return


class _Blow:
    """The kill: asked for by the script, struck by the chain right after a prevote, when it hurts most."""

    def __init__(self, stage: Stage, story: Story, node: SimulatedNode) -> None:
        self._stage = stage
        self._story = story
        self._node = node
        self._victim: str | None = None
        self._fallen = asyncio.Event()

    async def strike(self, victim: str) -> None:
        """Have it fall after the next prevote, and wait until it has."""
        self._victim = victim
        await self._fallen.wait()

    async def fall(self, signed: StepSigned) -> None:
        """If it was asked for: kill, and ask whoever is left for a second prevote where one was signed."""
        if self._victim is None or self._fallen.is_set():
            return
        self._stage.crash(self._story, self._victim, f"after the prevote at {signed.hrs}")
        if self._stage.replicas == 1:
            self._stage.cluster.start(self._victim)
        await self._tempt(signed)
        self._fallen.set()

    async def _tempt(self, signed: StepSigned) -> None:
        """A double sign, if anybody obeys."""
        other = block_id(signed.hrs.height, _ANOTHER_ROUND)
        asked = "the survivors are" if self._stage.replicas > 1 else "started again, it is"
        asked += f" asked for another block at {signed.hrs}"
        begun = time.monotonic()
        try:
            await self._node.sign_vote(
                Vote(MessageType.PREVOTE, signed.hrs.height, signed.hrs.round, other, Time.now())
            )
        except RemoteSignerError as error:
            self._story.refusals += 1
            self._story.tell(f"{asked}: refused", Tone.GOOD)
            self._story.tell(f'  "{error.description}"')
        else:
            self._story.tell(f"{asked}: SIGNED", Tone.BAD)
        self._story.waited(time.monotonic() - begun)


def _note(story: Story, step: StepSigned, oracle: Oracle) -> None:
    story.latencies.append(step.latency * 1e3)
    story.verified = oracle.signed
    story.double_signs = oracle.double_signs
    story.violations = [str(violation) for violation in oracle.violations]
    story.advance(step.hrs.height, step.answered_at, step.waited)
