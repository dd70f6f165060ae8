"""A guard that tells of less than before has forgotten what it may have answered for."""

from __future__ import annotations

import pytest

from cmkms.guard.generation import GenerationId
from cmkms.replica.rollback import MAX_FILES, Rollback, RollbackWatch, Watermark
from tests.unit.guard.world import CHAIN, hrs

NONCE = b"n" * 16
FIRST = GenerationId(1, bytes(32))


def at(height: int, round_: int = 0, step: int = 3, *, generation: GenerationId = FIRST) -> Watermark:
    return Watermark(generation, hrs(height, round_, step))


@pytest.fixture
def watch() -> RollbackWatch:
    watch = RollbackWatch()
    assert watch.see("node-1", CHAIN, NONCE, 7, at(5, 0, 3)) is None
    return watch


def test_the_same_or_more_is_no_news(watch: RollbackWatch) -> None:
    assert watch.see("node-1", CHAIN, NONCE, 7, at(5, 0, 3)) is None
    assert watch.see("node-1", CHAIN, NONCE, 8, at(6, 0, 1)) is None
    assert watch.trusts("node-1", CHAIN, NONCE)


def test_a_lower_number_is_a_step_back(watch: RollbackWatch) -> None:
    assert watch.see("node-1", CHAIN, NONCE, 6) == Rollback(NONCE, 7, 6)
    assert not watch.trusts("node-1", CHAIN, NONCE)


@pytest.mark.parametrize("sequence", [7, 8, 1000])
def test_a_lower_watermark_is_one_whatever_its_number(watch: RollbackWatch, sequence: int) -> None:
    """Each start writes the record anew, under the next number: one forgotten write would not be seen by that alone."""
    back = watch.see("node-1", CHAIN, NONCE, sequence, at(5, 0, 2))
    assert back is not None
    assert back.seen > back.told
    assert not watch.trusts("node-1", CHAIN, NONCE)


def test_it_is_not_trusted_again_when_it_has_caught_up(watch: RollbackWatch) -> None:
    watch.see("node-1", CHAIN, NONCE, 6)
    assert watch.see("node-1", CHAIN, NONCE, 9, at(9, 0, 3)) is None
    assert not watch.trusts("node-1", CHAIN, NONCE)


def test_a_file_made_anew_is_trusted_though_the_former_was_not(watch: RollbackWatch) -> None:
    watch.see("node-1", CHAIN, NONCE, 6)
    assert watch.see("node-1", CHAIN, b"m" * 16, 1, at(5, 0, 3)) is None
    assert watch.trusts("node-1", CHAIN, b"m" * 16)
    assert not watch.trusts("node-1", CHAIN, NONCE)


def test_it_is_found_once_and_can_be_told_again(watch: RollbackWatch) -> None:
    back = watch.see("node-1", CHAIN, NONCE, 7, at(4, 0, 3))
    assert back is not None
    assert watch.see("node-1", CHAIN, NONCE, 8, at(4, 0, 3)) is None
    assert watch.found("node-1") == [(CHAIN, back)]
    assert watch.found("node-2") == []


def test_a_number_without_a_watermark_forgets_none(watch: RollbackWatch) -> None:
    assert watch.see("node-1", CHAIN, NONCE, 8) is None
    assert watch.see("node-1", CHAIN, NONCE, 9, at(4, 0, 3)) is not None


@pytest.mark.parametrize(
    ("member", "chain_id", "nonce"),
    [("node-2", CHAIN, NONCE), ("node-1", "other-1", NONCE), ("node-1", CHAIN, b"m" * 16)],
)
def test_another_replica_chain_or_file_counts_for_itself(
    watch: RollbackWatch, member: str, chain_id: str, nonce: bytes
) -> None:
    assert watch.see(member, chain_id, nonce, 1, at(1)) is None
    assert watch.trusts(member, chain_id, nonce)


def test_it_remembers_no_more_files_than_there_can_be(watch: RollbackWatch) -> None:
    for number in range(MAX_FILES + 10):
        watch.see("node-1", CHAIN, number.to_bytes(16, "big"), 1)
    assert sum(len(files) for files in watch._seen.values()) == MAX_FILES


def test_a_later_generation_may_have_been_lowered_by_its_operator(watch: RollbackWatch) -> None:
    second = GenerationId(2, bytes(32))
    assert watch.see("node-1", CHAIN, NONCE, 8, at(0, 0, 0, generation=second)) is None
    assert watch.see("node-1", CHAIN, NONCE, 9, at(2, generation=second)) is None
    assert watch.see("node-1", CHAIN, NONCE, 10, at(1, generation=second)) is not None


def test_an_earlier_generation_is_a_step_back_however_high_it_stands(watch: RollbackWatch) -> None:
    assert watch.see("node-1", CHAIN, NONCE, 8, at(6, generation=GenerationId(2, bytes(32)))) is None
    assert watch.see("node-1", CHAIN, NONCE, 9, at(9)) is not None


def test_two_changes_of_one_number_are_not_compared(watch: RollbackWatch) -> None:
    """A guard that moved to the one without a majority joins the other, wherever that is sealed."""
    assert watch.see("node-1", CHAIN, NONCE, 8, at(6, generation=GenerationId(2, bytes(32)))) is None
    assert watch.see("node-1", CHAIN, NONCE, 9, at(5, generation=GenerationId(2, b"x" * 32))) is None
