"""What a replica does for another one's request: sign it while it holds the lease, pass it on, or decline."""

from __future__ import annotations

import pytest

from cmkms.privval import encode_request, vote_sign_bytes
from cmkms.signing import Here, Nowhere, Rejected, RejectedBecause
from cmkms.signing.forwarding import Forwarded, ForwardedSignature, NotHolder
from cmkms.signing.serving import MAX_SERVED
from cmkms.signing.signer import SignRequest
from tests.unit.signing.messages import BLOCK_B, CHAIN, is_signature, precommit, prevote, proposal
from tests.unit.signing.ways import CUT_OFF, ELECTION, FAR, Crossroads, answer_to, forward_of, request_in


@pytest.fixture
def here() -> Crossroads:
    return Crossroads(Here())


@pytest.fixture
def third() -> Crossroads:
    """Neither holder nor connected to the node: node-2 asks through it for node-1."""
    return Crossroads(FAR)


def signed(roads: Crossroads) -> ForwardedSignature:
    ((member, reply),) = roads.replies
    assert member == "node-2"
    assert isinstance(reply.answer, ForwardedSignature)
    return reply.answer


class TestTheHolder:
    @pytest.mark.parametrize("request_", [prevote(), precommit(extension=b"x"), proposal()])
    def test_it_signs_and_answers_under_the_askers_number(self, here: Crossroads, request_: SignRequest) -> None:
        here.dispatch.serve("node-2", forward_of(encode_request(request_), rpc=77))
        here.quorum.decide()
        answer = signed(here)
        assert answer == answer_to(request_)
        assert here.replies[0][1].rpc == 77
        assert here.dispatch.serving == 0

    def test_the_bytes_it_answers_are_those_that_were_granted(self, here: Crossroads) -> None:
        here.quorum.accept(vote_sign_bytes(CHAIN, prevote(seconds=1).vote))
        here.dispatch.serve("node-2", forward_of(encode_request(prevote(seconds=2))))
        here.quorum.decide()
        answer = signed(here)
        assert answer.sign_bytes == vote_sign_bytes(CHAIN, prevote(seconds=1).vote)
        assert is_signature(answer.sign_bytes, answer.signature)

    def test_own_and_foreign_nodes_share_a_flight(self, here: Crossroads) -> None:
        own = here.ask(prevote(seconds=1))
        here.dispatch.serve("node-2", forward_of(encode_request(prevote(seconds=2))))
        assert len(here.quorum.proposed) == 1
        here.quorum.decide()
        assert len(own.answers) == 1
        assert signed(here).sign_bytes == vote_sign_bytes(CHAIN, prevote(seconds=1).vote)

    def test_a_refusal_is_told(self, here: Crossroads) -> None:
        here.quorum.accept(vote_sign_bytes(CHAIN, prevote(block=BLOCK_B).vote))
        here.dispatch.serve("node-2", forward_of(encode_request(prevote())))
        here.quorum.decide()
        ((_, reply),) = here.replies
        assert isinstance(reply.answer, Rejected)
        assert reply.answer.because is RejectedBecause.CONFLICT

    @pytest.mark.parametrize(
        "request_", [b"", b"\xff" * 30, encode_request(prevote())[:-1]], ids=["nothing", "garbage", "cut short"]
    )
    def test_what_cannot_be_read_is_refused(self, here: Crossroads, request_: bytes) -> None:
        here.dispatch.serve("node-2", forward_of(request_))
        ((_, reply),) = here.replies
        assert isinstance(reply.answer, Rejected)
        assert here.quorum.proposed == []

    @pytest.mark.parametrize(
        "request_", [bytes.fromhex("3a00"), encode_request(prevote(chain="other-1"))], ids=["a ping", "another chain"]
    )
    def test_what_is_not_to_be_signed_here_is_refused(self, here: Crossroads, request_: bytes) -> None:
        here.dispatch.serve("node-2", forward_of(request_))
        ((_, reply),) = here.replies
        assert isinstance(reply.answer, Rejected)
        assert here.quorum.proposed == []

    def test_after_its_budget_a_request_is_forgotten(self, here: Crossroads) -> None:
        here.dispatch.serve("node-2", forward_of(encode_request(prevote()), budget_ms=200))
        here.clock.advance(0.25)
        here.quorum.decide()
        assert [(member, reply.answer) for member, reply in here.replies] == [("node-2", NotHolder("", 0))]
        assert here.key.signed == []
        assert here.dispatch.serving == 0

    @pytest.mark.parametrize("budget_ms", [0, -1, 2**40])
    def test_a_budget_out_of_range_is_bounded(self, here: Crossroads, budget_ms: int) -> None:
        here.dispatch.serve("node-2", forward_of(encode_request(prevote()), budget_ms=budget_ms))
        here.clock.advance(6)
        assert here.dispatch.serving == 0
        assert here.clock.armed == 0

    def test_what_a_replica_asked_that_is_gone_is_forgotten(self, here: Crossroads) -> None:
        here.dispatch.serve("node-2", forward_of(encode_request(prevote())))
        here.dispatch.peer_down("node-2")
        here.quorum.decide()
        assert here.replies == []
        assert here.key.signed == []

    def test_the_same_number_of_two_replicas_is_two_questions(self, here: Crossroads) -> None:
        here.dispatch.serve("node-2", forward_of(encode_request(prevote())))
        here.dispatch.serve("node-1", forward_of(encode_request(prevote())))
        here.quorum.decide()
        assert sorted(member for member, _ in here.replies) == ["node-1", "node-2"]

    def test_of_one_replica_so_many_are_in_hand_and_the_oldest_is_given_back(self, here: Crossroads) -> None:
        for rpc in range(MAX_SERVED + 10):
            here.dispatch.serve("node-2", forward_of(encode_request(prevote(10 + rpc)), rpc=rpc))
        here.dispatch.serve("node-1", forward_of(encode_request(prevote(9)), rpc=0))
        assert here.dispatch.serving == MAX_SERVED + 1
        assert [(reply.rpc, reply.answer) for _, reply in here.replies] == [(n, NotHolder("", 0)) for n in range(10)]


