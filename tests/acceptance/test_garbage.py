"""Whatever a validator's end of the wire sends to the real `cmkms start`, the next honest request is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cmkms.harness.errors import NodeSideError
from cmkms.harness.protobuf import delimited, uvarint
from cmkms.harness.wire import ErrorReply, Kind, SignVoteRequest, decode_reply, encode_request
from tests.acceptance.attachment import CHAIN, TRANSPORTS, Attachment, attached, prevote
from tests.patience import within

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Seconds in which a signer has to be back after it closed the connection: it redials within half a second.
BACK_SECONDS = within(1.0)

WHOLE_VOTE = encode_request(SignVoteRequest(CHAIN, prevote(5)))

# Well framed messages of a known kind that cannot be decoded.
UNDECODABLE = {
    "cut public key request": ("0a020a09", Kind.PUB_KEY),
    "cut vote request": ("1a040a050801", Kind.SIGN_VOTE),
    "vote of a wrong wire type": ("1a0408011201", Kind.SIGN_VOTE),
    "vote height as bytes": ("1a060a0412020000", Kind.SIGN_VOTE),
    "cut proposal request": ("2a040a050801", Kind.SIGN_PROPOSAL),
}

# Well framed messages that ask for nothing known.
UNKNOWN = {
    "empty": "",
    "a reply": "4200",
    "raw bytes of another dialect": "4a020a00",
    "not protobuf at all": "ffffffff",
}

# Bytes that are no frame.
BROKEN_FRAMES = {
    "a varint without end": b"\xff" * 11,
    "a length beyond every limit": uvarint(2**40),
    "a length just beyond the limit": uvarint(16 * 2**20),
    "http": b"GET / HTTP/1.1\r\n\r\n" * 60,
}


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=TRANSPORTS)
async def attachment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Attachment]:
    directory = tmp_path_factory.mktemp("garbage")
    async with attached(directory, TRANSPORTS[request.param].format(directory)) as attachment:
        yield attachment


async def serves_the_next_request(attachment: Attachment) -> None:
    async with asyncio.timeout(BACK_SECONDS):
        await attachment.node.sign_vote(prevote(attachment.next_height()))


@pytest.mark.parametrize(("message", "kind"), UNDECODABLE.values(), ids=UNDECODABLE)
async def test_an_undecodable_request_gets_an_error_of_its_kind_on_the_same_connection(
    attachment: Attachment, message: str, kind: Kind
) -> None:
    before = attachment.node.endpoint.accepted

    reply = decode_reply(await attachment.node.raw(bytes.fromhex(message)))

    assert isinstance(reply, ErrorReply)
    assert reply.kind is kind
    assert reply.description
    await serves_the_next_request(attachment)
    assert attachment.node.endpoint.accepted == before


@pytest.mark.parametrize("message", UNKNOWN.values(), ids=UNKNOWN)
async def test_a_message_of_no_known_kind_closes_the_connection_and_the_signer_is_back(
    attachment: Attachment, message: str
) -> None:
    with pytest.raises(NodeSideError):
        await attachment.node.raw(bytes.fromhex(message))

    await serves_the_next_request(attachment)


@pytest.mark.parametrize("data", BROKEN_FRAMES.values(), ids=BROKEN_FRAMES)
async def test_a_broken_frame_closes_the_connection_and_the_signer_is_back(attachment: Attachment, data: bytes) -> None:
    with pytest.raises(NodeSideError):
        await attachment.node.endpoint.exchange_bytes(data)

    await serves_the_next_request(attachment)


@pytest.mark.parametrize("end", [1, 3, len(WHOLE_VOTE) // 2, len(WHOLE_VOTE) - 1])
async def test_half_a_request_and_then_a_hang_up_leaves_nothing_behind(attachment: Attachment, end: int) -> None:
    half = delimited(WHOLE_VOTE)[:end]
    asking = asyncio.create_task(attachment.node.endpoint.exchange_bytes(half))
    await asyncio.sleep(0.05)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    await serves_the_next_request(attachment)


async def test_a_request_sent_byte_by_byte_is_answered(attachment: Attachment) -> None:
    """Each byte in a write, and over tcp in a sealed frame, of its own."""
    message = delimited(encode_request(SignVoteRequest(CHAIN, prevote(attachment.next_height()))))
    connection = attachment.node.endpoint._serving
    assert connection is not None
    for byte in message[:-1]:
        await connection.write(bytes([byte]))

    exchange = await attachment.node.endpoint.exchange_bytes(message[-1:])

    assert not isinstance(decode_reply(exchange.reply), ErrorReply)
