"""How the parts of a peer message look in bytes: lengths, numbers, texts, and the bound of each. Big-endian. Pure.

Each value has exactly one form, and reading checks it: what was read would be written as the very same bytes. It must
never let a length from the wire cost more than the bytes that came with it.
"""

from __future__ import annotations

import struct
from typing import Final

from cmkms.errors import BrokenInvariantError, PeerError
from cmkms.guard.generation import GenerationId
from cmkms.guard.hrs import HRS, Step
from cmkms.guard.record import MAX_CHAIN_ID_BYTES, MAX_MEMBER_ID_BYTES, MAX_SIGN_BYTES

__all__ = [
    "DIGEST_BYTES",
    "GENERATION",
    "HRS_LAYOUT",
    "MAX_TEXT_BYTES",
    "NONCE_BYTES",
    "PeerProtocolError",
    "Reader",
    "bounded",
    "chain_id_of",
    "checked_count",
    "checked_size",
    "decode_utf8",
    "hrs_of",
    "pack_chain_id",
    "pack_choice",
    "pack_generation",
    "pack_hrs",
    "pack_member_id",
    "pack_optional_sign_bytes",
    "pack_sign_bytes",
    "pack_text",
    "sign_bytes_of",
]

NONCE_BYTES: Final = 16
"""Of a guard file or a process (boot)."""
DIGEST_BYTES: Final = 32
"""SHA-256; Ed25519 public keys have the same size."""
MAX_TEXT_BYTES: Final = 500
"""A sentence for people. A longer one is cut when it is sent: it decides nothing."""

GENERATION: Final = struct.Struct(f">Q{DIGEST_BYTES}s")
HRS_LAYOUT: Final = struct.Struct(">QIB")
_U8: Final = struct.Struct(">B")
_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_MAX_U8: Final = 0xFF
_SEAL: Final = 0xFFFF
"""Stands where the length of sign-bytes would: there are none."""


class PeerProtocolError(PeerError):
    """A replica sent what no replica of this protocol sends. Ends its session and nothing else."""


# ------------------------------------------------------------------------------------------------------------- writing


def pack_choice(what: str, data: bytes, *lengths: int) -> bytes:
    """Return bytes that have one of a few lengths, with their length (one byte) before them."""
    if len(data) not in lengths:
        raise BrokenInvariantError(f"{what} of {len(data)} bytes goes on no wire")
    return bytes((len(data),)) + data


def _pack_short(what: str, text: str, limit: int) -> bytes:
    """Return a name with its length (one byte) before it."""
    data = text.encode()
    if len(data) > min(limit, _MAX_U8):
        raise BrokenInvariantError(f"{what} of {len(data)} bytes goes on no wire (at most {limit})")
    return bytes((len(data),)) + data


def chain_id_of(text: str) -> bytes:
    """Return a chain id's bytes, without a length."""
    data = text.encode()
    if len(data) > MAX_CHAIN_ID_BYTES:
        raise BrokenInvariantError(f"a chain id of {len(data)} bytes goes on no wire (at most {MAX_CHAIN_ID_BYTES})")
    return data


def pack_chain_id(text: str) -> bytes:
    """Return a chain id with its length."""
    return _pack_short("a chain id", text, MAX_CHAIN_ID_BYTES)


def pack_member_id(text: str) -> bytes:
    """Return a replica's id with its length; empty stands for nobody."""
    return _pack_short("a replica id", text, MAX_MEMBER_ID_BYTES)


def pack_text(text: str, limit: int = MAX_TEXT_BYTES) -> bytes:
    """Return a sentence with its length (two bytes) before it, cut to `limit` bytes."""
    data = text.encode("utf-8", "replace")
    if len(data) > limit:
        data = data[:limit].decode("utf-8", "ignore").encode()
    return _U16.pack(len(data)) + data


def pack_generation(generation: GenerationId) -> bytes:
    """Return a generation's 40 bytes."""
    if len(generation.hash) != DIGEST_BYTES:
        raise BrokenInvariantError(f"a generation's hash of {len(generation.hash)} bytes")
    return GENERATION.pack(generation.number, generation.hash)


def pack_hrs(hrs: HRS) -> bytes:
    """Return 13 bytes."""
    return HRS_LAYOUT.pack(hrs.height, hrs.round, hrs.step)


def sign_bytes_of(sign_bytes: bytes) -> bytes:
    """Return the sign-bytes, which are known to fit from here on."""
    if len(sign_bytes) > MAX_SIGN_BYTES:
        raise BrokenInvariantError(f"sign-bytes of {len(sign_bytes)} bytes go on no wire (at most {MAX_SIGN_BYTES})")
    return sign_bytes


def pack_sign_bytes(sign_bytes: bytes) -> bytes:
    """Return sign-bytes with their length (two bytes) before them."""
    return _U16.pack(len(sign_bytes_of(sign_bytes))) + sign_bytes


