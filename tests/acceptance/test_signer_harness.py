"""What CometBFT's former tm-signer-harness asked of a signer, asked of `cmkms start`, alone and as three replicas.

The tool checked the public key, one proposal (100/0, no proof of lock), a prevote and a precommit (101/0), each
verified over the sign-bytes of the *request*, and that the signer connects within three seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cmkms.harness.oracle import verify_signature
from cmkms.harness.signbytes import proposal_sign_bytes, vote_sign_bytes
from cmkms.harness.wire import PubKeyReply, PubKeyRequest, decode_reply, encode_request
from tests.acceptance.attachment import (
    CHAIN,
    SIGNERS,
    TRANSPORTS,
    Attachment,
    attached,
    precommit,
    prevote,
    proposal,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=SIGNERS)
async def attachment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Attachment]:
    """One fresh signer for the whole file: the tool's heights, 100 and 101, come in this order."""
    directory = tmp_path_factory.mktemp("harness")
    transport, replicas = SIGNERS[request.param]
    async with attached(directory, TRANSPORTS[transport].format(directory), replicas=replicas) as attachment:
        yield attachment


async def test_the_public_key_is_that_of_the_key_file_in_the_form_of_every_cometbft_line(
    attachment: Attachment,
) -> None:
    reply = decode_reply(await attachment.node.raw(encode_request(PubKeyRequest(CHAIN))))

    assert reply == PubKeyReply(attachment.pub_key, attachment.pub_key, "ed25519")


async def test_a_proposal_is_signed_as_asked(attachment: Attachment) -> None:
    asked = proposal(100)
    answer = await attachment.node.sign_proposal(asked)

    assert verify_signature(attachment.pub_key, proposal_sign_bytes(CHAIN, asked), answer.reply.proposal.signature)


async def test_a_prevote_and_then_a_precommit_are_signed_as_asked(attachment: Attachment) -> None:
    for asked in (prevote(101), precommit(101)):
        answer = await attachment.node.sign_vote(asked)

        assert verify_signature(attachment.pub_key, vote_sign_bytes(CHAIN, asked), answer.reply.vote.signature)


async def test_a_signer_that_runs_already_answers_within_the_three_seconds_of_a_starting_node(
    attachment: Attachment,
) -> None:
    """A node asks for the key once and exits when nobody is connected within three seconds: `boot` is that one try.

    The other order, node first, is how each of these files begins.
    """
    for _ in range(3):
        await attachment.node.stop()
        await asyncio.sleep(0.2)
        await attachment.node.start()

        assert await attachment.node.boot() == attachment.pub_key
