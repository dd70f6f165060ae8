"""A validator's session: two ends joined by a wire, and the same events however the bytes arrive."""

from __future__ import annotations

from hashlib import sha256

import pytest

from cmkms.errors import BrokenInvariantError, PeerError
from cmkms.privval import (
    CipherError,
    Event,
    FramingError,
    HandshakeDone,
    HandshakeError,
    PingRequest,
    PubKeyRequest,
    RequestKind,
    RequestReceived,
    RequestUndecodable,
    SendBytes,
    SignVoteRequest,
    UndecodableRequestError,
    ValidatorSession,
    encode_ping_response,
)
from cmkms.privval.framing import MAX_REQUEST_BYTES, delimit
from cmkms.privval.secret_connection import SecretConnection
from cmkms.privval.wire import encode_uvarint
from tests.unit.privval.node_side import NODE_PUBLIC_KEY, NODE_SEED, SIGNER_SEED, join
from tests.unit.privval.vectors import MESSAGES

PING = MESSAGES["ping_request"]
VOTE = MESSAGES["vote_request"]
PUB_KEY = MESSAGES["empty_pub_key_request"]
BROKEN_VOTE = b"\x1a\x02\x0a\x05"
EPHEMERALS = (b"\x11" * 32, b"\x22" * 32)


def byte_by_byte(session: ValidatorSession, data: bytes) -> list[Event]:
    return [event for byte in data for event in session.receive(bytes([byte]))]


def long_ping(length: int) -> bytes:
    """A ping of this many bytes (between 17 kB and 2 MB), nearly all of them in a field that does not exist."""
    filling = length - len(PING) - 4
    return PING + b"\x5a" + encode_uvarint(filling) + bytes(filling)


# ------------------------------------------------------------------------------------------------------------ plain


def test_a_plain_session_sends_nothing_first() -> None:
    assert ValidatorSession.plain().start() == b""


def test_a_plain_request_is_an_event() -> None:
    assert ValidatorSession.plain().receive(delimit(PING)) == [RequestReceived(PingRequest())]


def test_a_plain_answer_gets_its_length() -> None:
    assert ValidatorSession.plain().reply(encode_ping_response()) == b"\x02\x42\x00"


def test_requests_in_one_piece_come_in_order() -> None:
    events = ValidatorSession.plain().receive(delimit(PING) + delimit(PUB_KEY) + delimit(PING)[:1])

    assert events == [RequestReceived(PingRequest()), RequestReceived(PubKeyRequest(""))]


PLAIN_INPUTS = {
    "one request": delimit(VOTE),
    "several": delimit(PING) + delimit(VOTE) + delimit(PUB_KEY),
    "one that must be answered by an error": delimit(BROKEN_VOTE) + delimit(PING),
    "one cut off": delimit(PING) + delimit(VOTE)[:-1],
}


@pytest.mark.parametrize("data", PLAIN_INPUTS.values(), ids=PLAIN_INPUTS.keys())
def test_plain_bytes_give_the_same_events_whole_and_one_by_one(data: bytes) -> None:
    whole = ValidatorSession.plain().receive(data)

    assert whole
    assert byte_by_byte(ValidatorSession.plain(), data) == whole


def test_a_request_that_means_nothing_keeps_the_session() -> None:
    session = ValidatorSession.plain()

    [undecodable, ping] = session.receive(delimit(BROKEN_VOTE) + delimit(PING))

    assert isinstance(undecodable, RequestUndecodable)
    assert undecodable.kind is RequestKind.SIGN_VOTE
    assert "sign vote request" in undecodable.reason
    assert ping == RequestReceived(PingRequest())


@pytest.mark.parametrize("message", [b"", b"\x12\x00", b"\x52\x00"], ids=["empty", "an answer", "sign bytes of v1"])
def test_a_message_that_cannot_be_answered_ends_the_session(message: bytes) -> None:
    session = ValidatorSession.plain()

    with pytest.raises(UndecodableRequestError) as caught:
        session.receive(delimit(message))

    assert caught.value.kind is None


def test_a_request_beyond_the_limit_ends_the_session_before_it_is_kept() -> None:
    session = ValidatorSession.plain()

    with pytest.raises(FramingError):
        session.receive(delimit(bytes(MAX_REQUEST_BYTES + 1))[:4])


def test_a_session_that_failed_fails_for_ever() -> None:
    session = ValidatorSession.plain()
    with pytest.raises(PeerError) as first:
        session.receive(delimit(b""))

    with pytest.raises(PeerError) as second:
        session.receive(delimit(PING))

    assert second.value is first.value


