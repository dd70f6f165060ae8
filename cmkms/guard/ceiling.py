"""The height ceiling: how far above the last signed height a request may reach.

One request for height 2^63-1 from a broken or hostile node would otherwise use up the key on its chain for ever, on
every guard. Pure arithmetic; the wall clock is passed in and decides nothing but this bound.
"""

from __future__ import annotations

from typing import Final

from cmkms.guard.hrs import MAX_HEIGHT

__all__ = ["DEFAULT_MAX_BLOCK_RATE", "MARGIN_HEIGHTS", "height_ceiling"]

MARGIN_HEIGHTS: Final = 2000
"""Always allowed above the stored height: a node that replays or syncs after a short stop never meets the ceiling."""
DEFAULT_MAX_BLOCK_RATE: Final = 100.0
"""Blocks a second; no known CometBFT chain makes more, most make less than one."""


def height_ceiling(
    *, height: int, accepted_at: int, now: float, max_block_rate: float, allowed_height: int | None
) -> int | None:
    """Return the highest height that may be accepted next, or None where the first height is free.

    `height` is the stored one (0: never signed), `accepted_at` and `now` are Unix seconds of the wall clock (a clock
    that went back counts as no time passed), `allowed_height` is what the operator allowed by `chain allow-height`.
    """
    if height == 0:
        return None
    elapsed = max(0.0, now - accepted_at)
    ceiling = height + max(MARGIN_HEIGHTS, int(max_block_rate * elapsed))
    return min(MAX_HEIGHT, max(ceiling, allowed_height or 0))
