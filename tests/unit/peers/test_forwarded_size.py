"""A node's longest request, with fields left out, is longer once it is written anew, and is forwarded all the same."""

from __future__ import annotations

import pytest

from cmkms.peers.codec import MAX_FORWARDED_BYTES, decode, encode
from cmkms.privval import MAX_REQUEST_BYTES, SignProposalRequest, SignVoteRequest, decode_request, encode_request
from cmkms.privval.pb import privval_pb2, types_pb2
from cmkms.signing.forwarding import Forward
from tests.unit.peers.replica import cluster, eventually, meshed
from tests.unit.signing.messages import CHAIN

LONGEST_CHAIN_ID = "c" * 50


def longest_request(chain_id: str = CHAIN) -> bytes:
    """A precommit of exactly the greatest length that is read, without a timestamp and a block's parts."""

    def of(extension: int) -> bytes:
        block_id = types_pb2.BlockID(hash=b"A" * 32, part_set_header=types_pb2.PartSetHeader(total=1, hash=b"a" * 32))
        vote = types_pb2.Vote(type=2, height=10, block_id=block_id, extension=b"x" * extension)
        request = privval_pb2.SignVoteRequest(vote=vote, chain_id=chain_id)
        return privval_pb2.Message(sign_vote_request=request).SerializeToString()

    extension = MAX_REQUEST_BYTES - len(of(MAX_REQUEST_BYTES // 2)) + MAX_REQUEST_BYTES // 2
    request = of(extension)
    assert len(request) == MAX_REQUEST_BYTES
    return request


def rewritten(request: bytes) -> bytes:
    decoded = decode_request(request)
    assert isinstance(decoded, SignVoteRequest | SignProposalRequest)
    return encode_request(decoded)


@pytest.mark.parametrize("chain_id", [CHAIN, LONGEST_CHAIN_ID])
def test_written_anew_it_is_longer_than_any_node_may_send_and_still_fits_a_forward(chain_id: str) -> None:
    request = rewritten(longest_request(chain_id))
    assert MAX_REQUEST_BYTES < len(request) <= MAX_FORWARDED_BYTES
    forward = Forward(1, chain_id, "node-1", 2, 5000, request)
    assert decode(encode(forward)) == forward


async def test_it_crosses_a_link_and_no_bug_is_found() -> None:
    """An error in `send` would end the process: any node could end any replica that does not hold the lease."""
    forward = Forward(1, CHAIN, "node-1", 1, 5000, rewritten(longest_request()))
    one, other = cluster()
    async with meshed(one, other):
        assert one.net.send("node-1", forward)
        await eventually(lambda: ("node-0", forward) in other.messages)
