"""The hand-written codec against CometBFT's own vectors, and against itself."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmkms.harness.errors import BadReplyError
from cmkms.harness.protobuf import fields, read_uvarint, uvarint
from cmkms.harness.signbytes import extension_sign_bytes, proposal_sign_bytes, vote_sign_bytes
from cmkms.harness.values import ZERO_TIME, BlockID, MessageType, Proposal, Time, Vote
from cmkms.harness.wire import (
    ErrorReply,
    Kind,
    PingReply,
    PingRequest,
    ProposalReply,
    PubKeyReply,
    PubKeyRequest,
    SignProposalRequest,
    SignVoteRequest,
    VoteReply,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)

CHAIN = "test_chain_id"
BLOCK = BlockID(
    hashlib.sha256(b"blockID_hash").digest(), 1_000_000, hashlib.sha256(b"blockID_part_set_header_hash").digest()
)
TIME = Time(1570983284)
ADDRESS = bytes.fromhex("6af1f4111082efb388211bc72c55bcd61e9ac3d5")
PUB_KEY = bytes.fromhex("556a436f1218d30942efe798420f51dc9b6a311b929c578257457d05c5fcf230")
BLOCK_HEX = (
    "224a0a208b01023386c371778ecb6368573e539afc3cc860ec3a2f614e54fe5652f4fc80122608c0843d1220"
    "72db3d959635dff1bb567bedaa70573392c5159666a3f8caf11e413aac52207a"
)
CHAIN_HEX = "746573745f636861696e5f6964"

# CometBFT: types/vote_test.go TestVoteSignBytesTestVectors, and bytes taken from its running code.
SIGN_BYTES = {
    "empty vote": ("", Vote(0, 0, 0), "0d2a0b088092b8c398feffffff01"),
    "precommit of year 1": (
        "",
        Vote(MessageType.PRECOMMIT, 1, 1),
        "2108021101000000000000001901000000000000002a0b088092b8c398feffffff01",
    ),
    "vote without type": (
        CHAIN,
        Vote(0, 1, 1),
        f"2e1101000000000000001901000000000000002a0b088092b8c398feffffff01320d{CHAIN_HEX}",
    ),
    "precommit of a block": (
        CHAIN,
        Vote(MessageType.PRECOMMIT, 3, 2, BLOCK, TIME),
        f"770802110300000000000000190200000000000000{BLOCK_HEX}2a0608f49a8ded05320d{CHAIN_HEX}",
    ),
    "nil prevote with milliseconds": (
        CHAIN,
        Vote(MessageType.PREVOTE, 3, 0, time=TIME.later(234_000_000)),
        f"2708011103000000000000002a0b08f49a8ded0510809dca6f320d{CHAIN_HEX}",
    ),
    "prevote at the epoch": ("c", Vote(MessageType.PREVOTE, 1, 0, time=Time()), "1008011101000000000000002a00320163"),
    "block id without parts": (
        "c",
        Vote(MessageType.PREVOTE, 1, 0, BlockID(hashlib.sha256(b"x").digest()), TIME),
        (
            "3c080111010000000000000022240a202d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
            "12002a0608f49a8ded05320163"
        ),
    ),
    "proposal without proof of lock": (
        CHAIN,
        Proposal(3, 2, -1, BLOCK, TIME),
        (
            f"8201082011030000000000000019020000000000000020ffffffffffffffffff01"
            f"2a{BLOCK_HEX[2:]}320608f49a8ded053a0d{CHAIN_HEX}"
        ),
    ),
}

# CometBFT: privval/msgs_test.go TestPrivvalVectors.
VOTE_REQUEST_HEX = (
    f"1a81010a7f080210031802{BLOCK_HEX}2a0608f49a8ded0532146af1f4111082efb388211bc72c55bcd61e9ac3d5"
    "38d5bb034a09657874656e73696f6e"
)
PROPOSAL_REQUEST_HEX = f"2a700a6e08011003180220022a{BLOCK_HEX[2:]}320608f49a8ded053a10697427732061207369676e6174757265"
PUB_KEY_REPLY_HEX = "12240a220a20" + PUB_KEY.hex()


@pytest.mark.parametrize(("chain_id", "message", "expected"), SIGN_BYTES.values(), ids=SIGN_BYTES)
def test_sign_bytes_are_those_of_cometbft(chain_id: str, message: Vote | Proposal, expected: str) -> None:
    encode = vote_sign_bytes if isinstance(message, Vote) else proposal_sign_bytes

    assert encode(chain_id, message) == bytes.fromhex(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vote", "expected"),
    [
        (
            Vote(MessageType.PRECOMMIT, 3, 2, extension=b"extension"),
            f"2c0a09657874656e73696f6e110300000000000000190200000000000000220d{CHAIN_HEX}",
        ),
        (Vote(MessageType.PRECOMMIT, 3, 0), f"18110300000000000000220d{CHAIN_HEX}"),
    ],
    ids=["some bytes", "empty"],
)
def test_extension_sign_bytes_are_those_of_cometbft(vote: Vote, expected: str) -> None:
    assert extension_sign_bytes(CHAIN, vote) == bytes.fromhex(expected)


def test_requests_are_those_of_cometbft() -> None:
    vote = Vote(MessageType.PRECOMMIT, 3, 2, BLOCK, TIME, ADDRESS, 56789, extension=b"extension")
    proposal = Proposal(3, 2, 2, BLOCK, TIME, b"it's a signature", type=MessageType.PREVOTE)

    assert encode_request(PingRequest()) == bytes.fromhex("3a00")
    assert encode_request(PubKeyRequest("")) == bytes.fromhex("0a00")
    assert encode_request(SignVoteRequest("", vote)) == bytes.fromhex(VOTE_REQUEST_HEX)
    assert encode_request(SignProposalRequest("", proposal)) == bytes.fromhex(PROPOSAL_REQUEST_HEX)


def test_a_public_key_of_each_generation_is_read() -> None:
    old = decode_reply(bytes.fromhex(PUB_KEY_REPLY_HEX))
    new = decode_reply(bytes.fromhex(f"122b1a20{PUB_KEY.hex()}220765643235353139"))
    both = decode_reply(bytes.fromhex(f"124f0a220a20{PUB_KEY.hex()}1a20{PUB_KEY.hex()}220765643235353139"))

    assert old == PubKeyReply(PUB_KEY)
    assert new == PubKeyReply(b"", PUB_KEY, "ed25519")
    assert both == PubKeyReply(PUB_KEY, PUB_KEY, "ed25519")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("12140a0012100801120c697427732061206572726f72", Kind.PUB_KEY),
        ("22250a11220212002a0b088092b8c398feffffff0112100801120c697427732061206572726f72", Kind.SIGN_VOTE),
        ("32250a112a021200320b088092b8c398feffffff0112100801120c697427732061206572726f72", Kind.SIGN_PROPOSAL),
    ],
)
def test_an_error_reply_is_read_with_its_kind(data: str, kind: Kind) -> None:
    assert decode_reply(bytes.fromhex(data)) == ErrorReply(kind, 1, "it's a error")


def test_an_error_without_code_and_text_is_still_an_error() -> None:
    assert decode_reply(bytes.fromhex("22021200")) == ErrorReply(Kind.SIGN_VOTE, 0, "")


def test_an_absent_time_is_year_one_and_an_empty_one_the_epoch() -> None:
    absent = decode_reply(bytes.fromhex("22040a020801"))
    empty = decode_reply(bytes.fromhex("22060a0408012a00"))

    assert isinstance(absent, VoteReply)
    assert isinstance(empty, VoteReply)
    assert absent.vote.time == ZERO_TIME
    assert empty.vote.time == Time()


@pytest.mark.parametrize(
    "data",
    [
        "",
        "0a00",
        "42",
        "4a00",
        "42004200",
        "2205",
        "22020a05",
        "22030a0108",
        "22ffffffffffffffffffff01",
        "1301",
        "0200",
    ],
)
def test_a_reply_that_is_none_is_refused(data: str) -> None:
    with pytest.raises(BadReplyError):
        decode_reply(bytes.fromhex(data))


heights = st.integers(-(2**63), 2**63 - 1)
rounds = st.integers(-(2**31), 2**31 - 1)
block_ids = st.builds(BlockID, st.binary(max_size=40), st.integers(0, 2**32 - 1), st.binary(max_size=40))
times = st.builds(Time, heights, rounds)
votes = st.builds(
    Vote, rounds, heights, rounds, block_ids, times, st.binary(), rounds, st.binary(), st.binary(), st.binary()
)
proposals = st.builds(Proposal, heights, rounds, rounds, block_ids, times, st.binary(), rounds)


@given(st.one_of(votes.map(VoteReply), proposals.map(ProposalReply), st.just(PingReply())))
def test_a_reply_survives_its_encoding(reply: VoteReply | ProposalReply | PingReply) -> None:
    assert decode_reply(encode_reply(reply)) == reply


@given(st.text(max_size=50), votes, st.booleans())
def test_a_vote_request_survives_its_encoding(chain_id: str, vote: Vote, skip: bool) -> None:
    request = SignVoteRequest(chain_id, vote, skip)

    assert decode_request(encode_request(request)) == request


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_a_varint_is_read_back_wherever_it_stands(number: int, before: bytes) -> None:
    encoded = before + uvarint(number)

    assert read_uvarint(encoded, len(before)) == (number, len(encoded))
    assert read_uvarint(encoded[:-1], len(before)) is None


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_refused(data: bytes) -> None:
    try:
        found = list(fields(data))
    except BadReplyError:
        return
    assert all(field.number > 0 for field in found)
