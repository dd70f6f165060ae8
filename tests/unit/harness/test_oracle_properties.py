"""Histories drawn at random: a right one is never condemned, and one mutation of it exactly when it is wrong.

What is wrong is worked out a second time here, from the definitions and in the simplest way, over the histories
themselves and not over the bytes that the oracle reads.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmkms.harness.chain import block_id
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Oracle, Rule, judge
from cmkms.harness.values import NIL_BLOCK, Vote
from tests.unit.harness.hand_made import (
    CHAIN,
    Message,
    at,
    exchange,
    precommit,
    prevote,
    proposal,
    refused,
    sign_bytes,
    signed,
    unanswered,
)

EXAMPLES = 40
"""Of each property in the everyday run; `make proof` goes through many more seeds."""

SEEDS = 500

STEPS = 14
"""Exchanges in a history: enough for two to be near each other, few enough to draw many."""


@dataclass(frozen=True)
class Step:
    """One exchange: `answered` None is no reply, and a refusal is one that was answered with nothing else."""

    begun: float
    ended: float
    asked: Message
    answered: Message | None = None
    refused: bool = False

    def seen(self) -> Observation:
        times = (self.begun, self.ended)
        if self.refused:
            return refused(times, self.asked)
        if self.answered is None:
            return unanswered(times, self.asked)
        # The extension that is signed is always the requester's own.
        return exchange(times, self.asked, signed(replace(self.asked, time=self.answered.time)))


def right_history(rng: random.Random) -> list[Step]:
    """What a right signer may answer to sentries that ask at the same time, lag behind and lose replies.

    Each exchange takes effect at one moment of its own; requests begin before it and replies come after it.
    """
    steps: list[Step] = []
    released: list[Message] = []
    height, round_, kind = rng.randrange(1, 4), 0, 0
    for moment in range(STEPS):
        begun, ended = moment - rng.choice([0.1, 0.4, 3.3]), moment + rng.choice([0.1, 0.4, 3.3])
        what = rng.choice(["new", "new", "new", "lost", "repeat", "variant", "refused"])
        if what in {"new", "lost"} or not released:
            height, round_, kind = next_place(rng, height, round_, kind)
            message = make(rng, height, round_, kind)
            released.append(message)
            steps.append(Step(begun, ended, message, None if what == "lost" else message))
        elif what == "refused":
            steps.append(Step(begun, ended, make(rng, height, round_, kind), refused=True))
        else:
            message = rng.choice(released[-4:])
            later = replace(message, time=at(rng.randrange(100, 200))) if what == "variant" else message
            steps.append(Step(begun, ended, later, message))
    return steps


def next_place(rng: random.Random, height: int, round_: int, kind: int) -> tuple[int, int, int]:
    places = [(height + 1, 0, rng.randrange(3)), (height, round_ + 1, rng.randrange(3))]
    places += [(height, round_, later) for later in range(kind + 1, 3)]
    return rng.choice(places)


def make(rng: random.Random, height: int, round_: int, kind: int) -> Message:
    if kind == 0:
        return proposal(height, round_, rng.choice([-1, 0]), seconds=rng.randrange(100))
    block = rng.choice([block_id(height, round_), block_id(height, round_, 1), NIL_BLOCK])
    if kind == 1:
        return prevote(height, round_, block, seconds=rng.randrange(100))
    return replace(precommit(height, round_, block, rng.randbytes(3)), time=at(rng.randrange(100)))


def is_wrong(steps: Iterable[Step]) -> bool:
    """Whether any two exchanges contradict each other: two messages at one place, or one out of order."""
    steps = list(steps)
    answers = [(step, step.answered.hrs, sign_bytes(step.answered)) for step in steps if step.answered is not None]
    for _, hrs, message in answers:
        if any(other_hrs == hrs and other != message for _, other_hrs, other in answers):
            return True
        first_asked = min(begun for begun in first_requests(steps, message))
        if any(other.ended < first_asked and other_hrs > hrs for other, other_hrs, _ in answers):
            return True
    return False


def first_requests(steps: Iterable[Step], message: bytes) -> Iterable[float]:
    for step in steps:
        if step.answered is not None and sign_bytes(step.answered) == message:
            yield step.begun
        if step.answered is None and not step.refused and sign_bytes(step.asked) == message:
            yield step.begun


histories = st.integers(0, 2**64).map(lambda seed: right_history(random.Random(seed)))


@settings(max_examples=EXAMPLES, deadline=None)
@given(histories)
def test_a_right_history_is_never_condemned(history: list[Step]) -> None:
    assert not is_wrong(history)
    assert judge((step.seen() for step in history), [CHAIN]).violations == []


@settings(max_examples=EXAMPLES, deadline=None)
@given(histories, st.randoms(use_true_random=False))
def test_nor_in_whatever_order_it_becomes_known(history: list[Step], rng: random.Random) -> None:
    oracle = Oracle([CHAIN])
    for step in rng.sample(history, len(history)):
        oracle(step.seen())

    assert oracle.violations == []


Mutation = Callable[[random.Random, Step], Step]


def other_block(rng: random.Random, step: Step) -> Step:
    """The same request, rightly signed, for another block: wrong if the place was signed otherwise, too."""
    block = block_id(step.asked.height, step.asked.round, seed=rng.randrange(2, 9))
    return changed(step, lambda message: replace(message, block_id=block))


def other_time(rng: random.Random, step: Step) -> Step:
    return changed(step, lambda message: replace(message, time=at(rng.randrange(300, 400))))


def other_place(rng: random.Random, step: Step) -> Step:
    height, round_ = rng.randrange(1, 12), rng.randrange(3)
    return changed(step, lambda message: replace(message, height=height, round=round_))


def other_moment(rng: random.Random, step: Step) -> Step:
    begun = rng.uniform(-2, STEPS)
    return replace(step, begun=begun, ended=begun + rng.choice([0.1, 2.0]))


def reply_lost(rng: random.Random, step: Step) -> Step:
    return replace(step, answered=None)


def refused_then(rng: random.Random, step: Step) -> Step:
    return replace(step, answered=None, refused=True)


def changed(step: Step, change: Callable[[Message], Message]) -> Step:
    return replace(step, asked=change(step.asked), answered=None if step.answered is None else change(step.answered))


MUTATIONS: dict[str, Mutation] = {
    "another block": other_block,
    "another time": other_time,
    "another place": other_place,
    "another moment": other_moment,
    "reply lost": reply_lost,
    "refused": refused_then,
}


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_a_history_with_one_exchange_changed_is_condemned_exactly_if_it_is_wrong(
    mutation: Mutation, data: st.DataObject
) -> None:
    history = data.draw(histories)
    oracle_agrees(mutation, history, data.draw(st.randoms(use_true_random=False)))


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_over_many_seeds(record_property: Callable[[str, object], None]) -> None:
    wrong = 0
    for seed in range(SEEDS):
        rng = random.Random(seed)
        history = right_history(rng)
        assert judge((step.seen() for step in history), [CHAIN]).violations == [], f"seed {seed}"
        wrong += oracle_agrees(rng.choice(list(MUTATIONS.values())), history, rng)
    record_property("histories", SEEDS)
    record_property("mutations that made them wrong", wrong)


def oracle_agrees(mutation: Mutation, history: list[Step], rng: random.Random) -> bool:
    """Change one exchange and compare both verdicts; returns whether the history is wrong then."""
    position = rng.randrange(len(history))
    history[position] = mutation(rng, history[position])
    known = rng.sample(history, len(history))
    oracle = Oracle([CHAIN])
    for step in known:
        oracle(step.seen())

    assert bool(oracle.violations) == is_wrong(history)
    assert bool(judge((step.seen() for step in known), [CHAIN]).violations) == is_wrong(history)
    assert {violation.rule for violation in oracle.violations} <= {
        Rule.TWO_MESSAGES,
        Rule.WENT_BACK,
        Rule.AFTER_PRECOMMIT,
    }
    return is_wrong(history)


@settings(max_examples=EXAMPLES, deadline=None)
@given(histories, st.randoms(use_true_random=False))
def test_a_byte_of_a_signature_changed_is_always_found(history: list[Step], rng: random.Random) -> None:
    answered = [step for step in history if step.answered is not None]
    if not answered:
        return
    step = rng.choice(answered)
    seen = step.seen()
    assert step.answered is not None
    assert seen.reply is not None
    right = signed(replace(step.asked, time=step.answered.time))
    which = [right.signature] + [right.extension_signature for _ in "x" if isinstance(right, Vote)]
    signature = rng.choice([one for one in which if one])
    byte = rng.randrange(len(signature))
    wrong = signature[:byte] + bytes([signature[byte] ^ 1 << rng.randrange(8)]) + signature[byte + 1 :]
    others = [other.seen() for other in history if other is not step]

    oracle = judge([*others, replace(seen, reply=seen.reply.replace(signature, wrong))], [CHAIN])

    expected = Rule.FALSE_SIGNATURE if signature == right.signature else Rule.EXTENSION
    assert expected in {violation.rule for violation in oracle.violations}


@settings(max_examples=EXAMPLES, deadline=None)
@given(histories, st.randoms(use_true_random=False))
def test_two_replies_that_changed_places_are_always_found(history: list[Step], rng: random.Random) -> None:
    answered = [step for step in history if step.answered is not None]
    if len({step.asked.hrs for step in answered}) < 2:
        return
    one = rng.choice(answered)
    other = rng.choice([step for step in answered if step.asked.hrs != one.asked.hrs])
    rest = [step.seen() for step in history if step is not one and step is not other]
    crossed = [replace(one.seen(), reply=other.seen().reply), replace(other.seen(), reply=one.seen().reply)]

    found = {violation.rule for violation in judge([*rest, *crossed], [CHAIN]).violations}

    assert {Rule.OTHER_REQUEST, Rule.FALSE_SIGNATURE} <= found


def test_histories_go_wrong_often_enough_for_this_to_mean_something() -> None:
    """Of each mutation, some histories become wrong and some stay right: both sides of the comparison are met."""
    for mutation in (other_block, other_time, other_place, other_moment):
        outcomes: set[bool] = set()
        for seed in range(60):
            rng = random.Random(seed)
            history = right_history(rng)
            position = rng.randrange(len(history))
            history[position] = mutation(rng, history[position])
            outcomes.add(is_wrong(history))
        assert outcomes == {True, False}, mutation.__name__
