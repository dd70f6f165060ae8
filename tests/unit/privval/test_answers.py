"""What the signer answers: bytes that nodes of both generations read, and short ones."""

from __future__ import annotations

import pytest

from cmkms.errors import BrokenInvariantError
from cmkms.privval import (
    GO_ZERO_TIME,
    NIL_BLOCK,
    Proposal,
    RequestKind,
    SignedMsgType,
    Timestamp,
    Vote,
    encode_error_response,
    encode_ping_response,
    encode_pub_key_response,
    encode_signed_proposal_response,
    encode_signed_vote_response,
)
from cmkms.privval.pb import privval_pb2 as pb
from tests.unit.privval.vectors import BLOCK, MESSAGES, PUBLIC_KEY, TIME

MAX_ANSWER_BYTES = 300
ANSWERABLE = [RequestKind.PUB_KEY, RequestKind.SIGN_VOTE, RequestKind.SIGN_PROPOSAL]
LONGEST_TIME = Timestamp(-62_135_596_799, 999_999_999)


def read_error(kind: RequestKind, answer: bytes) -> pb.RemoteSignerError:
    """The error in an answer of this kind."""
    message = pb.Message.FromString(answer)
    match kind:
        case RequestKind.PUB_KEY:
            assert message.WhichOneof("sum") == "pub_key_response"
            return message.pub_key_response.error
        case RequestKind.SIGN_VOTE:
            assert message.WhichOneof("sum") == "signed_vote_response"
            return message.signed_vote_response.error
        case _:
            assert message.WhichOneof("sum") == "signed_proposal_response"
            return message.signed_proposal_response.error


def test_a_public_key_is_given_in_the_fields_of_both_generations() -> None:
    assert encode_pub_key_response("ed25519", PUBLIC_KEY) == MESSAGES["pub_key_response_both"]


def test_a_public_key_holds_what_a_node_up_to_v040_reads() -> None:
    ours = pb.Message.FromString(encode_pub_key_response("ed25519", PUBLIC_KEY)).pub_key_response
    gos = pb.Message.FromString(MESSAGES["pub_key_response"]).pub_key_response

    assert ours.pub_key == gos.pub_key


def test_a_public_key_holds_what_a_node_of_v1_reads() -> None:
    ours = pb.Message.FromString(encode_pub_key_response("ed25519", PUBLIC_KEY)).pub_key_response
    gos = pb.Message.FromString(MESSAGES["pub_key_response_v1"]).pub_key_response

    assert (ours.pub_key_bytes, ours.pub_key_type) == (gos.pub_key_bytes, gos.pub_key_type)


@pytest.mark.parametrize(
    ("key_type", "field"),
    [("secp256k1", "secp256k1"), ("bls12_381", "bls12381"), ("ml_dsa_65", "mldsa65"), ("secp256k1eth", "secp256k1eth")],
)
def test_other_kinds_of_keys_stand_in_their_own_field(key_type: str, field: str) -> None:
    response = pb.Message.FromString(encode_pub_key_response(key_type, b"key")).pub_key_response

    assert response.pub_key.WhichOneof("sum") == field
    assert response.pub_key_type == key_type


def test_a_key_that_no_node_knows_is_a_bug() -> None:
    with pytest.raises(BrokenInvariantError, match="sr25519"):
        encode_pub_key_response("sr25519", b"key")


def test_a_signed_vote_is_gos_but_for_the_validators_address_and_index() -> None:
    gos = pb.Message.FromString(MESSAGES["vote_response"])
    gos.signed_vote_response.vote.ClearField("validator_address")
    gos.signed_vote_response.vote.ClearField("validator_index")

    ours = encode_signed_vote_response(Vote(SignedMsgType.PREVOTE, 3, 2, BLOCK, TIME), b"", b"")

    assert ours == gos.SerializeToString()


def test_a_signed_vote_carries_both_signatures() -> None:
    vote = Vote(SignedMsgType.PRECOMMIT, 3, 2, BLOCK, TIME)

    message = pb.Message.FromString(encode_signed_vote_response(vote, b"s" * 64, b"e" * 64))

    assert message.signed_vote_response.vote.signature == b"s" * 64
    assert message.signed_vote_response.vote.extension_signature == b"e" * 64
    assert not message.signed_vote_response.HasField("error")


