"""Every message comes back from its bytes, and nothing else does."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cmkms.peers.codec import decode, encode, versions_of
from cmkms.peers.frames import FrameReader, with_length
from cmkms.peers.messages import Frame, Hello
from cmkms.peers.wire import PeerProtocolError
from tests.property.peers.strategies import frames

LIMIT = 1 << 20


def read_or_refuse(data: bytes) -> None:
    """Whatever is read would be written as the very same bytes; the rest is refused as a peer's fault."""
    try:
        message = decode(data)
    except PeerProtocolError:
        return
    if message is None:
        assert data[0] >= 128
    else:
        assert encode(message) == data


@settings(max_examples=400)
@given(frames)
def test_a_message_comes_back_from_its_bytes(message: Frame) -> None:
    assert decode(encode(message)) == message


@settings(max_examples=400)
@given(frames, st.data())
def test_a_damaged_message_is_refused_or_is_another_in_its_only_form(message: Frame, data: st.DataObject) -> None:
    damaged = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(bytes(damaged))


@given(frames, st.binary(min_size=1, max_size=20))
def test_bytes_after_a_message_are_refused_or_part_of_it(message: Frame, more: bytes) -> None:
    read_or_refuse(encode(message) + more)


@given(frames, st.data())
def test_a_message_cut_short_is_refused_or_another_in_its_only_form(message: Frame, data: st.DataObject) -> None:
    whole = encode(message)
    read_or_refuse(whole[: data.draw(st.integers(0, len(whole) - 1))])


@settings(max_examples=400)
@given(st.binary(max_size=400))
def test_no_bytes_at_all_upset_the_reader(data: bytes) -> None:
    read_or_refuse(data)


@given(frames)
def test_only_a_hello_tells_versions(message: Frame) -> None:
    told = versions_of(encode(message))
    assert told == ((message.oldest_version, message.newest_version) if isinstance(message, Hello) else None)


@given(st.lists(frames, min_size=1, max_size=4))
def test_frames_come_out_of_a_stream_fed_whole_as_fed_byte_by_byte(messages: list[Frame]) -> None:
    encoded = [encode(message) for message in messages]
    stream = b"".join(with_length(frame) for frame in encoded)
    assert frames_of([stream]) == encoded
    assert frames_of([stream[at : at + 1] for at in range(len(stream))]) == encoded


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_no_stream_at_all_makes_the_reader_keep_more_than_a_frame(pieces: list[bytes]) -> None:
    limit = 16
    reader = FrameReader(limit)
    for piece in pieces:
        reader.feed(piece)
        try:
            while (frame := reader.next_frame()) is not None:
                assert 0 < len(frame) <= limit
        except PeerProtocolError:
            return


def frames_of(pieces: list[bytes]) -> list[bytes]:
    reader = FrameReader(LIMIT)
    found: list[bytes] = []
    for piece in pieces:
        reader.feed(piece)
        while (frame := reader.next_frame()) is not None:
            found.append(frame)
    return found