class TestWhoDoesNotHoldTheLease:
    def test_it_says_so_and_who_does(self, third: Crossroads) -> None:
        third.dispatch.serve("node-2", forward_of(encode_request(prevote()), target="node-0"))
        ((_, reply),) = third.replies
        assert reply.answer == NotHolder("node-1", 3)
        assert third.quorum.proposed == []

    @pytest.mark.parametrize("to", [ELECTION, CUT_OFF])
    def test_it_knows_of_nobody(self, to: Nowhere) -> None:
        roads = Crossroads(to)
        roads.dispatch.serve("node-2", forward_of(encode_request(prevote())))
        assert roads.replies[0][1].answer == NotHolder("", 0)

    def test_a_holder_that_loses_the_lease_says_so_for_what_is_under_way(self, here: Crossroads) -> None:
        here.dispatch.serve("node-2", forward_of(encode_request(prevote())))
        here.go(FAR)
        ((_, reply),) = here.replies
        assert isinstance(reply.answer, NotHolder)
        here.quorum.decide()
        assert here.key.signed == []
        assert len(here.replies) == 1

    def test_a_holder_about_to_stop_begins_nothing(self, here: Crossroads) -> None:
        here.dispatch.close()
        here.dispatch.serve("node-2", forward_of(encode_request(prevote())))
        assert isinstance(here.replies[0][1].answer, NotHolder)
        assert here.quorum.proposed == []


class TestThroughAThird:
    @pytest.fixture
    def passing(self, third: Crossroads) -> Crossroads:
        third.dispatch.serve("node-2", forward_of(encode_request(prevote()), rpc=7, target="node-1", hops=2))
        return third

    def test_it_is_passed_on_with_one_hop_left(self, passing: Crossroads) -> None:
        ((member, forward),) = passing.forwards
        assert (member, forward.target, forward.hops) == ("node-1", "node-1", 1)
        assert request_in(forward) == prevote()
        assert passing.quorum.proposed == []

    def test_the_answer_goes_back_under_the_askers_number(self, passing: Crossroads) -> None:
        passing.answer(answer_to(prevote()))
        assert passing.replies == [("node-2", Forwarded(7, CHAIN, answer_to(prevote())))]
        assert passing.dispatch.serving == 0
        assert passing.clock.armed == 0

    def test_an_answer_of_another_replica_than_the_holder_is_not_passed_back(self, passing: Crossroads) -> None:
        passing.answer(answer_to(prevote()), member="node-2")
        assert passing.replies == []

    def test_with_one_hop_it_is_not_passed_on_so_nothing_goes_round_in_circles(self, third: Crossroads) -> None:
        third.dispatch.serve("node-2", forward_of(encode_request(prevote()), target="node-1", hops=1))
        assert third.forwards == []
        assert isinstance(third.replies[0][1].answer, NotHolder)

    @pytest.mark.parametrize("hops", [3, 255, 2**31])
    def test_however_many_hops_are_claimed_one_is_left(self, third: Crossroads, hops: int) -> None:
        third.dispatch.serve("node-2", forward_of(encode_request(prevote()), target="node-1", hops=hops))
        assert third.last.hops == 1

    def test_a_target_that_is_not_reached_is_told_at_once(self, third: Crossroads) -> None:
        third.routes.reached.discard("node-1")
        third.dispatch.serve("node-2", forward_of(encode_request(prevote()), target="node-1", hops=2))
        assert third.forwards == []
        assert isinstance(third.replies[0][1].answer, NotHolder)

    def test_when_the_target_is_gone_the_asker_is_told(self, passing: Crossroads) -> None:
        passing.dispatch.peer_down("node-1")
        ((_, reply),) = passing.replies
        assert isinstance(reply.answer, NotHolder)

    def test_when_the_asker_is_gone_the_answer_goes_nowhere(self, passing: Crossroads) -> None:
        passing.dispatch.peer_down("node-2")
        passing.answer(answer_to(prevote()))
        assert passing.replies == []

    def test_after_its_budget_it_is_forgotten(self, passing: Crossroads) -> None:
        passing.clock.advance(6)
        passing.answer(answer_to(prevote()))
        assert [reply.answer for _, reply in passing.replies] == [NotHolder("", 0)]
        assert passing.dispatch.serving == 0
