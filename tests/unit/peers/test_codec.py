"""What goes on the wire, what does not, and how large it may be."""

from __future__ import annotations

import pytest

from cmkms.errors import BrokenInvariantError
from cmkms.guard.claims import FloorClaim, FloorKind, GuardClaim, GuardPhase
from cmkms.guard.decide import Accepted, Refused, RefusedBecause
from cmkms.guard.generation import NO_GENERATION
from cmkms.guard.hrs import NEVER
from cmkms.guard.rpc import Accept, Answered, Peek
from cmkms.peers.codec import MAX_FORWARDED_BYTES, MAX_FRAME_BYTES, MAX_GUARDS, MAX_HELLO_BYTES, decode, encode
from cmkms.peers.frames import FrameReader
from cmkms.peers.messages import Blow, Declined, Frame, Goodbye, Hello, HelloMember, Raft, Status
from cmkms.peers.wire import PeerProtocolError
from cmkms.privval.framing import MAX_REQUEST_BYTES
from cmkms.signing.answers import Rejected, RejectedBecause
from cmkms.signing.forwarding import Forward, Forwarded, ForwardedSignature

LONGEST_CHAIN_ID = "c" * 50
LONGEST_ID = "m" * 32
ACCEPT = Accept(1, 2, "testnet-1", bytes(32), NO_GENERATION, b"sign-bytes")
ANSWERED = Answered(1, "testnet-1", NO_GENERATION, NEVER, bytes(32), bytes(16), 7, Accepted(advances=True))
CLAIM = GuardClaim(
    LONGEST_CHAIN_ID,
    bytes(32),
    GuardPhase.REFUSED,
    NO_GENERATION,
    bytes(16),
    1,
    NEVER,
    FloorClaim(FloorKind.STATE, NEVER, bytes(232), 0),
    bytes(32),
    "r" * 500,
)


def hello(guards: tuple[GuardClaim, ...]) -> Hello:
    members = tuple(HelloMember(LONGEST_ID, "ab" * 32) for _ in range(16))
    return Hello(1, 1, "r" * 32, LONGEST_ID, bytes(16), 400, members, guards)


def test_the_longest_hello_is_let_in_before_its_sender_is_known() -> None:
    assert len(encode(hello((CLAIM,) * MAX_GUARDS))) <= MAX_HELLO_BYTES


@pytest.mark.parametrize(
    "message",
    [
        hello((CLAIM,) * MAX_GUARDS),
        Status(1, LONGEST_ID, (LONGEST_ID,) * 16, 1, (LONGEST_CHAIN_ID,) * MAX_GUARDS, (CLAIM,) * MAX_GUARDS),
        Forward(1, LONGEST_CHAIN_ID, LONGEST_ID, 2, 5000, bytes(MAX_FORWARDED_BYTES)),
        Raft(bytes(MAX_REQUEST_BYTES)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_longest_messages_fit_a_frame_and_come_back(message: Frame) -> None:
    data = encode(message)
    assert len(data) <= MAX_FRAME_BYTES
    assert decode(data) == message


@pytest.mark.parametrize(
    "message",
    [
        Peek(1, 2, "c" * 51),
        Accept(1, 2, "testnet-1", bytes(32), NO_GENERATION, bytes(233)),
        Accept(1, 2, "testnet-1", bytes(31), NO_GENERATION, b""),
        Answered(1, "c", NO_GENERATION, NEVER, bytes(32), bytes(15), 7, Accepted(advances=True)),
        Answered(1, "c", NO_GENERATION, NEVER, bytes(33), bytes(16), 7, Accepted(advances=True)),
        Blow("c", bytes(1), 0),
        Forward(1, "c", "m" * 33, 2, 5000, b""),
        Forward(1, "c", "m", 2, 5000, bytes(MAX_FORWARDED_BYTES + 1)),
        Forwarded(1, "c", ForwardedSignature(b"", bytes(97), b"", replayed=False)),
        Raft(bytes(MAX_REQUEST_BYTES + 1)),
        Status(1, "m", ("m",) * 17, 0, (), ()),
        Status(1, "m", (), 0, (), (CLAIM,) * (MAX_GUARDS + 1)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_no_peer_would_take_is_never_sent(message: Frame) -> None:
    with pytest.raises(BrokenInvariantError):
        encode(message)


def test_a_sentence_that_is_too_long_is_cut_between_two_letters() -> None:
    assert decode(encode(Declined("x" * 499 + "ü"))) == Declined("x" * 499)


@pytest.mark.parametrize("because", RefusedBecause, ids=lambda because: because.name)
def test_every_refusal_of_a_guard_has_its_number(because: RefusedBecause) -> None:
    message = Answered(1, "c", NO_GENERATION, NEVER, bytes(32), bytes(16), 7, Refused(because, "why"))
    assert decode(encode(message)) == message


@pytest.mark.parametrize("because", RejectedBecause, ids=lambda because: because.name)
def test_every_rejection_of_a_request_has_its_number(because: RejectedBecause) -> None:
    message = Forwarded(1, "c", Rejected(because, "why"))
    assert decode(encode(message)) == message


def test_an_unknown_message_is_refused() -> None:
    with pytest.raises(PeerProtocolError, match="unknown type 127"):
        decode(b"\x7fabc")


def test_an_unknown_optional_message_is_skipped() -> None:
    assert decode(b"\x80abc") is None


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "empty"),
        (encode(Goodbye()) + b"x", "1 bytes too many"),
        (encode(ACCEPT)[:-1], "announces"),
        (encode(ACCEPT) + b"x", "announces"),
        (encode(ACCEPT)[:20], "ends early"),
        (encode(ANSWERED)[:-1], "ends early"),
        (encode(ANSWERED) + b"x", "too many"),
        (encode(ANSWERED)[:-1] + b"\x08", "unknown kind 8"),
        (encode(ANSWERED)[:-1] + b"\x06\x63\x00\x00", "unknown reason 99"),
    ],
)
def test_what_is_not_exactly_a_message_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(PeerProtocolError, match=complaint):
        decode(data)


@pytest.mark.parametrize("length", [0, 101, 2**32 - 1])
def test_a_frame_of_a_wrong_length_is_refused_by_its_header_alone(length: int) -> None:
    reader = FrameReader(100)
    reader.feed(length.to_bytes(4, "big"))
    with pytest.raises(PeerProtocolError, match=f"a frame of {length} bytes was announced"):
        reader.next_frame()
