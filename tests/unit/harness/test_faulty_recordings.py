"""Recordings made by hand: each way to break a promise, found by its name; and what looks odd and is right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cmkms.harness.chain import block_id
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Oracle, Rule, judge
from cmkms.harness.signbytes import extension_sign_bytes
from cmkms.harness.values import NIL_BLOCK, Proposal, Vote
from tests.unit.harness.hand_made import (
    CHAIN,
    KEY,
    OTHER_KEY,
    at,
    exchange,
    precommit,
    prevote,
    proposal,
    refused,
    reply,
    request,
    sign_bytes,
    signed,
    signed_by_chance,
    unanswered,
)

B = block_id(5, 0, seed=1)
OTHER_PARTS = replace(block_id(5, 0), parts_total=2)


def with_extension(vote: Vote, *, over: Vote | None = None, key: Ed25519PrivateKey = KEY) -> Vote:
    """A vote signed rightly, with an extension signature that may be over something else."""
    answered = signed(vote)
    assert isinstance(answered, Vote)
    return replace(answered, extension_signature=key.sign(extension_sign_bytes(CHAIN, over or vote)))


def without_prefix(data: bytes) -> bytes:
    """A signature over sign-bytes without their length."""
    return KEY.sign(data[1:])


def spoilt(data: bytes) -> bytes:
    signature = bytearray(KEY.sign(data))
    signature[40] ^= 1
    return bytes(signature)


def as_proposal(vote: Vote) -> Proposal:
    return proposal(vote.height, vote.round)


LEAKED = KEY.sign(sign_bytes(prevote(5, block=B)))

FAULTY: dict[str, tuple[Rule, list[Observation]]] = {
    # ------------------------------------------------------------------------------------------------ one message
    "two blocks at one place": (
        Rule.TWO_MESSAGES,
        [exchange((0, 1), prevote(5)), exchange((2, 3), prevote(5, block=B))],
    ),
    "a block and nil": (
        Rule.TWO_MESSAGES,
        [exchange((0, 1), precommit(5)), exchange((2, 3), precommit(5, block=NIL_BLOCK))],
    ),
    "one block in two sets of parts": (
        Rule.TWO_MESSAGES,
        [exchange((0, 1), prevote(5)), exchange((2, 3), prevote(5, block=OTHER_PARTS))],
    ),
    "two times, each told as it is": (
        Rule.TWO_MESSAGES,
        [exchange((0, 1), prevote(5)), exchange((2, 3), prevote(5, seconds=1))],
    ),
    "two proposals, of other proof-of-lock rounds": (
        Rule.TWO_MESSAGES,
        [exchange((0, 1), proposal(5, 3, 1)), exchange((2, 3), proposal(5, 3, 2))],
    ),
    "two proposals of other times": (
        Rule.TWO_MESSAGES,
        [exchange((0, 1), proposal(5)), exchange((2, 3), proposal(5, seconds=1))],
    ),
    "two sentries at the same time": (
        Rule.TWO_MESSAGES,
        [exchange((0, 3), prevote(5)), replace(exchange((1, 2), prevote(5, block=B)), node="other", replica="pid:2")],
    ),
    "two sentries on hosts with clocks of their own": (
        Rule.TWO_MESSAGES,
        [exchange((0, 1), prevote(5)).on("here"), exchange((0, 1), prevote(5, block=B)).on("there")],
    ),
    "long after, as a repeat of something lower would come": (
        Rule.TWO_MESSAGES,
        [exchange((0, 1), prevote(5)), exchange((2, 3), prevote(9)), exchange((4, 5), prevote(5, block=B))],
    ),
    "another time hidden by a false claim": (
        Rule.TWO_MESSAGES,
        [
            exchange((0, 1), prevote(5)),
            exchange((2, 3), prevote(5, seconds=9), signed(prevote(5), over=prevote(5, seconds=9))),
        ],
    ),
    "the second message inside an error": (
        Rule.TWO_MESSAGES,
        [exchange((0, 1), prevote(5)), refused((2, 3), prevote(5, block=B), LEAKED)],
    ),
    "the second message in the answer to something else": (
        Rule.TWO_MESSAGES,
        [exchange((0, 1), prevote(5)), exchange((2, 3), prevote(6), signed(prevote(5, block=B)))],
    ),
    "the second message as a proposal in the answer to a vote": (
        Rule.TWO_MESSAGES,
        [exchange((0, 1), proposal(5)), exchange((2, 3), prevote(5), signed(proposal(5, seconds=7)))],
    ),
    # -------------------------------------------------------------------------------------------- true signature
    "an earlier time claimed, the asked one signed": (
        Rule.FALSE_SIGNATURE,
        [exchange((0, 1), prevote(5, seconds=1), signed(prevote(5), over=prevote(5, seconds=1)))],
    ),
    "signed by another key": (
        Rule.FALSE_SIGNATURE,
        [exchange((0, 1), prevote(5), signed(prevote(5), sign=OTHER_KEY.sign))],
    ),
    "one bit of the signature changed": (
        Rule.FALSE_SIGNATURE,
        [exchange((0, 1), prevote(5), signed(prevote(5), sign=spoilt))],
    ),
    "a signature cut short": (
        Rule.FALSE_SIGNATURE,
        [exchange((0, 1), prevote(5), signed(prevote(5), sign=lambda data: KEY.sign(data)[:63]))],
    ),
    "no signature": (Rule.FALSE_SIGNATURE, [exchange((0, 1), prevote(5), prevote(5))]),
    "signed for another chain": (
        Rule.FALSE_SIGNATURE,
        [exchange((0, 1), prevote(5), signed(prevote(5), "another-1"))],
    ),
    "sign-bytes without their length": (
        Rule.FALSE_SIGNATURE,
        [exchange((0, 1), prevote(5), signed(prevote(5), sign=without_prefix))],
    ),
    "a prevote signed for a precommit": (
        Rule.FALSE_SIGNATURE,
        [exchange((0, 1), precommit(5), signed(precommit(5), over=prevote(5)))],
    ),
    "nil signed for a block": (
        Rule.FALSE_SIGNATURE,
        [exchange((0, 1), prevote(5), signed(prevote(5), over=prevote(5, block=NIL_BLOCK)))],
    ),
    # ---------------------------------------------------------------------------------------------- same request
    "the answer of the request before": (
        Rule.OTHER_REQUEST,
        [exchange((0, 1), prevote(5)), exchange((2, 3), precommit(5), signed(prevote(5)))],
    ),
    "an answer that names another block": (
        Rule.OTHER_REQUEST,
        [exchange((0, 1), prevote(5), signed(prevote(5, block=B), over=prevote(5)))],
    ),
    "an answer of another round": (
        Rule.OTHER_REQUEST,
        [exchange((0, 1), prevote(5), signed(prevote(5, 1, block_id(5, 0)), over=prevote(5)))],
    ),
    "an answer of another height": (
        Rule.OTHER_REQUEST,
        [exchange((0, 1), prevote(5), signed(prevote(6, 0, block_id(5, 0)), over=prevote(5)))],
    ),
    "an answer of another type": (
        Rule.OTHER_REQUEST,
        [exchange((0, 1), prevote(5), signed(precommit(5), over=prevote(5)))],
    ),
    "an answer of another proof-of-lock round": (
        Rule.OTHER_REQUEST,
        [exchange((0, 1), proposal(5, 3, 1), signed(proposal(5, 3, 2), over=proposal(5, 3, 1)))],
    ),
    "an answer of another kind": (
        Rule.OTHER_REQUEST,
        [exchange((0, 1), prevote(5), signed(as_proposal(prevote(5))))],
    ),
    "two answers on each other's connection": (
        Rule.OTHER_REQUEST,
        [
            exchange((0, 2), prevote(5), signed(prevote(6))),
            replace(exchange((0, 2), prevote(6), signed(prevote(5))), connection=2),
        ],
    ),
    # ---------------------------------------------------------------------------------------------- forward order
    "a lower height": (Rule.WENT_BACK, [exchange((0, 1), prevote(5)), exchange((2, 3), prevote(4))]),
    "a lower round": (Rule.WENT_BACK, [exchange((0, 1), prevote(5, 1)), exchange((2, 3), precommit(5, 0))]),
    "a proposal after the prevote": (Rule.WENT_BACK, [exchange((0, 1), prevote(5)), exchange((2, 3), proposal(5))]),
    "lower, at another validator's node and by another replica": (
        Rule.WENT_BACK,
        [exchange((0, 1), prevote(5)), replace(exchange((2, 3), prevote(4)), node="other", replica="pid:2")],
    ),
    "lower than what was answered by the way": (
        Rule.WENT_BACK,
        [exchange((0, 9), prevote(7)), exchange((1, 2), prevote(6)), exchange((3, 10), prevote(5))],
    ),
    "lower, and refused when it was in time": (
        Rule.WENT_BACK,
        [refused((0, 1), prevote(4)), exchange((2, 3), prevote(5)), exchange((4, 5), prevote(4))],
    ),
    "lower, and only asked with another time when it was in time": (
        Rule.WENT_BACK,
        [unanswered((0, 1), prevote(4)), exchange((2, 3), prevote(5)), exchange((4, 5), prevote(4, seconds=1))],
    ),
    "a repeat of something lower that was signed anew": (
        Rule.WENT_BACK,
        [
            exchange((0, 1), prevote(4)),
            exchange((2, 3), prevote(5)),
            exchange((4, 5), prevote(4), signed(prevote(4), sign=signed_by_chance)),
        ],
    ),
    "lower, inside an error": (
        Rule.WENT_BACK,
        [exchange((0, 1), prevote(6)), refused((2, 3), prevote(5, block=B), LEAKED)],
    ),
    "a prevote after the precommit": (
        Rule.AFTER_PRECOMMIT,
        [exchange((0, 1), precommit(5)), exchange((2, 3), prevote(5))],
    ),
    "a proposal after the precommit": (
        Rule.AFTER_PRECOMMIT,
        [exchange((0, 1), precommit(5)), exchange((2, 3), proposal(5))],
    ),
    "a prevote after the precommit of nil": (
        Rule.AFTER_PRECOMMIT,
        [exchange((0, 1), precommit(5, block=NIL_BLOCK)), exchange((2, 3), prevote(5))],
    ),
    # ---------------------------------------------------------------------------------- refusal, chain, extension
    "a vote's signature in an error": (Rule.LEAK, [refused((0, 1), prevote(5, block=B), LEAKED)]),
    "a proposal's signature in an error": (
        Rule.LEAK,
        [refused((0, 1), proposal(5), KEY.sign(sign_bytes(proposal(5))))],
    ),
    "a false signature in an error": (Rule.LEAK, [refused((0, 1), prevote(5), b"?" * 64)]),
    "a chain of somebody else": (Rule.FOREIGN_CHAIN, [exchange((0, 1), prevote(5), chain="another-1")]),
    "an extension signed on a prevote": (
        Rule.EXTENSION,
        [exchange((0, 1), prevote(5), with_extension(prevote(5)))],
    ),
    "an extension signed on a precommit of nil": (
        Rule.EXTENSION,
        [exchange((0, 1), precommit(5, block=NIL_BLOCK), with_extension(precommit(5, block=NIL_BLOCK)))],
    ),
    "an extension left unsigned": (
        Rule.EXTENSION,
        [exchange((0, 1), precommit(5), replace(with_extension(precommit(5)), extension_signature=b""))],
    ),
    "somebody else's extension signed": (
        Rule.EXTENSION,
        [exchange((0, 1), precommit(5), with_extension(precommit(5), over=precommit(5, extension=b"other")))],
    ),
    "the extension of another round signed": (
        Rule.EXTENSION,
        [exchange((0, 1), precommit(5), with_extension(precommit(5), over=precommit(5, 1)))],
    ),
    "the extension signed as it is, without height and chain": (
        Rule.EXTENSION,
        [exchange((0, 1), precommit(5), replace(with_extension(precommit(5)), extension_signature=KEY.sign(b"ext")))],
    ),
    "an extension signed by another key": (
        Rule.EXTENSION,
        [exchange((0, 1), precommit(5), with_extension(precommit(5), key=OTHER_KEY))],
    ),
    "an extension signature beside a refused extension": (
        Rule.EXTENSION,
        [
            replace(
                exchange((0, 1), precommit(5), with_extension(precommit(5), key=OTHER_KEY)),
                request=request(precommit(5), skips_extension=True),
            )
        ],
    ),
}

RIGHT: dict[str, list[Observation]] = {
    "a height after the other, with gaps": [exchange((2 * h, 2 * h + 1), precommit(h)) for h in (1, 2, 7, 90)],
    "a round of nil, and the next": [
        exchange((0, 1), prevote(5, block=NIL_BLOCK)),
        exchange((2, 3), precommit(5, block=NIL_BLOCK)),
        exchange((4, 5), proposal(5, 1, 0)),
    ],
    "the last answer once more": [exchange((0, 1), prevote(5)), exchange((2, 3), prevote(5))],
    "the last answer once more, signed anew by a scheme with chance in it": [
        exchange((0, 1), prevote(5)),
        exchange((2, 3), prevote(5), signed(prevote(5), sign=signed_by_chance)),
    ],
    "an old answer once more, by a replica that lags behind": [
        exchange((0, 1), prevote(4)),
        exchange((2, 3), prevote(5)),
        replace(exchange((4, 5), prevote(4)), replica="pid:2"),
    ],
    "a prevote once more after the precommit": [
        exchange((0, 1), prevote(5)),
        exchange((2, 3), precommit(5)),
        exchange((4, 5), prevote(5)),
    ],
    "the time of the first answer for another one": [
        exchange((0, 1), prevote(5)),
        exchange((2, 3), prevote(5, seconds=1), signed(prevote(5))),
    ],
    "that, below what was answered since": [
        exchange((0, 1), prevote(5)),
        exchange((2, 3), prevote(6)),
        exchange((4, 5), prevote(5, seconds=1), signed(prevote(5))),
    ],
    "a first answer lost, and repeated when the chain had gone on": [
        unanswered((0, 1), prevote(5)),
        exchange((2, 3), prevote(6)),
        exchange((4, 5), prevote(5)),
    ],
    "that, after a second try was lost": [
        unanswered((0, 1), prevote(5)),
        exchange((2, 3), prevote(6)),
        unanswered((4, 5), prevote(5)),
        exchange((6, 7), prevote(5)),
    ],
    "a request that another one overtook": [
        exchange((0, 9), prevote(5)),
        exchange((1, 2), precommit(5)),
    ],
    "a request that begins in the moment of another's answer": [
        exchange((0, 1), prevote(6)),
        exchange((1, 2), prevote(5)),
    ],
    "one message asked for by three, answered in any order": [
        exchange((0, 9), prevote(5)),
        exchange((1, 2), prevote(6)),
        exchange((3, 4), prevote(5)),
    ],
    "a refusal below": [exchange((0, 1), prevote(5)), refused((2, 3), prevote(4))],
    "another block refused": [exchange((0, 1), prevote(5)), refused((2, 3), prevote(5, block=B))],
    "a refused block, and the right one": [refused((0, 1), prevote(5, block=B)), exchange((2, 3), prevote(5))],
    "nobody answers": [unanswered((0, 5), prevote(5)), unanswered((6, 11), prevote(5, block=B))],
    "each sentry its own extension": [
        exchange((0, 1), precommit(5)),
        exchange((2, 3), precommit(5, extension=b"other")),
    ],
    "an extension nobody wants": [
        replace(
            exchange((0, 1), precommit(5), replace(with_extension(precommit(5)), extension_signature=b"")),
            request=request(precommit(5), skips_extension=True),
        )
    ],
    "an empty extension": [exchange((0, 1), precommit(5, extension=b""))],
    "another clock": [exchange((8, 9), prevote(5)).on("here"), exchange((10, 11), prevote(4)).on("there")],
    "Go's zero time and a time with nanoseconds": [
        exchange((0, 1), replace(prevote(5), time=replace(at(0), nanos=999_999_999))),
        exchange((2, 3), Vote(2, 5, 0, NIL_BLOCK)),
    ],
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_broken_promise_is_found_by_its_name(name: str) -> None:
    rule, observations = FAULTY[name]

    assert rule in {violation.rule for violation in judge(observations, [CHAIN]).violations}


@pytest.mark.parametrize("name", FAULTY)
def test_it_is_found_in_whatever_order_the_exchanges_become_known(name: str) -> None:
    rule, observations = FAULTY[name]
    oracle = Oracle([CHAIN])
    for observation in reversed(observations):
        oracle(observation)

    assert rule in {violation.rule for violation in oracle.violations}


@pytest.mark.parametrize("name", RIGHT)
def test_what_looks_odd_and_is_right_is_not_condemned(name: str) -> None:
    assert judge(RIGHT[name], [CHAIN]).violations == []


@pytest.mark.parametrize("name", RIGHT)
def test_nor_when_it_becomes_known_backwards(name: str) -> None:
    oracle = Oracle([CHAIN])
    for observation in reversed(RIGHT[name]):
        oracle(observation)

    assert oracle.violations == []


def test_every_rule_but_silence_has_a_faulty_recording() -> None:
    assert {rule for rule, _ in FAULTY.values()} == set(Rule) - {Rule.SILENT}


def test_a_verdict_is_withdrawn_when_the_first_request_becomes_known() -> None:
    slow, above, copy = RIGHT["one message asked for by three, answered in any order"]
    oracle = Oracle([CHAIN])

    assert oracle(above) == []
    assert [violation.rule for violation in oracle(copy)] == [Rule.WENT_BACK]
    assert oracle(slow) == []
    assert oracle.violations == []


def test_a_signer_that_knows_no_extensions_misses_none_where_the_judge_is_told() -> None:
    _, observations = FAULTY["an extension left unsigned"]

    assert judge(observations, [CHAIN], extensions=False).violations == []


def test_an_extension_is_judged_even_of_a_signer_that_need_not_know_them() -> None:
    _, observations = FAULTY["somebody else's extension signed"]

    assert judge(observations, [CHAIN], extensions=False).violations != []


def test_without_a_list_any_chain_is_judged_and_each_by_itself() -> None:
    observations = [exchange((0, 1), prevote(5)), exchange((2, 3), prevote(4), chain="another-1")]

    assert judge(observations, None).violations == []


class TestLiveness:
    @pytest.mark.parametrize(
        "observations",
        [
            pytest.param([refused((0, 1), prevote(5))], id="nothing was ever signed"),
            pytest.param([exchange((0, 1), prevote(5))], id="nothing after it"),
            pytest.param([exchange((0, 1), prevote(5)), exchange((11, 13.5), prevote(6))], id="too late"),
            pytest.param([exchange((0, 1), prevote(5)), exchange((11, 12), prevote(5))], id="repeats only"),
            pytest.param([exchange((0, 1), prevote(5)), exchange((11, 12), prevote(4))], id="a lower one only"),
            pytest.param([exchange((0, 1), prevote(5)), exchange((11, 12), prevote(6), prevote(6))], id="a false one"),
        ],
    )
    def test_silence_is_found(self, observations: list[Observation]) -> None:
        oracle = judge(observations, [CHAIN])

        assert [violation.rule for violation in oracle.check_liveness(10, 3)] == [Rule.SILENT]
        assert oracle.violations[-1].rule is Rule.SILENT

    def test_a_new_signature_in_time_is_enough(self) -> None:
        oracle = judge([exchange((0, 1), prevote(5)), exchange((9, 12.5), prevote(6))], [CHAIN])

        assert oracle.check_liveness(10, 3) == []

    def test_every_chain_has_to_go_on(self) -> None:
        observations = [exchange((0, 1), prevote(5), chain="another-1"), exchange((11, 12), prevote(5))]

        (violation,) = judge(observations, None).check_liveness(10, 3)

        assert "another-1" in str(violation)


def test_replies_are_made_as_the_wire_has_them() -> None:
    """What is found here is found because of what is wrong, not because of how it is made."""
    assert exchange((0, 1), precommit(5)).reply == reply(with_extension(precommit(5)))
