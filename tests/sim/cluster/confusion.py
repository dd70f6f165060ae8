"""What a confused, hostile or doubled node asks for: everything that makes other signers sign twice.

Never a height that no chain will ever reach: the guards' ceiling is tested for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from cmkms.guard.hrs import Step
from cmkms.privval import SignVoteRequest
from cmkms.signing.signer import SignRequest
from tests.unit.signing.messages import BLOCK_A, BLOCK_B, NIL, at, precommit, prevote, proposal

__all__ = ["Place", "confused"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is, at its own time; `mark` goes into the extensions of its precommits."""

    height: int
    round: int
    step: Step
    seconds: int
    mark: bytes


def confused(random: Random, place: Place, said: Sequence[SignRequest]) -> SignRequest:
    """Choose one oddity. `said`: what this and the other nodes of the validator have asked of late."""
    kinds = [_other_block, _other_block, _nil, _nil, _next_round, _laggard, _ahead, _other_step, _proof_of_lock]
    if said and random.random() < 0.5:
        return random.choice((_replay, _replay_at_another_time, _replay_with_another_extension))(random, said)
    return random.choice(kinds)(random, place)


def _at(place: Place, block: object) -> SignRequest:
    if place.step is Step.PROPOSE:
        return proposal(place.height, place.round, BLOCK_A if block is NIL else block, place.seconds)  # type: ignore[arg-type]
    if place.step is Step.PREVOTE:
        return prevote(place.height, place.round, block, place.seconds)  # type: ignore[arg-type]
    extension = b"" if block is NIL else place.mark
    return precommit(place.height, place.round, block, place.seconds, extension=extension)  # type: ignore[arg-type]


def _other_block(_random: Random, place: Place) -> SignRequest:
    return _at(place, BLOCK_B)


def _nil(_random: Random, place: Place) -> SignRequest:
    return _at(place, NIL)


def _next_round(random: Random, place: Place) -> SignRequest:
    """As after a round that timed out here, and not at the other nodes."""
    step = random.choice((Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT))
    return _at(replace(place, round=place.round + random.randint(1, 2), step=step), random.choice((BLOCK_A, NIL)))


def _laggard(random: Random, place: Place) -> SignRequest:
    step = random.choice((Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT))
    return _at(replace(place, height=max(place.height - random.randint(0, 2), 1), round=0, step=step), BLOCK_A)


def _ahead(random: Random, place: Place) -> SignRequest:
    step = random.choice((Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT))
    return _at(replace(place, height=place.height + 1, round=0, step=step), random.choice((BLOCK_A, BLOCK_B)))


def _other_step(random: Random, place: Place) -> SignRequest:
    return _at(replace(place, step=random.choice((Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT))), BLOCK_A)


def _proof_of_lock(random: Random, place: Place) -> SignRequest:
    return proposal(place.height, place.round, random.choice((BLOCK_A, BLOCK_B)), place.seconds, pol_round=0)


def _replay(random: Random, said: Sequence[SignRequest]) -> SignRequest:
    return random.choice(said[-6:])


def _replay_at_another_time(random: Random, said: Sequence[SignRequest]) -> SignRequest:
    request, time = random.choice(said[-6:]), at(random.randint(0, 60))
    if isinstance(request, SignVoteRequest):
        return replace(request, vote=replace(request.vote, timestamp=time))
    return replace(request, proposal=replace(request.proposal, timestamp=time))


def _replay_with_another_extension(random: Random, said: Sequence[SignRequest]) -> SignRequest:
    request = random.choice(said[-6:])
    if isinstance(request, SignVoteRequest) and request.vote.extension:
        return replace(request, vote=replace(request.vote, extension=random.randbytes(8)))
    return request
