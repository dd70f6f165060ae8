"""Sees every answer that left the replicas, has the oracle judge it, and remembers the highest one.

What was released highest is what the first question after a power cut is about. It shares nothing with the signer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cmkms.harness.chain import block_id
from cmkms.harness.errors import BadReplyError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Oracle
from cmkms.harness.values import HRS, Proposal, Vote
from cmkms.harness.wire import (
    ProposalReply,
    SignProposalRequest,
    SignVoteRequest,
    VoteReply,
    decode_reply,
    decode_request,
)

__all__ = ["Message", "Witness", "another_block", "sign"]

Message = Vote | Proposal

_OTHER_CHAIN: Final = 1_000_000
"""Seeds of blocks that no load ever asks for begin here."""


class Witness:
    """Fit to be a node's witness. `released` is the highest signed message, as it was asked for; None before any."""

    def __init__(self, chain_id: str) -> None:
        self.oracle = Oracle([chain_id])
        self.released: Message | None = None

    def __call__(self, seen: Observation) -> None:
        """Take one answer in."""
        self.oracle(seen)
        answer: bytes | None = seen.reply  # none came where the connection was lost
        if answer is None:
            return
        try:
            request, reply = decode_request(seen.request), decode_reply(answer)
        except BadReplyError:
            return
        match request, reply:
            case SignVoteRequest(_, asked), VoteReply():
                self._take(asked)
            case SignProposalRequest(_, asked), ProposalReply():
                self._take(asked)
            case _:
                return

    @property
    def highest(self) -> HRS:
        """Where the highest released signature stands."""
        return self.released.hrs if self.released is not None else HRS(0, 0, 0)

    def _take(self, asked: Message) -> None:
        if asked.hrs > self.highest:
            self.released = asked


def another_block(message: Message, number: int) -> Message:
    """Return the same place with a block that nobody has asked for; a nil vote becomes one for a block."""
    return replace(message, block_id=block_id(message.height, message.round, seed=_OTHER_CHAIN + number))


async def sign(node: SimulatedNode, message: Message) -> object:
    """Ask for it, with a node's retries. Raises RemoteSignerError (refused), NodeSideError."""
    return await (node.sign_vote(message) if isinstance(message, Vote) else node.sign_proposal(message))
