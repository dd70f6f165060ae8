"""The path of one request: where it goes, one flight for each height/round/step, one answer for each who asks. Pure."""

from __future__ import annotations

from cmkms.signing.answers import Answer, Rejected, RejectedBecause, SignedProposal, SignedVote
from cmkms.signing.dispatch import REFUSE_AFTER_SECONDS, Dispatch, ForwardResult
from cmkms.signing.routes import ALONE, Here, Nowhere, Route, Routes, Through, Ways
from cmkms.signing.signer import Signer, Waiter

__all__ = [
    "ALONE",
    "REFUSE_AFTER_SECONDS",
    "Answer",
    "Dispatch",
    "ForwardResult",
    "Here",
    "Nowhere",
    "Rejected",
    "RejectedBecause",
    "Route",
    "Routes",
    "SignedProposal",
    "SignedVote",
    "Signer",
    "Through",
    "Waiter",
    "Ways",
]
