"""Keeps the connections to the validators: one for each address, always, and answers what they ask."""

from __future__ import annotations

from cmkms.validators.conversation import Desk, Observer
from cmkms.validators.link import Link
from cmkms.validators.trouble import Trouble, TroubleKind

__all__ = ["Desk", "Link", "Observer", "Trouble", "TroubleKind"]
