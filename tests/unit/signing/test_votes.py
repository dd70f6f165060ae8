"""How a vote gets its signature: after the quorum's word, once for each height/round/step, the same for everybody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmkms.errors import BrokenInvariantError
from cmkms.guard.decide import Conflict, Refused, RefusedBecause, Regression, Sealed
from cmkms.guard.hrs import HRS, Step
from cmkms.guard.quorum import Granted
from cmkms.guard.state_file import SignState
from cmkms.privval import SignVoteRequest, vote_sign_bytes
from cmkms.signing import Rejected, RejectedBecause, SignedVote, Signer
from tests.unit.signing.delayed_quorum import Asked, Bench, CountingKey, ask
from tests.unit.signing.messages import BLOCK_B, CHAIN, KEY, NIL, at, is_signature, precommit, prevote


@pytest.fixture
def bench() -> Bench:
    return Bench()


def signed(asked: Asked) -> SignedVote:
    assert isinstance(asked.answer, SignedVote)
    return asked.answer


def rejected(asked: Asked) -> Rejected:
    assert isinstance(asked.answer, Rejected)
    return asked.answer


def test_nothing_is_signed_before_the_quorum_has_spoken(bench: Bench) -> None:
    asked = bench.ask(prevote())
    assert asked.answers == []
    assert bench.key.signed == []


def test_a_granted_vote_is_signed_over_its_canonical_bytes(bench: Bench) -> None:
    request = prevote()
    asked = bench.ask(request)
    bench.quorum.decide()
    assert signed(asked).vote == request.vote
    assert not signed(asked).replayed
    assert is_signature(vote_sign_bytes(CHAIN, request.vote), signed(asked).signature)


def test_the_quorum_is_asked_for_exactly_the_canonical_bytes(bench: Bench) -> None:
    request = prevote()
    bench.ask(request)
    assert bench.quorum.proposed == [vote_sign_bytes(CHAIN, request.vote)]


def test_one_flight_serves_everyone_who_asks_for_the_same_vote(bench: Bench) -> None:
    asked = [bench.ask(prevote()) for _ in range(5)]
    assert len(bench.quorum.proposed) == 1
    bench.quorum.decide()
    assert len({signed(one).signature for one in asked}) == 1
    assert len(bench.key.signed) == 1


def test_sentries_with_other_timestamps_share_one_signature_and_its_timestamp(bench: Bench) -> None:
    first, later, earlier = (bench.ask(prevote(seconds=seconds)) for seconds in (3, 9, 1))
    bench.quorum.decide()
    assert len(bench.quorum.proposed) == 1
    assert {signed(one).vote.timestamp for one in (first, later, earlier)} == {at(3)}
    assert len({signed(one).signature for one in (first, later, earlier)}) == 1


def test_the_timestamp_of_what_was_held_already_goes_to_everyone(bench: Bench) -> None:
    bench.quorum.accept(vote_sign_bytes(CHAIN, prevote(seconds=7).vote))
    asked = [bench.ask(prevote(seconds=seconds)) for seconds in (8, 9)]
    bench.quorum.decide()
    for one in asked:
        assert signed(one).vote.timestamp == at(7)
        assert is_signature(vote_sign_bytes(CHAIN, signed(one).vote), signed(one).signature)


def test_votes_may_take_on_a_held_timestamp(bench: Bench) -> None:
    bench.ask(prevote())
    assert [one.adopt_held for one in bench.quorum.pending] == [True]


def test_everything_but_the_timestamp_comes_back_as_it_was_asked(bench: Bench) -> None:
    bench.ask(precommit(seconds=1, extension=b"first"))
    second = bench.ask(precommit(seconds=2, extension=b"second"))
    bench.quorum.decide()
    assert signed(second).vote == replace(precommit(extension=b"second").vote, timestamp=at(1))


@pytest.mark.parametrize("other", [prevote(block=BLOCK_B), prevote(block=NIL), prevote(block=BLOCK_B, seconds=2)])
def test_something_else_at_one_place_waits_and_has_its_error_from_the_guards(
    bench: Bench, other: SignVoteRequest
) -> None:
    first = bench.ask(prevote())
    second = bench.ask(other)
    assert second.answers == []
    assert len(bench.quorum.proposed) == 1
    bench.quorum.decide()
    assert not signed(first).replayed
    bench.quorum.decide()
    assert rejected(second).because is RejectedBecause.CONFLICT


def test_something_else_is_signed_where_the_first_came_to_nothing(bench: Bench) -> None:
    first = bench.ask(prevote())
    second = bench.ask(prevote(block=BLOCK_B))
    bench.withdraw(first)
    bench.quorum.decide(index=1)
    assert not signed(second).replayed
    assert first.answers == []
    assert bench.signer.flights == 0


def test_whoever_stands_behind_may_leave_before_its_turn(bench: Bench) -> None:
    first = bench.ask(prevote())
    second, third = bench.ask(prevote(block=BLOCK_B)), bench.ask(prevote(block=NIL))
    bench.withdraw(second)
    bench.quorum.decide()
    assert not signed(first).replayed
    bench.quorum.decide()
    assert rejected(third).because is RejectedBecause.CONFLICT
    assert second.answers == []


def test_those_behind_that_ask_for_one_thing_share_a_flight(bench: Bench) -> None:
    first = bench.ask(prevote())
    behind = [bench.ask(prevote(block=BLOCK_B, seconds=seconds)) for seconds in (1, 2)]
    bench.withdraw(first)
    bench.quorum.decide(index=1)
    assert len({signed(one).signature for one in behind}) == 1


def test_heights_rounds_and_steps_fly_apart(bench: Bench) -> None:
    asked = [bench.ask(one) for one in (prevote(10, 0), prevote(10, 1), precommit(10, 1), prevote(11, 0))]
    assert bench.signer.flights == 4
    for _ in asked:
        bench.quorum.decide()
    assert len({signed(one).signature for one in asked}) == 4
    assert bench.signer.flights == 0


@pytest.mark.parametrize(
    ("outcome", "because"),
    [
        (Conflict(b"other"), RejectedBecause.CONFLICT),
        (Regression(HRS(11, 0, Step.PREVOTE)), RejectedBecause.REGRESSION),
        (Sealed(HRS(10, 0, Step.PREVOTE)), RejectedBecause.SEALED),
        (Refused(RefusedBecause.MAX_HEIGHT, "height 10 is above max_height 9"), RejectedBecause.MAX_HEIGHT),
        (Refused(RefusedBecause.CEILING, "height 10 is above the ceiling 9"), RejectedBecause.CEILING),
        (Refused(RefusedBecause.KEY), RejectedBecause.INTERNAL),
        (Refused(RefusedBecause.CHAIN), RejectedBecause.INTERNAL),
    ],
)
def test_a_final_refusal_reaches_every_waiter_by_its_reason(
    bench: Bench, outcome: Conflict | Regression | Sealed | Refused, because: RejectedBecause
) -> None:
    asked = [bench.ask(prevote(seconds=seconds)) for seconds in (1, 2)]
    bench.quorum.end_with(outcome)
    assert [rejected(one).because for one in asked] == [because, because]
    assert bench.key.signed == []
    assert bench.signer.flights == 0


def test_a_ceiling_names_the_command_that_raises_it(bench: Bench) -> None:
    asked = bench.ask(prevote())
    bench.quorum.end_with(Refused(RefusedBecause.CEILING, "height 10 is above the ceiling 9"))
    assert "cmkms chain allow-height" in rejected(asked).description


def test_a_refusal_never_shows_the_bytes_that_were_signed(bench: Bench) -> None:
    bench.quorum.accept(vote_sign_bytes(CHAIN, prevote(block=BLOCK_B).vote))
    asked = bench.ask(prevote())
    bench.quorum.decide()
    assert "BBBB" not in rejected(asked).description
    assert BLOCK_B.hash.hex() not in rejected(asked).description.lower()


def test_after_a_refusal_the_same_height_may_be_asked_for_again(bench: Bench) -> None:
    bench.quorum.accept(vote_sign_bytes(CHAIN, prevote().vote))
    refused = bench.ask(prevote(block=BLOCK_B))
    bench.quorum.decide()
    right = bench.ask(prevote())
    bench.quorum.decide()
    assert rejected(refused).because is RejectedBecause.CONFLICT
    assert not signed(right).replayed


def test_another_chain_is_refused_without_asking_the_quorum_or_naming_ours(bench: Bench) -> None:
    asked = bench.ask(prevote(chain="other-1"))
    assert rejected(asked).because is RejectedBecause.UNKNOWN_CHAIN
    assert CHAIN not in rejected(asked).description
    assert "other-1" not in rejected(asked).description
    assert bench.quorum.proposed == []


@pytest.mark.parametrize("other", [prevote(block=BLOCK_B), prevote(11), precommit(), prevote(10, 1)])
def test_a_quorum_that_grants_other_bytes_is_a_bug_and_nothing_is_signed(bench: Bench, other: SignVoteRequest) -> None:
    bench.ask(prevote())
    with pytest.raises(BrokenInvariantError):
        bench.quorum.end_with(Granted(vote_sign_bytes(CHAIN, other.vote)))
    assert bench.key.signed == []


class TestReleased:
    """The last released signature: a byte-identical repeat is answered from it."""

    def test_a_repeat_is_answered_at_once_and_nothing_new_is_signed(self, bench: Bench) -> None:
        first = bench.ask(prevote())
        bench.quorum.decide()
        again = bench.ask(prevote())
        assert signed(again).signature == signed(first).signature
        assert signed(again).replayed
        assert len(bench.key.signed) == len(bench.quorum.proposed) == 1

    def test_a_repeat_with_another_timestamp_goes_to_the_quorum(self, bench: Bench) -> None:
        first = bench.ask(prevote(seconds=1))
        bench.quorum.decide()
        again = bench.ask(prevote(seconds=2))
        bench.quorum.decide()
        assert signed(again).signature == signed(first).signature
        assert signed(again).vote.timestamp == at(1)
        assert signed(again).replayed
        assert len(bench.key.signed) == 1

    def test_another_block_at_the_released_place_is_refused(self, bench: Bench) -> None:
        bench.ask(prevote())
        bench.quorum.decide()
        other = bench.ask(prevote(block=BLOCK_B))
        bench.quorum.decide()
        assert rejected(other).because is RejectedBecause.CONFLICT

    def test_it_is_what_was_signed_last(self, bench: Bench) -> None:
        for request in (prevote(), precommit()):
            bench.ask(request)
            bench.quorum.decide()
        released = bench.signer.released
        assert released is not None
        assert released.hrs == HRS(10, 0, Step.PRECOMMIT)
        assert released.sign_bytes == vote_sign_bytes(CHAIN, precommit().vote)
        assert is_signature(released.sign_bytes or b"", released.signature or b"")

    def test_a_lower_one_that_is_decided_later_does_not_take_its_place(self, bench: Bench) -> None:
        bench.ask(prevote(10))
        bench.ask(prevote(11))
        bench.quorum.decide(1)
        bench.quorum.end_with(Granted(vote_sign_bytes(CHAIN, prevote(10).vote)))
        released = bench.signer.released
        assert released is not None
        assert released.hrs.height == 11

    def test_what_an_earlier_life_released_is_answered_even_where_the_quorum_would_refuse(self) -> None:
        bench = Bench()
        sign_bytes = vote_sign_bytes(CHAIN, prevote().vote)
        released = SignState(HRS(10, 0, Step.PREVOTE), sign_bytes, KEY.sign(sign_bytes))
        key = CountingKey()
        signer = Signer(CHAIN, key, bench.quorum, released=released)
        assert signed(ask(signer, prevote())).signature == released.signature
        assert key.signed == bench.quorum.proposed == []

    def test_a_state_without_a_signature_answers_nothing(self) -> None:
        bench = Bench()
        signer = Signer(CHAIN, bench.key, bench.quorum, released=SignState(HRS(10, 0, Step.PREVOTE)))
        assert ask(signer, prevote()).answers == []

    def test_a_vote_of_another_chain_is_refused_even_if_its_bytes_were_released(self) -> None:
        bench = Bench()
        sign_bytes = vote_sign_bytes("other-1", prevote(chain="other-1").vote)
        released = SignState(HRS(10, 0, Step.PREVOTE), sign_bytes, KEY.sign(sign_bytes))
        signer = Signer(CHAIN, bench.key, bench.quorum, released=released)
        assert rejected(ask(signer, prevote(chain="other-1"))).because is RejectedBecause.UNKNOWN_CHAIN
