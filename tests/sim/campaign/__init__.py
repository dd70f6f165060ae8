"""The simulated cluster as a product of its own: any seed, run, judged, told as a story.

`run_seed` is the stable entry for whoever wants a verdict on the code as it is. It raises nothing for a violation.
"""

from __future__ import annotations

from tests.sim.campaign.plan import ALL_KINDS
from tests.sim.campaign.run import Outcome, run_seed

__all__ = ["ALL_KINDS", "Outcome", "run_seed"]
