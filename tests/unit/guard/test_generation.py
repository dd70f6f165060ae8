"""What tells two generations apart: everything that they are made of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmkms.guard.generation import (
    NO_GENERATION,
    GenerationId,
    Member,
    birth_digest,
    first_generation,
    generation_hash,
    key_hash,
    next_generation,
)
from tests.unit.guard.world import hrs

KEY = key_hash("ed25519", bytes(32))
ONE = Member("node-0", b"i" * 32, b"n" * 16)
TWO = Member("node-1", b"j" * 32, b"m" * 16)
PLAIN = generation_hash("chain-1", KEY, bytes(32), (ONE, TWO))


@pytest.mark.parametrize(
    "other",
    [
        generation_hash("chain-2", KEY, bytes(32), (ONE, TWO)),
        generation_hash("chain-1", key_hash("ed25519", b"\x01" + bytes(31)), bytes(32), (ONE, TWO)),
        generation_hash("chain-1", KEY, b"\x01" + bytes(31), (ONE, TWO)),
        generation_hash("chain-1", KEY, bytes(32), (ONE,)),
        generation_hash("chain-1", KEY, bytes(32), (replace(ONE, id="node-2"), TWO)),
        generation_hash("chain-1", KEY, bytes(32), (replace(ONE, identity=b"x" * 32), TWO)),
        generation_hash("chain-1", KEY, bytes(32), (replace(ONE, nonce=b"x" * 16), TWO)),
    ],
    ids=["chain", "key", "previous", "members", "id", "identity", "nonce"],
)
def test_each_part_changes_the_hash(other: bytes) -> None:
    assert other != PLAIN


def test_the_order_in_which_members_are_listed_does_not_matter() -> None:
    assert generation_hash("chain-1", KEY, bytes(32), (TWO, ONE)) == PLAIN


def test_a_boundary_between_two_parts_cannot_be_moved() -> None:
    moved = (replace(ONE, id="node-0i", identity=b"i" * 31), TWO)
    assert generation_hash("chain-1", KEY, bytes(32), moved) != PLAIN
    assert key_hash("ed", b"25519x") != key_hash("ed25519", b"x")


def test_the_hash_is_fixed_for_ever() -> None:
    """Guards on disk carry it: a change of its making would orphan them all."""
    assert PLAIN.hex() == "aa00699e1e9252ef98a235aef08d7cd1c4fd609f9c409872e9c321862b739b8b"
    assert KEY.hex() == "927a0cbbf0845931879c7728f9d4f3dc7b1a9219422479629715ff4f1a07f080"


def test_the_next_generation_counts_on_and_rests_on_the_one_before() -> None:
    first = next_generation("chain-1", KEY, NO_GENERATION, (ONE,))
    second = next_generation("chain-1", KEY, first, (ONE,))
    assert (first.number, second.number) == (1, 2)
    assert second.hash == generation_hash("chain-1", KEY, first.hash, (ONE,)) != first.hash


def test_people_read_its_number_and_the_beginning_of_its_hash() -> None:
    assert str(GenerationId(3, bytes.fromhex("deadbeef") + bytes(28))) == "3:deadbeef"


BIRTH = birth_digest(GenerationId(1, b"g" * 32), hrs(5, 0, 3), b"bytes", 7)


@pytest.mark.parametrize(
    "other",
    [
        birth_digest(GenerationId(2, b"g" * 32), hrs(5, 0, 3), b"bytes", 7),
        birth_digest(GenerationId(1, b"h" * 32), hrs(5, 0, 3), b"bytes", 7),
        birth_digest(GenerationId(1, b"g" * 32), hrs(5, 0, 2), b"bytes", 7),
        birth_digest(GenerationId(1, b"g" * 32), hrs(5, 1, 3), b"bytes", 7),
        birth_digest(GenerationId(1, b"g" * 32), hrs(6, 0, 3), b"bytes", 7),
        birth_digest(GenerationId(1, b"g" * 32), hrs(5, 0, 3), b"others", 7),
        birth_digest(GenerationId(1, b"g" * 32), hrs(5, 0, 3), b"", 7),
        birth_digest(GenerationId(1, b"g" * 32), hrs(5, 0, 3), None, 7),
        birth_digest(GenerationId(1, b"g" * 32), hrs(5, 0, 3), b"bytes", 8),
    ],
)
def test_each_part_of_a_birth_changes_its_digest(other: bytes) -> None:
    assert other != BIRTH
    assert len(other) == 32


def test_no_bytes_and_a_seal_are_two_births() -> None:
    empty, seal = (birth_digest(NO_GENERATION, hrs(5), given, 0) for given in (b"", None))
    assert empty != seal


def test_those_who_are_born_together_follow_nothing() -> None:
    assert first_generation("chain-1", KEY, TWO, ONE) == next_generation("chain-1", KEY, NO_GENERATION, (ONE, TWO))
