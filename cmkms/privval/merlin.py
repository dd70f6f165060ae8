"""The Merlin transcript by which SecretConnection binds its challenge to the keys that were exchanged.

A small part of Merlin 1.0 over STROBE-128, over the Keccak-f[1600] permutation: what a handshake needs and nothing
else. No library that we could depend on has it. It runs a handful of permutations, once a connection.

Source: merlin.cool ("Transcript protocols", merlin's strobe.rs), strobe.sourceforge.io (v1.0.2), FIPS 202 section 3.
"""

from __future__ import annotations

import struct
from enum import IntFlag

__all__ = ["Transcript"]

_STATE_BYTES = 200
_RATE = 166  # bytes absorbed between two permutations: 200 - 128 / 4 - 2
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_LITTLE_ENDIAN_LANES = struct.Struct("<25Q")
_LITTLE_ENDIAN_LENGTH = struct.Struct("<I")


class _Flag(IntFlag):
    """What a STROBE operation does: data comes in, goes to the application, is ciphered, is metadata."""

    I = 1  # noqa: E741 - the specification's letter
    A = 2
    C = 4
    M = 16


_AD = _Flag.A
_META_AD = _Flag.M | _Flag.A
_PRF = _Flag.I | _Flag.A | _Flag.C


def _round_constants() -> tuple[int, ...]:
    """The 24 constants of the iota step, out of their shift register (FIPS 202, algorithm 5)."""
    constants: list[int] = []
    register = 1
    for _ in range(24):
        constant = 0
        for bit in range(7):
            if register & 1:
                constant |= 1 << ((1 << bit) - 1)
            register = register << 1 ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return tuple(constants)


def _moves() -> tuple[tuple[int, int, int], ...]:
    """Where the rho and pi steps put each lane, and how far they turn it: (from, to, left by so many bits)."""
    moves = [(0, 0, 0)]
    x, y = 1, 0
    for step in range(24):
        target_x, target_y = y, (2 * x + 3 * y) % 5
        moves.append((x + 5 * y, target_x + 5 * target_y, (step + 1) * (step + 2) // 2 % 64))
        x, y = target_x, target_y
    return tuple(moves)


_ROUND_CONSTANTS = _round_constants()
_MOVES = _moves()


def _permute(state: bytearray) -> None:
    """Keccak-f[1600] on 200 bytes, in place. Lane (x, y) stands at index x + 5 y."""
    lanes = list(_LITTLE_ENDIAN_LANES.unpack(state))
    turned = [0] * 25
    for constant in _ROUND_CONSTANTS:
        parity = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        mixed = [parity[x - 1] ^ ((following := parity[(x + 1) % 5]) << 1 & _MASK | following >> 63) for x in range(5)]
        for source, target, bits in _MOVES:
            lane = lanes[source] ^ mixed[source % 5]
            turned[target] = lane << bits & _MASK | lane >> (64 - bits)
        for row in range(0, 25, 5):
            a, b, c, d, e = turned[row : row + 5]
            lanes[row : row + 5] = (a ^ ~b & c, b ^ ~c & d, c ^ ~d & e, d ^ ~e & a, e ^ ~a & b)
        lanes[0] ^= constant
    _LITTLE_ENDIAN_LANES.pack_into(state, 0, *lanes)


class _Strobe128:
    """The three STROBE operations that Merlin uses: associated data, its metadata, and a pseudo-random output."""

    __slots__ = ("_begin", "_position", "_state")

    def __init__(self, protocol: bytes) -> None:
        self._state = bytearray(_STATE_BYTES)
        self._state[:18] = bytes([1, _RATE + 2, 1, 0, 1, 96]) + b"STROBEv1.0.2"
        _permute(self._state)
        self._position = 0
        self._begin = 0
        self.meta_ad(protocol)

    def meta_ad(self, data: bytes) -> None:
        """Begin an operation on metadata."""
        self._begin_operation(_META_AD)
        self._absorb(data)

    def more_meta_ad(self, data: bytes) -> None:
        """Go on with the metadata just begun."""
        self._absorb(data)

    def ad(self, data: bytes) -> None:
        """Begin an operation on data."""
        self._begin_operation(_AD)
        self._absorb(data)

    def prf(self, length: int) -> bytes:
        """Draw `length` bytes that depend on everything absorbed before."""
        self._begin_operation(_PRF)
        out = bytearray()
        for _ in range(length):
            out.append(self._state[self._position])
            self._state[self._position] = 0
            self._advance()
        return bytes(out)

    def _begin_operation(self, flags: _Flag) -> None:
        before = self._begin
        self._begin = self._position + 1
        self._absorb(bytes([before, flags]))
        if _Flag.C in flags and self._position:
            self._run()

    def _absorb(self, data: bytes) -> None:
        for byte in data:
            self._state[self._position] ^= byte
            self._advance()

    def _advance(self) -> None:
        self._position += 1
        if self._position == _RATE:
            self._run()

    def _run(self) -> None:
        self._state[self._position] ^= self._begin
        self._state[self._position + 1] ^= 0x04
        self._state[_RATE + 1] ^= 0x80
        _permute(self._state)
        self._position = 0
        self._begin = 0


class Transcript:
    """A public-coin transcript: what both sides said, in order, each under its label."""

    __slots__ = ("_strobe",)

    def __init__(self, label: bytes) -> None:
        self._strobe = _Strobe128(b"Merlin v1.0")
        self.append_message(b"dom-sep", label)

    def append_message(self, label: bytes, message: bytes) -> None:
        """Add a message of less than 4 GiB."""
        self._strobe.meta_ad(label)
        self._strobe.more_meta_ad(_LITTLE_ENDIAN_LENGTH.pack(len(message)))
        self._strobe.ad(message)

    def challenge_bytes(self, label: bytes, length: int) -> bytes:
        """Draw `length` bytes that both sides can only have in common if they saw the same transcript."""
        self._strobe.meta_ad(label)
        self._strobe.more_meta_ad(_LITTLE_ENDIAN_LENGTH.pack(length))
        return self._strobe.prf(length)
