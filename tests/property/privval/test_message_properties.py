"""Requests and answers: whatever a node sends is understood or refused in kind, and every answer is short."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cmkms.privval import (
    PingRequest,
    Proposal,
    PubKeyRequest,
    RequestKind,
    SignProposalRequest,
    SignVoteRequest,
    UndecodableRequestError,
    Vote,
    decode_request,
    encode_error_response,
    encode_signed_proposal_response,
    encode_signed_vote_response,
)
from cmkms.privval.pb import privval_pb2 as pb
from cmkms.privval.pb import types_pb2
from tests.property.privval.strategies import chain_ids, proposals, votes
from tests.unit.privval.vectors import MESSAGES

REQUESTS = (PubKeyRequest, SignVoteRequest, SignProposalRequest, PingRequest)
MAX_ANSWER_BYTES = 300

int32s = st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 40)
int64s = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 40)
wire_hashes = st.binary(max_size=40) | st.binary(min_size=32, max_size=32)


@st.composite
def wire_sign_requests(draw: st.DrawFn) -> pb.Message:
    """A request to sign with any values at all, also such as no node would send."""
    message = pb.Message()
    signed: types_pb2.Vote | types_pb2.Proposal
    if draw(st.booleans()):
        message.sign_vote_request.chain_id = draw(chain_ids)
        signed = message.sign_vote_request.vote
        message.sign_vote_request.vote.extension = draw(st.binary(max_size=5))
    else:
        message.sign_proposal_request.chain_id = draw(chain_ids)
        signed = message.sign_proposal_request.proposal
        message.sign_proposal_request.proposal.pol_round = draw(int32s)
    signed.type, signed.height, signed.round = draw(int32s), draw(int64s), draw(int32s)
    if draw(st.booleans()):
        signed.timestamp.seconds, signed.timestamp.nanos = draw(int64s), draw(int32s)
    if draw(st.booleans()):
        signed.block_id.hash = draw(wire_hashes)
        signed.block_id.part_set_header.total = draw(st.integers(0, 2**32 - 1))
        signed.block_id.part_set_header.hash = draw(wire_hashes)
    return message


ANSWERABLE_OR_NOT = {None, RequestKind.PUB_KEY, RequestKind.SIGN_VOTE, RequestKind.SIGN_PROPOSAL}


def refused_as(message: bytes) -> RequestKind | None:
    """Of which kind the refusal is. None too if there is none, or if the message cannot be answered."""
    try:
        request = decode_request(message)
    except UndecodableRequestError as error:
        return error.kind
    assert isinstance(request, REQUESTS)
    return None


@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_request_or_a_refusal(message: bytes) -> None:
    assert refused_as(message) in ANSWERABLE_OR_NOT


@given(st.sampled_from([1, 3, 5]), st.binary(max_size=120))
def test_any_body_ends_in_a_request_or_a_refusal_of_its_kind(field: int, body: bytes) -> None:
    message = bytes([field << 3 | 2, len(body)]) + body

    assert refused_as(message) in {None, RequestKind(field)}


@given(wire_sign_requests())
def test_any_values_end_in_a_request_or_a_refusal_of_its_kind(message: pb.Message) -> None:
    kind = refused_as(message.SerializeToString())

    expected = RequestKind.SIGN_VOTE if message.HasField("sign_vote_request") else RequestKind.SIGN_PROPOSAL
    assert kind in {None, expected}


@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_a_changed_byte_ends_in_a_request_or_a_refusal(name: str, data: st.DataObject) -> None:
    changed = bytearray(MESSAGES[name])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))

    assert refused_as(bytes(changed)) in ANSWERABLE_OR_NOT


@given(chain_ids, votes)
def test_every_legal_vote_is_understood_as_it_was_meant(chain_id: str, vote: Vote) -> None:
    # What we write as an answer holds all the fields of a request.
    answer = pb.Message.FromString(encode_signed_vote_response(vote, b"", b""))
    request = pb.Message(sign_vote_request=pb.SignVoteRequest(vote=answer.signed_vote_response.vote, chain_id=chain_id))

    assert decode_request(request.SerializeToString()) == SignVoteRequest(chain_id, vote, skip_extension_signing=False)


@given(chain_ids, proposals)
def test_every_legal_proposal_is_understood_as_it_was_meant(chain_id: str, proposal: Proposal) -> None:
    answer = pb.Message.FromString(encode_signed_proposal_response(proposal, b""))
    request = pb.Message(
        sign_proposal_request=pb.SignProposalRequest(
            proposal=answer.signed_proposal_response.proposal, chain_id=chain_id
        )
    )

    assert decode_request(request.SerializeToString()) == SignProposalRequest(chain_id, proposal)


@given(votes, proposals)
def test_every_signed_answer_is_short(vote: Vote, proposal: Proposal) -> None:
    assert len(encode_signed_vote_response(vote, b"s" * 64, b"e" * 64)) < MAX_ANSWER_BYTES
    assert len(encode_signed_proposal_response(proposal, b"s" * 64)) < MAX_ANSWER_BYTES


@given(
    st.sampled_from([RequestKind.PUB_KEY, RequestKind.SIGN_VOTE, RequestKind.SIGN_PROPOSAL]),
    st.integers(-(2**31), 2**31 - 1),
    st.text(max_size=400),
)
def test_every_error_is_short(kind: RequestKind, code: int, description: str) -> None:
    assert len(encode_error_response(kind, code, description)) < MAX_ANSWER_BYTES
