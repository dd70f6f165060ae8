"""The oracle finds nothing in a correct signer, and something in each of the faulty ones: it is tested by mutation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import pytest

from cmkms.harness.chain import block_id
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Oracle, Rule, judge
from cmkms.harness.values import NIL_BLOCK, MessageType, Proposal, Time, Vote
from cmkms.harness.wire import (
    ErrorReply,
    Kind,
    SignProposalRequest,
    SignVoteRequest,
    VoteReply,
    decode_reply,
    encode_reply,
    encode_request,
)
from tests.unit.harness.signer import Fault, Signer

CHAIN = "oracle-1"

CAUGHT_BY = {
    Fault.SIGNS_EVERYTHING: Rule.TWO_MESSAGES,
    Fault.FORGETS_ON_RESTART: Rule.TWO_MESSAGES,
    Fault.COMPARES_HEIGHT_ONLY: Rule.TWO_MESSAGES,
    Fault.IGNORES_ROUNDS: Rule.WENT_BACK,
    Fault.IGNORES_STEPS: Rule.AFTER_PRECOMMIT,
    Fault.IGNORES_BLOCK: Rule.TWO_MESSAGES,
    Fault.SIGNS_TIMES_ANEW: Rule.TWO_MESSAGES,
    Fault.LIES_ABOUT_TIME: Rule.FALSE_SIGNATURE,
    Fault.ALLOWS_REGRESSION: Rule.WENT_BACK,
    Fault.SIGNS_ANY_CHAIN: Rule.FOREIGN_CHAIN,
    Fault.SIGNS_FOR_ANOTHER_CHAIN: Rule.FALSE_SIGNATURE,
    Fault.IGNORES_POL_ROUND: Rule.TWO_MESSAGES,
    Fault.LATE_REPLIES: Rule.OTHER_REQUEST,
    Fault.BREAKS_SIGNATURES: Rule.FALSE_SIGNATURE,
    Fault.USES_ANOTHER_KEY: Rule.FALSE_SIGNATURE,
    Fault.EXTENDS_NIL_PRECOMMITS: Rule.EXTENSION,
    Fault.EXTENDS_PREVOTES: Rule.EXTENSION,
    Fault.FORGETS_EXTENSION: Rule.EXTENSION,
    Fault.SIGNS_RAW_EXTENSION: Rule.EXTENSION,
    Fault.STALE_EXTENSION: Rule.EXTENSION,
    Fault.LEAKS_IN_ERRORS: Rule.LEAK,
    Fault.ECHOES_ANOTHER_BLOCK: Rule.OTHER_REQUEST,
}


@dataclass(frozen=True)
class Ask:
    message: Vote | Proposal
    chain_id: str = CHAIN
    restart_first: bool = False

    def encoded(self) -> bytes:
        if isinstance(self.message, Vote):
            return encode_request(SignVoteRequest(self.chain_id, self.message))
        return encode_request(SignProposalRequest(self.chain_id, self.message))


def honest_chain(heights: int, rng: random.Random) -> Iterator[tuple[Vote | Proposal, bool]]:
    """What an honest validator asks, and what it might have asked: whether it did stands beside each.

    Every other height needs a second round, and the validator is away for the votes of the first; a prevote is missed;
    proposals that are not its own it never asks for.
    """
    for height in range(1, heights + 1):
        rounds = 1 + height % 2
        for round_ in range(rounds):
            time = Time(1_700_000_000 + height, rng.randrange(10**9))
            block = block_id(height, round_)
            away = round_ < rounds - 1
            voted = NIL_BLOCK if away or height % 4 == 0 else block
            yield Proposal(height, round_, -1, block, time), height % 3 > 0
            yield Vote(MessageType.PREVOTE, height, round_, voted, time), not away and height % 6 != 2
            extension = b"" if voted.is_nil else rng.randbytes(8)
            yield Vote(MessageType.PRECOMMIT, height, round_, voted, time, extension=extension), not away


def attacks(message: Vote | Proposal, earlier: list[Vote | Proposal], rng: random.Random) -> Iterator[Ask]:
    """What restarts, sentries and hostile nodes ask beside: each of these an honest signer refuses or repeats."""
    yield Ask(message)
    yield Ask(replace(message, time=message.time.later(rng.randrange(1, 10**9))))
    yield Ask(replace(message, block_id=block_id(message.height, 99)), restart_first=True)
    yield Ask(replace(message, height=message.height + 1000), chain_id="foreign-1")
    if isinstance(message, Proposal):
        yield Ask(replace(message, pol_round=0))
    elif not message.block_id.is_nil:
        yield Ask(replace(message, block_id=NIL_BLOCK, extension=b""))
    yield from (Ask(old) for old in earlier[-4:])


def script(seed: int, heights: int = 6) -> Iterator[Ask]:
    rng = random.Random(seed)
    earlier: list[Vote | Proposal] = []
    for message, asked in honest_chain(heights, rng):
        if asked:
            yield Ask(message)
            beside = list(attacks(message, earlier, rng))
            rng.shuffle(beside)
            yield from beside
        earlier.append(message)


def observe(signers: list[Signer], seed: int) -> list[Observation]:
    """Play the script to signers of one key in turn, one request after the other."""
    rng = random.Random(seed)
    seen: list[Observation] = []
    for clock, ask in zip(count(), script(seed), strict=False):
        signer = rng.choice(signers)
        if ask.restart_first:
            signer.restart()
        request = ask.encoded()
        reply = signer.answer(request)
        seen.append(Observation("node", 1, clock, clock + 0.5, signers[0].pub_key, request, reply))
    return seen


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_found_in_a_correct_signer(seed: int) -> None:
    oracle = judge(observe([Signer(CHAIN)], seed), [CHAIN])

    assert oracle.violations == []
    assert oracle.signed > 18
    assert oracle.refused > 18
    assert oracle.unreadable == 0


def test_every_fault_has_a_test() -> None:
    assert set(CAUGHT_BY) == set(Fault) - {Fault.NONE}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fault", CAUGHT_BY, ids=lambda fault: fault.name.lower())
def test_a_faulty_signer_is_caught(fault: Fault, seed: int) -> None:
    oracle = judge(observe([Signer(CHAIN, fault)], seed), [CHAIN])

    assert CAUGHT_BY[fault] in {violation.rule for violation in oracle.violations}


def test_two_correct_signers_with_one_key_and_two_states_are_caught() -> None:
    oracle = judge(observe([Signer(CHAIN), Signer(CHAIN)], seed=1), [CHAIN])

    assert oracle.double_signs > 0


def test_a_second_message_is_seen_through_a_false_claim_of_the_time() -> None:
    signer = Signer(CHAIN)
    vote = Vote(MessageType.PREVOTE, 5, 0, block_id(5, 0), Time(100))
    first = observation(signer, vote, 0)
    signer.restart()
    signer.fault = Fault.SIGNS_TIMES_ANEW
    later = replace(vote, time=Time(200))
    claimed = replace(decode_vote(signer.answer(Ask(later).encoded())), time=Time(100))
    second = replace(first, asked_at=2, answered_at=3, request=Ask(later).encoded(), reply=as_reply(claimed))

    oracle = judge([first, second], [CHAIN])

    assert {violation.rule for violation in oracle.violations} == {Rule.FALSE_SIGNATURE, Rule.TWO_MESSAGES}


def test_a_request_that_overtook_another_is_not_called_going_back() -> None:
    """Two sentries: the lower request was asked before the higher one was answered, and answered after it."""
    signer = Signer(CHAIN)
    low = replace(observation(signer, Vote(MessageType.PREVOTE, 5, 0, block_id(5, 0)), 0), asked_at=0, answered_at=9)
    high = replace(observation(signer, Vote(MessageType.PRECOMMIT, 5, 0, block_id(5, 0)), 0), asked_at=1, answered_at=2)

    assert judge([low, high], [CHAIN]).violations == []


def test_a_refusal_below_the_mark_is_no_violation() -> None:
    signer = Signer(CHAIN)
    high = observation(signer, Vote(MessageType.PREVOTE, 5, 0, block_id(5, 0)), 0)
    low = observation(signer, Vote(MessageType.PREVOTE, 4, 0, block_id(4, 0)), 1)

    oracle = judge([high, low], [CHAIN])

    assert (oracle.violations, oracle.signed, oracle.refused) == ([], 1, 1)


def test_two_keys_do_not_share_a_place() -> None:
    oracle = Oracle([CHAIN])
    for seed, block in ((b"one", 1), (b"two", 2)):
        oracle(observation(Signer(CHAIN, seed=seed), Vote(MessageType.PREVOTE, 5, 0, block_id(5, block)), 0))

    assert oracle.violations == []


def test_an_unreadable_reply_is_counted_and_judged_no_further() -> None:
    oracle = Oracle([CHAIN])
    seen = observation(Signer(CHAIN), Vote(MessageType.PREVOTE, 5, 0), 0)

    assert oracle(replace(seen, reply=b"\xff")) == []
    assert oracle(replace(seen, reply=encode_reply(ErrorReply(Kind.PUB_KEY, 0, "?")))) == []
    assert (oracle.signed, oracle.unreadable, oracle.refused) == (0, 1, 1)


def observation(signer: Signer, message: Vote | Proposal, clock: float) -> Observation:
    request = Ask(message).encoded()
    return Observation("node", 1, clock, clock + 0.5, signer.pub_key, request, signer.answer(request))


def decode_vote(reply: bytes) -> Vote:

    decoded = decode_reply(reply)
    assert isinstance(decoded, VoteReply)
    return decoded.vote


def as_reply(vote: Vote) -> bytes:

    return encode_reply(VoteReply(vote))
