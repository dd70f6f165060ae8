"""Proposals: a node keeps its own timestamp, so only the very bytes that were granted are ever answered."""

from __future__ import annotations

import pytest

from cmkms.errors import BrokenInvariantError
from cmkms.guard.quorum import Granted
from cmkms.privval import SignProposalRequest, proposal_sign_bytes
from cmkms.signing import Rejected, RejectedBecause, SignedProposal
from tests.unit.signing.delayed_quorum import Asked, Bench
from tests.unit.signing.messages import BLOCK_B, CHAIN, is_signature, precommit, prevote, proposal


@pytest.fixture
def bench() -> Bench:
    return Bench()


def because(asked: Asked) -> RejectedBecause:
    assert isinstance(asked.answer, Rejected)
    return asked.answer.because


def test_a_granted_proposal_comes_back_as_it_was_asked(bench: Bench) -> None:
    request = proposal(pol_round=-1)
    asked = bench.ask(request)
    bench.quorum.decide()
    assert isinstance(asked.answer, SignedProposal)
    assert asked.answer.proposal == request.proposal
    assert is_signature(proposal_sign_bytes(CHAIN, request.proposal), asked.answer.signature)


def test_identical_proposals_share_a_flight_and_its_signature(bench: Bench) -> None:
    asked = [bench.ask(proposal()) for _ in range(3)]
    bench.quorum.decide()
    assert len({one.answer.signature for one in asked if isinstance(one.answer, SignedProposal)}) == 1
    assert len(bench.key.signed) == 1


def test_an_identical_repeat_is_answered_from_the_released_signature(bench: Bench) -> None:
    bench.ask(proposal())
    bench.quorum.decide()
    again = bench.ask(proposal())
    assert isinstance(again.answer, SignedProposal)
    assert again.answer.replayed


def test_another_timestamp_waits_for_the_first_and_has_its_error_then(bench: Bench) -> None:
    first = bench.ask(proposal(seconds=1))
    second = bench.ask(proposal(seconds=2))
    bench.quorum.decide()
    assert isinstance(first.answer, SignedProposal)
    bench.quorum.decide()
    assert because(second) is RejectedBecause.HELD


def test_another_timestamp_has_its_error_after_the_first_was_answered(bench: Bench) -> None:
    bench.ask(proposal(seconds=1))
    bench.quorum.decide()
    second = bench.ask(proposal(seconds=2))
    bench.quorum.decide()
    assert because(second) is RejectedBecause.HELD


def test_a_proposal_never_takes_on_a_held_timestamp(bench: Bench) -> None:
    bench.ask(proposal())
    assert [one.adopt_held for one in bench.quorum.pending] == [False]


def test_a_quorum_that_grants_a_proposal_another_timestamp_is_a_bug(bench: Bench) -> None:
    bench.ask(proposal(seconds=1))
    with pytest.raises(BrokenInvariantError):
        bench.quorum.end_with(Granted(proposal_sign_bytes(CHAIN, proposal(seconds=2).proposal)))
    assert bench.key.signed == []


@pytest.mark.parametrize("other", [proposal(block=BLOCK_B), proposal(pol_round=0), proposal(pol_round=0, seconds=3)])
def test_another_block_or_proof_of_lock_is_a_conflict(bench: Bench, other: SignProposalRequest) -> None:
    bench.ask(proposal())
    second = bench.ask(other)
    assert len(bench.quorum.proposed) == 1
    bench.quorum.decide()
    bench.quorum.decide()
    assert because(second) is RejectedBecause.CONFLICT


def test_votes_of_the_same_round_fly_beside_a_proposal(bench: Bench) -> None:
    asked = [bench.ask(one) for one in (proposal(), prevote(), precommit())]
    for _ in asked:
        bench.quorum.decide()
    assert not [one for one in asked if isinstance(one.answer, Rejected)]
