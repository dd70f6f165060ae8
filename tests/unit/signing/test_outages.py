"""Trouble that passes: requests are held, or refused when the chain's operator wants that; nobody is answered twice."""

from __future__ import annotations

import pytest

from cmkms.guard.quorum import NoGuard
from cmkms.privval import vote_sign_bytes
from cmkms.signing import REFUSE_AFTER_SECONDS, Answer, Dispatch, Rejected, RejectedBecause, SignedVote, Signer, Waiter
from tests.unit.signing.delayed_quorum import Asked, Bench, CountingKey, DelayedQuorum, StillClock, ask
from tests.unit.signing.messages import BLOCK_B, CHAIN, precommit, prevote

A_LONG_TIME = 1_000_000.0


@pytest.fixture
def holding() -> Bench:
    return Bench()


@pytest.fixture
def refusing() -> Bench:
    return Bench(refuse_after=REFUSE_AFTER_SECONDS)


def because(asked: Asked) -> RejectedBecause:
    assert isinstance(asked.answer, Rejected)
    return asked.answer.because


class TestHold:
    """The default: never an error for trouble that passes."""

    def test_a_request_waits_for_as_long_as_it_takes(self, holding: Bench) -> None:
        asked = holding.ask(prevote())
        holding.clock.advance(A_LONG_TIME)
        assert asked.answers == []
        holding.quorum.decide()
        assert isinstance(asked.answer, SignedVote)

    def test_no_timer_runs_for_long(self, holding: Bench) -> None:
        holding.ask(prevote())
        holding.ask(prevote())
        holding.clock.advance(1)
        assert holding.clock.armed == 0

    def test_without_a_guard_every_request_waits(self) -> None:
        clock, key = StillClock(), CountingKey()
        asked = ask(Dispatch(CHAIN, Signer(CHAIN, key, NoGuard("a state file")), clock.later), prevote())
        clock.advance(A_LONG_TIME)
        assert asked.answers == []
        assert key.signed == []


class TestRefuse:
    """`on_outage = "refuse"`: an error after 2.5 s, for nodes that must not wait."""

    def test_the_patience_is_two_and_a_half_seconds(self) -> None:
        assert REFUSE_AFTER_SECONDS == 2.5

    def test_an_outage_is_an_error_when_patience_ends_and_not_before(self, refusing: Bench) -> None:
        asked = refusing.ask(prevote())
        refusing.clock.advance(2.499)
        assert asked.answers == []
        refusing.clock.advance(0.002)
        assert because(asked) is RejectedBecause.OUTAGE

    def test_the_error_says_what_is_waited_for(self) -> None:
        bench = Bench(quorum=DelayedQuorum(waiting_for="node-2 (never seen)"), refuse_after=REFUSE_AFTER_SECONDS)
        asked = bench.ask(prevote())
        bench.clock.advance(3)
        assert isinstance(asked.answer, Rejected)
        assert asked.answer.description == "node-2 (never seen)"

    def test_the_error_says_something_when_the_quorum_does_not(self, refusing: Bench) -> None:
        asked = refusing.ask(prevote())
        refusing.clock.advance(3)
        assert isinstance(asked.answer, Rejected)
        assert asked.answer.description

    def test_each_waiter_has_a_patience_of_its_own(self, refusing: Bench) -> None:
        early = refusing.ask(prevote(seconds=1))
        refusing.clock.advance(2)
        late = refusing.ask(prevote(seconds=2))
        refusing.clock.advance(1)
        assert because(early) is RejectedBecause.OUTAGE
        assert late.answers == []
        refusing.quorum.decide()
        assert isinstance(late.answer, SignedVote)

    def test_the_last_impatient_waiter_takes_the_flight_along(self, refusing: Bench) -> None:
        refusing.ask(prevote())
        refusing.clock.advance(3)
        assert refusing.signer.flights == 0

    def test_who_was_refused_is_not_answered_by_the_late_outcome(self, refusing: Bench) -> None:
        asked = refusing.ask(prevote())
        refusing.clock.advance(3)
        refusing.quorum.decide()
        assert because(asked) is RejectedBecause.OUTAGE
        assert refusing.key.signed == []

    def test_who_was_refused_gets_the_signature_when_it_asks_again(self, refusing: Bench) -> None:
        refusing.ask(prevote(seconds=1))
        refusing.clock.advance(3)
        again = refusing.ask(prevote(seconds=2))
        refusing.quorum.decide()
        refusing.quorum.decide()
        assert isinstance(again.answer, SignedVote)
        assert again.answer.vote.timestamp == prevote(seconds=1).vote.timestamp

    def test_an_answered_waiter_leaves_no_timer_behind(self, refusing: Bench) -> None:
        asked = refusing.ask(prevote())
        refusing.quorum.decide()
        assert refusing.clock.armed == 0
        refusing.clock.advance(3)
        assert len(asked.answers) == 1

    def test_a_withdrawn_waiter_leaves_no_timer_behind(self, refusing: Bench) -> None:
        asked = refusing.ask(prevote())
        refusing.withdraw(asked)
        assert refusing.clock.armed == 0
        refusing.clock.advance(3)
        assert asked.answers == []

    def test_whoever_stands_behind_is_refused_after_its_own_patience(self, refusing: Bench) -> None:
        refusing.ask(prevote())
        refusing.clock.advance(1.0)
        behind = refusing.ask(prevote(block=BLOCK_B))
        refusing.clock.advance(2.4)
        assert behind.answers == []
        refusing.clock.advance(0.1)
        assert isinstance(behind.answer, Rejected)
        assert behind.answer.because is RejectedBecause.OUTAGE
        assert refusing.clock.armed == 0


