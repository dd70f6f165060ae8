"""The reader of guard files takes the highest sound record, and no record that is damaged in any place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmkms.harness.guard_files import check_guards, read_watermark
from cmkms.harness.values import HRS
from tests.unit.harness.guard_file import BLOCK, CHAIN, Record, blank, guard_file
from tests.unit.harness.hand_made import CHAIN as HAND_MADE
from tests.unit.harness.hand_made import KEY, exchange, precommit, prevote, refused, sign_bytes

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


def test_one_changed_byte_anywhere_makes_a_record_unsound() -> None:
    for byte in range(512):
        record = bytearray(NEW.encoded())
        record[byte] ^= 1

        assert read_watermark(guard_file(bytes(record))) is None, f"byte {byte}"


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


class TestAfterARun:
    """The highest signature that was released stands on a majority of disks."""

    SEEN = (exchange((0, 1), prevote(4)), exchange((2, 3), precommit(5)), exchange((4, 5), prevote(5)))
    HOLDS = Record(height=5, step=3, sign_bytes=sign_bytes(precommit(5)), chain=HAND_MADE.encode())

    def disks(self, *records: Record | None) -> dict[str, bytes | None]:
        """Three disks with a guard each, or none, every one with a nonce of its own."""
        return {
            f"node-{number}": None if record is None else guard_file(replace(record, nonce=bytes([number] * 16)))
            for number, record in enumerate(records)
        }

    @pytest.mark.parametrize(
        "second",
        [
            pytest.param(HOLDS, id="the same bytes"),
            pytest.param(replace(HOLDS, step=0, sign_bytes=b"", height=6), id="above"),
            pytest.param(replace(HOLDS, sign_bytes=b"", flags=1 | 2), id="a seal"),
            pytest.param(replace(HOLDS, generation=2, flags=0), id="moved to another generation"),
        ],
    )
    def test_two_of_three_are_enough(self, second: Record) -> None:
        behind = replace(self.HOLDS, height=4, step=2)

        assert check_guards(self.disks(self.HOLDS, second, behind), self.SEEN) == []

    @pytest.mark.parametrize(
        "others",
        [
            pytest.param((replace(HOLDS, height=4), replace(HOLDS, height=4)), id="two below"),
            pytest.param((replace(HOLDS, step=2), replace(HOLDS, step=1)), id="two at earlier steps"),
            pytest.param((replace(HOLDS, sign_bytes=b"other"),) * 2, id="two over other bytes"),
            pytest.param((None, None), id="two lost"),
            pytest.param((replace(HOLDS, magic=b"????????"), None), id="one rotten, one lost"),
            pytest.param((replace(HOLDS, height=4, step=3, sign_bytes=b"", flags=1 | 2),) * 2, id="two sealed too low"),
        ],
    )
    def test_one_of_three_is_not(self, others: tuple[Record | None, Record | None]) -> None:
        (sentence,) = check_guards(self.disks(self.HOLDS, *others), self.SEEN)

        assert "5/0/3" in sentence
        assert "1 of 3" in sentence

    def test_a_copied_file_is_one_guard(self) -> None:
        copy = guard_file(self.HOLDS)

        assert check_guards({"node-0": copy, "node-1": copy, "node-2": None}, self.SEEN) != []

    def test_files_of_those_that_are_no_members_any_more_are_told_by_number(self) -> None:
        disks = self.disks(self.HOLDS, self.HOLDS, None, None)

        assert check_guards(disks, self.SEEN) != []
        assert check_guards(disks, self.SEEN, members=3) == []

    def test_no_guard_at_all_is_noticed(self) -> None:
        assert check_guards(self.disks(None, None, None), self.SEEN) != []

    def test_where_nothing_was_released_nothing_has_to_stand(self) -> None:
        false = exchange((0, 1), prevote(9), prevote(9))

        assert check_guards(self.disks(None, None, None), [refused((0, 1), prevote(9)), false]) == []

    def test_what_was_released_inside_an_error_counts(self) -> None:
        leak = refused((6, 7), prevote(9), KEY.sign(sign_bytes(prevote(9))))

        assert check_guards(self.disks(*[self.HOLDS] * 3), [*self.SEEN, leak]) != []

    def test_another_chain_has_guards_of_its_own(self) -> None:
        other = exchange((6, 7), prevote(9), chain="another-1")

        assert check_guards(self.disks(*[self.HOLDS] * 3), [*self.SEEN, other]) == []
