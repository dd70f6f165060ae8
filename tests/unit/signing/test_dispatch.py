"""Where a node's request goes: to the own signer, to the lease holder, through a third replica, or nowhere for now."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmkms.privval import vote_sign_bytes
from cmkms.signing import REFUSE_AFTER_SECONDS, Here, Nowhere, Rejected, RejectedBecause, SignedVote, Through
from cmkms.signing.dispatch import HANG_UP_AFTER_SECONDS
from cmkms.signing.forwarding import ForwardedSignature, NotHolder
from cmkms.signing.signer import SignRequest
from tests.unit.signing.messages import BLOCK_B, CHAIN, KEY, NIL, at, is_signature, precommit, prevote, proposal
from tests.unit.signing.ways import CUT_OFF, ELECTION, FAR, THIRD, Crossroads, answer_to, request_in

NIL_PRECOMMIT = precommit(block=NIL)


@pytest.fixture
def far() -> Crossroads:
    """Node-1 holds the lease."""
    return Crossroads(FAR)


@pytest.fixture
def here() -> Crossroads:
    return Crossroads(Here())


@pytest.fixture
def nowhere() -> Crossroads:
    return Crossroads(ELECTION)


class TestHere:
    def test_the_own_signer_takes_it(self, here: Crossroads) -> None:
        asked = here.ask(prevote())
        here.quorum.decide()
        assert isinstance(asked.answer, SignedVote)
        assert here.sent == []

    def test_another_chain_is_refused_wherever_the_lease_is(self, far: Crossroads) -> None:
        asked = far.ask(prevote(chain="other-1"))
        assert isinstance(asked.answer, Rejected)
        assert asked.answer.because is RejectedBecause.UNKNOWN_CHAIN
        assert far.sent == []


class TestForwarding:
    def test_the_holder_is_asked_for_the_very_request(self, far: Crossroads) -> None:
        request = precommit(extension=b"prices")
        far.ask(request)
        ((member, forward),) = far.forwards
        assert (member, forward.target, forward.hops, forward.chain_id) == ("node-1", "node-1", 1, CHAIN)
        assert request_in(forward) == request

    def test_nothing_is_asked_of_guards_or_signed_here(self, far: Crossroads) -> None:
        far.ask(prevote())
        far.answer(answer_to(prevote()))
        assert far.quorum.proposed == far.key.signed == []

    def test_through_a_third_replica_it_goes_two_hops(self) -> None:
        roads = Crossroads(THIRD)
        roads.ask(prevote())
        ((member, forward),) = roads.forwards
        assert (member, forward.target, forward.hops) == ("node-2", "node-1", 2)

    def test_the_signature_is_relayed(self, far: Crossroads) -> None:
        asked = far.ask(precommit(extension=b"prices"))
        far.answer(answer_to(precommit(extension=b"prices")))
        assert isinstance(asked.answer, SignedVote)
        assert asked.answer.vote == precommit(extension=b"prices").vote
        assert is_signature(vote_sign_bytes(CHAIN, asked.answer.vote), asked.answer.signature)
        assert asked.answer.extension_signature

    def test_a_vote_comes_back_with_the_time_that_was_signed(self, far: Crossroads) -> None:
        asked = far.ask(prevote(seconds=9))
        far.answer(answer_to(prevote(seconds=1)))
        assert isinstance(asked.answer, SignedVote)
        assert asked.answer.vote.timestamp == at(1)

    def test_an_error_is_relayed(self, far: Crossroads) -> None:
        asked = far.ask(prevote())
        far.answer(Rejected(RejectedBecause.CONFLICT, "conflicting data"))
        assert asked.answer == Rejected(RejectedBecause.CONFLICT, "conflicting data")

    @pytest.mark.parametrize(
        "because", [RejectedBecause.UNDECODABLE, RejectedBecause.UNKNOWN_CHAIN, RejectedBecause.INTERNAL]
    )
    def test_an_error_between_two_replicas_is_not_the_nodes(self, far: Crossroads, because: RejectedBecause) -> None:
        asked = far.ask(prevote())
        far.answer(Rejected(because, "not decodable at the lease holder"))
        assert asked.answers == []
        far.clock.advance(0.1)
        far.answer(answer_to(prevote()))
        assert isinstance(asked.answer, SignedVote)

    def test_each_request_has_its_own_answer(self, far: Crossroads) -> None:
        first, second = far.ask(prevote(seconds=1)), far.ask(prevote(seconds=2))
        (_, one), (_, other) = far.forwards
        assert one.rpc != other.rpc
        far.answer(answer_to(prevote(seconds=1)), rpc=other.rpc)
        assert (len(first.answers), len(second.answers)) == (0, 1)

    def test_what_came_back_answers_a_repeat_at_once(self, far: Crossroads) -> None:
        far.ask(prevote())
        far.answer(answer_to(prevote()))
        again = far.ask(prevote())
        assert isinstance(again.answer, SignedVote)
        assert again.answer.replayed
        assert len(far.forwards) == 1

    def test_no_timer_and_no_question_is_left_behind(self, far: Crossroads) -> None:
        far.ask(prevote())
        far.answer(answer_to(prevote()))
        assert far.clock.armed == 0
        assert far.dispatch.waiting == 0


class TestAnotherReplicasWordIsNotEnough:
    """What comes back is verified as if a stranger had sent it."""

    FALSE = (
        ("another block", prevote(), answer_to(prevote(block=BLOCK_B))),
        ("nil", prevote(), answer_to(prevote(block=NIL))),
        ("another height", prevote(10), answer_to(prevote(11))),
        ("another round", prevote(10, 0), answer_to(prevote(10, 1))),
        ("another step", prevote(), answer_to(precommit())),
        ("a proposal", prevote(), answer_to(proposal())),
        ("another chain", prevote(), answer_to(prevote(chain="other-1"))),
        ("a proposal at another time", proposal(seconds=1), answer_to(proposal(seconds=2))),
        ("a false signature", prevote(), replace(answer_to(prevote()), signature=bytes(64))),
        ("no signature", prevote(), replace(answer_to(prevote()), signature=b"")),
        ("garbage", prevote(), ForwardedSignature(b"garbage", KEY.sign(b"garbage"), b"", replayed=False)),
        ("no extension signature", precommit(extension=b"x"), answer_to(precommit())),
        ("a false extension signature", precommit(extension=b"x"), answer_to(precommit(extension=b"y"))),
        ("an extension on nil", NIL_PRECOMMIT, replace(answer_to(NIL_PRECOMMIT), extension_signature=bytes(64))),
    )  # fmt: skip

    @pytest.mark.parametrize(("asked_for", "false"), [one[1:] for one in FALSE], ids=[one[0] for one in FALSE])
    def test_it_is_not_relayed_and_the_truth_still_is(self, asked_for: SignRequest, false: ForwardedSignature) -> None:
        roads = Crossroads(FAR)
        asked = roads.ask(asked_for)
        roads.answer(false)
        assert asked.answers == []
        assert roads.dispatch.untrue == 1
        assert roads.signer.released is None
        roads.clock.advance(0.1)
        assert len(roads.forwards) == 2
        roads.answer(answer_to(asked_for))
        assert len(asked.answers) == 1

    def test_an_answer_of_another_replica_than_the_one_asked_is_ignored(self, far: Crossroads) -> None:
        asked = far.ask(prevote())
        far.answer(answer_to(prevote()), member="node-2")
        assert asked.answers == []

    def test_an_answer_to_no_question_is_ignored(self, far: Crossroads) -> None:
        asked = far.ask(prevote())
        far.answer(answer_to(prevote()), rpc=1)
        assert asked.answers == []

    def test_an_answer_twice_is_given_once(self, far: Crossroads) -> None:
        asked = far.ask(prevote())
        far.answer(answer_to(prevote()))
        far.answer(answer_to(prevote()))
        assert len(asked.answers) == 1

    def test_an_answer_after_the_node_hung_up_is_given_to_nobody(self, far: Crossroads) -> None:
        asked = far.ask(prevote())
        far.dispatch.withdraw(asked.waiter)
        far.answer(answer_to(prevote()))
        assert asked.answers == []
        assert far.dispatch.waiting == 0


class TestTheWayChanges:
    def test_another_holder_is_asked_at_once(self, far: Crossroads) -> None:
        asked = far.ask(prevote())
        far.go(Through("node-2", "node-2", 4))
        assert [member for member, _ in far.forwards] == ["node-1", "node-2"]
        far.answer(answer_to(prevote()), member="node-2")
        assert len(asked.answers) == 1

    def test_a_new_term_of_the_same_holder_asks_it_again(self, far: Crossroads) -> None:
        far.ask(prevote())
        far.go(replace(FAR, term=4))
        assert [member for member, _ in far.forwards] == ["node-1", "node-1"]

    def test_news_that_change_nothing_send_nothing(self, far: Crossroads) -> None:
        far.ask(prevote())
        far.go(FAR)
        assert len(far.forwards) == 1

    def test_a_late_answer_of_the_former_holder_is_not_counted_twice(self, far: Crossroads) -> None:
        asked = far.ask(prevote())
        old = far.last.rpc
        far.go(Through("node-2", "node-2", 4))
        far.answer(answer_to(prevote()), member="node-2")
        far.answer(answer_to(prevote()), rpc=old)
        assert len(asked.answers) == 1

    def test_when_the_link_to_the_holder_ends_a_third_replica_is_asked(self, far: Crossroads) -> None:
        far.ask(prevote())
        far.routes.reached.discard("node-1")
        far.go(THIRD)
        assert [member for member, _ in far.forwards] == ["node-1", "node-2"]

    def test_when_the_lease_comes_here_the_own_signer_takes_it(self, far: Crossroads) -> None:
        asked = far.ask(prevote())
        far.go(Here())
        far.quorum.decide()
        assert isinstance(asked.answer, SignedVote)

    def test_when_the_lease_is_lost_what_is_under_way_goes_to_the_new_holder(self, here: Crossroads) -> None:
        asked = here.ask(prevote())
        here.go(FAR)
        assert len(here.forwards) == 1
        here.answer(answer_to(prevote()))
        assert isinstance(asked.answer, SignedVote)

    def test_what_the_own_guards_still_grant_then_is_not_signed(self, here: Crossroads) -> None:
        asked = here.ask(prevote())
        here.go(FAR)
        here.quorum.decide()
        assert asked.answers == []
        assert here.key.signed == []
        assert here.signer.flights == 0

    def test_the_lease_may_come_and_go_and_the_answer_comes_once(self, here: Crossroads) -> None:
        asked = here.ask(prevote())
        for way in (FAR, Here(), ELECTION, FAR, Here()):
            here.go(way)
        while here.quorum.pending:
            here.quorum.decide()
        assert len(asked.answers) == 1
        assert here.dispatch.waiting == 0

    def test_a_replica_that_does_not_hold_the_lease_is_asked_again_a_moment_later(self, far: Crossroads) -> None:
        asked = far.ask(prevote())
        far.answer(NotHolder("", 0))
        assert asked.answers == []
        assert len(far.forwards) == 1
        far.clock.advance(0.1)
        assert len(far.forwards) == 2

    def test_a_holder_whose_link_does_not_take_it_is_tried_again(self, far: Crossroads) -> None:
        far.routes.reached.clear()
        asked = far.ask(prevote())
        assert far.sent == []
        far.routes.reached.add("node-1")
        far.clock.advance(0.1)
        far.answer(answer_to(prevote()))
        assert len(asked.answers) == 1


class TestNowhere:
    """Trouble that passes is never an answer."""

    def test_a_request_waits_for_a_way(self, nowhere: Crossroads) -> None:
        asked = nowhere.ask(prevote())
        nowhere.clock.advance(1000)
        assert asked.answers == []
        assert nowhere.hung_up == []
        nowhere.go(FAR)
        nowhere.answer(answer_to(prevote()))
        assert len(asked.answers) == 1

    def test_it_looks_for_a_way_by_itself(self, nowhere: Crossroads) -> None:
        nowhere.ask(prevote())
        nowhere.routes.to = FAR
        nowhere.clock.advance(0.1)
        assert len(nowhere.forwards) == 1

    def test_a_repeat_of_what_was_released_needs_no_way(self, here: Crossroads) -> None:
        here.ask(prevote())
        here.quorum.decide()
        here.go(CUT_OFF)
        assert isinstance(here.ask(prevote()).answer, SignedVote)

    def test_a_held_request_is_answered_when_its_signature_is_learnt_from_another(self, nowhere: Crossroads) -> None:
        asked = nowhere.ask(prevote())
        other = Crossroads(Here())
        other.ask(prevote())
        other.quorum.decide()
        assert other.signer.released is not None
        nowhere.signer.learn(other.signer.released)
        nowhere.clock.advance(0.1)
        assert isinstance(asked.answer, SignedVote)


class TestHangingUp:
    """A replica that is cut off sends its node to another one: once for each place, and not before it has waited."""

    def test_after_three_tenths_of_a_second(self) -> None:
        roads = Crossroads(CUT_OFF)
        roads.ask(prevote())
        roads.clock.advance(HANG_UP_AFTER_SECONDS - 0.01)
        assert roads.hung_up == []
        roads.clock.advance(0.1)
        assert roads.hung_up == [prevote()]

    def test_once_for_a_place_however_often_it_is_asked(self) -> None:
        roads = Crossroads(CUT_OFF)
        for seconds in range(4):
            asked = roads.ask(prevote(seconds=seconds))
            roads.clock.advance(6)
            roads.dispatch.withdraw(asked.waiter)
        assert len(roads.hung_up) == 1

    def test_again_for_the_next_place(self) -> None:
        roads = Crossroads(CUT_OFF)
        for request in (prevote(), precommit()):
            asked = roads.ask(request)
            roads.clock.advance(1)
            roads.dispatch.withdraw(asked.waiter)
        assert roads.hung_up == [prevote(), precommit()]

    def test_once_for_a_place_even_if_another_node_is_at_another(self) -> None:
        roads = Crossroads(CUT_OFF)
        for request in (prevote(), precommit(), prevote(), precommit()):
            asked = roads.ask(request)
            roads.clock.advance(1)
            roads.dispatch.withdraw(asked.waiter)
        assert roads.hung_up == [prevote(), precommit()]

    def test_not_in_an_election(self, nowhere: Crossroads) -> None:
        nowhere.ask(prevote())
        nowhere.clock.advance(60)
        assert nowhere.hung_up == []

    def test_not_while_the_holder_has_the_request(self, far: Crossroads) -> None:
        far.ask(prevote())
        far.clock.advance(60)
        assert far.hung_up == []

    def test_not_before_the_cut_has_lasted(self, nowhere: Crossroads) -> None:
        nowhere.ask(prevote())
        nowhere.clock.advance(1)
        nowhere.go(CUT_OFF)
        nowhere.clock.advance(0.1)
        assert nowhere.hung_up == [prevote()]

    def test_nobody_whose_answer_came_in_time(self) -> None:
        roads = Crossroads(CUT_OFF)
        roads.ask(prevote())
        roads.clock.advance(0.2)
        roads.go(FAR)
        roads.answer(answer_to(prevote()))
        roads.go(CUT_OFF)
        roads.clock.advance(1)
        assert roads.hung_up == []


class TestRefusing:
    """`on_outage = "refuse"`: an error after 2.5 s."""

    @pytest.mark.parametrize("to", [ELECTION, CUT_OFF])
    def test_it_says_what_the_way_says(self, to: Nowhere) -> None:
        roads = Crossroads(to, refuse_after=REFUSE_AFTER_SECONDS)
        asked = roads.ask(prevote())
        roads.clock.advance(2.4)
        assert asked.answers == []
        roads.clock.advance(0.2)
        assert asked.answer == Rejected(RejectedBecause.OUTAGE, to.why)

    def test_a_holder_that_does_not_answer_is_an_outage_too(self) -> None:
        roads = Crossroads(FAR, refuse_after=REFUSE_AFTER_SECONDS)
        asked = roads.ask(prevote())
        roads.clock.advance(3)
        assert isinstance(asked.answer, Rejected)
        assert asked.answer.because is RejectedBecause.OUTAGE
        roads.answer(answer_to(prevote()))
        assert len(asked.answers) == 1
        assert roads.clock.armed == 0


class TestClosing:
    """A replica about to stop begins nothing any more, and answers what it has begun."""

    def test_what_is_under_way_is_finished(self, here: Crossroads) -> None:
        asked = here.ask(prevote())
        here.dispatch.close()
        here.quorum.decide()
        assert isinstance(asked.answer, SignedVote)

    def test_what_comes_after_waits_for_the_next_holder(self, here: Crossroads) -> None:
        here.dispatch.close()
        asked = here.ask(prevote())
        assert here.quorum.proposed == []
        here.go(FAR)
        here.answer(answer_to(prevote()))
        assert isinstance(asked.answer, SignedVote)
