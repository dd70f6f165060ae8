"""The demo without a node: the harness' simulated node plays a sole validator's chain, and its oracle watches."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import Final

from cmkms.harness.chain import ChainPlan, StepSigned, block_id, run_chain
from cmkms.harness.errors import RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.values import MessageType, Time, Vote
from demo.stage import Stage
from demo.story import Story, Tone

__all__ = ["play"]

_PLAN: Final = ChainPlan(heights=None, block_seconds=0.1, late_round_every=25)
"""Ten blocks a second; now and then a height needs a second round."""

_KILL_AT: Final = 0.45
"""The share of the show after which the signer is killed."""

_PREVOTE_STEP: Final = 2
_CONNECT_SECONDS: Final = 10.0

_ANOTHER_ROUND: Final = 999
"""The seeded chain's block of a round that it never reaches: some other block."""


async def play(stage: Stage, story: Story, address: str) -> None:
    """Run the whole show into `story`.

    Raises:
        NodeSideError: the signer did not come, or the chain did not go on.
    """
    oracle = Oracle([stage.chain_id])
    async with SimulatedNode(address, stage.chain_id, name="demo", witness=oracle) as node:
        story.validator = f"simulated node at {node.address}"
        pub_key = await stage.prepare_signer(node.address, story)
        await node.endpoint.wait_served(_CONNECT_SECONDS)
        if await node.boot() != pub_key:
            raise RuntimeError("the signer answers another public key than that of its key file")
        story.tell("connected: proposal, prevote, precommit, height after height", Tone.GOOD)
        story.signing_since = time.monotonic()
        async with aclosing(run_chain(node, _PLAN)) as chain:
            async for step in chain:
                _note(story, step, oracle)
                if not story.crashed and story.progress > _KILL_AT and step.hrs.step == _PREVOTE_STEP:
                    stage.crash(story, f"right after the prevote at {step.hrs}")
                    await _tempt(node, story, step)
                    await stage.wait_healthy(story)
                if story.progress > 1 and step.hrs.step > _PREVOTE_STEP:
                    break


async def _tempt(node: SimulatedNode, story: Story, signed: StepSigned) -> None:
    """Ask the signer that lost its memory for a second prevote where it has signed one: a double sign, if it obeys."""
    other = block_id(signed.hrs.height, _ANOTHER_ROUND)
    try:
        await node.sign_vote(Vote(MessageType.PREVOTE, signed.hrs.height, signed.hrs.round, other, Time.now()))
    except RemoteSignerError as error:
        story.refusals += 1
        story.tell(f"started again; asked for another block at {signed.hrs}: refused", Tone.GOOD)
        story.tell(f'  "{error.description}"')
    else:
        story.tell(f"started again; asked for another block at {signed.hrs}: SIGNED", Tone.BAD)


def _note(story: Story, step: StepSigned, oracle: Oracle) -> None:
    story.advance(step.hrs.height, step.answered_at)
    story.latencies.append(step.latency * 1e3)
    story.verified = oracle.signed
    story.double_signs = oracle.double_signs
    story.broken = [str(violation) for violation in oracle.violations]
