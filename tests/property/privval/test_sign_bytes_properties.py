"""The hand-written sign-bytes against protobuf's, and against themselves."""

from __future__ import annotations

from dataclasses import fields, replace

from hypothesis import example, given
from hypothesis import strategies as st

from cmkms.privval import (
    BlockID,
    CanonicalMessage,
    Proposal,
    SignBytesError,
    Timestamp,
    Vote,
    differ_only_in_timestamp,
    encode_sign_bytes,
    extension_sign_bytes,
    parse_sign_bytes,
    proposal_sign_bytes,
    vote_sign_bytes,
)
from cmkms.privval.framing import delimit
from cmkms.privval.pb import canonical_pb2
from tests.property.privval.strategies import canonical_messages, chain_ids, proposals, timestamps, votes


def fill_in(
    oracle: canonical_pb2.CanonicalVote | canonical_pb2.CanonicalProposal, block_id: BlockID, timestamp: Timestamp
) -> bytes:
    """Finish protobuf's version as Go does: no nil block, and always a part set header and a timestamp."""
    if not block_id.is_nil:
        oracle.block_id.hash = block_id.hash
        oracle.block_id.part_set_header.SetInParent()
        oracle.block_id.part_set_header.total = block_id.part_set_header.total
        oracle.block_id.part_set_header.hash = block_id.part_set_header.hash
    oracle.timestamp.SetInParent()
    oracle.timestamp.seconds, oracle.timestamp.nanos = timestamp.seconds, timestamp.nanos
    return delimit(oracle.SerializeToString(deterministic=True))


@given(chain_ids, votes)
def test_a_vote_is_written_as_protobuf_writes_it(chain_id: str, vote: Vote) -> None:
    oracle = canonical_pb2.CanonicalVote(type=vote.type, height=vote.height, round=vote.round, chain_id=chain_id)

    assert vote_sign_bytes(chain_id, vote) == fill_in(oracle, vote.block_id, vote.timestamp)


@given(chain_ids, proposals)
def test_a_proposal_is_written_as_protobuf_writes_it(chain_id: str, proposal: Proposal) -> None:
    oracle = canonical_pb2.CanonicalProposal(
        type=32, height=proposal.height, round=proposal.round, pol_round=proposal.pol_round, chain_id=chain_id
    )

    assert proposal_sign_bytes(chain_id, proposal) == fill_in(oracle, proposal.block_id, proposal.timestamp)


@given(chain_ids, st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1), st.binary(max_size=300))
def test_an_extension_is_written_as_protobuf_writes_it(
    chain_id: str, height: int, round_: int, extension: bytes
) -> None:
    oracle = canonical_pb2.CanonicalVoteExtension(extension=extension, height=height, round=round_, chain_id=chain_id)

    assert extension_sign_bytes(chain_id, height, round_, extension) == delimit(oracle.SerializeToString())


@given(canonical_messages)
def test_what_is_written_reads_back(message: CanonicalMessage) -> None:
    assert parse_sign_bytes(encode_sign_bytes(message)) == message


@given(st.binary(max_size=200))
@example(bytes.fromhex("0d0801110100000000000000") + b"\x2a\x00")
def test_what_reads_at_all_is_the_only_form_of_what_it_says(data: bytes) -> None:
    try:
        message = parse_sign_bytes(data)
    except SignBytesError:
        return
    assert encode_sign_bytes(message) == data


@given(canonical_messages, st.data())
def test_a_changed_byte_is_refused_or_changes_the_message(message: CanonicalMessage, data: st.DataObject) -> None:
    original = encode_sign_bytes(message)
    changed = bytearray(original)
    changed[data.draw(st.integers(0, len(original) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = parse_sign_bytes(bytes(changed))
    except SignBytesError:
        return
    assert other != message
    assert encode_sign_bytes(other) == changed


@given(canonical_messages, timestamps)
def test_only_the_time_differs_exactly_if_the_time_differs(message: CanonicalMessage, timestamp: Timestamp) -> None:
    moved = message.with_timestamp(timestamp)

    differ = differ_only_in_timestamp(encode_sign_bytes(message), encode_sign_bytes(moved))

    assert differ == (timestamp != message.timestamp)


@given(canonical_messages, st.data())
def test_two_messages_differ_in_time_alone_only_if_all_else_is_equal(
    first: CanonicalMessage, data: st.DataObject
) -> None:
    names = [field.name for field in fields(CanonicalMessage)]
    other = data.draw(canonical_messages.filter(lambda message: (message.type == 32) == (first.type == 32)))
    taken_over = data.draw(st.sets(st.sampled_from(names)))
    second = replace(first, **{name: getattr(other, name) for name in taken_over})

    differ = differ_only_in_timestamp(encode_sign_bytes(first), encode_sign_bytes(second))

    assert differ == (first != second and first.with_timestamp(second.timestamp) == second)


@given(chain_ids, st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1), st.binary(max_size=300))
def test_an_extension_never_reads_as_a_vote_or_proposal(
    chain_id: str, height: int, round_: int, extension: bytes
) -> None:
    signed = extension_sign_bytes(chain_id, height, round_, extension)

    try:
        parse_sign_bytes(signed)
    except SignBytesError:
        return
    raise AssertionError(signed.hex())
