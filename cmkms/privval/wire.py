"""The few protobuf primitives that are written by hand: unsigned varints, and walking the fields of one message.

For bytes that are complete and bounded. What arrives piecemeal is put together in `framing.py`.
"""

from __future__ import annotations

from enum import IntEnum, unique

from cmkms.privval.errors import WireFormatError

__all__ = ["MAX_UVARINT_BYTES", "UINT64_MASK", "WireReader", "WireType", "encode_uvarint"]

MAX_UVARINT_BYTES = 10
"""64 bits, seven a byte: where Go's binary.ReadUvarint and every protobuf decoder stop."""

UINT64_MASK = 0xFFFF_FFFF_FFFF_FFFF

_CONTINUED = 0x80
_SINGLE_BYTE_UVARINTS = tuple(bytes([value]) for value in range(_CONTINUED))


@unique
class WireType(IntEnum):
    """How a field's value is laid out. Groups (3 and 4) are left out: no proto3 message holds any."""

    VARINT = 0
    FIXED64 = 1
    CHUNK = 2
    FIXED32 = 5


def encode_uvarint(value: int) -> bytes:
    """Return the shortest varint of a number from 0 to 2**64 - 1."""
    if value < _CONTINUED:
        return _SINGLE_BYTE_UVARINTS[value]
    out = bytearray()
    while value >= _CONTINUED:
        out.append(value & 0x7F | _CONTINUED)
        value >>= 7
    out.append(value)
    return bytes(out)


class WireReader:
    """Walks one encoded message from front to back. Every method raises WireFormatError where the bytes end early."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def at_end(self) -> bool:
        """Whether all bytes were read."""
        return self._position >= len(self._data)

    def uvarint(self) -> int:
        """Read a varint of at most 64 bits; a longer form than needed is accepted, as in Go."""
        data = self._data
        position = self._position
        value = shift = 0
        try:
            while (byte := data[position]) >= _CONTINUED:
                value |= (byte & 0x7F) << shift
                shift += 7
                position += 1
        except IndexError:
            raise WireFormatError("the message ends in the middle of a number") from None
        value |= byte << shift
        if value > UINT64_MASK or position - self._position >= MAX_UVARINT_BYTES:
            raise WireFormatError("a number is longer than 64 bits")
        self._position = position + 1
        return value

    def take(self, length: int) -> bytes:
        """Read exactly `length` bytes."""
        end = self._position + length
        if end > len(self._data):
            raise WireFormatError(f"a field of {length} bytes runs past the end of the message")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def chunk(self) -> bytes:
        """Read a length and as many bytes."""
        return self.take(self.uvarint())

    def value(self, wire_type: int) -> int | bytes:
        """Read a field's value: a number for a varint, bytes for everything else."""
        match wire_type:
            case WireType.VARINT:
                return self.uvarint()
            case WireType.CHUNK:
                return self.chunk()
            case WireType.FIXED64:
                return self.take(8)
            case WireType.FIXED32:
                return self.take(4)
            case _:
                raise WireFormatError(f"a field has wire type {wire_type}, which does not exist in proto3")
