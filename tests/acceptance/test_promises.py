"""What the real `cmkms start` signs, repeats and refuses, alone and as three replicas, over tcp and unix.

One signer each for the whole file; each test goes higher.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import pytest_asyncio

from cmkms.harness.chain import ChainPlan, block_id, run_chain
from cmkms.harness.errors import RemoteSignerError
from cmkms.harness.oracle import verify_signature
from cmkms.harness.signbytes import extension_sign_bytes, vote_sign_bytes
from cmkms.harness.values import HRS, NIL_BLOCK, ZERO_TIME, BlockID, Proposal, Time, Vote
from cmkms.harness.wire import Request, SignProposalRequest, SignVoteRequest, encode_request
from tests.acceptance.attachment import (
    CHAIN,
    SIGNERS,
    SOME_TIME,
    TRANSPORTS,
    Attachment,
    attached,
    precommit,
    prevote,
    proposal,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The longest reply a signer of this kind may give; a node up to v0.39 loses its place in the stream beyond 10 KiB.
MAX_REPLY_BYTES = 300


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=SIGNERS)
async def attachment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Attachment]:
    directory = tmp_path_factory.mktemp("promises")
    transport, replicas = SIGNERS[request.param]
    async with attached(directory, TRANSPORTS[transport].format(directory), replicas=replicas) as attachment:
        yield attachment


@pytest.fixture
def height(attachment: Attachment) -> int:
    return attachment.next_height()


# ----------------------------------------------------------------------------------------------------- what it repeats


async def test_the_same_vote_again_gets_the_same_signature(attachment: Attachment, height: int) -> None:
    first = await attachment.node.sign_vote(prevote(height))
    again = await attachment.node.sign_vote(prevote(height))

    assert again.reply == first.reply


async def test_the_same_proposal_again_gets_the_same_signature(attachment: Attachment, height: int) -> None:
    first = await attachment.node.sign_proposal(proposal(height))
    again = await attachment.node.sign_proposal(proposal(height))

    assert again.reply == first.reply


@pytest.mark.parametrize("nanos", [1, -1, 60 * 10**9])
async def test_a_vote_with_another_time_gets_the_first_signature_and_the_first_time(
    attachment: Attachment, height: int, nanos: int
) -> None:
    first = await attachment.node.sign_vote(prevote(height))
    again = await attachment.node.sign_vote(prevote(height, time=SOME_TIME.later(nanos)))

    assert again.reply.vote.signature == first.reply.vote.signature
    assert again.reply.vote.time == SOME_TIME


async def test_a_precommit_asked_again_with_another_extension_gets_that_extension_signed(
    attachment: Attachment, height: int
) -> None:
    first = await attachment.node.sign_vote(precommit(height, extension=b"one"))
    again = await attachment.node.sign_vote(precommit(height, extension=b"two"))

    assert again.reply.vote.signature == first.reply.vote.signature
    assert verify_signature(
        attachment.pub_key,
        extension_sign_bytes(CHAIN, precommit(height, extension=b"two")),
        again.reply.vote.extension_signature,
    )


# ----------------------------------------------------------------------------------------------------- what it refuses


async def refuses_vote(attachment: Attachment, vote: Vote, chain_id: str = CHAIN) -> None:
    """The vote is refused, at once, and the connection stays."""
    before = attachment.node.endpoint.accepted
    with pytest.raises(RemoteSignerError):
        await attachment.node.sign_vote(vote, chain_id=chain_id)
    assert attachment.node.endpoint.accepted == before
    assert attachment.node.endpoint.connected


async def refuses_proposal(attachment: Attachment, asked: Proposal, chain_id: str = CHAIN) -> None:
    before = attachment.node.endpoint.accepted
    with pytest.raises(RemoteSignerError):
        await attachment.node.sign_proposal(asked, chain_id=chain_id)
    assert attachment.node.endpoint.accepted == before


@pytest.mark.parametrize("vote", [prevote, precommit], ids=["prevote", "precommit"])
async def test_a_vote_for_another_block_is_refused(
    attachment: Attachment, height: int, vote: Callable[..., Vote]
) -> None:
    await attachment.node.sign_vote(vote(height))

    await refuses_vote(attachment, vote(height, block=block_id(height, 7)))


async def test_nil_instead_of_a_block_is_refused_and_the_other_way_round(attachment: Attachment, height: int) -> None:
    await attachment.node.sign_vote(prevote(height))
    await refuses_vote(attachment, prevote(height, block=NIL_BLOCK))

    await attachment.node.sign_vote(prevote(height, 1, block=NIL_BLOCK))
    await refuses_vote(attachment, prevote(height, 1))


async def test_another_proposal_is_refused(attachment: Attachment, height: int) -> None:
    asked = proposal(height)
    await attachment.node.sign_proposal(asked)

    await refuses_proposal(attachment, replace(asked, block_id=block_id(height, 7)))
    await refuses_proposal(attachment, replace(asked, pol_round=0))


async def test_a_proposal_with_another_time_is_refused_because_the_node_would_keep_its_own(
    attachment: Attachment, height: int
) -> None:
    asked = proposal(height)
    await attachment.node.sign_proposal(asked)

    await refuses_proposal(attachment, replace(asked, time=SOME_TIME.later(1)))


async def test_what_lies_below_is_refused(attachment: Attachment, height: int) -> None:
    await attachment.node.sign_vote(prevote(height, 2))

    await refuses_vote(attachment, prevote(height - 1, 5))
    await refuses_vote(attachment, precommit(height, 1))
    await refuses_proposal(attachment, proposal(height, 2))
    await attachment.node.sign_vote(precommit(height, 2))
    await refuses_vote(attachment, prevote(height, 2))


@pytest.mark.parametrize("chain_id", ["", "acceptance-2", "Acceptance-1", "acceptance-1\0"])
async def test_another_chain_is_refused(attachment: Attachment, height: int, chain_id: str) -> None:
    await refuses_vote(attachment, prevote(height), chain_id)
    await refuses_proposal(attachment, proposal(height), chain_id)
    with pytest.raises(RemoteSignerError):
        await attachment.node.pub_key(chain_id)

    await attachment.node.sign_vote(prevote(height))


@pytest.mark.parametrize("size", [1, 31, 33, 64])
async def test_a_block_hash_of_a_wrong_length_is_refused_and_nothing_is_remembered(
    attachment: Attachment, height: int, size: int
) -> None:
    await refuses_vote(attachment, prevote(height, block=BlockID(bytes(size), 1, bytes(32))))
    await refuses_vote(attachment, prevote(height, block=BlockID(bytes(32), 1, bytes(size))))

    await attachment.node.sign_vote(prevote(height))


@pytest.mark.parametrize("place", [HRS(-1, 0, 0), HRS(0, 0, 0), HRS(2**62, 0, 0)], ids=["negative", "zero", "absurd"])
async def test_a_height_that_no_chain_is_at_is_refused(attachment: Attachment, height: int, place: HRS) -> None:
    await refuses_vote(attachment, prevote(place.height))

    await attachment.node.sign_vote(prevote(height))


@pytest.mark.parametrize("kind", [0, 3, 32, -1])
async def test_a_vote_that_is_neither_prevote_nor_precommit_is_refused(
    attachment: Attachment, height: int, kind: int
) -> None:
    await refuses_vote(attachment, replace(prevote(height), type=kind))


# -------------------------------------------------------------------------------------------- what it signs beside that


@pytest.mark.parametrize("time", [Time(), ZERO_TIME, Time(-1, 999_999_999), Time(253402300799, 999_999_999)], ids=str)
async def test_any_time_that_go_can_send_is_signed_as_asked(attachment: Attachment, height: int, time: Time) -> None:
    asked = prevote(height, time=time)
    answer = await attachment.node.sign_vote(asked)

    assert verify_signature(attachment.pub_key, vote_sign_bytes(CHAIN, asked), answer.reply.vote.signature)


async def test_a_precommit_for_nil_carries_no_extension_signature(attachment: Attachment, height: int) -> None:
    answer = await attachment.node.sign_vote(precommit(height, block=NIL_BLOCK))

    assert answer.reply.vote.signature
    assert not answer.reply.vote.extension_signature


async def test_a_precommit_for_a_block_carries_one_even_where_the_extension_is_empty(
    attachment: Attachment, height: int
) -> None:
    answer = await attachment.node.sign_vote(precommit(height))

    assert answer.reply.vote.extension_signature


async def test_a_node_of_v1_may_forgo_the_extension_signature(attachment: Attachment, height: int) -> None:
    answer = await attachment.node.sign_vote(precommit(height), skip_extension_signing=True)

    assert answer.reply.vote.signature
    assert not answer.reply.vote.extension_signature


async def test_an_extension_of_a_mebibyte_is_signed_and_not_sent_back(attachment: Attachment, height: int) -> None:
    vote = precommit(height, extension=bytes(range(256)) * (4 * 1024 + 200))
    reply = await attachment.node.raw(encode_request(SignVoteRequest(CHAIN, vote)))
    again = await attachment.node.sign_vote(vote)

    assert len(vote.extension) > 1.04 * 2**20
    assert len(reply) < MAX_REPLY_BYTES
    assert again.reply.vote.extension_signature


async def test_replies_are_short(attachment: Attachment, height: int) -> None:
    huge = "x" * 1000
    asked: list[Request] = [
        SignProposalRequest(CHAIN, proposal(height)),
        SignVoteRequest(CHAIN, precommit(height, extension=bytes(5000))),
        SignVoteRequest(CHAIN, precommit(height, block=NIL_BLOCK)),
        SignVoteRequest(huge, precommit(height)),
        SignProposalRequest(huge, proposal(height)),
    ]

    for request in asked:
        assert len(await attachment.node.raw(encode_request(request))) < MAX_REPLY_BYTES


async def test_a_whole_chain_with_late_rounds_is_signed(attachment: Attachment, height: int) -> None:
    plan = ChainPlan(first_height=height, heights=8, late_round_every=4)
    steps = [step async for step in run_chain(attachment.node, plan)]

    assert len(steps) == 3 * (8 + 2)
    assert all(step.attempts == 1 for step in steps)
