"""The record: what fits it, what does not, and that nothing but its own bytes is ever read back as one."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from hashlib import sha256

import pytest

from cmkms.errors import BrokenInvariantError
from cmkms.guard.generation import GenerationId
from cmkms.guard.hrs import MAX_HEIGHT, MAX_ROUND, NEVER
from cmkms.guard.record import (
    MAX_CHAIN_ID_BYTES,
    MAX_MEMBER_ID_BYTES,
    MAX_SIGN_BYTES,
    RECORD_BYTES,
    GuardRecord,
    RecordDamagedError,
    RecordTooLargeError,
    decode_record,
    encode_record,
)
from cmkms.privval import BlockID, PartSetHeader, Proposal, Timestamp, proposal_sign_bytes
from tests.unit.guard.world import hrs, precommit, record

PLAIN = record(hrs(5, 1, 3), precommit(5, 1))
ENCODED = encode_record(PLAIN)


def resealed(data: bytes) -> bytes:
    """Give altered bytes a checksum that fits again."""
    return data[:-4] + struct.pack(">I", zlib.crc32(data[:-4]))


def altered(offset: int, new: bytes) -> bytes:
    return resealed(ENCODED[:offset] + new + ENCODED[offset + len(new) :])


@pytest.mark.parametrize(
    "one",
    [
        PLAIN,
        replace(PLAIN, chain_id="x" * MAX_CHAIN_ID_BYTES),
        replace(PLAIN, chain_id="ü" * (MAX_CHAIN_ID_BYTES // 2)),
        replace(PLAIN, chain_id=""),
        replace(PLAIN, chain_id="zero\0"),
        replace(PLAIN, member_id="m" * MAX_MEMBER_ID_BYTES),
        replace(PLAIN, member_id=""),
        replace(PLAIN, key_hash=b"\xff" * 32),
        replace(PLAIN, nonce=b"\xff" * 16),
        replace(PLAIN, generation=GenerationId(2**64 - 1, b"\xff" * 32)),
        replace(PLAIN, generation=GenerationId(0, bytes(32))),
        replace(PLAIN, sequence=0),
        replace(PLAIN, sequence=2**64 - 1),
        replace(PLAIN, armed=False),
        replace(PLAIN, paused=True),
        replace(PLAIN, hrs=NEVER),
        replace(PLAIN, hrs=hrs(MAX_HEIGHT, MAX_ROUND, 3)),
        replace(PLAIN, sign_bytes=None),
        replace(PLAIN, sign_bytes=b""),
        replace(PLAIN, sign_bytes=b"\xff" * MAX_SIGN_BYTES),
        replace(PLAIN, accepted_at=0),
        replace(PLAIN, accepted_at=2**64 - 1),
        replace(PLAIN, max_height=1),
        replace(PLAIN, max_height=MAX_HEIGHT),
        replace(PLAIN, allowed_height=1),
        replace(PLAIN, allowed_height=MAX_HEIGHT),
    ],
)
def test_every_field_comes_back_at_its_bounds(one: GuardRecord) -> None:
    encoded = encode_record(one)
    assert len(encoded) == RECORD_BYTES
    assert decode_record(encoded) == one


@pytest.mark.parametrize(
    "one",
    [
        replace(PLAIN, chain_id="x" * (MAX_CHAIN_ID_BYTES + 1)),
        replace(PLAIN, chain_id="ü" * MAX_CHAIN_ID_BYTES),
        replace(PLAIN, member_id="m" * (MAX_MEMBER_ID_BYTES + 1)),
        replace(PLAIN, sign_bytes=bytes(MAX_SIGN_BYTES + 1)),
    ],
    ids=["chain id", "chain id in bytes, not letters", "member id", "sign-bytes"],
)
def test_what_does_not_fit_is_refused_and_never_cut(one: GuardRecord) -> None:
    with pytest.raises(RecordTooLargeError, match="does not fit"):
        encode_record(one)


@pytest.mark.parametrize(
    "bounded",
    [replace(PLAIN, max_height=0), replace(PLAIN, allowed_height=0)],
    ids=["max_height", "allowed_height"],
)
def test_a_bound_of_zero_is_not_taken_for_no_bound(bounded: GuardRecord) -> None:
    """0 stands for "none" on disk: a replica told to sign nothing would come back and sign everything."""
    with pytest.raises(BrokenInvariantError, match="none"):
        encode_record(bounded)


def test_the_longest_sign_bytes_that_a_chain_can_ask_for_fit() -> None:
    full = BlockID(b"\xff" * 32, PartSetHeader(2**32 - 1, b"\xff" * 32))
    longest = Proposal(MAX_HEIGHT, MAX_ROUND, -1, full, Timestamp(-1, 999_999_999))
    data = proposal_sign_bytes("x" * MAX_CHAIN_ID_BYTES, longest)
    assert decode_record(encode_record(replace(PLAIN, sign_bytes=data))).sign_bytes == data


@pytest.mark.parametrize("length", [0, 1, RECORD_BYTES - 1, RECORD_BYTES + 1])
def test_another_length_is_no_record(length: int) -> None:
    with pytest.raises(RecordDamagedError, match="instead of 512"):
        decode_record((ENCODED * 2)[:length])


def test_no_single_changed_bit_goes_unseen() -> None:
    for bit in range(8 * RECORD_BYTES):
        damaged = bytearray(ENCODED)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecordDamagedError):
            decode_record(bytes(damaged))


@pytest.mark.parametrize("data", [bytes(RECORD_BYTES), b"\xff" * RECORD_BYTES])
def test_blank_sectors_are_no_records(data: bytes) -> None:
    with pytest.raises(RecordDamagedError):
        decode_record(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (altered(0, b"X"), "magic"),
        (altered(8, b"\x00\x02"), "version 2"),
        (altered(10, b"\x80\x01"), "canonical"),
        (altered(12, b"\xff"), "canonical"),
        (altered(13, b"\xff"), "out of range"),
        (altered(8 + 2 + 2 + 1 + 50 + 1 + 32 + 32 + 16 + 8 + 32 + 8, b"\x80"), "out of range"),
        (altered(8 + 2 + 2 + 1 + 50 + 1 + 32 + 32 + 16 + 8 + 32 + 8 + 8, b"\x80"), "out of range"),
        (altered(8 + 2 + 2 + 1 + 50 + 1 + 32 + 32 + 16 + 8 + 32 + 8 + 8 + 4, b"\x04"), "out of range"),
        (altered(RECORD_BYTES - 5, b"\x01"), "canonical"),
    ],
    ids=["magic", "version", "unknown flag", "id length", "not UTF-8", "height", "round", "step", "padding"],
)
def test_a_good_checksum_alone_makes_no_record(data: bytes, why: str) -> None:
    with pytest.raises(RecordDamagedError, match=why):
        decode_record(data)


def test_what_the_decision_needs_is_taken_over_whole() -> None:
    one = replace(PLAIN, paused=True, max_height=9, armed=False)
    state = one.state(7)
    assert (state.chain_id, state.key_hash, state.generation) == (one.chain_id, one.key_hash, one.generation)
    assert (state.armed, state.hrs, state.sign_bytes) == (False, one.hrs, one.sign_bytes)
    assert (state.paused, state.max_height, state.ceiling) == (True, 9, 7)


def test_the_form_on_disk_is_fixed() -> None:
    """A new layout needs a new version number: guards of this one lie on disks."""
    assert sha256(ENCODED).hexdigest() == "8b7dd2556d74c75775d274dacc10e2b47e23aa1f2e4c5504439d27272a7a3054"
