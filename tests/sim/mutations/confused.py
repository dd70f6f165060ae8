"""A node that contradicts the others: other blocks and other times at places that are signed, older places, repeats.

What it does is allowed to any node: a fork of its software, a restored backup, two of them with one name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cmkms.privval import SignProposalRequest
from cmkms.signing.signer import SignRequest
from tests.sim.cluster.sentries import Asked, Sentry
from tests.unit.signing.messages import BLOCK_A, BLOCK_B, NIL, at

__all__ = ["ConfusedNode", "contradicted"]

REMEMBERED = 6
"""Requests of all nodes of which one is repeated or contradicted: those of the last two heights."""

ON_ITS_WAY_SECONDS = 0.0002


@dataclass(eq=False)
class ConfusedNode(Sentry):
    """`memory` holds what all nodes asked for, in order."""

    memory: list[Asked] = field(default_factory=list[Asked])

    def ask(self, request: SignRequest) -> Asked:
        asked = super().ask(request)
        self.memory.append(asked)
        return asked

    def reconnect(self) -> None:
        """Not before its request has arrived: the connection of a request that is on its way cannot be gone."""
        if self._now is None or self.events.now - self._now.tried_at > ON_ITS_WAY_SECONDS:
            super().reconnect()

    def _choose(self) -> SignRequest:
        if not self.memory or self.random.random() >= self.strange:
            return super()._choose()
        former = self.random.choice(self.memory[-REMEMBERED:]).request
        return former if self.random.random() < 0.25 else contradicted(former, self.random.random())


def contradicted(former: SignRequest, chance: float) -> SignRequest:
    """The same place, and something else there: by `chance` (0 to 1) another time, another block, or nil."""
    later = at(50 + int(chance * 40))
    if isinstance(former, SignProposalRequest):
        proposal = former.proposal
        block = BLOCK_B if proposal.block_id == BLOCK_A else BLOCK_A
        return replace(former, proposal=replace(proposal, block_id=block if chance < 0.5 else proposal.block_id,
                                                timestamp=later))  # fmt: skip
    vote = former.vote
    if chance < 0.4:
        return replace(former, vote=replace(vote, timestamp=later))
    block = BLOCK_B if vote.block_id == BLOCK_A else BLOCK_A
    block = NIL if chance > 0.8 and vote.block_id != NIL else block
    extension = b"" if block == NIL else vote.extension
    return replace(former, vote=replace(vote, block_id=block, extension=extension))
