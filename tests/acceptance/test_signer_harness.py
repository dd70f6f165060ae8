"""What CometBFT's former tm-signer-harness asked of a signer, asked of the real `cmkms start` over tcp and unix.

The tool checked the public key, one proposal (100/0, no proof of lock), a prevote and a precommit (101/0), each
verified over the sign-bytes of the *request*, and that the signer connects within three seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle, verify_signature
from cmkms.harness.signbytes import proposal_sign_bytes, vote_sign_bytes
from cmkms.harness.wire import PubKeyReply, PubKeyRequest, decode_reply, encode_request
from tests.acceptance.attachment import (
    CHAIN,
    TRANSPORTS,
    Attachment,
    attached,
    precommit,
    prevote,
    proposal,
)


@pytest.fixture(params=TRANSPORTS)
async def attachment(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Attachment]:
    async with attached(tmp_path, TRANSPORTS[request.param].format(tmp_path)) as attachment:
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


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_signer_that_runs_already_answers_within_the_three_seconds_of_a_starting_node(
    transport: str, tmp_path: Path
) -> None:
    """A node asks for the key once and exits when nobody is connected within three seconds: `boot` is that one try."""
    async with attached(tmp_path, TRANSPORTS[transport].format(tmp_path)) as attachment:
        address = attachment.node.address
        for _ in range(3):
            await attachment.node.stop()
            async with SimulatedNode(address, CHAIN, witness=Oracle([CHAIN])) as restarted:
                assert await restarted.boot() == attachment.pub_key
