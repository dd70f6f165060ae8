"""What is done to the replicas while the chain runs, in order: one is killed, comes back, another is stopped politely.

The same for a simulated and a real node; only who strikes, and when exactly, is theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Final

from demo.stage import Stage
from demo.story import Story, Tone

__all__ = ["Strike", "all_of_it", "is_over"]

_KILL_AT: Final = 0.2
_STOP_AT: Final = 0.55
"""Shares of the show after which the lease holder is killed, and another replica is stopped."""

_ABSENCE: Final = 0.1
"""The share of the show for which a replica stays away: the chain goes on without it meanwhile."""

Strike = Callable[[str], Awaitable[None]]
"""Kills the named replica at a moment of its choosing; returns once the chain has been seen to cope, or not to."""


def all_of_it(stage: Stage, story: Story, strike: Strike) -> tuple[Coroutine[None, None, None], ...]:
    """What has to run beside the chain from its first block on: the script, and who watches the replicas."""
    return _perform(stage, story, strike), stage.watch(story)


def is_over(story: Story, tasks: Sequence[asyncio.Task[None]]) -> bool:
    """Whether the script, begun as the first of `tasks`, and the time are over. Raises what any of them raised."""
    for task in tasks:
        if task.done():
            task.result()
    return bool(tasks) and tasks[0].done() and story.progress > 1


async def _perform(stage: Stage, story: Story, strike: Strike) -> None:
    """Run the whole script. Raises SignerProcessError where a replica does not come back."""
    await _until(story, _KILL_AT)
    await stage.look(story)
    killed = await stage.holder()
    await strike(killed)
    if stage.replicas == 1:
        await stage.restart(story, killed)
        return
    await asyncio.sleep(_ABSENCE * story.length)
    await stage.restart(story, killed)
    await _until(story, _STOP_AT)
    await stage.look(story)
    stopped = await _another(stage, killed)
    await stage.stop(story, stopped)
    await asyncio.sleep(_ABSENCE * story.length)
    await stage.restart(story, stopped)
    story.tell(f"all {stage.replicas} replicas are up again", Tone.GOOD)


async def _another(stage: Stage, killed: str) -> str:
    """Whom to stop: who serves the node, or else who holds the lease, or else anybody, but not the same one again."""
    for member in (await stage.served_by(), await stage.holder(), *stage.cluster.members):
        if member is not None and member != killed:
            return member
    return killed


async def _until(story: Story, share: float) -> None:
    await asyncio.sleep(max(0.0, (share - story.progress) * story.length))
