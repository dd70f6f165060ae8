"""The signer over a real guard: what a validator of one replica gets, across restarts and when the disk fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cmkms.privval import SignProposalRequest, SignVoteRequest, vote_sign_bytes
from cmkms.signing import REFUSE_AFTER_SECONDS, Rejected, RejectedBecause, SignedProposal, SignedVote
from tests.sim.sole_replica import SoleReplica, new_home
from tests.unit.signing.delayed_quorum import Asked
from tests.unit.signing.messages import BLOCK_B, CHAIN, NIL, at, is_signature, precommit, prevote, proposal


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[SoleReplica]:
    replica = SoleReplica(new_home(tmp_path / "home"))
    yield replica
    replica.guard.close()


def vote(asked: Asked) -> SignedVote:
    assert isinstance(asked.answer, SignedVote)
    return asked.answer


def because(asked: Asked) -> RejectedBecause:
    assert isinstance(asked.answer, Rejected)
    return asked.answer.because


def test_a_vote_is_answered_before_submit_returns(replica: SoleReplica) -> None:
    asked = replica.ask(prevote())
    assert is_signature(vote_sign_bytes(CHAIN, prevote().vote), vote(asked).signature)
    assert replica.signer.flights == 0


def test_a_later_timestamp_gets_the_stored_signature_and_timestamp(replica: SoleReplica) -> None:
    first = vote(replica.ask(prevote(seconds=1)))
    second = vote(replica.ask(prevote(seconds=2)))
    assert second.signature == first.signature
    assert second.vote.timestamp == at(1)
    assert len(replica.key.signed) == 1


def test_a_proposal_with_another_timestamp_is_an_error_and_with_the_same_bytes_is_answered(
    replica: SoleReplica,
) -> None:
    first = replica.ask(proposal(seconds=1)).answer
    assert because(replica.ask(proposal(seconds=2))) is RejectedBecause.HELD
    again = replica.ask(proposal(seconds=1)).answer
    assert isinstance(first, SignedProposal)
    assert isinstance(again, SignedProposal)
    assert again.signature == first.signature


FLOOR: list[SignVoteRequest | SignProposalRequest] = [proposal(10, 1), prevote(10, 1), precommit(10, 1)]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (precommit(10, 1, BLOCK_B), RejectedBecause.CONFLICT),
        (precommit(10, 1, NIL), RejectedBecause.CONFLICT),
        (prevote(10, 1), RejectedBecause.REGRESSION),
        (proposal(10, 1), RejectedBecause.REGRESSION),
        (precommit(10, 0), RejectedBecause.REGRESSION),
        (precommit(9, 5), RejectedBecause.REGRESSION),
        (prevote(1_000_000), RejectedBecause.CEILING),
    ],
)
def test_what_is_asked_at_the_floor(
    replica: SoleReplica, request_: SignVoteRequest | SignProposalRequest, reason: RejectedBecause
) -> None:
    for step in FLOOR:
        replica.ask(step)
    signed = len(replica.key.signed)
    assert because(replica.ask(request_)) is reason
    assert len(replica.key.signed) == signed


def test_the_signer_is_usable_after_every_refusal(replica: SoleReplica) -> None:
    replica.ask(prevote())
    replica.ask(prevote(block=BLOCK_B))
    assert not vote(replica.ask(precommit())).replayed


class TestAfterARestart:
    """What was signed is known again."""

    @pytest.mark.parametrize("stored", [True, False], ids=["released stored", "released lost"])
    def test_the_same_vote_gets_the_same_signature(self, replica: SoleReplica, *, stored: bool) -> None:
        first = vote(replica.ask(prevote()))
        if stored:
            replica.store_released()
        replica.restart()
        again = vote(replica.ask(prevote()))
        assert again.signature == first.signature
        assert again.replayed is stored

    def test_a_later_timestamp_gets_the_stored_one(self, replica: SoleReplica) -> None:
        first = vote(replica.ask(prevote(seconds=1)))
        replica.restart()
        again = vote(replica.ask(prevote(seconds=2)))
        assert (again.signature, again.vote.timestamp) == (first.signature, at(1))

    def test_another_block_is_refused(self, replica: SoleReplica) -> None:
        replica.ask(prevote())
        replica.restart()
        assert because(replica.ask(prevote(block=BLOCK_B))) is RejectedBecause.CONFLICT

    def test_an_old_released_signature_does_not_open_the_way_back(self, replica: SoleReplica) -> None:
        replica.ask(prevote())
        replica.store_released()
        replica.ask(precommit())
        replica.restart()
        assert because(replica.ask(prevote(seconds=1))) is RejectedBecause.REGRESSION
        assert because(replica.ask(prevote(block=BLOCK_B))) is RejectedBecause.REGRESSION


class TestBrokenDisk:
    """A write that failed is never answered, then or later."""

    @pytest.fixture(params=["write", "sync"])
    def broken(self, replica: SoleReplica, request: pytest.FixtureRequest) -> SoleReplica:
        replica.ask(prevote(9))
        if request.param == "write":
            replica.disk.writes_fail = True
        else:
            replica.disk.syncs_fail = True
        return replica

    def test_the_request_is_held_and_nothing_is_signed(self, broken: SoleReplica) -> None:
        signed = list(broken.key.signed)
        asked = broken.ask(prevote())
        broken.clock.advance(1_000_000)
        assert asked.answers == []
        assert broken.key.signed == signed

    def test_the_quorum_says_why(self, broken: SoleReplica) -> None:
        broken.ask(prevote())
        assert "fuse" in broken.quorum.waiting_for

    def test_a_disk_that_works_again_changes_nothing(self, broken: SoleReplica) -> None:
        broken.ask(prevote())
        broken.disk.writes_fail = broken.disk.syncs_fail = False
        assert broken.ask(prevote()).answers == []
        assert broken.ask(prevote(11)).answers == []

    def test_a_restart_does_not_clear_it(self, broken: SoleReplica) -> None:
        broken.ask(prevote())
        broken.disk.writes_fail = broken.disk.syncs_fail = False
        broken.restart()
        assert broken.ask(prevote()).answers == []

    def test_what_was_released_before_is_still_answered(self, broken: SoleReplica) -> None:
        broken.ask(prevote())
        assert vote(broken.ask(prevote(9))).replayed

    def test_with_refuse_it_becomes_an_error_that_names_the_fuse(self, broken: SoleReplica) -> None:
        broken.dispatch._refuse_after = REFUSE_AFTER_SECONDS
        asked = broken.ask(prevote())
        broken.clock.advance(3)
        assert isinstance(asked.answer, Rejected)
        assert asked.answer.because is RejectedBecause.OUTAGE
        assert "fuse" in asked.answer.description
