"""The quick reader of sign-bytes agrees with the strict one wherever that one accepts, and never fails otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmkms.privval import BlockID, CanonicalMessage, PartSetHeader, SignBytesError, SignedMsgType, Timestamp
from cmkms.privval.header import read_header
from cmkms.privval.signbytes import encode_sign_bytes, parse_sign_bytes

hashes = st.one_of(st.just(b""), st.binary(min_size=32, max_size=32))
block_ids = st.builds(BlockID, hashes, st.builds(PartSetHeader, st.integers(0, 2**32 - 1), hashes))
timestamps = st.builds(Timestamp, st.integers(-62_135_596_800, 253_402_300_799), st.integers(0, 999_999_999))
votes = st.builds(
    CanonicalMessage,
    st.sampled_from([SignedMsgType.PREVOTE, SignedMsgType.PRECOMMIT]),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**31 - 1),
    st.just(0),
    block_ids,
    timestamps,
    st.text(max_size=12),
)
proposals = st.builds(
    CanonicalMessage,
    st.just(SignedMsgType.PROPOSAL),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**31 - 1),
    st.integers(-1, 2**31 - 1),
    block_ids,
    timestamps,
    st.text(max_size=12),
)


NO_TEXT = (
    encode_sign_bytes(
        CanonicalMessage(SignedMsgType.PREVOTE, 1, 0, 0, BlockID(b"", PartSetHeader(0, b"")), Timestamp(0, 0), "c")
    )[:-1]
    + b"\xff"
)
"""Sign-bytes but for their chain id, which stands last."""


@given(st.one_of(votes, proposals))
def test_the_header_is_what_the_strict_parser_reads(message: CanonicalMessage) -> None:
    header = read_header(encode_sign_bytes(message))
    assert (header.type, header.height, header.round, header.chain_id) == (
        message.type,
        message.height,
        message.round,
        message.chain_id,
    )


@given(st.one_of(votes, proposals), st.data())
def test_damaged_sign_bytes_are_read_alike_or_refused(message: CanonicalMessage, data: st.DataObject) -> None:
    damaged = bytearray(encode_sign_bytes(message))
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] = data.draw(st.integers(0, 255))
    try:
        strict = parse_sign_bytes(bytes(damaged))
    except SignBytesError:
        strict = None
    try:
        header = read_header(bytes(damaged))
    except SignBytesError:
        assert strict is None
        return
    if strict is not None:
        assert (header.type, header.height, header.round, header.chain_id) == (
            strict.type,
            strict.height,
            strict.round,
            strict.chain_id,
        )


@given(st.binary(max_size=250))
def test_any_bytes_end_in_a_header_or_a_sign_bytes_error(data: bytes) -> None:
    try:
        read_header(data)
    except SignBytesError:
        return


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x02\x08\x00", b"\x80", b"\x80\x01", b"\x02\x0a\x00"])
def test_what_is_no_vote_or_proposal_is_refused(data: bytes) -> None:
    with pytest.raises(SignBytesError):
        read_header(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x03\x08\x01\x11", "they end too early"),
        (b"\x02\x08\x07", "of another type"),
        (NO_TEXT, "the chain id is not UTF-8"),
    ],
)
def test_why_they_are_none_is_said_in_words(data: bytes, why: str) -> None:
    with pytest.raises(SignBytesError) as refused:
        read_header(data)
    assert str(refused.value) == f"these are no sign-bytes of a vote or proposal: {why}"


def test_the_strict_parser_too_says_it_in_words() -> None:
    with pytest.raises(SignBytesError, match=r"^these are no sign-bytes: the chain id is not UTF-8$"):
        parse_sign_bytes(NO_TEXT)
