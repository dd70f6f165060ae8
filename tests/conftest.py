"""What every test of the project shares: how hypothesis behaves. Markers and time limits stand in pyproject.toml."""

from __future__ import annotations

from hypothesis import settings

# A deadline in milliseconds says more about the machine of the day than about the code: the time limit of a test holds
# instead. The blob lets a failure that was found elsewhere be repeated here.
settings.register_profile("cmkms", deadline=None, print_blob=True)
settings.load_profile("cmkms")