def pack_optional_sign_bytes(sign_bytes: bytes | None) -> bytes:
    """Return sign-bytes with their length, or the mark of a seal."""
    return _U16.pack(_SEAL) if sign_bytes is None else pack_sign_bytes(sign_bytes)


def checked_count(what: str, count: int, limit: int) -> int:
    """Return a count of ours that is within its bound."""
    if count > limit:
        raise BrokenInvariantError(f"{count} {what} go on no wire (at most {limit})")
    return count


def checked_size(what: str, data: bytes, limit: int) -> bytes:
    """Return bytes of ours that are within their bound."""
    if len(data) > limit:
        raise BrokenInvariantError(f"{what} of {len(data)} bytes goes on no wire (at most {limit})")
    return data


# ------------------------------------------------------------------------------------------------------------- reading


def bounded(what: str, count: int, limit: int) -> int:
    """Return a count from the wire that is within its bound. Raises PeerProtocolError."""
    if count > limit:
        raise PeerProtocolError(f"{count} {what} (at most {limit})")
    return count


def hrs_of(height: int, round_: int, step: int) -> HRS:
    """Return the height/round/step of what stood on the wire."""
    try:
        return HRS(height, round_, Step(step))
    except ValueError as error:
        raise PeerProtocolError(f"no height/round/step: {error}") from None


class Reader:
    """Takes the parts of one message in order. Every method raises PeerProtocolError for what cannot be."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self._at = start

    def take(self, count: int) -> bytes:
        """Take exactly so many bytes."""
        end = self._at + count
        data = self._data[self._at : end]
        if len(data) != count:
            raise PeerProtocolError(f"a message ends {count - len(data)} bytes early")
        self._at = end
        return data

    def rest(self) -> bytes:
        """Take whatever is left."""
        data = self._data[self._at :]
        self._at = len(self._data)
        return data

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise PeerProtocolError(f"a message has {len(self._data) - self._at} bytes too many")

    def u8(self) -> int:
        """Take a number of one byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Take a number of two bytes."""
        return int.from_bytes(self.take(_U16.size), "big")

    def u32(self) -> int:
        """Take a number of four bytes."""
        return int.from_bytes(self.take(_U32.size), "big")

    def u64(self) -> int:
        """Take a number of eight bytes."""
        return int.from_bytes(self.take(_U64.size), "big")

    def flag(self) -> bool:
        """Take a yes or no: 1 or 0, nothing else."""
        value = self.u8()
        if value > 1:
            raise PeerProtocolError(f"a yes or no that is {value}")
        return value == 1

    def choice(self, what: str, *lengths: int) -> bytes:
        """Take bytes that have one of a few lengths."""
        length = self.u8()
        if length not in lengths:
            raise PeerProtocolError(f"{what} of {length} bytes")
        return self.take(length)

    def short(self, what: str, limit: int) -> str:
        """Take a name of at most `limit` bytes."""
        length = self.u8()
        if length > limit:
            raise PeerProtocolError(f"{what} of {length} bytes (at most {limit})")
        return decode_utf8(self.take(length))

    def chain_id(self) -> str:
        """Take a chain id."""
        return self.short("a chain id", MAX_CHAIN_ID_BYTES)

    def member_id(self) -> str:
        """Take a replica's id; empty is nobody."""
        return self.short("a replica id", MAX_MEMBER_ID_BYTES)

    def text(self, limit: int = MAX_TEXT_BYTES) -> str:
        """Take a sentence of at most `limit` bytes."""
        length = self.u16()
        if length > limit:
            raise PeerProtocolError(f"a text of {length} bytes (at most {limit})")
        return decode_utf8(self.take(length))

    def generation(self) -> GenerationId:
        """Take a generation."""
        return GenerationId(self.u64(), self.take(DIGEST_BYTES))

    def hrs(self) -> HRS:
        """Take a height/round/step."""
        return hrs_of(*HRS_LAYOUT.unpack(self.take(HRS_LAYOUT.size)))

    def sign_bytes(self) -> bytes:
        """Take sign-bytes, which must be there."""
        return self._sign_bytes(self.u16())

    def optional_sign_bytes(self) -> bytes | None:
        """Take sign-bytes, or None for a seal."""
        length = self.u16()
        return None if length == _SEAL else self._sign_bytes(length)

    def _sign_bytes(self, length: int) -> bytes:
        if length > MAX_SIGN_BYTES:
            raise PeerProtocolError(f"sign-bytes of {length} bytes (at most {MAX_SIGN_BYTES})")
        return self.take(length)


def decode_utf8(data: bytes) -> str:
    """Return the text. Raises PeerProtocolError for what is no UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise PeerProtocolError("a text that is no UTF-8") from None
