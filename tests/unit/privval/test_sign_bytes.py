"""The bytes that are signed: CometBFT's own vectors, and what the strict reader refuses."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cmkms.privval import (
    GO_ZERO_TIME,
    NIL_BLOCK,
    BlockID,
    CanonicalMessage,
    PartSetHeader,
    Proposal,
    SignBytesError,
    SignedMsgType,
    Timestamp,
    Vote,
    differ_only_in_timestamp,
    encode_sign_bytes,
    extension_sign_bytes,
    parse_sign_bytes,
    proposal_sign_bytes,
    vote_sign_bytes,
)
from tests.unit.privval.vectors import BLOCK, CHAIN_ID, SIGN_BYTES, SIGNATURE, TIME

EPOCH = Timestamp(0, 0)
PRECOMMIT = Vote(SignedMsgType.PRECOMMIT, 3, 2, BLOCK, TIME)
PROPOSAL = Proposal(3, 2, -1, BLOCK, TIME)

VOTES = {
    "empty_vote": ("", Vote(SignedMsgType.UNKNOWN, 0, 0, NIL_BLOCK, GO_ZERO_TIME)),
    "precommit_h1_r1_zero_time": ("", Vote(SignedMsgType.PRECOMMIT, 1, 1, NIL_BLOCK, GO_ZERO_TIME)),
    "type_0_h1_r1_zero_time": (CHAIN_ID, Vote(SignedMsgType.UNKNOWN, 1, 1, NIL_BLOCK, GO_ZERO_TIME)),
    "precommit_h3_r2": (CHAIN_ID, PRECOMMIT),
    "nil_prevote_h3_r0_234ms": (
        CHAIN_ID,
        Vote(SignedMsgType.PREVOTE, 3, 0, NIL_BLOCK, Timestamp(TIME.seconds, 234_000_000)),
    ),
    "nil_prevote_h1_epoch": ("c", Vote(SignedMsgType.PREVOTE, 1, 0, NIL_BLOCK, EPOCH)),
    "prevote_h1_hash_without_parts": (
        "c",
        Vote(SignedMsgType.PREVOTE, 1, 0, BlockID(sha256(b"x").digest(), PartSetHeader()), TIME),
    ),
}


def delimited(body: str) -> bytes:
    """Sign-bytes out of a hand-made body in hex, of less than 128 bytes."""
    raw = bytes.fromhex(body)
    return bytes([len(raw)]) + raw


@pytest.mark.parametrize("name", VOTES)
def test_a_vote_is_written_as_go_writes_it(name: str) -> None:
    chain_id, vote = VOTES[name]

    assert vote_sign_bytes(chain_id, vote) == SIGN_BYTES[name]


def test_a_proposal_without_proof_of_lock_is_written_as_go_writes_it() -> None:
    assert proposal_sign_bytes(CHAIN_ID, PROPOSAL) == SIGN_BYTES["proposal_h3_r2_no_pol"]


def test_an_extension_is_written_as_go_writes_it() -> None:
    assert extension_sign_bytes(CHAIN_ID, 3, 2, b"extension") == SIGN_BYTES["extension_h3_r2"]


def test_an_empty_extension_is_written_as_go_writes_it() -> None:
    assert extension_sign_bytes(CHAIN_ID, 3, 0, b"") == SIGN_BYTES["empty_extension_h3_r0"]


def test_a_signature_over_these_bytes_is_the_one_that_go_makes() -> None:
    key = Ed25519PrivateKey.from_private_bytes(SIGNATURE["seed"])

    assert key.sign(vote_sign_bytes(CHAIN_ID, PRECOMMIT)) == SIGNATURE["of_precommit_h3_r2"]


def test_the_extension_of_a_vote_is_no_part_of_its_sign_bytes() -> None:
    assert vote_sign_bytes(CHAIN_ID, replace(PRECOMMIT, extension=b"e")) == vote_sign_bytes(CHAIN_ID, PRECOMMIT)


@pytest.mark.parametrize(
    ("timestamp", "field"),
    [
        (EPOCH, "2a00"),
        (GO_ZERO_TIME, "2a0b088092b8c398feffffff01"),
        (Timestamp(-1, 999_999_999), "2a1108ffffffffffffffffff0110ff93ebdc03"),
        (Timestamp(253_402_300_799, 0), "2a0708ff82d1ffaf07"),
    ],
    ids=["1970", "year 1", "a nanosecond before 1970", "year 9999"],
)
def test_the_timestamp_is_always_written(timestamp: Timestamp, field: str) -> None:
    written = vote_sign_bytes("", Vote(SignedMsgType.PREVOTE, 1, 0, NIL_BLOCK, timestamp))

    assert written == delimited("0801110100000000000000" + field)


@pytest.mark.parametrize(
    "block_id",
    [BlockID(b"", PartSetHeader(1, b"")), BlockID(b"", PartSetHeader(0, b"p" * 32)), BlockID(b"h" * 32)],
    ids=["a total alone", "a parts hash alone", "a block hash alone"],
)
def test_a_block_id_is_nil_only_if_all_of_it_is_empty(block_id: BlockID) -> None:
    vote = replace(PRECOMMIT, block_id=block_id)

    assert not block_id.is_nil
    assert parse_sign_bytes(vote_sign_bytes("c", vote)).block_id == block_id


def test_a_nil_block_is_left_out_whole() -> None:
    assert NIL_BLOCK.is_nil
    assert vote_sign_bytes("c", VOTES["nil_prevote_h1_epoch"][1]).hex() == "1008011101000000000000002a00320163"


@pytest.mark.parametrize("name", [name for name, (_, vote) in VOTES.items() if vote.type])
def test_a_vote_reads_back_as_it_was_written(name: str) -> None:
    chain_id, vote = VOTES[name]

    assert parse_sign_bytes(SIGN_BYTES[name]) == CanonicalMessage(
        vote.type, vote.height, vote.round, 0, vote.block_id, vote.timestamp, chain_id
    )


def test_a_proposal_reads_back_as_it_was_written() -> None:
    assert parse_sign_bytes(SIGN_BYTES["proposal_h3_r2_no_pol"]) == CanonicalMessage(
        SignedMsgType.PROPOSAL, 3, 2, -1, BLOCK, TIME, CHAIN_ID
    )


@pytest.mark.parametrize("name", ["empty_vote", "type_0_h1_r1_zero_time", "extension_h3_r2", "empty_extension_h3_r0"])
def test_what_is_neither_vote_nor_proposal_is_refused(name: str) -> None:
    with pytest.raises(SignBytesError):
        parse_sign_bytes(SIGN_BYTES[name])


HEAD = "0801110100000000000000"  # prevote at height 1

NOT_CANONICAL = {
    "nothing": b"",
    "an empty message": b"\x00",
    "a type that is never signed": delimited("0803" + HEAD[4:] + "2a00"),
    "no timestamp": delimited(HEAD),
    "a byte after the end": delimited(HEAD + "2a00") + b"\x00",
    "a length that is too long": b"\x0e" + delimited(HEAD + "2a00")[1:],
    "a length in more bytes than needed": b"\x8d\x00" + delimited(HEAD + "2a00")[1:],
    "a number in more bytes than needed": delimited("088100" + HEAD[4:] + "2a00"),
    "a round of zero that is written": delimited(HEAD + "190000000000000000" + "2a00"),
    "fields out of order": delimited(HEAD[4:] + "0801" + "2a00"),
    "a field twice": delimited(HEAD + "2a00" + "2a00"),
    "a field that does not exist": delimited(HEAD + "2a00" + "3801"),
    "a proof-of-lock round in a vote": delimited(HEAD + "2001" + "2a00"),
    "a nil block that is written": delimited(HEAD + "2200" + "2a00"),
    "a nil block with a part set header": delimited(HEAD + "22021200" + "2a00"),
    "a block without a part set header": delimited(HEAD + "22220a20" + "aa" * 32 + "2a00"),
    "a hash of 31 bytes": delimited(HEAD + "22230a1f" + "aa" * 31 + "1200" + "2a00"),
    "more parts than 32 bits count": delimited(HEAD + "22081206088080808010" + "2a00"),
    "a thousand million nanoseconds": delimited(HEAD + "2a06108094ebdc03"),
    "negative nanoseconds": delimited(HEAD + "2a0b10ffffffffffffffffff01"),
    "a chain id that is not UTF-8": delimited(HEAD + "2a00" + "3201ff"),
    "a height that is a varint": delimited("08011001" + "2a00"),
    "a height of four bytes": delimited("08011501000000" + "2a00"),
    "a type that is a string": delimited("0a0101" + HEAD[4:] + "2a00"),
    "a timestamp that is a number": delimited(HEAD + "2801"),
    "a group": delimited(HEAD + "2a00" + "3334"),
    "a field that runs past the end": delimited(HEAD + "2a05"),
    "a number that never ends": delimited(HEAD + "2a00" + "28ffff"),
    "a number of more than 64 bits": delimited("08" + "ff" * 9 + "7f" + HEAD[4:] + "2a00"),
}


@pytest.mark.parametrize("data", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_what_is_not_canonical_is_refused(data: bytes) -> None:
    with pytest.raises(SignBytesError):
        parse_sign_bytes(data)


@pytest.mark.parametrize("name", ["precommit_h3_r2", "nil_prevote_h3_r0_234ms", "proposal_h3_r2_no_pol"])
def test_a_cut_off_message_is_refused(name: str) -> None:
    whole = SIGN_BYTES[name]

    for length in range(len(whole)):
        with pytest.raises(SignBytesError):
            parse_sign_bytes(whole[:length])


def test_another_timestamp_alone_is_seen_as_such() -> None:
    later = replace(PRECOMMIT, timestamp=Timestamp(TIME.seconds + 7, 1))

    assert differ_only_in_timestamp(vote_sign_bytes("c", PRECOMMIT), vote_sign_bytes("c", later))


def test_another_timestamp_alone_is_seen_in_proposals_too() -> None:
    later = replace(PROPOSAL, timestamp=EPOCH)

    assert differ_only_in_timestamp(proposal_sign_bytes("c", PROPOSAL), proposal_sign_bytes("c", later))


def test_identical_sign_bytes_do_not_differ() -> None:
    assert not differ_only_in_timestamp(SIGN_BYTES["precommit_h3_r2"], SIGN_BYTES["precommit_h3_r2"])


@pytest.mark.parametrize(
    "other",
    [
        replace(PRECOMMIT, type=SignedMsgType.PREVOTE),
        replace(PRECOMMIT, height=4),
        replace(PRECOMMIT, round=3),
        replace(PRECOMMIT, block_id=NIL_BLOCK),
        replace(PRECOMMIT, block_id=replace(BLOCK, hash=b"h" * 32)),
        replace(PRECOMMIT, block_id=replace(BLOCK, part_set_header=replace(BLOCK.part_set_header, total=2))),
    ],
    ids=["type", "height", "round", "nil", "block", "parts"],
)
def test_any_other_difference_counts(other: Vote) -> None:
    later = replace(other, timestamp=EPOCH)

    assert not differ_only_in_timestamp(vote_sign_bytes("c", PRECOMMIT), vote_sign_bytes("c", later))


def test_another_chain_counts() -> None:
    later = replace(PRECOMMIT, timestamp=EPOCH)

    assert not differ_only_in_timestamp(vote_sign_bytes("c", PRECOMMIT), vote_sign_bytes("d", later))


def test_another_proof_of_lock_round_counts() -> None:
    later = replace(PROPOSAL, pol_round=1, timestamp=EPOCH)

    assert not differ_only_in_timestamp(proposal_sign_bytes("c", PROPOSAL), proposal_sign_bytes("c", later))


def test_bytes_that_cannot_be_read_never_count_as_another_timestamp() -> None:
    readable = SIGN_BYTES["precommit_h3_r2"]

    assert not differ_only_in_timestamp(readable, b"")
    assert not differ_only_in_timestamp(readable[:-1], readable)


def test_a_message_moved_in_time_is_the_same_message_otherwise() -> None:
    message = parse_sign_bytes(SIGN_BYTES["precommit_h3_r2"])

    assert encode_sign_bytes(message.with_timestamp(EPOCH).with_timestamp(TIME)) == SIGN_BYTES["precommit_h3_r2"]
