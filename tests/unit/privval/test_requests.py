"""What a node may ask, and what becomes of everything else that it could send."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cmkms.privval import (
    GO_ZERO_TIME,
    MAX_REQUEST_BYTES,
    NIL_BLOCK,
    BlockID,
    PartSetHeader,
    PingRequest,
    Proposal,
    PubKeyRequest,
    RequestKind,
    SignedMsgType,
    SignProposalRequest,
    SignVoteRequest,
    Timestamp,
    UndecodableRequestError,
    Vote,
    decode_request,
)
from cmkms.privval.pb import privval_pb2 as pb
from cmkms.privval.pb import types_pb2
from tests.unit.privval.vectors import BLOCK, MESSAGES, TIME


def vote_request(change: Callable[[types_pb2.Vote], object] = lambda _: None) -> bytes:
    """A valid request for a precommit at 3/2, changed by `change`."""
    message = pb.Message.FromString(MESSAGES["vote_request"])
    change(message.sign_vote_request.vote)
    return message.SerializeToString()


def proposal_request(change: Callable[[types_pb2.Proposal], object] = lambda _: None) -> bytes:
    """A valid request for a proposal at 3/2, changed by `change`."""
    message = pb.Message.FromString(MESSAGES["proposal_request"])
    change(message.sign_proposal_request.proposal)
    return message.SerializeToString()


def decode_vote(message: bytes) -> Vote:
    request = decode_request(message)
    assert isinstance(request, SignVoteRequest)
    return request.vote


def decode_proposal(message: bytes) -> Proposal:
    request = decode_request(message)
    assert isinstance(request, SignProposalRequest)
    return request.proposal


def refusal(message: bytes) -> UndecodableRequestError:
    with pytest.raises(UndecodableRequestError) as caught:
        decode_request(message)
    return caught.value


def nested(field: int, body: bytes) -> bytes:
    """A field of less than 128 bytes."""
    return bytes([field << 3 | 2, len(body)]) + body


# ------------------------------------------------------------------------------------------------- what is understood


def test_a_vote_request_of_v038_is_understood() -> None:
    assert decode_request(MESSAGES["vote_request"]) == SignVoteRequest(
        chain_id="",
        vote=Vote(SignedMsgType.PRECOMMIT, 3, 2, BLOCK, TIME, b"extension"),
        skip_extension_signing=False,
    )


def test_a_proposal_request_is_understood() -> None:
    assert decode_request(MESSAGES["proposal_request"]) == SignProposalRequest("", Proposal(3, 2, 2, BLOCK, TIME))


def test_an_empty_pub_key_request_is_understood() -> None:
    assert decode_request(MESSAGES["empty_pub_key_request"]) == PubKeyRequest("")


def test_a_pub_key_request_names_its_chain() -> None:
    assert decode_request(nested(1, nested(1, b"testnet-1"))) == PubKeyRequest("testnet-1")


def test_a_ping_is_understood() -> None:
    assert decode_request(MESSAGES["ping_request"]) == PingRequest()


def test_the_wish_of_v1_to_leave_the_extension_unsigned_is_read() -> None:
    message = pb.Message.FromString(MESSAGES["vote_request"])
    message.sign_vote_request.skip_extension_signing = True

    request = decode_request(message.SerializeToString())

    assert isinstance(request, SignVoteRequest)
    assert request.skip_extension_signing


def test_a_vote_without_a_block_is_nil() -> None:
    def change(vote: types_pb2.Vote) -> None:
        vote.ClearField("block_id")
        vote.ClearField("extension")

    assert decode_vote(vote_request(change)).block_id == NIL_BLOCK


def test_a_nil_vote_as_go_writes_it_is_nil() -> None:
    def change(vote: types_pb2.Vote) -> None:
        vote.block_id.CopyFrom(types_pb2.BlockID(part_set_header=types_pb2.PartSetHeader()))
        vote.ClearField("extension")

    assert decode_vote(vote_request(change)).block_id.is_nil


def test_an_absent_timestamp_is_gos_zero_time() -> None:
    assert decode_vote(vote_request(lambda vote: vote.ClearField("timestamp"))).timestamp == GO_ZERO_TIME
    assert decode_proposal(proposal_request(lambda p: p.ClearField("timestamp"))).timestamp == GO_ZERO_TIME


def test_an_empty_timestamp_is_1970() -> None:
    def change(message: types_pb2.Vote | types_pb2.Proposal) -> None:
        message.timestamp.Clear()
        message.timestamp.SetInParent()

    assert decode_vote(vote_request(change)).timestamp == Timestamp(0, 0)
    assert decode_proposal(proposal_request(change)).timestamp == Timestamp(0, 0)


@pytest.mark.parametrize(
    "timestamp",
    [Timestamp(-62_135_596_800, 0), Timestamp(-1, 999_999_999), Timestamp(253_402_300_799, 999_999_999)],
    ids=["the first", "the last before 1970", "the last"],
)
def test_every_time_from_year_1_to_9999_is_understood(timestamp: Timestamp) -> None:
    def change(message: types_pb2.Vote | types_pb2.Proposal) -> None:
        message.timestamp.seconds, message.timestamp.nanos = timestamp.seconds, timestamp.nanos

    assert decode_vote(vote_request(change)).timestamp == timestamp
    assert decode_proposal(proposal_request(change)).timestamp == timestamp


def test_a_proposal_without_proof_of_lock_is_understood() -> None:
    assert decode_proposal(proposal_request(lambda p: setattr(p, "pol_round", -1))).pol_round == -1


def test_the_type_of_a_proposal_is_not_looked_at() -> None:
    assert decode_request(proposal_request(lambda p: setattr(p, "type", 1))) == decode_request(proposal_request())


def test_a_block_id_may_lack_either_hash() -> None:
    def change(proposal: types_pb2.Proposal) -> None:
        proposal.block_id.ClearField("hash")
        proposal.block_id.part_set_header.ClearField("hash")

    assert decode_proposal(proposal_request(change)).block_id == BlockID(b"", PartSetHeader(1_000_000, b""))


def test_the_highest_height_and_round_are_understood() -> None:
    def change(vote: types_pb2.Vote) -> None:
        vote.height, vote.round = 2**63 - 1, 2**31 - 1

    vote = decode_vote(vote_request(change))

    assert (vote.height, vote.round) == (2**63 - 1, 2**31 - 1)


def test_an_extension_of_one_mebibyte_is_understood() -> None:
    message = vote_request(lambda vote: setattr(vote, "extension", bytes(1024 * 1024)))

    assert len(message) < MAX_REQUEST_BYTES
    assert len(decode_vote(message).extension) == 1024 * 1024


# ----------------------------------------------------------------------------------------------- as Go's decoder does


@pytest.mark.parametrize(
    "unknown",
    [
        bytes.fromhex("5a03616263"),
        bytes.fromhex("5801"),
        bytes.fromhex("590102030405060708"),
        bytes.fromhex("5d01020304"),
    ],
    ids=["bytes", "a varint", "eight bytes", "four bytes"],
)
def test_unknown_fields_are_skipped_wherever_they_stand(unknown: bytes) -> None:
    request = nested(1, nested(1, b"c"))

    assert decode_request(unknown + request) == PubKeyRequest("c")
    assert decode_request(request + unknown) == PubKeyRequest("c")
    assert decode_request(nested(1, unknown + nested(1, b"c") + unknown)) == PubKeyRequest("c")


def test_the_second_extension_of_v2_is_skipped() -> None:
    vote = types_pb2.Vote(type=1, height=1).SerializeToString() + nested(11, b"non-rp") + nested(12, b"signature")

    assert decode_vote(nested(3, nested(1, vote))).height == 1


def test_fields_are_understood_in_any_order() -> None:
    def field(number: int, value: bytes) -> bytes:
        return nested(number, value)

    block = field(2, field(2, b"p" * 32) + b"\x08\x05") + field(1, b"h" * 32)
    vote = field(5, b"\x10\x02\x08\x01") + field(4, block) + b"\x18\x07" + b"\x10\x09" + b"\x08\x02"
    request = decode_request(bytes([3 << 3 | 2, len(vote) + 2 + 3]) + field(2, b"c") + field(1, vote))

    assert request == SignVoteRequest(
        "c",
        Vote(SignedMsgType.PRECOMMIT, 9, 7, BlockID(b"h" * 32, PartSetHeader(5, b"p" * 32)), Timestamp(1, 2)),
        skip_extension_signing=False,
    )


def test_of_two_requests_in_one_message_the_last_counts() -> None:
    assert decode_request(MESSAGES["vote_request"] + MESSAGES["ping_request"]) == PingRequest()
    assert decode_request(nested(7, b"") + nested(1, nested(1, b"c"))) == PubKeyRequest("c")


def test_of_two_requests_of_one_kind_the_last_counts_and_nothing_is_merged() -> None:
    vote = nested(1, types_pb2.Vote(type=1, height=5).SerializeToString())

    request = decode_request(nested(3, vote + nested(2, b"first")) + nested(3, vote))

    assert isinstance(request, SignVoteRequest)
    assert request.chain_id == ""


def test_a_round_beyond_32_bits_is_cut_as_go_cuts_it() -> None:
    vote = bytes.fromhex("08011001") + bytes.fromhex("188380808010")  # round = 2**32 + 3

    assert decode_vote(nested(3, nested(1, vote))).round == 3


# ---------------------------------------------------------------------------------- what gets an error of its own kind


@pytest.mark.parametrize("wrong_type", [0, 3, 32, -1])
def test_a_vote_is_a_prevote_or_a_precommit(wrong_type: int) -> None:
    error = refusal(vote_request(lambda vote: setattr(vote, "type", wrong_type)))

    assert error.kind is RequestKind.SIGN_VOTE
    assert str(wrong_type) in error.reason


@pytest.mark.parametrize("height", [0, -1, -(2**63)])
def test_a_chain_begins_at_height_1(height: int) -> None:
    assert refusal(vote_request(lambda vote: setattr(vote, "height", height))).kind is RequestKind.SIGN_VOTE
    assert refusal(proposal_request(lambda p: setattr(p, "height", height))).kind is RequestKind.SIGN_PROPOSAL


@pytest.mark.parametrize("round_", [-1, -(2**31)])
def test_a_negative_round_is_refused(round_: int) -> None:
    assert refusal(vote_request(lambda vote: setattr(vote, "round", round_))).kind is RequestKind.SIGN_VOTE
    assert refusal(proposal_request(lambda p: setattr(p, "round", round_))).kind is RequestKind.SIGN_PROPOSAL


@pytest.mark.parametrize("pol_round", [-2, -(2**31)])
def test_a_proof_of_lock_round_below_minus_1_is_refused(pol_round: int) -> None:
    assert refusal(proposal_request(lambda p: setattr(p, "pol_round", pol_round))).kind is RequestKind.SIGN_PROPOSAL


@pytest.mark.parametrize("length", [1, 20, 31, 33, 64])
def test_a_hash_has_0_or_32_bytes(length: int) -> None:
    def change_block(message: types_pb2.Vote | types_pb2.Proposal) -> None:
        message.block_id.hash = bytes(length)

    def change_parts(message: types_pb2.Vote | types_pb2.Proposal) -> None:
        message.block_id.part_set_header.hash = bytes(length)

    assert refusal(vote_request(change_block)).kind is RequestKind.SIGN_VOTE
    assert refusal(vote_request(change_parts)).kind is RequestKind.SIGN_VOTE
    assert refusal(proposal_request(change_block)).kind is RequestKind.SIGN_PROPOSAL
    assert refusal(proposal_request(change_parts)).kind is RequestKind.SIGN_PROPOSAL


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(-62_135_596_801, 0), (253_402_300_800, 0), (2**63 - 1, 0), (0, -1), (0, 1_000_000_000)],
    ids=["year 0", "year 10000", "the end of time", "negative nanoseconds", "a whole second of nanoseconds"],
)
def test_a_time_that_go_refuses_is_refused(seconds: int, nanos: int) -> None:
    def change(message: types_pb2.Vote | types_pb2.Proposal) -> None:
        message.timestamp.seconds, message.timestamp.nanos = seconds, nanos

    assert refusal(vote_request(change)).kind is RequestKind.SIGN_VOTE
    assert refusal(proposal_request(change)).kind is RequestKind.SIGN_PROPOSAL


def test_an_extension_on_a_prevote_is_refused() -> None:
    error = refusal(vote_request(lambda vote: setattr(vote, "type", SignedMsgType.PREVOTE)))

    assert error.kind is RequestKind.SIGN_VOTE
    assert "extension" in error.reason


def test_an_extension_on_a_nil_precommit_is_refused() -> None:
    error = refusal(vote_request(lambda vote: vote.ClearField("block_id")))

    assert error.kind is RequestKind.SIGN_VOTE
    assert "extension" in error.reason


def test_a_request_without_what_is_to_be_signed_is_refused() -> None:
    no_vote, no_proposal = refusal(nested(3, nested(2, b"c"))), refusal(nested(5, nested(2, b"c")))

    assert (no_vote.kind, no_vote.reason) == (RequestKind.SIGN_VOTE, "the request holds no vote")
    assert (no_proposal.kind, no_proposal.reason) == (RequestKind.SIGN_PROPOSAL, "the request holds no proposal")


@pytest.mark.parametrize("kind", [RequestKind.PUB_KEY, RequestKind.SIGN_VOTE, RequestKind.SIGN_PROPOSAL])
@pytest.mark.parametrize(
    "rest",
    [b"\x02\x0a", b"\x03\x0a\x05\x08", b"\x05\x08", b"\x02\x0f\x00", b"", b"\xff"],
    ids=[
        "a cut-off field",
        "a length past the end",
        "a cut-off request",
        "a wire type of 7",
        "no length",
        "half a length",
    ],
)
def test_a_broken_request_is_refused_as_what_it_would_have_been(kind: RequestKind, rest: bytes) -> None:
    assert refusal(bytes([kind << 3 | 2]) + rest).kind is kind


@pytest.mark.parametrize("kind", [RequestKind.PUB_KEY, RequestKind.SIGN_VOTE, RequestKind.SIGN_PROPOSAL])
def test_a_request_that_is_a_number_is_refused_as_what_it_would_have_been(kind: RequestKind) -> None:
    error = refusal(bytes([kind << 3, 0]))

    assert error.kind is kind
    assert "wire type 0" in error.reason


@pytest.mark.parametrize("kind", [RequestKind.PUB_KEY, RequestKind.SIGN_VOTE, RequestKind.SIGN_PROPOSAL])
def test_a_chain_id_that_is_not_utf8_is_refused(kind: RequestKind) -> None:
    field = 1 if kind is RequestKind.PUB_KEY else 2

    assert refusal(nested(kind, nested(field, b"\xff\xfe"))).kind is kind


def test_what_follows_a_request_must_be_a_message_too() -> None:
    assert refusal(nested(1, b"") + b"\x0b").kind is RequestKind.PUB_KEY


# -------------------------------------------------------------------------------------------- what cannot be answered


@pytest.mark.parametrize("field", [2, 4, 6, 8, 9, 10, 15])
def test_what_is_no_request_cannot_be_answered(field: int) -> None:
    assert refusal(nested(field, b"")).kind is None


@pytest.mark.parametrize("message", [b"", b"\xff", b"\x4b", b"\x00\x00", b"\x52"], ids=lambda m: m.hex() or "empty")
def test_what_is_no_message_cannot_be_answered(message: bytes) -> None:
    assert refusal(message).kind is None


def test_a_broken_ping_cannot_be_answered() -> None:
    assert refusal(b"\x3a\x05").kind is None


def test_the_reason_is_also_the_errors_text() -> None:
    error = refusal(b"")

    assert str(error) == error.reason
