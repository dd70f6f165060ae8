"""The canonical bytes a validator signs, as CometBFT v0.34 to v0.40 make them (`types/canonical.go`).

Written by hand from the table of fields; the length prefix belongs to the bytes that are signed.
"""

from __future__ import annotations

from cmkms.harness.protobuf import bytes_field, delimited, int_field, length_field, sfixed64_field
from cmkms.harness.values import BlockID, MessageType, Proposal, Time, Vote

__all__ = ["block_id_bytes", "extension_sign_bytes", "proposal_sign_bytes", "time_bytes", "vote_sign_bytes"]


def vote_sign_bytes(chain_id: str, vote: Vote) -> bytes:
    """What a signature over this vote covers: neither the validator's address and index nor the extension."""
    return delimited(
        int_field(1, vote.type)
        + sfixed64_field(2, vote.height)
        + sfixed64_field(3, vote.round)
        + _canonical_block_id(4, vote.block_id)
        + length_field(5, time_bytes(vote.time))
        + bytes_field(6, chain_id.encode())
    )


def proposal_sign_bytes(chain_id: str, proposal: Proposal) -> bytes:
    """What a signature over this proposal covers; the type is always 32."""
    return delimited(
        int_field(1, MessageType.PROPOSAL)
        + sfixed64_field(2, proposal.height)
        + sfixed64_field(3, proposal.round)
        + int_field(4, proposal.pol_round)
        + _canonical_block_id(5, proposal.block_id)
        + length_field(6, time_bytes(proposal.time))
        + bytes_field(7, chain_id.encode())
    )


def extension_sign_bytes(chain_id: str, vote: Vote) -> bytes:
    """What an extension signature covers (CometBFT v0.38 and later): the extension, height, round and chain."""
    return delimited(
        bytes_field(1, vote.extension)
        + sfixed64_field(2, vote.height)
        + sfixed64_field(3, vote.round)
        + bytes_field(4, chain_id.encode())
    )


def time_bytes(time: Time) -> bytes:
    """A `google.protobuf.Timestamp`: seconds and nanoseconds, zeros left out."""
    return int_field(1, time.seconds) + int_field(2, time.nanos)


def block_id_bytes(block_id: BlockID) -> bytes:
    """A BlockID; its part set header is always written, even when empty. Canonical and plain form are the same."""
    part_set_header = int_field(1, block_id.parts_total) + bytes_field(2, block_id.parts_hash)
    return bytes_field(1, block_id.hash) + length_field(2, part_set_header)


def _canonical_block_id(number: int, block_id: BlockID) -> bytes:
    """The canonical form leaves the whole field out for nil, where the plain message always carries it."""
    return b"" if block_id.is_nil else length_field(number, block_id_bytes(block_id))
