"""Length-prefixed messages out of a stream of bytes, and back.

Every message on a validator's connection is `uvarint(length) || message`. A message longer than the limit is refused
by its length alone, before any of it is kept.

Source: CometBFT libs/protoio/io.go.
"""

from __future__ import annotations

from cmkms.privval.errors import FramingError
from cmkms.privval.wire import MAX_UVARINT_BYTES, UINT64_MASK, encode_uvarint

__all__ = ["MAX_REQUEST_BYTES", "MessageReader", "delimit"]

MAX_REQUEST_BYTES = 11 * 1024 * 1024 // 10
"""1.1 MiB: a vote extension of at most 1 MiB (types/params.go, MaxVoteExtensionSize), and the vote around it."""


def delimit(message: bytes) -> bytes:
    """Return the message with its length before it."""
    return encode_uvarint(len(message)) + message


class MessageReader:
    """Cuts a stream into its messages. Holds at most one incomplete message beside what was fed last."""

    __slots__ = ("_buffer", "_length", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._length: int | None = None

    def feed(self, data: bytes) -> None:
        """Add what came off the wire."""
        self._buffer += data

    def next_message(self) -> bytes | None:
        """Return the next message without its length, or None while it is incomplete.

        Raises:
            FramingError: the length is no number of 64 bits, or exceeds the limit.
        """
        if self._length is None:
            self._length = self._read_length()
        length = self._length
        if length is None or len(self._buffer) < length:
            return None
        message = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._length = None
        return message

    def take_rest(self) -> bytes:
        """Return what follows the messages read so far, and forget it."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _read_length(self) -> int | None:
        length = 0
        for position, byte in enumerate(self._buffer):
            length |= (byte & 0x7F) << (7 * position)
            if length > UINT64_MASK or (byte & 0x80 and position + 1 == MAX_UVARINT_BYTES):
                raise FramingError("the length before a message is longer than 64 bits")
            if byte & 0x80:
                continue
            if length > self._limit:
                raise FramingError(f"a message of {length} bytes was announced; at most {self._limit} are accepted")
            del self._buffer[: position + 1]
            return length
        return None
