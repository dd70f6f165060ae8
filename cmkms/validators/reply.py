"""Turns an answer into the message for the node and into the event for the log. Pure."""

from __future__ import annotations

from typing import Final

from cmkms.privval import (
    Proposal,
    RequestKind,
    SignedMsgType,
    SignProposalRequest,
    SignVoteRequest,
    Vote,
    encode_error_response,
    encode_signed_proposal_response,
    encode_signed_vote_response,
)
from cmkms.signing import Answer, Rejected, RejectedBecause, SignedProposal, SignedVote
from cmkms.telemetry.events import SignEvent, SignKind, SignResult

__all__ = ["ERROR_CODE", "asked_for", "encode_answer", "sign_event"]

ERROR_CODE: Final = 0
"""A node looks only at whether there is an error; CometBFT's signer sends 0 (`privval/signer_requestHandler.go`)."""

_MAX_SHOWN_CHAIN_ID: Final = 50
"""CometBFT `types/genesis.go`, MaxChainIDLen; a peer may send a million characters."""

_STEPS: Final[dict[SignKind, int]] = {"proposal": 1, "prevote": 2, "precommit": 3}


def encode_answer(request: SignVoteRequest | SignProposalRequest, answer: Answer) -> bytes:
    """Return the answer's message, undelimited, of the request's kind."""
    match answer:
        case SignedVote(signature=signature, extension_signature=extension_signature):
            return encode_signed_vote_response(answer.vote, signature, extension_signature)
        case SignedProposal(signature=signature):
            return encode_signed_proposal_response(answer.proposal, signature)
        case Rejected(description=description):
            of_vote = isinstance(request, SignVoteRequest)
            kind = RequestKind.SIGN_VOTE if of_vote else RequestKind.SIGN_PROPOSAL
            return encode_error_response(kind, ERROR_CODE, description)


def asked_for(chain_id: str, served: str) -> str:
    """Say that a node asks for another chain than its address is configured for; its word is cut."""
    return f"the node asks for chain {chain_id[:_MAX_SHOWN_CHAIN_ID]!r}, its address is configured for {served!r}"


def sign_event(
    request: SignVoteRequest | SignProposalRequest, answer: Answer | None, chain_id: str, who: str, seconds: float
) -> SignEvent:
    """Return the event of a request that was answered, or whose node hung up first (None)."""
    kind: SignKind = "proposal"
    asked: Vote | Proposal
    if isinstance(request, SignVoteRequest):
        asked = request.vote
        kind = "prevote" if request.vote.type is SignedMsgType.PREVOTE else "precommit"
    else:
        asked = request.proposal
    result: SignResult = "gone"
    reason = detail = ""
    match answer:
        case SignedVote(replayed=replayed) | SignedProposal(replayed=replayed):
            result = "replayed" if replayed else "signed"
        case Rejected():
            result, reason, detail = "refused", answer.because.value, answer.description
            if answer.because is RejectedBecause.UNKNOWN_CHAIN:
                detail = asked_for(request.chain_id, chain_id)
        case None:
            pass
    return SignEvent(
        chain_id=chain_id,
        kind=kind,
        height=asked.height,
        round=asked.round,
        step=_STEPS[kind],
        block_hash=asked.block_id.hash,
        who=who,
        result=result,
        reason=reason,
        detail=detail,
        seconds=seconds,
    )
