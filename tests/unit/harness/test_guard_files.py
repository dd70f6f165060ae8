"""The reader of guard files takes the highest sound record, and no record that is damaged in any place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmkms.harness.guard_files import read_watermark
from cmkms.harness.values import HRS
from tests.unit.harness.guard_file import BLOCK, CHAIN, Record, blank, guard_file

OLD = Record(sequence=6, height=5, step=2, sign_bytes=b"old")
NEW = Record(sequence=7, height=5, round=1, step=3, sign_bytes=b"new", flags=1 | 4)


def test_every_field_is_read() -> None:
    found = read_watermark(guard_file(OLD, NEW))

    assert found is not None
    assert found.hrs == HRS(5, 1, 3)
    assert (found.chain_id, found.member, found.sequence, found.sign_bytes) == (CHAIN, "node-0", 7, b"new")
    assert (found.generation, found.generation_hash) == (1, bytes(range(32)))
    assert (found.nonce, found.key_hash) == (b"n" * 16, b"k" * 32)
    assert (found.armed, found.paused) == (True, True)


def test_the_highest_sequence_wins_in_whatever_slot_it_lies() -> None:
    assert read_watermark(guard_file(OLD, NEW)) == read_watermark(guard_file(NEW, OLD))


def test_a_seal_has_no_bytes() -> None:
    found = read_watermark(guard_file(Record(height=9, step=3, flags=1 | 2)))

    assert found is not None
    assert found.sign_bytes is None


@pytest.mark.parametrize("block", [2, 3])
def test_one_copy_of_the_newest_is_enough(block: int) -> None:
    found = read_watermark(blank(guard_file(OLD, NEW), block))

    assert found is not None
    assert found.sequence == 7


def test_with_both_copies_lost_the_older_one_is_all_that_can_be_read() -> None:
    found = read_watermark(blank(guard_file(OLD, NEW), 2, 3))

    assert found is not None
    assert found.sequence == 6


@pytest.mark.parametrize(
    "data", [b"", bytes(4 * BLOCK), guard_file(NEW)[:-1], guard_file(NEW) + b"\0", guard_file(NEW)[:BLOCK]]
)
def test_a_file_without_a_sound_record_or_of_another_size_says_nothing(data: bytes) -> None:
    assert read_watermark(data) is None


@pytest.mark.parametrize("byte", range(512))
def test_one_changed_byte_makes_a_record_unsound(byte: int) -> None:
    record = bytearray(NEW.encoded())
    record[byte] ^= 1

    assert read_watermark(guard_file(bytes(record))) is None


@pytest.mark.parametrize(
    "record",
    [
        replace(NEW, magic=b"CMKMSGRX"),
        replace(NEW, version=9),
        replace(NEW, chain=b"\xff"),
        replace(NEW, flags=1 | 2),
    ],
    ids=["magic", "version", "text", "a seal over bytes"],
)
def test_a_good_checksum_does_not_make_a_record_of_anything(record: Record) -> None:
    assert read_watermark(guard_file(record)) is None
