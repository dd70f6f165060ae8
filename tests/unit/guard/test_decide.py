"""The decision table, cell by cell and then exhaustively over small worlds against an oracle of its own."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from cmkms.guard.decide import (
    Accepted,
    AcceptRequest,
    Conflict,
    GuardState,
    Held,
    Refused,
    RefusedBecause,
    Regression,
    Sealed,
    Verdict,
    decide,
)
from cmkms.guard.generation import GenerationId
from cmkms.guard.hrs import NEVER
from cmkms.privval import SignBytesError, extension_sign_bytes
from tests.unit.guard.oracle import Asked, Oracle
from tests.unit.guard.world import GENERATION, KEY_HASH, hrs, precommit, prevote, proposal, request, state

HELD_BYTES = precommit(5, 1)
AT = hrs(5, 1, 3)
STORED = state(AT, HELD_BYTES)


def asked_bytes(asked: Asked) -> bytes:
    if asked.kind == "proposal":
        assert asked.pol is not None
        return proposal(asked.height, asked.round, asked.block, asked.time, asked.pol)
    make = prevote if asked.kind == "prevote" else precommit
    return make(asked.height, asked.round, asked.block, asked.time)


def word(verdict: Verdict) -> str:
    return type(verdict).__name__.upper()


class TestTheTable:
    @pytest.mark.parametrize(
        "above",
        [prevote(6), proposal(6), precommit(5, 2), proposal(5, 2), prevote(2**63 - 1, 2**31 - 1)],
        ids=["height", "height, lower step", "round", "round, lower step", "the very top"],
    )
    def test_a_higher_point_is_accepted_and_has_to_become_durable(self, above: bytes) -> None:
        assert decide(STORED, request(above)) == Accepted(advances=True)

    def test_the_very_bytes_are_accepted_again_without_a_write(self) -> None:
        assert decide(STORED, request(HELD_BYTES)) == Accepted(advances=False)

    def test_another_timestamp_alone_gives_the_stored_bytes_back(self) -> None:
        assert decide(STORED, request(precommit(5, 1, at=7))) == Held(HELD_BYTES)

    @pytest.mark.parametrize("other", [precommit(5, 1, 2), precommit(5, 1, 0), precommit(5, 1, 2, at=7)])
    def test_another_block_at_the_same_point_is_a_conflict(self, other: bytes) -> None:
        assert decide(STORED, request(other)) == Conflict(HELD_BYTES)

    def test_another_pol_round_of_a_proposal_is_a_conflict(self) -> None:
        stored = state(hrs(5, 1, 1), proposal(5, 1, pol_round=-1))
        assert isinstance(decide(stored, request(proposal(5, 1, pol_round=0))), Conflict)

    @pytest.mark.parametrize(
        "below",
        [precommit(4, 9), prevote(5, 1), proposal(5, 1), precommit(5, 0)],
        ids=["height", "step", "two steps", "round"],
    )
    def test_a_lower_point_is_a_regression_and_names_the_watermark(self, below: bytes) -> None:
        assert decide(STORED, request(below)) == Regression(AT)

    @pytest.mark.parametrize("asked", [HELD_BYTES, precommit(5, 1, at=7), precommit(5, 1, 2), precommit(5, 1, 0)])
    def test_at_a_seal_nothing_is_accepted_not_even_identical_bytes(self, asked: bytes) -> None:
        assert decide(replace(STORED, sign_bytes=None), request(asked)) == Sealed(AT)

    def test_above_a_seal_all_goes_on(self) -> None:
        assert decide(replace(STORED, sign_bytes=None), request(proposal(5, 2))) == Accepted(advances=True)

    def test_the_first_signature_of_all_is_accepted(self) -> None:
        assert decide(state(NEVER, None), request(proposal(1))) == Accepted(advances=True)


class TestRefusals:
    """Each stands before the watermark is looked at: even the bytes that the guard holds are refused."""

    REFUSING = (
        (RefusedBecause.CHAIN, replace(STORED, chain_id="other-1")),
        (RefusedBecause.KEY, replace(STORED, key_hash=bytes(32))),
        (RefusedBecause.GENERATION, replace(STORED, generation=GenerationId(2, GENERATION.hash))),
        (RefusedBecause.GENERATION, replace(STORED, generation=GenerationId(1, bytes(32)))),
        (RefusedBecause.NOT_ARMED, replace(STORED, armed=False)),
        (RefusedBecause.PAUSED, replace(STORED, paused=True)),
        (RefusedBecause.MAX_HEIGHT, replace(STORED, max_height=4)),
        (RefusedBecause.CEILING, replace(STORED, ceiling=4)),
    )

    @pytest.mark.parametrize("asked", [HELD_BYTES, precommit(6), precommit(5, 1, 2), precommit(5, 1, at=7)])
    @pytest.mark.parametrize(("because", "refusing"), REFUSING)
    def test_the_guard_does_not_answer(self, because: RefusedBecause, refusing: GuardState, asked: bytes) -> None:
        verdict = decide(refusing, request(asked))
        assert isinstance(verdict, Refused)
        assert verdict.because is because

    def test_every_reason_but_the_fuse_is_decided_here(self) -> None:
        assert {because for because, _ in self.REFUSING} == set(RefusedBecause) - {RefusedBecause.FUSE}

    BOUNDED = pytest.mark.parametrize(
        "bounded", [replace(STORED, max_height=7), replace(STORED, ceiling=7)], ids=["max_height", "ceiling"]
    )

    @BOUNDED
    def test_the_bound_itself_is_still_signed_and_one_above_it_is_not(self, bounded: GuardState) -> None:
        assert decide(bounded, request(precommit(7))) == Accepted(advances=True)
        assert isinstance(decide(bounded, request(proposal(8))), Refused)

    def test_the_lower_of_two_bounds_holds(self) -> None:
        for bounded in (replace(STORED, max_height=6, ceiling=9), replace(STORED, max_height=9, ceiling=6)):
            assert isinstance(decide(bounded, request(proposal(7))), Refused)

    @BOUNDED
    def test_a_height_that_is_too_high_is_told_with_its_bound(self, bounded: GuardState) -> None:
        verdict = decide(bounded, request(precommit(8)))
        assert isinstance(verdict, Refused)
        assert "8" in verdict.detail
        assert "7" in verdict.detail


class TestWhatARequestIs:
    def test_its_point_is_read_from_the_bytes_and_cannot_be_claimed(self) -> None:
        made = AcceptRequest.of(KEY_HASH, GENERATION, prevote(9, 2, chain="elsewhere"))
        assert (made.chain_id, made.hrs) == ("elsewhere", hrs(9, 2, 2))

    @pytest.mark.parametrize(
        "data",
        [b"", b"\x00", HELD_BYTES[:-1], HELD_BYTES + b"\x00", extension_sign_bytes("guarded-1", 5, 1, b"extension")],
        ids=["empty", "zero", "cut", "longer", "an extension"],
    )
    def test_what_is_not_canonical_sign_bytes_is_no_request(self, data: bytes) -> None:
        with pytest.raises(SignBytesError):
            AcceptRequest.of(KEY_HASH, GENERATION, data)

    @pytest.mark.parametrize(("height", "round_"), [(-1, 0), (1, -1), (1, 2**31), (-(2**63), 0)])
    def test_a_height_or_round_out_of_range_is_no_request(self, height: int, round_: int) -> None:
        with pytest.raises(SignBytesError, match="out of range"):
            AcceptRequest.of(KEY_HASH, GENERATION, prevote(height, round_))


WORLD = tuple(
    [
        Asked(kind, height, round_, number, time)
        for kind in ("prevote", "precommit")
        for height, round_ in product((1, 2), (1, 2))
        for number, time in product((0, 1, 2), (7, 8))
    ]
    + [
        Asked("proposal", height, round_, number, time, pol)
        for height, round_ in product((1, 2), (1, 2))
        for number, time, pol in product((1, 2), (7, 8), (-1, 0, 1))
    ]
)
"""Heights and rounds 1 and 2, three steps, nil and two blocks, two timestamps, three POL rounds: 96 messages."""
BYTES = {asked: asked_bytes(asked) for asked in WORLD}
REQUESTS = {asked: request(data) for asked, data in BYTES.items()}


def step(guard: GuardState, oracle: Oracle, asked: Asked) -> GuardState:
    """Ask guard and oracle, compare, and return the guard as it is afterwards."""
    expected = oracle.expect(asked)
    verdict = decide(guard, REQUESTS[asked])
    assert word(verdict) == expected, (oracle, asked)
    if not isinstance(verdict, Accepted):
        if isinstance(verdict, Held | Conflict):
            assert verdict.sign_bytes == guard.sign_bytes
        return guard
    oracle.take(asked)
    return replace(guard, hrs=REQUESTS[asked].hrs, sign_bytes=BYTES[asked]) if verdict.advances else guard


class TestExhaustively:
    def test_every_message_has_bytes_of_its_own(self) -> None:
        assert len(set(BYTES.values())) == len(WORLD)

    def test_every_request_after_every_other_and_after_every_seal(self) -> None:
        """A guard's whole memory is its last record, so all pairs are all there is: sequences add nothing."""
        for held in WORLD:
            for asked in WORLD:
                step(state(REQUESTS[held].hrs, BYTES[held]), Oracle(held.point, held), asked)
                step(state(REQUESTS[held].hrs, None), Oracle(held.point, None), asked)

    @pytest.mark.parametrize(
        "heights", [pytest.param((1,), id="one height"), pytest.param((1, 2), id="two heights", marks=pytest.mark.slow)]
    )
    def test_all_sequences_of_three_requests(self, heights: tuple[int, ...]) -> None:
        """Sequences all the same, because the sentence above is an argument and this is a proof: 48^3, or 96^3."""
        world = [asked for asked in WORLD if asked.height in heights]
        for first in world:
            one = replace(state(NEVER, None), hrs=REQUESTS[first].hrs, sign_bytes=BYTES[first])
            for second in world:
                oracle = Oracle()
                oracle.take(first)
                two = step(one, oracle, second)
                for third in world:
                    step(two, Oracle(oracle.point, oracle.last, dict(oracle.accepted)), third)

    def test_all_sequences_of_five_requests_at_one_height(self) -> None:
        """Long sequences over few messages: two points, two blocks and nil, two times."""
        world = [one for one in WORLD if one.kind == "precommit" and one.height == 1]
        few = [one for one in world if one.time == 7 or one.block == 1]
        assert len(few) == 8

        def explore(guard: GuardState, oracle: Oracle, depth: int) -> None:
            for asked in few:
                ahead = Oracle(oracle.point, oracle.last, dict(oracle.accepted))
                after = step(guard, ahead, asked)
                if depth > 1:
                    explore(after, ahead, depth - 1)

        explore(state(NEVER, None), Oracle(), 5)