# ----------------------------------------------------------------------------------------------------------- secret


def test_a_secret_session_sends_its_ephemeral_key_first() -> None:
    start = ValidatorSession.secret(SIGNER_SEED, ephemeral_seed=EPHEMERALS[0]).start()

    assert start.hex() == "220a20" + "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13"


def test_the_handshake_answers_once_and_then_names_the_peer() -> None:
    session = ValidatorSession.secret(SIGNER_SEED)
    node = SecretConnection(NODE_SEED)

    [send] = session.receive(node.start())
    assert isinstance(send, SendBytes)
    node.receive(session.start() + send.data)

    assert session.receive(node.take_outgoing()) == [
        HandshakeDone(NODE_PUBLIC_KEY, sha256(NODE_PUBLIC_KEY).hexdigest()[:40])
    ]


def test_a_request_and_its_answer_cross_a_secret_session() -> None:
    joined = join()

    [event] = joined.session.receive(joined.sealed(VOTE))
    answer = joined.node.receive(joined.session.reply(encode_ping_response()))

    assert isinstance(event, RequestReceived)
    assert isinstance(event.request, SignVoteRequest)
    assert answer == b"\x02\x42\x00"


def test_a_request_of_more_than_one_frame_is_an_event_when_its_last_is_there() -> None:
    joined = join()
    sealed = joined.sealed(long_ping(20_000))

    assert joined.session.receive(sealed[:-1]) == []
    assert joined.session.receive(sealed[-1:]) == [RequestReceived(PingRequest())]


def test_requests_may_share_a_frame() -> None:
    joined = join()

    events = joined.session.receive(joined.node.seal(delimit(PING) + delimit(PUB_KEY)))

    assert events == [RequestReceived(PingRequest()), RequestReceived(PubKeyRequest(""))]


def test_a_secret_session_gives_the_same_events_whole_and_one_by_one() -> None:
    def conversation() -> bytes:
        node = SecretConnection(NODE_SEED, ephemeral_seed=EPHEMERALS[1])
        signer = ValidatorSession.secret(SIGNER_SEED, ephemeral_seed=EPHEMERALS[0])
        opening = node.start()
        [send] = signer.receive(opening)
        assert isinstance(send, SendBytes)
        node.receive(signer.start() + send.data)
        return (
            opening + node.take_outgoing() + node.seal(delimit(VOTE) + delimit(BROKEN_VOTE)) + node.seal(delimit(PING))
        )

    data = conversation()
    whole = ValidatorSession.secret(SIGNER_SEED, ephemeral_seed=EPHEMERALS[0]).receive(data)
    piecemeal = byte_by_byte(ValidatorSession.secret(SIGNER_SEED, ephemeral_seed=EPHEMERALS[0]), data)

    assert [type(event) for event in whole] == [
        SendBytes,
        HandshakeDone,
        RequestReceived,
        RequestUndecodable,
        RequestReceived,
    ]
    assert piecemeal == whole


def test_an_altered_frame_ends_a_secret_session() -> None:
    joined = join()
    sealed = bytearray(joined.sealed(PING))
    sealed[100] ^= 1

    with pytest.raises(CipherError):
        joined.session.receive(bytes(sealed))
    with pytest.raises(CipherError):
        joined.session.receive(joined.sealed(PING))


def test_a_plain_node_at_the_other_end_of_a_secret_session_is_told_apart() -> None:
    with pytest.raises(HandshakeError, match="priv_validator_laddr"):
        ValidatorSession.secret(SIGNER_SEED).receive(delimit(PING))


def test_answering_before_the_handshake_is_a_bug() -> None:
    with pytest.raises(BrokenInvariantError):
        ValidatorSession.secret(SIGNER_SEED).reply(encode_ping_response())


def test_every_answer_takes_one_frame() -> None:
    joined = join()

    assert len(joined.session.reply(b"x" * 300)) == 1044


@pytest.mark.parametrize("joined_by", ["plain", "secret"])
def test_a_request_of_the_greatest_length_passes(joined_by: str) -> None:
    message = long_ping(MAX_REQUEST_BYTES)
    joined = join()
    session = ValidatorSession.plain() if joined_by == "plain" else joined.session

    events = session.receive(delimit(message) if joined_by == "plain" else joined.sealed(message))

    assert len(message) == MAX_REQUEST_BYTES
    assert events == [RequestReceived(PingRequest())]