@pytest.mark.parametrize("timestamp", [Timestamp(0, 0), GO_ZERO_TIME], ids=["1970", "year 1"])
def test_a_signed_vote_echoes_even_an_empty_time(timestamp: Timestamp) -> None:
    vote = Vote(SignedMsgType.PREVOTE, 1, 0, NIL_BLOCK, timestamp)

    echoed = pb.Message.FromString(encode_signed_vote_response(vote, b"s", b"")).signed_vote_response.vote

    assert echoed.HasField("timestamp")
    assert (echoed.timestamp.seconds, echoed.timestamp.nanos) == (timestamp.seconds, timestamp.nanos)


def test_the_extension_itself_is_never_sent_back() -> None:
    vote = Vote(SignedMsgType.PRECOMMIT, 3, 2, BLOCK, TIME, extension=b"x" * 1024 * 1024)

    assert len(encode_signed_vote_response(vote, b"s" * 64, b"e" * 64)) < MAX_ANSWER_BYTES


def test_the_longest_vote_stays_below_300_bytes() -> None:
    vote = Vote(SignedMsgType.PRECOMMIT, 2**63 - 1, 2**31 - 1, BLOCK, LONGEST_TIME)

    assert len(encode_signed_vote_response(vote, b"s" * 64, b"e" * 64)) < MAX_ANSWER_BYTES


def test_the_longest_proposal_stays_below_300_bytes() -> None:
    proposal = Proposal(2**63 - 1, 2**31 - 1, -1, BLOCK, LONGEST_TIME)

    assert len(encode_signed_proposal_response(proposal, b"s" * 64)) < MAX_ANSWER_BYTES


def test_a_signed_proposal_says_what_was_asked_and_its_signature() -> None:
    answer = encode_signed_proposal_response(Proposal(3, 2, -1, BLOCK, TIME), b"s" * 64)

    proposal = pb.Message.FromString(answer).signed_proposal_response.proposal

    assert (proposal.type, proposal.height, proposal.round, proposal.pol_round) == (32, 3, 2, -1)
    assert (proposal.block_id.hash, proposal.timestamp.seconds) == (BLOCK.hash, TIME.seconds)
    assert proposal.signature == b"s" * 64


def test_a_ping_is_answered_as_go_answers_it() -> None:
    assert encode_ping_response() == MESSAGES["ping_response"]


def test_an_error_about_the_public_key_is_that_of_v1() -> None:
    assert encode_error_response(RequestKind.PUB_KEY, 1, "it's a error") == MESSAGES["pub_key_error_v1"]


@pytest.mark.parametrize(
    ("kind", "vector"), [(RequestKind.PUB_KEY, "pub_key_error"), (RequestKind.SIGN_VOTE, "vote_error")]
)
def test_an_error_is_the_one_that_go_sends(kind: RequestKind, vector: str) -> None:
    ours = read_error(kind, encode_error_response(kind, 1, "it's a error"))

    assert ours == read_error(kind, MESSAGES[vector])


@pytest.mark.parametrize("kind", ANSWERABLE)
def test_an_error_with_neither_code_nor_text_is_still_an_error(kind: RequestKind) -> None:
    message = pb.Message.FromString(encode_error_response(kind, 0, ""))

    response = getattr(message, message.WhichOneof("sum") or "")
    assert response.HasField("error")


@pytest.mark.parametrize("kind", ANSWERABLE)
@pytest.mark.parametrize("letter", ["x", "é", "€", "𝄞"], ids=["1 byte", "2 bytes", "3 bytes", "4 bytes"])
def test_a_long_error_is_cut_between_two_letters(kind: RequestKind, letter: str) -> None:
    answer = encode_error_response(kind, 2**31 - 1, "a" + letter * 1000)

    assert len(answer) < MAX_ANSWER_BYTES
    assert set(read_error(kind, answer).description) == {"a", letter}


def test_an_error_whose_text_is_no_unicode_is_still_sent() -> None:
    answer = encode_error_response(RequestKind.SIGN_VOTE, 0, "file \udcff")

    assert read_error(RequestKind.SIGN_VOTE, answer).description == "file ?"


def test_an_error_about_a_ping_is_a_bug() -> None:
    with pytest.raises(BrokenInvariantError, match="ping"):
        encode_error_response(RequestKind.PING, 0, "x")
