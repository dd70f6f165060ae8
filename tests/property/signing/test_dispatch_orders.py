"""Any order of requests, answers, changes of way and hang-ups: one true answer at most, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from cmkms.privval import BlockID, SignVoteRequest, encode_request, proposal_sign_bytes, vote_sign_bytes
from cmkms.signing import Here, Rejected, SignedProposal, SignedVote, Through
from cmkms.signing.forwarding import Forward, NotHolder
from cmkms.signing.signer import SignRequest
from tests.unit.signing.delayed_quorum import Asked
from tests.unit.signing.messages import BLOCK_A, BLOCK_B, CHAIN, is_signature, prevote, proposal
from tests.unit.signing.ways import CUT_OFF, ELECTION, FAR, THIRD, Crossroads, answer_to, forward_of, request_in

WAYS = [Here(), FAR, replace(FAR, term=4), THIRD, Through("node-2", "node-2", 5), ELECTION, CUT_OFF]


def in_first_round(
    make: Callable[[int, int, BlockID, int], SignRequest], height: int, block: BlockID, seconds: int
) -> SignRequest:
    return make(height, 0, block, seconds)


REQUESTS = st.builds(
    in_first_round,
    st.sampled_from([prevote, prevote, proposal]),
    st.integers(10, 12),
    st.sampled_from([BLOCK_A, BLOCK_A, BLOCK_B]),
    st.integers(0, 2),
)


class Orders(RuleBasedStateMachine):
    """Node-0, its nodes and its two neighbours, of which each may answer truly, falsely, late or twice."""

    def __init__(self) -> None:
        super().__init__()
        self.roads = Crossroads(ELECTION)
        self.asked: list[tuple[SignRequest, Asked]] = []
        self.gone: dict[int, int] = {}
        self.served = 0

    @rule(request=REQUESTS)
    def a_node_asks(self, request: SignRequest) -> None:
        self.asked.append((request, self.roads.ask(request)))

    @precondition(lambda self: self.asked)
    @rule(choice=st.integers(0, 1000))
    def a_node_hangs_up(self, choice: int) -> None:
        number = choice % len(self.asked)
        _, asked = self.asked[number]
        self.roads.dispatch.withdraw(asked.waiter)
        self.gone.setdefault(number, len(asked.answers))

    @rule(way=st.sampled_from(WAYS), told=st.booleans())
    def the_way_changes(self, way: Here | Through, *, told: bool) -> None:
        self.roads.routes.to = way
        if told:
            self.roads.dispatch.route_changed()

    @rule(member=st.sampled_from(["node-1", "node-2"]), up=st.booleans())
    def a_link_changes(self, member: str, *, up: bool) -> None:
        (self.roads.routes.reached.add if up else self.roads.routes.reached.discard)(member)
        if not up:
            self.roads.dispatch.peer_down(member)
        self.roads.dispatch.route_changed()

    @precondition(lambda self: self.roads.forwards)
    @rule(choice=st.integers(0, 1000), kind=st.sampled_from(["true", "true", "other time", "false", "not holder"]))
    def another_replica_answers(self, choice: int, kind: str) -> None:
        member, forward = self.roads.forwards[choice % len(self.roads.forwards)]
        self.roads.answer(self._answer(forward, kind), member=member, rpc=forward.rpc)

    def _answer(self, forward: Forward, kind: str) -> object:
        request = request_in(forward)
        if kind == "not holder":
            return NotHolder("", 0)
        if kind == "false":
            return answer_to(prevote(99))
        if kind == "other time" and isinstance(request, SignVoteRequest):
            request = prevote(request.vote.height, 0, request.vote.block_id, seconds=9)
        return answer_to(request)

    @rule(request=REQUESTS, hops=st.integers(1, 2), member=st.sampled_from(["node-1", "node-2"]))
    def another_replica_asks(self, request: SignRequest, hops: int, member: str) -> None:
        self.served += 1
        target = "node-1" if member == "node-2" else "node-2"
        forward = forward_of(encode_request(request), rpc=self.served, target=target, hops=hops)
        self.roads.dispatch.serve(member, forward)

    @precondition(lambda self: self.roads.quorum.pending)
    @rule(choice=st.integers(0, 1000))
    def the_quorum_decides(self, choice: int) -> None:
        self.roads.quorum.decide(choice % len(self.roads.quorum.pending))

    @rule(seconds=st.sampled_from([0.05, 0.3, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.roads.clock.advance(seconds)

    # ----------------------------------------------------------------------------------------------------- promises

    @invariant()
    def nobody_is_answered_twice_or_after_hanging_up(self) -> None:
        for number, (_, asked) in enumerate(self.asked):
            assert len(asked.answers) <= 1
            assert number not in self.gone or len(asked.answers) == self.gone[number]

    @invariant()
    def every_answer_is_true(self) -> None:
        for request, asked in self.asked:
            for answer in asked.answers:
                match answer:
                    case SignedVote():
                        assert isinstance(request, SignVoteRequest)
                        assert replace(answer.vote, timestamp=request.vote.timestamp) == request.vote
                        assert is_signature(vote_sign_bytes(CHAIN, answer.vote), answer.signature)
                    case SignedProposal():
                        assert not isinstance(request, SignVoteRequest)
                        assert answer.proposal == request.proposal
                        assert is_signature(proposal_sign_bytes(CHAIN, answer.proposal), answer.signature)
                    case Rejected():
                        pass

    @invariant()
    def only_granted_bytes_are_signed(self) -> None:
        assert set(self.roads.key.signed) <= self.roads.quorum.granted

    @invariant()
    def what_waits_is_what_is_neither_answered_nor_gone(self) -> None:
        waiting = sum(not asked.answers and number not in self.gone for number, (_, asked) in enumerate(self.asked))
        assert self.roads.dispatch.waiting == waiting

    def teardown(self) -> None:
        for _, asked in self.asked:
            self.roads.dispatch.withdraw(asked.waiter)
        self.roads.clock.advance(10)
        assert self.roads.dispatch.waiting == self.roads.dispatch.serving == 0
        assert self.roads.signer.flights == 0
        assert self.roads.clock.armed == 0
        assert not self.roads.dispatch._forwarded


def test_every_order_keeps_the_promises() -> None:
    run_state_machine_as_test(Orders, settings=settings(max_examples=150, stateful_step_count=40))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_long_order_keeps_the_promises() -> None:
    run_state_machine_as_test(Orders, settings=settings(max_examples=800, stateful_step_count=100))
