"""The path of one request: one flight for each height/round/step, one answer for each who asks. Pure."""

from __future__ import annotations

from cmkms.signing.answers import Answer, Rejected, RejectedBecause, SignedProposal, SignedVote
from cmkms.signing.signer import REFUSE_AFTER_SECONDS, Handle, Signer, Timer, Waiter

__all__ = [
    "REFUSE_AFTER_SECONDS",
    "Answer",
    "Handle",
    "Rejected",
    "RejectedBecause",
    "SignedProposal",
    "SignedVote",
    "Signer",
    "Timer",
    "Waiter",
]
