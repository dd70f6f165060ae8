"""Record, state file and file: whatever is written is read back, and whatever is read would have been written."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cmkms.guard.file import FILE_BYTES, GuardFile, survey
from cmkms.guard.generation import NO_GENERATION, GenerationId
from cmkms.guard.hrs import HRS, MAX_HEIGHT, MAX_ROUND, Step
from cmkms.guard.record import (
    RECORD_BYTES,
    GuardRecord,
    RecordDamagedError,
    decode_record,
    encode_record,
)
from cmkms.guard.state_file import SignState, StateFileError, parse_state, render_state
from tests.sim.guard.disk import SimulatedDisk
from tests.sim.guard.lives import GUARD
from tests.unit.guard.world import CHAIN, KEY, precommit, prevote, proposal, signed

points = st.builds(HRS, st.integers(0, MAX_HEIGHT), st.integers(0, MAX_ROUND), st.sampled_from(Step))
short_text = st.text(st.characters(codec="utf-8"), max_size=12)
uint64 = st.integers(0, 2**64 - 1)
records = st.builds(
    GuardRecord,
    chain_id=short_text,
    member_id=st.text("abc-0", max_size=32),
    key_hash=st.binary(min_size=32, max_size=32),
    nonce=st.binary(min_size=16, max_size=16),
    generation=st.builds(GenerationId, uint64, st.binary(min_size=32, max_size=32)),
    sequence=st.integers(0, 2**63),
    armed=st.booleans(),
    hrs=points,
    sign_bytes=st.none() | st.binary(max_size=232),
    accepted_at=uint64,
    paused=st.booleans(),
    max_height=st.none() | st.integers(1, MAX_HEIGHT),
    allowed_height=st.none() | st.integers(1, MAX_HEIGHT),
)
possible = records.filter(lambda record: not record.armed or record.generation != NO_GENERATION)
"""Those that a guard writes: it is armed in a generation."""
parts = (st.integers(1, MAX_HEIGHT), st.integers(0, MAX_ROUND), st.integers(0, 2), st.integers(0, 2**33))
sign_bytes = st.builds(prevote, *parts) | st.builds(precommit, *parts) | st.builds(proposal, *parts)


@given(records)
def test_a_record_comes_back_from_exactly_its_sector(record: GuardRecord) -> None:
    encoded = encode_record(record)
    assert len(encoded) == RECORD_BYTES
    assert decode_record(encoded) == record


@given(records, st.lists(st.tuples(st.integers(0, RECORD_BYTES - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_damaged_record_is_never_read_as_another(record: GuardRecord, damage: list[tuple[int, int]]) -> None:
    data = bytearray(encode_record(record))
    for offset, flip in damage:
        data[offset] ^= flip
    try:
        assert decode_record(bytes(data)) == record
    except RecordDamagedError:
        return


@given(possible)
def test_a_new_file_holds_its_record_four_times_and_is_sound(record: GuardRecord) -> None:
    disk = SimulatedDisk()
    GuardFile.create(disk, GUARD, record)
    found = survey(bytes(disk.media[GUARD].platter))
    assert (found.rot, found.damage) == ("", ())
    assert found.highest == replace(record, sequence=record.sequence + 1)


@given(st.binary(max_size=2 * FILE_BYTES))
def test_no_bytes_at_all_upset_the_survey(data: bytes) -> None:
    found = survey(data)
    assert found.rot


def verify(data: bytes, signature: bytes) -> bool:
    return KEY.sign(data) == signature


@given(sign_bytes)
def test_a_state_file_comes_back(data: bytes) -> None:
    state = signed(data)
    assert parse_state(render_state(state), "state.json", CHAIN, verify) == state


@given(points)
def test_a_point_alone_comes_back_or_is_no_point_of_a_signer(point: HRS) -> None:
    state = SignState(point)
    try:
        assert parse_state(render_state(state), "state.json", CHAIN, verify) == state
    except StateFileError:
        assert point.height == 0


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_at_all_upset_the_reader_of_state_files(data: bytes) -> None:
    try:
        parse_state(data, "state.json", CHAIN, verify)
    except StateFileError:
        return
