"""The few forms of which the cluster's messages and its view are made: fixed numbers, and bytes behind their length.

Pure. Reading is strict and bounded: whatever is too long, cut short or left over is a PeerError, and nothing is ever
read past the end.
"""

from __future__ import annotations

import struct
from typing import Final

from cmkms.errors import PeerError

__all__ = ["MAX_NUMBER", "Octets", "flag", "number", "seconds", "sized"]

MAX_NUMBER: Final = 2**63 - 1
"""Terms and indices stay below: at one election a microsecond, that is 290 000 years."""

_LENGTH: Final = struct.Struct(">I")
_NUMBER: Final = struct.Struct(">Q")
_SECONDS: Final = struct.Struct(">d")


def number(value: int) -> bytes:
    """Write a number from 0 to `MAX_NUMBER` in 8 bytes. Raises ValueError."""
    if not 0 <= value <= MAX_NUMBER:
        raise ValueError(f"{value} is out of range")
    return _NUMBER.pack(value)


def flag(value: bool) -> bytes:  # a codec's word for a boolean
    """Write a truth value in one byte."""
    return b"\x01" if value else b"\x00"


def seconds(value: float) -> bytes:
    """Write a point in time, in seconds, in 8 bytes."""
    return _SECONDS.pack(value)


def sized(data: bytes, limit: int) -> bytes:
    """Write bytes behind their length (4 bytes). Raises ValueError if there are more than `limit`."""
    if len(data) > limit:
        raise ValueError(f"{len(data)} bytes, at most {limit} are possible")
    return _LENGTH.pack(len(data)) + data


class Octets:
    """Reads one message from its beginning to its end. Everything raises PeerError."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    @property
    def left(self) -> int:
        """How many bytes are not yet read."""
        return len(self._data) - self._at

    def wrong(self, why: str) -> PeerError:
        """Return the error that says what is wrong with this message."""
        return PeerError(f"{self._what}: {why}")

    def take(self, count: int) -> bytes:
        """Read `count` bytes."""
        end = self._at + count
        taken = self._data[self._at : end]
        if len(taken) != count:
            raise self.wrong(f"it ends {count - len(taken)} bytes too early")
        self._at = end
        return taken

    def byte(self) -> int:
        """Read one byte."""
        return self.take(1)[0]

    def flag(self) -> bool:
        """Read a truth value."""
        value = self.byte()
        if value > 1:
            raise self.wrong(f"{value} is no truth value")
        return value == 1

    def number(self) -> int:
        """Read a number."""
        value = int.from_bytes(self.take(_NUMBER.size), "big")
        if value > MAX_NUMBER:
            raise self.wrong(f"{value} is out of range")
        return value

    def seconds(self) -> float:
        """Read a point in time."""
        (value,) = _SECONDS.unpack(self.take(_SECONDS.size))
        if not 0 <= value <= MAX_NUMBER:  # also false for what is not a number
            raise self.wrong("its time is no point in time")
        return float(value)

    def sized(self, limit: int) -> bytes:
        """Read bytes behind their length, at most `limit`."""
        length = int.from_bytes(self.take(_LENGTH.size), "big")
        if length > limit:
            raise self.wrong(f"{length} bytes in a place for {limit}")
        return self.take(length)

    def text(self, limit: int) -> str:
        """Read UTF-8 behind its length in bytes, at most `limit`."""
        try:
            return self.sized(limit).decode()
        except UnicodeDecodeError:
            raise self.wrong("a name in it is not UTF-8") from None

    def end(self) -> None:
        """Check that nothing is left."""
        if self.left:
            raise self.wrong(f"{self.left} bytes too many")
