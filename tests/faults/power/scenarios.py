"""The ways in which power is lost: at the only replica, at one of three, at all three at once, on a drive that lies.

Each plays one cut: signing under load, the cut, the first question, and a height signed afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tests.faults.power.blackouts import PATIENCE, Blackouts
from tests.faults.power.witness import another_block

__all__ = ["SCENARIOS", "Scenario"]

Scenario = Callable[[Blackouts], Awaitable[None]]

_HEARTBEATS: Final = 0.5
"""Seconds in which a replica is heard several times."""
_ASKED_WITHIN: Final = 20.0
"""Seconds for two replicas to elect one of them and to ask both guards, on a machine that has other work."""
_ANSWERED_WITHIN: Final = 0.2
"""Seconds for the other guard's answer, once one of the two has taken the question."""
_FORGOTTEN_WITHIN: Final = 20.0
"""The same where a guard is known to have forgotten what it answered for: now it has to be seen what comes of it."""


async def at_all(stage: Blackouts) -> None:
    """All replicas lose power at once; a replica alone is all there is."""
    await stage.cut_under_load(stage.members)
    await stage.attach()
    await stage.restore(stage.members)
    await stage.ask_first()
    await stage.sign_next()


async def at_one_of_three(stage: Blackouts) -> None:
    """One of the two that signed loses power; the question is put to it and to the one that had not signed.

    The third, which could have spoken against it, stands still meanwhile: all hangs on what the cut one still knows.
    """
    absent, victim, witness = stage.rng.sample(stage.members, 3)
    # It is ended, not paused: in the buffers of a paused one would wait how far the others have come.
    stage.cluster.kill(absent)
    await stage.attach()
    await stage.cut_under_load([victim])
    stage.cluster.pause(witness)
    await stage.attach()
    await stage.restore([victim])
    forgotten = not stage.knows_all(victim)
    stage.cluster.start(absent)
    await _ask_two(stage, absent, witness, _FORGOTTEN_WITHIN if forgotten else _ANSWERED_WITHIN)
    await stage.sign_next()


async def _ask_two(stage: Blackouts, absent: str, witness: str, patience: float) -> None:
    """Put the first question; the third replica goes on as soon as the other two have done with it."""
    released = stage.witness.released
    if released is None:
        raise RuntimeError("nothing was released yet")
    asking = asyncio.create_task(stage.ask(another_block(released, stage.tally.cuts)))
    deadline = time.monotonic() + _ASKED_WITHIN
    while not asking.done() and time.monotonic() < deadline:
        mark = stage.watermark(absent)
        if mark is not None and mark.hrs >= released.hrs:
            await asyncio.wait([asking], timeout=patience)
            break
        await asyncio.sleep(0.01)
    stage.cluster.resume(witness)
    stage.count(await asking)


async def at_a_liar(stage: Blackouts) -> None:
    """The first replica alone loses power, and comes back without what its drive said it had kept.

    The others remember more of it. It has to find itself accused, and to blow its fuse, before it is counted again.
    They hear of a lease holder's own guard by its heartbeats only: what it signed since the last one they cannot know.
    """
    liar = stage.members[0]
    await stage.cut_under_load([liar], after=_HEARTBEATS)
    await stage.attach()
    await stage.restore([liar])
    deadline = time.monotonic() + PATIENCE
    while not stage.fuse_is_blown(liar) and time.monotonic() < deadline:  # noqa: ASYNC110 - a file sets no event
        await asyncio.sleep(0.02)
    if stage.fuse_is_blown(liar):
        stage.tally.fuses_blown += 1
    else:
        stage.tally.violations.append(f"nobody told {liar} that it has forgotten")
    await stage.ask_first()
    await stage.sign_next()


SCENARIOS: Final[dict[str, Scenario]] = {"all": at_all, "liar": at_a_liar, "one-of-three": at_one_of_three}
