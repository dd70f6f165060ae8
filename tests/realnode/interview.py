"""Plays a script of requests to one signer, as the node that it dials, and takes down what it answers.

The node is the simulated one of cmkms.harness, which shares no code with the signer; signatures are checked here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cmkms.harness.endpoint import NodeTimings
from cmkms.harness.errors import BadReplyError, NodeSideError, ReplyTimeoutError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.signbytes import extension_sign_bytes, proposal_sign_bytes, vote_sign_bytes
from cmkms.harness.values import Proposal, Time, Vote
from cmkms.harness.wire import (
    ErrorReply,
    PingReply,
    ProposalReply,
    PubKeyReply,
    Reply,
    SignProposalRequest,
    SignVoteRequest,
    VoteReply,
    decode_reply,
    encode_request,
)
from tests.realnode.chain import SignerFactory
from tests.realnode.questions import CHAIN_ID, Outcome, Question

__all__ = ["Verdict", "interview"]

# Seconds. Both answer within milliseconds; a signer that has not answered by then does not.
_TIMINGS = NodeTimings(read_write=2.0, retries=1)

# Seconds for the signer to come, its own start included.
_CONNECT_SECONDS = 15.0

# Seconds from the end of a dying process' connections to its own end, at most.
_DYING_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """All of an answer that matters to a node. `text` is for the reader and not compared."""

    outcome: Outcome
    signature: bytes = b""
    time: Time | None = None
    extension_signature: bytes = b""
    pub_key: bytes = b""
    text: str = ""

    def alike(self, other: Verdict) -> bool:
        """Whether a node would do the same with both."""
        mine = (self.outcome, self.signature, self.time, self.extension_signature, self.pub_key)
        return mine == (other.outcome, other.signature, other.time, other.extension_signature, other.pub_key)


async def interview(
    signer_type: SignerFactory, questions: Sequence[Question], laddr: str, directory: Path, key_file: Path
) -> list[Verdict]:
    """Start a signer that never signed before, ask it everything in order, end it; one verdict for each question."""
    async with SimulatedNode(laddr, CHAIN_ID, timings=_TIMINGS) as node:
        signer = signer_type(directory, CHAIN_ID, node.address, key_file)
        signer.start()
        try:
            await node.endpoint.wait_served(_CONNECT_SECONDS)
            public_key = Ed25519PublicKey.from_public_bytes(await node.boot())
            verdicts: list[Verdict] = []
            for question in questions:
                verdict = await _ask(node, question)
                if verdict.outcome is Outcome.CLOSED:
                    await asyncio.sleep(_DYING_SECONDS)
                    verdict = verdict if signer.alive else replace(verdict, outcome=Outcome.DIED)
                _check_signatures(public_key, question, verdict)
                verdicts.append(verdict)
        finally:
            signer.kill_9()
    return verdicts


async def _ask(node: SimulatedNode, question: Question) -> Verdict:
    message = question.request if isinstance(question.request, bytes) else encode_request(question.request)
    try:
        return _verdict(decode_reply(await node.raw(message)))
    except BadReplyError as error:
        node.endpoint.drop()
        return Verdict(Outcome.UNREADABLE, text=str(error))
    except ReplyTimeoutError as error:
        return Verdict(Outcome.SILENT, text=str(error))
    except NodeSideError as error:
        node.endpoint.drop()
        return Verdict(Outcome.CLOSED, text=str(error))


def _verdict(reply: Reply) -> Verdict:
    match reply:
        case ErrorReply():
            assert not reply.leaked, "an error carries a signature"
            return Verdict(Outcome.REFUSED, text=reply.description)
        case VoteReply(vote):
            return Verdict(Outcome.SIGNED, vote.signature, vote.time, vote.extension_signature)
        case ProposalReply(proposal):
            return Verdict(Outcome.SIGNED, proposal.signature, proposal.time)
        case PubKeyReply():
            return Verdict(Outcome.ANSWERED, pub_key=reply.pub_key)
        case PingReply():
            return Verdict(Outcome.ANSWERED)


def _check_signatures(public_key: Ed25519PublicKey, question: Question, verdict: Verdict) -> None:
    """Every signature must verify over what was asked for, with the time that came back. Raises InvalidSignature."""
    if verdict.outcome is not Outcome.SIGNED or verdict.time is None:
        return
    match question.request:
        case SignVoteRequest(chain_id, Vote() as vote):
            public_key.verify(verdict.signature, vote_sign_bytes(chain_id, replace(vote, time=verdict.time)))
            if verdict.extension_signature:
                public_key.verify(verdict.extension_signature, extension_sign_bytes(chain_id, vote))
        case SignProposalRequest(chain_id, Proposal() as proposal):
            public_key.verify(verdict.signature, proposal_sign_bytes(chain_id, replace(proposal, time=verdict.time)))
        case _:
            raise AssertionError(f"a signature for {question.request!r}")
