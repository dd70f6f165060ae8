"""A Merlin transcript over STROBE-128, as far as the SecretConnection handshake needs it.

Written from the specification of Merlin (merlin.cool) and of STROBE v1.0.2; Keccak-f[1600] from FIPS 202.
It runs twice a connection and is allowed to be slow.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Transcript"]

_ROUNDS: Final = 24
_MASK: Final = (1 << 64) - 1
_STATE_BYTES: Final = 200

_STROBE_RATE: Final = 166
"""Bytes of a STROBE-128 block: 200 of the state, less 32 for 128 bits of strength, less 2 of framing."""

_FLAG_INBOUND, _FLAG_APPLICATION, _FLAG_CIPHER, _FLAG_META, _FLAG_KEY = 1, 2, 4, 16, 32


def _rotl(lane: int, by: int) -> int:
    by %= 64
    return (lane << by | lane >> (64 - by)) & _MASK


def _rho_and_pi() -> tuple[tuple[int, int, int], ...]:
    """(source lane, target lane, rotation) of the steps rho and pi, made by their defining walk (FIPS 202, 3.2)."""
    moves = [(0, 0, 0)]
    x, y = 1, 0
    for step in range(24):
        moves.append((x + 5 * y, y + 5 * ((2 * x + 3 * y) % 5), (step + 1) * (step + 2) // 2 % 64))
        x, y = y, (2 * x + 3 * y) % 5
    return tuple(moves)


def _round_constants() -> tuple[int, ...]:
    """The constants of the step iota, from their shift register (FIPS 202, 3.2.5)."""
    constants: list[int] = []
    register = 1
    for _ in range(_ROUNDS):
        constant = 0
        for power in range(7):
            if register & 1:
                constant |= 1 << ((1 << power) - 1)
            register <<= 1
            if register & 0x100:
                register ^= 0x171
        constants.append(constant)
    return tuple(constants)


_MOVES: Final = _rho_and_pi()
_CONSTANTS: Final = _round_constants()


def keccak_f1600(state: bytearray) -> None:
    """Permute 200 bytes in place."""
    lanes = [int.from_bytes(state[8 * i : 8 * i + 8], "little") for i in range(25)]
    for constant in _CONSTANTS:
        columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        theta = [columns[(x + 4) % 5] ^ _rotl(columns[(x + 1) % 5], 1) for x in range(5)]
        moved = [0] * 25
        for source, target, rotation in _MOVES:
            moved[target] = _rotl(lanes[source] ^ theta[source % 5], rotation)
        lanes = [
            moved[i] ^ (~moved[i - i % 5 + (i + 1) % 5] & moved[i - i % 5 + (i + 2) % 5] & _MASK) for i in range(25)
        ]
        lanes[0] ^= constant
    for i, lane in enumerate(lanes):
        state[8 * i : 8 * i + 8] = lane.to_bytes(8, "little")


class Transcript:
    """Absorbs labelled messages and yields labelled challenges that depend on all of them, in order."""

    __slots__ = ("_begin", "_position", "_state")

    def __init__(self, label: bytes) -> None:
        self._state = bytearray(_STATE_BYTES)
        self._state[:6] = bytes([1, _STROBE_RATE + 2, 1, 0, 1, 96])
        self._state[6:18] = b"STROBEv1.0.2"
        keccak_f1600(self._state)
        self._position = 0
        self._begin = 0
        self._operation(_FLAG_META | _FLAG_APPLICATION, b"Merlin v1.0")
        self.append(b"dom-sep", label)

    def append(self, label: bytes, message: bytes) -> None:
        """Absorb a message under its label."""
        self._operation(_FLAG_META | _FLAG_APPLICATION, label + len(message).to_bytes(4, "little"))
        self._operation(_FLAG_APPLICATION, message)

    def challenge(self, label: bytes, size: int) -> bytes:
        """Extract `size` bytes under a label."""
        self._operation(_FLAG_META | _FLAG_APPLICATION, label + size.to_bytes(4, "little"))
        self._operation(_FLAG_INBOUND | _FLAG_APPLICATION | _FLAG_CIPHER, b"")
        out = bytearray()
        for _ in range(size):
            out.append(self._state[self._position])
            self._state[self._position] = 0
            self._advance()
        return bytes(out)

    def _operation(self, flags: int, data: bytes) -> None:
        previous = self._begin
        self._begin = self._position + 1
        self._absorb(bytes([previous, flags]))
        if flags & (_FLAG_CIPHER | _FLAG_KEY) and self._position:
            self._permute()
        self._absorb(data)

    def _absorb(self, data: bytes) -> None:
        for byte in data:
            self._state[self._position] ^= byte
            self._advance()

    def _advance(self) -> None:
        self._position += 1
        if self._position == _STROBE_RATE:
            self._permute()

    def _permute(self) -> None:
        self._state[self._position] ^= self._begin
        self._state[self._position + 1] ^= 0x04
        self._state[_STROBE_RATE + 1] ^= 0x80
        keccak_f1600(self._state)
        self._position = 0
        self._begin = 0