class TestWithdraw:
    """A node that hung up is never answered, and leaves nothing behind."""

    @pytest.mark.parametrize("leaver", [0, 1, 2])
    def test_whoever_leaves_the_others_are_answered(self, holding: Bench, leaver: int) -> None:
        asked = [holding.ask(prevote(seconds=seconds)) for seconds in range(3)]
        holding.withdraw(asked[leaver])
        holding.quorum.decide()
        assert [len(one.answers) for one in asked] == [0 if index == leaver else 1 for index in range(3)]

    def test_the_bytes_of_the_first_stay_in_flight_when_it_leaves(self, holding: Bench) -> None:
        first, second = holding.ask(prevote(seconds=1)), holding.ask(prevote(seconds=2))
        holding.withdraw(first)
        holding.quorum.decide()
        assert isinstance(second.answer, SignedVote)
        assert second.answer.vote.timestamp == prevote(seconds=1).vote.timestamp

    def test_with_the_last_waiter_the_flight_ends(self, holding: Bench) -> None:
        asked = [holding.ask(prevote()) for _ in range(2)]
        for one in asked:
            holding.withdraw(one)
        assert holding.signer.flights == 0

    def test_an_outcome_after_everyone_left_is_not_signed(self, holding: Bench) -> None:
        asked = holding.ask(prevote())
        holding.withdraw(asked)
        holding.quorum.decide()
        assert asked.answers == []
        assert holding.key.signed == []
        assert holding.signer.released is None

    def test_the_outcome_of_an_abandoned_flight_does_not_end_the_next_one(self, holding: Bench) -> None:
        gone = holding.ask(prevote())
        holding.withdraw(gone)
        other = holding.ask(prevote(block=BLOCK_B))
        holding.quorum.decide()
        assert other.answers == []
        assert holding.key.signed == []
        holding.quorum.decide()
        assert because(other) is RejectedBecause.CONFLICT

    def test_a_retry_after_hanging_up_gets_the_signature(self, holding: Bench) -> None:
        gone = holding.ask(precommit())
        holding.withdraw(gone)
        again = holding.ask(precommit())
        holding.quorum.decide()
        holding.quorum.decide()
        assert isinstance(again.answer, SignedVote)
        assert holding.quorum.granted == {vote_sign_bytes(CHAIN, precommit().vote)}

    def test_withdrawing_twice_or_after_the_answer_is_harmless(self, holding: Bench) -> None:
        first, second = holding.ask(prevote()), holding.ask(prevote())
        holding.withdraw(first)
        holding.withdraw(first)
        holding.quorum.decide()
        holding.withdraw(second)
        assert len(second.answers) == 1

    def test_a_waiter_withdrawn_while_the_others_are_answered_stays_silent(self, holding: Bench) -> None:
        late: list[Answer] = []
        leaver = Waiter(prevote(), late.append)
        holding.dispatch.submit(Waiter(prevote(), lambda _: holding.dispatch.withdraw(leaver)))
        holding.dispatch.submit(leaver)
        holding.quorum.decide()
        assert late == []

    def test_an_answer_may_ask_for_the_next_step_at_once(self, holding: Bench) -> None:
        answers: list[Answer] = []
        holding.dispatch.submit(
            Waiter(prevote(), lambda _: holding.dispatch.submit(Waiter(precommit(), answers.append)))
        )
        other = holding.ask(prevote())
        holding.quorum.decide()
        assert isinstance(other.answer, SignedVote)
        assert holding.signer.flights == 1
        holding.quorum.decide()
        assert len(answers) == 1
