"""Any order of requests, decisions, hang-ups and timers: one answer at most, one message signed per place, no leaks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cmkms.guard.hrs import HRS, Step
from cmkms.privval import (
    BlockID,
    SignedMsgType,
    SignProposalRequest,
    SignVoteRequest,
    extension_sign_bytes,
    parse_sign_bytes,
    proposal_sign_bytes,
    vote_sign_bytes,
)
from cmkms.signing import REFUSE_AFTER_SECONDS, Dispatch, Rejected, RejectedBecause, SignedProposal, SignedVote, Signer
from cmkms.signing.signer import SignRequest
from tests.unit.signing.delayed_quorum import Asked, CountingKey, DelayedQuorum, StillClock, ask
from tests.unit.signing.messages import BLOCK_A, BLOCK_B, CHAIN, NIL, is_signature, precommit, prevote, proposal

HEIGHTS = st.integers(10, 12)
ROUNDS = st.integers(0, 1)
BLOCKS = st.sampled_from([BLOCK_A, BLOCK_A, BLOCK_A, BLOCK_B, NIL])
SECONDS = st.integers(0, 2)


@dataclass(slots=True)
class Caller:
    """One who asked, and whether it has hung up since; `known` answers were seen before it did."""

    asked: Asked
    gone: bool = False
    known: int = 0

    @property
    def waits(self) -> bool:
        return not self.gone and not self.asked.answers


def hrs_of(request: SignRequest) -> HRS:
    if isinstance(request, SignVoteRequest):
        return HRS(request.vote.height, request.vote.round, Step.of(request.vote.type))
    return HRS(request.proposal.height, request.proposal.round, Step.PROPOSE)


class Flights(RuleBasedStateMachine):
    """Several sentries at one signer that holds."""

    refuse_after: float | None = None
    callers = Bundle("callers")

    def __init__(self) -> None:
        super().__init__()
        self.quorum = DelayedQuorum()
        self.clock = StillClock()
        self.key = CountingKey()
        self.signer = Signer(CHAIN, self.key, self.quorum)
        self.dispatch = Dispatch(CHAIN, self.signer, self.clock.later, refuse_after=self.refuse_after)
        self.everyone: list[Caller] = []

    # ------------------------------------------------------------------------------------------------------- events

    @rule(target=callers, height=HEIGHTS, round_=ROUNDS, block=BLOCKS, seconds=SECONDS)
    def ask_for_a_prevote(self, height: int, round_: int, block: BlockID, seconds: int) -> Caller:
        return self._ask(prevote(height, round_, block, seconds))

    @rule(
        target=callers,
        height=HEIGHTS,
        block=BLOCKS,
        seconds=SECONDS,
        extension=st.sampled_from([b"", b"x", b"y"]),
        skip=st.booleans(),
    )
    def ask_for_a_precommit(self, height: int, block: BlockID, seconds: int, extension: bytes, *, skip: bool) -> Caller:
        extension = b"" if block.is_nil else extension
        return self._ask(precommit(height, 0, block, seconds, extension=extension, skip=skip))

    @rule(target=callers, height=HEIGHTS, block=BLOCKS, seconds=SECONDS, pol_round=st.sampled_from([-1, -1, 0]))
    def ask_for_a_proposal(self, height: int, block: BlockID, seconds: int, pol_round: int) -> Caller:
        return self._ask(proposal(height, 0, block, seconds, pol_round))

    @rule(caller=consumes(callers))
    def hang_up(self, caller: Caller) -> None:
        self.dispatch.withdraw(caller.asked.waiter)
        caller.gone = True
        caller.known = len(caller.asked.answers)

    @precondition(lambda self: self.quorum.pending)
    @rule(choice=st.integers(0, 1000))
    def the_quorum_decides(self, choice: int) -> None:
        self.quorum.decide(choice % len(self.quorum.pending))

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.5]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # ----------------------------------------------------------------------------------------------------- promises

    @invariant()
    def nobody_is_answered_twice_or_after_hanging_up(self) -> None:
        for caller in self.everyone:
            assert len(caller.asked.answers) <= 1
            assert not caller.gone or len(caller.asked.answers) == caller.known

    @invariant()
    def only_granted_bytes_are_signed_and_one_message_for_each_place(self) -> None:
        by_place: dict[HRS, bytes] = {}
        for sign_bytes in self.key.signed:
            if sign_bytes in self._extensions():
                continue
            assert sign_bytes in self.quorum.granted
            message = parse_sign_bytes(sign_bytes)
            place = HRS(message.height, message.round, Step.of(message.type))
            assert by_place.setdefault(place, sign_bytes) == sign_bytes

    @invariant()
    def there_is_a_flight_for_each_place_that_is_waited_for_and_for_no_other(self) -> None:
        waiting = {hrs_of(caller.asked.waiter.request) for caller in self.everyone if caller.waits}
        assert self.signer.flights == len(waiting)

    @invariant()
    def a_timer_runs_for_each_who_may_be_refused_and_for_nobody_who_does_not_wait(self) -> None:
        waiting = sum(caller.waits for caller in self.everyone)
        assert self.dispatch.waiting == waiting
        assert self.clock.armed == waiting or (self.refuse_after is None and self.clock.armed < waiting)

    @invariant()
    def every_answer_is_true(self) -> None:
        for caller in self.everyone:
            if caller.asked.answers and not caller.gone:
                self._check(caller.asked)

    def teardown(self) -> None:
        for caller in self.everyone:
            self.dispatch.withdraw(caller.asked.waiter)
        assert self.signer.flights == 0
        assert self.clock.armed == 0

    # ------------------------------------------------------------------------------------------------------- within

    def _ask(self, request: SignRequest) -> Caller:
        caller = Caller(ask(self.dispatch, request))
        self.everyone.append(caller)
        return caller

    def _extensions(self) -> set[bytes]:
        return {
            extension_sign_bytes(CHAIN, request.vote.height, request.vote.round, request.vote.extension)
            for request in (caller.asked.waiter.request for caller in self.everyone)
            if isinstance(request, SignVoteRequest)
        }

    def _check(self, asked: Asked) -> None:
        request = asked.waiter.request
        match asked.answer, request:
            case SignedVote() as answer, SignVoteRequest(vote=vote):
                assert replace(answer.vote, timestamp=vote.timestamp) == vote
                assert is_signature(vote_sign_bytes(CHAIN, answer.vote), answer.signature)
                self._check_extension(answer, request)
            case SignedProposal() as answer, SignProposalRequest(proposal=asked_for):
                assert answer.proposal == asked_for
                assert is_signature(proposal_sign_bytes(CHAIN, asked_for), answer.signature)
            case Rejected(because=because), _:
                assert because is not RejectedBecause.INTERNAL
                assert because is not RejectedBecause.OUTAGE or self.refuse_after is not None
                assert because is not RejectedBecause.HELD or isinstance(request, SignProposalRequest)
            case answer, _:
                raise AssertionError(f"{answer} is no answer to {request}")

    @staticmethod
    def _check_extension(answer: SignedVote, request: SignVoteRequest) -> None:
        vote = request.vote
        due = vote.type is SignedMsgType.PRECOMMIT and not vote.block_id.is_nil and not request.skip_extension_signing
        assert bool(answer.extension_signature) == due
        if due:
            extension = extension_sign_bytes(CHAIN, vote.height, vote.round, vote.extension)
            assert is_signature(extension, answer.extension_signature)


class ImpatientFlights(Flights):
    """The same, at a signer that refuses after its patience."""

    refuse_after = REFUSE_AFTER_SECONDS


MACHINES = pytest.mark.parametrize("machine", [Flights, ImpatientFlights], ids=["hold", "refuse"])


@MACHINES
def test_every_interleaving_keeps_the_promises(machine: type[Flights]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=150, stateful_step_count=40))


@MACHINES
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_long_interleaving_keeps_the_promises(machine: type[Flights]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=800, stateful_step_count=100))
