"""Every state of two coordinators at one height/round/step: never two different bytes granted, and none stuck for ever.

The coordinators, the guards' services and their decisions are the real ones; the network forgets nothing. What the
search finds when one sentence of the design is left out shows that it can fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cmkms.guard.accepting import GuardService
from cmkms.guard.decide import Accepted
from cmkms.guard.majority import MajorityQuorum
from cmkms.guard.rpc import Accept, Answered, Peek, Peeked
from tests.property.guard.explored import Model, State, Wanted
from tests.unit.guard.world import precommit

ONE, TWO, THREE = (precommit(5, at=seconds) for seconds in (1, 2, 3))
OTHER_BLOCK = precommit(5, number=2)
ABOVE = precommit(6, at=2)


CONTENDERS = [Wanted(0, 1, (ONE,)), Wanted(2, 1, (TWO,))]


class TwiceGrantedError(Exception):
    """Two different bytes at one height/round/step."""


def never_two(model: Model, state: State) -> None:
    granted = model.granted(state)
    if len({one[:20] for one in granted}) != len(granted):
        raise TwiceGrantedError(granted)


def both_lead(model: Model) -> State:
    """Every coordinator has peeked while nothing was held, and all that they ask for is under way."""
    state = model.first()
    for number in range(len(model.wanted)):
        state = model.act(state, number, ("lead",))
    for bit in tuple(model.deliverable(state)):
        state = model.exchange(state, bit)
    return only_accepts(model, state)


def only_accepts(model: Model, state: State) -> State:
    """Forget the peeks that are over."""
    accepts = sum(1 << bit for bit in model.deliverable(state) if isinstance(model.question(bit), Accept))
    return state._replace(questions=accepts, answers=0)


class TestNeverTwo:
    """Without help of terms, leases or peeks: both coordinators believe that they lead, in the same term."""

    def explore(self, model: Model, *, separately: bool = False, limit: int = 2_000_000) -> int:
        def after(state: State) -> Iterator[State]:
            if not state.dead:
                yield model.die(state, 0)
            if separately:
                yield from model.deliveries(state)
                return
            for bit in model.deliverable(state):
                yield model.exchange(state, bit)
                # The answer may be lost as well; a repeated question is the same as a late answer.
                yield model.handle(state, bit)._replace(answers=0)

        found = model.explore(after, lambda state: never_two(model, state), first=both_lead(model), limit=limit)
        assert found.complete or limit < 2_000_000
        assert any(model.granted(state) for state in found.states)
        return len(found.states)

    def test_other_blocks_with_every_answer_at_any_time(self) -> None:
        self.explore(Model(3, [Wanted(0, 1, (ONE,)), Wanted(2, 1, (OTHER_BLOCK,))]), separately=True)

    def test_other_timestamps_with_every_answer_at_any_time(self) -> None:
        self.explore(Model(3, CONTENDERS), separately=True)

    def test_other_timestamps_of_which_one_has_gone_on_to_the_next_height(self) -> None:
        self.explore(Model(3, [Wanted(0, 1, (ONE,)), Wanted(2, 1, (TWO, ABOVE))]), limit=60_000)

    def test_three_coordinators_of_three(self) -> None:
        self.explore(Model(3, [Wanted(0, 1, (ONE,)), Wanted(1, 1, (TWO,)), Wanted(2, 1, (THREE,))]), limit=20_000)

    def test_other_blocks_before_five_guards(self) -> None:
        self.explore(Model(5, [Wanted(0, 1, (ONE,)), Wanted(4, 1, (OTHER_BLOCK,))]), limit=20_000)

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_other_timestamps_before_five_guards(self) -> None:
        self.explore(Model(5, [Wanted(0, 1, (ONE,)), Wanted(4, 1, (TWO,))]))

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_three_coordinators_of_three_further(self) -> None:
        wanted = [Wanted(0, 1, (ONE,)), Wanted(1, 1, (TWO,)), Wanted(2, 1, (THREE,))]
        self.explore(Model(3, wanted), limit=150_000)


class TestItCanFail:
    """What the search says when the promise is broken on purpose."""

    class AnyGuard(GuardService):
        """A guard that forgets: it accepts whatever it is asked."""

        def accept(self, request: Accept) -> Answered:
            answer = super().accept(request)
            return Answered(
                answer.rpc,
                answer.chain_id,
                answer.generation,
                answer.hrs,
                answer.digest,
                answer.nonce,
                answer.sequence,
                Accepted(advances=False),
            )

    class MinorityIsEnough(MajorityQuorum):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._quorum = 1

    def test_a_quorum_for_which_a_minority_is_enough_grants_two(self) -> None:
        self.two_are_granted(Model(3, CONTENDERS, quorum=self.MinorityIsEnough))

    def test_guards_that_forget_grant_two(self) -> None:
        self.two_are_granted(Model(3, CONTENDERS, service=self.AnyGuard))

    def two_are_granted(self, model: Model) -> None:
        with pytest.raises(TwiceGrantedError):
            TestNeverTwo().explore(model, separately=True)


# ---------------------------------------------------------------------------------------------------------- liveness


class WithoutPeek(MajorityQuorum):
    """Writes as soon as it leads."""

    @property
    def _may_write(self) -> bool:
        return self._term is not None

    def _begin(self, ballot: Any) -> None:
        peeked, self._peeked = self._peeked, {}
        super()._begin(ballot)
        self._peeked = peeked


class Hasty(MajorityQuorum):
    """Turns from its own bytes to held ones at the first HELD, once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turned = False

    def _judge(self, ballot: Any) -> None:
        patience = self._spare
        if ballot.holds and not self._turned:
            self._spare, self._turned = 0, True
        super()._judge(ballot)
        self._spare = patience


