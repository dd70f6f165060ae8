"""Frames out of a stream of bytes, and back: four bytes of length, big-endian, then the frame. Pure.

A frame longer than the limit is refused by its length alone, before any of it is kept.
"""

from __future__ import annotations

import struct
from typing import Final

from cmkms.peers.wire import PeerProtocolError

__all__ = ["FrameReader", "with_length"]

_LENGTH: Final = struct.Struct(">I")


def with_length(frame: bytes) -> bytes:
    """Return the frame with its length before it."""
    return _LENGTH.pack(len(frame)) + frame


class FrameReader:
    """Cuts a stream into its frames. `limit`, in bytes, may be changed between two frames."""

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what came off the wire."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """Return the next frame, or None while it is incomplete.

        Raises PeerProtocolError for a frame that is empty or longer than the limit: nothing after it can be read.
        """
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if not 0 < length <= self.limit:
            raise PeerProtocolError(f"a frame of {length} bytes was announced; 1 to {self.limit} are accepted")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        frame = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return frame
