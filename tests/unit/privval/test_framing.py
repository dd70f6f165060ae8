"""Length-prefixed messages: cut right however they arrive, and refused by their length before they are kept."""

from __future__ import annotations

import pytest

from cmkms.privval import FramingError
from cmkms.privval.framing import MAX_REQUEST_BYTES, MessageReader, delimit


def read_all(reader: MessageReader) -> list[bytes]:
    messages: list[bytes] = []
    while (message := reader.next_message()) is not None:
        messages.append(message)
    return messages


@pytest.mark.parametrize("length", [0, 1, 127, 128, 300, 16_383, 16_384])
def test_what_is_framed_is_read_back(length: int) -> None:
    reader = MessageReader(limit=16_384)

    reader.feed(delimit(b"m" * length))

    assert read_all(reader) == [b"m" * length]


def test_the_length_is_written_as_go_writes_it() -> None:
    assert delimit(b"m" * 300)[:2] == bytes.fromhex("ac02")


def test_messages_may_share_a_piece() -> None:
    reader = MessageReader(limit=10)

    reader.feed(delimit(b"one") + delimit(b"") + delimit(b"three")[:-1])

    assert read_all(reader) == [b"one", b""]


def test_a_message_may_come_byte_by_byte() -> None:
    reader = MessageReader(limit=1000)
    messages: list[bytes] = []

    for byte in delimit(b"m" * 200) + delimit(b"n"):
        reader.feed(bytes([byte]))
        messages += read_all(reader)

    assert messages == [b"m" * 200, b"n"]


def test_a_length_in_more_bytes_than_needed_is_understood_as_in_go() -> None:
    reader = MessageReader(limit=10)

    reader.feed(b"\x83\x80\x00abc")

    assert read_all(reader) == [b"abc"]


def test_the_longest_message_is_accepted() -> None:
    reader = MessageReader(limit=MAX_REQUEST_BYTES)

    reader.feed(delimit(bytes(MAX_REQUEST_BYTES)))

    assert read_all(reader) == [bytes(MAX_REQUEST_BYTES)]


def test_a_longer_message_is_refused_by_its_length_alone() -> None:
    reader = MessageReader(limit=MAX_REQUEST_BYTES)
    reader.feed(delimit(bytes(MAX_REQUEST_BYTES + 1))[:3])

    with pytest.raises(FramingError, match=str(MAX_REQUEST_BYTES + 1)):
        reader.next_message()


@pytest.mark.parametrize(
    "prefix",
    [b"\x80" * 10, b"\xff" * 9 + b"\x02", b"\xff" * 9 + b"\x7f"],
    ids=["eleven bytes", "65 bits", "70 bits"],
)
def test_a_length_of_more_than_64_bits_is_refused(prefix: bytes) -> None:
    reader = MessageReader(limit=10)
    reader.feed(prefix)

    with pytest.raises(FramingError, match="64 bits"):
        reader.next_message()


def test_the_longest_length_that_64_bits_hold_is_refused_for_its_size() -> None:
    reader = MessageReader(limit=10)
    reader.feed(b"\xff" * 9 + b"\x01")

    with pytest.raises(FramingError, match=str(2**64 - 1)):
        reader.next_message()


def test_what_follows_a_message_can_be_handed_on() -> None:
    reader = MessageReader(limit=10)
    reader.feed(delimit(b"one") + b"rest")

    assert reader.next_message() == b"one"
    assert reader.take_rest() == b"rest"
    assert reader.take_rest() == b""