class ForgetsTerms(GuardService):
    """Still takes what a former holder sent, after it has told a newer one that it holds nothing."""

    def peek(self, request: Peek) -> Peeked:
        peeked = super().peek(request)
        self._term = 0
        return peeked


class StuckError(Exception):
    """The holder and its guard are dead, and no bytes can win at the living ones any more."""


def takeover(
    size: int, *, quorum: type[MajorityQuorum] = MajorityQuorum, service: type[GuardService] = GuardService
) -> None:
    """Node-0 has asked every guard for ONE and is killed at any moment; the last node takes over, asked for TWO."""
    model = Model(size, [Wanted(0, 1, (ONE,)), Wanted(size - 1, 2, (TWO,))], quorum=quorum, service=service)

    def after(state: State) -> Iterator[State]:
        if not state.dead:
            yield model.die(state, 0)
        elif not model.leads(state, 1):
            yield model.act(state, 1, ("lead",))
        for bit in model.deliverable(state):
            yield model.exchange(state, bit)

    def check(state: State) -> None:
        never_two(model, state)
        if state.dead and model.leads(state, 1) and not can_still_be_signed(model.held(state)[1:], size // 2 + 1):
            raise StuckError(model.held(state))

    found = model.explore(after, check, first=the_first_leads(model))
    assert found.complete
    for state in found.states:
        if state.dead and model.leads(state, 1):
            assert model.granted(model.drained(state, 1)), model.held(state)


def the_first_leads(model: Model) -> State:
    """Node-0 has peeked before anything was held, and what it asks for is under way."""
    state = model.act(model.first(), 0, ("lead",))
    for bit in tuple(model.deliverable(state)):
        if isinstance(model.question(bit), Peek):
            state = model.exchange(state, bit)
    return only_accepts(model, state)


def can_still_be_signed(held: tuple[bytes | None, ...], needed: int) -> bool:
    return any(sum(one in (None, this) for one in held) >= needed for this in (ONE, TWO))


@pytest.mark.parametrize("size", [3, 5])
def test_after_the_death_of_a_holder_nothing_stays_unsignable_and_all_is_granted_in_the_end(size: int) -> None:
    takeover(size)


@pytest.mark.parametrize("size", [3, 5])
def test_without_the_peek_something_would(size: int) -> None:
    with pytest.raises(StuckError):
        takeover(size, quorum=WithoutPeek)


@pytest.mark.parametrize("size", [3, 5])
def test_if_guards_still_took_what_the_former_holder_sent_something_would(size: int) -> None:
    with pytest.raises(StuckError):
        takeover(size, service=ForgetsTerms)


def test_if_a_coordinator_turned_to_the_first_held_bytes_something_would_with_five() -> None:
    with pytest.raises(StuckError):
        takeover(5, quorum=Hasty)
