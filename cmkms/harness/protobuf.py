"""The few protobuf primitives the wire needs, written by hand: varints, fields, bounds.

Decoding is at least as strict as gogoproto's generated code. Nothing here knows a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cmkms.harness.errors import BadReplyError

__all__ = [
    "Field",
    "bytes_field",
    "delimited",
    "fields",
    "int_field",
    "length_field",
    "read_uvarint",
    "sfixed64_field",
    "uvarint",
]

MAX_VARINT_BYTES: Final = 10
"""64 bits in groups of seven: the eleventh byte is an overflow."""

_LOW_BITS, _MORE_FOLLOW = 0x7F, 0x80
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_U64_MASK: Final = (1 << 64) - 1
_SHORT: Final = tuple(bytes((number,)) for number in range(_LOW_BITS + 1))
_MAX_FIELD_NUMBER: Final = (1 << 29) - 1


def uvarint(number: int) -> bytes:
    """Encode an unsigned integer; a negative one becomes its 64-bit two's complement (10 bytes), as int32/int64 do."""
    if 0 <= number <= _LOW_BITS:
        return _SHORT[number]
    number &= _U64_MASK
    out = bytearray()
    while number > _LOW_BITS:
        out.append(number & _LOW_BITS | _MORE_FOLLOW)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_uvarint(data: bytes | bytearray, start: int = 0) -> tuple[int, int] | None:
    """Read a varint at `start`: (value, position after it), or None while bytes are missing.

    Raises:
        BadReplyError: more than ten bytes, or more than 64 bits.
    """
    if start < len(data) and data[start] < _MORE_FOLLOW:
        return data[start], start + 1
    value = 0
    for index in range(MAX_VARINT_BYTES):
        position = start + index
        if position >= len(data):
            return None
        byte = data[position]
        value |= (byte & _LOW_BITS) << (7 * index)
        if byte < _MORE_FOLLOW:
            if value > _U64_MASK:
                break
            return value, position + 1
    raise BadReplyError("varint overflows 64 bits")


def int_field(number: int, value: int) -> bytes:
    """A varint field; nothing for zero, as proto3 wants."""
    return uvarint(number << 3 | _VARINT) + uvarint(value) if value else b""


def sfixed64_field(number: int, value: int) -> bytes:
    """A fixed 64-bit field; nothing for zero."""
    return uvarint(number << 3 | _FIXED64) + (value & _U64_MASK).to_bytes(8, "little") if value else b""


def bytes_field(number: int, value: bytes) -> bytes:
    """A bytes or string field; nothing for an empty one."""
    return length_field(number, value) if value else b""


def length_field(number: int, value: bytes) -> bytes:
    """A length-delimited field that is always written, even when empty: a non-nullable sub-message of gogoproto."""
    return uvarint(number << 3 | _BYTES) + uvarint(len(value)) + value


def delimited(message: bytes) -> bytes:
    """A message after its own length as a varint: how privval frames messages and sign-bytes (`libs/protoio`)."""
    return uvarint(len(message)) + message


@dataclass(frozen=True, slots=True)
class Field:
    """One field as it stood on the wire: its number and its value, an integer or bytes."""

    number: int
    value: int | bytes

    def unsigned(self) -> int:
        """The value of a varint or fixed field. Raises BadReplyError for a length-delimited one."""
        if isinstance(self.value, bytes):
            raise BadReplyError(f"field {self.number}: wrong wire type, expected an integer")
        return self.value

    def signed(self, bits: int = 64) -> int:
        """As `unsigned`, read as two's complement and cut to `bits` the way Go converts."""
        value = self.unsigned() & ((1 << bits) - 1)
        return value - (1 << bits) if value >> (bits - 1) else value

    def raw(self) -> bytes:
        """The value of a length-delimited field. Raises BadReplyError for a number."""
        if isinstance(self.value, int):
            raise BadReplyError(f"field {self.number}: wrong wire type, expected bytes")
        return self.value


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message in their order.

    Raises:
        BadReplyError: truncated, overlong or impossible encodings. Groups are refused.
    """
    position = 0
    while position < len(data):
        key, position = _whole_uvarint(data, position)
        number, wire_type = key >> 3, key & 7
        if not 0 < number <= _MAX_FIELD_NUMBER:
            raise BadReplyError(f"illegal field number {number}")
        if wire_type == _VARINT:
            value, position = _whole_uvarint(data, position)
            yield Field(number, value)
        elif wire_type == _BYTES:
            length, position = _whole_uvarint(data, position)
            position += length
            _check_end(data, position)
            yield Field(number, data[position - length : position])
        elif wire_type in {_FIXED64, _FIXED32}:
            size = 8 if wire_type == _FIXED64 else 4
            position += size
            _check_end(data, position)
            yield Field(number, int.from_bytes(data[position - size : position], "little"))
        else:
            raise BadReplyError(f"field {number}: illegal wire type {wire_type}")


def _whole_uvarint(data: bytes, position: int) -> tuple[int, int]:
    read = read_uvarint(data, position)
    if read is None:
        raise BadReplyError("unexpected end inside a varint")
    return read


def _check_end(data: bytes, position: int) -> None:
    if position > len(data):
        raise BadReplyError("unexpected end inside a field")
