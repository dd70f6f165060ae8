"""How long tests let things take: one factor for all, since a shared machine may stand still for a second at any time.

What is told here are bounds within which something must have happened at all. How fast it is, benchmarks/ tells.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["within"]

_SLACK: Final = float(os.environ.get("CMKMS_TEST_SLACK", "4"))


def within(seconds: float) -> float:
    """The bound for what takes less than `seconds` on a machine with nothing else to do.

    CMKMS_TEST_SLACK is the factor, 4 if it is not set: 1 for sharp bounds on a quiet machine.
    """
    return seconds * _SLACK
