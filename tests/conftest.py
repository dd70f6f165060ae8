"""What every test of the project shares: how hypothesis behaves. Markers and time limits stand in pyproject.toml."""

from __future__ import annotations

import os

from hypothesis import settings

# A deadline in milliseconds says more about the machine of the day than about the code: the time limit of a test holds
# instead. The blob lets a failure that was found elsewhere be repeated here.
settings.register_profile("cmkms", deadline=None, print_blob=True)
# CI repeats itself: a change is not refused for what another run happened to draw. Developers' runs go on searching.
settings.register_profile("ci", parent=settings.get_profile("cmkms"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "cmkms")
