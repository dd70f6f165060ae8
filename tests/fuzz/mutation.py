"""Makes hostile inputs out of good ones: bit flips, splices, lengths that lie, truncations, repetitions, extremes.

It knows no format. What a format needs to be got through (a checksum) is mended by the decoder's own entry. One seed
makes one sequence of inputs, on every machine.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, cast

__all__ = ["MAX_INPUT_BYTES", "Mutator"]

MAX_INPUT_BYTES: Final = 24 * 1024
"""Long enough for a whole guard file and for several frames of every protocol; short enough to be fed byte by byte."""

_MOST_STROKES: Final = 4
_LONGEST_RUN: Final = 64
_LONGEST_GROWTH: Final = 2048

_NUMBERS: Final = tuple(
    struct.pack(layout, value & mask)
    for layout, mask in (
        ("B", 0xFF),
        (">H", 0xFFFF),
        ("<H", 0xFFFF),
        (">I", 0xFFFF_FFFF),
        ("<I", 0xFFFF_FFFF),
        (">Q", 0xFFFF_FFFF_FFFF_FFFF),
        ("<Q", 0xFFFF_FFFF_FFFF_FFFF),
    )
    for value in (0, 1, 2, 31, 32, 33, 127, 128, 255, 256, 1023, 1024, 1025, -1, -2, -(2**31), 2**31 - 1, 2**63 - 1)
)
"""Borders of lengths and counts, in every width and order of bytes."""

_VARINTS: Final = (
    b"\x00",
    b"\x80\x00",
    b"\xff\x7f",
    b"\x80\x80\x80\x80\x08",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
    b"\x80" * 11,
)
"""Borders of 7, 31, 32, 63 and 64 bits, longer forms than needed, and numbers without an end."""


_JSON_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, 1e308, float("inf"), float("nan"), "",
    "0", "-1", "9" * 19, "9" * 30, "é", "\x00", "\ud800", "\udcff", "x" * 600, "00" * 32, [], {}, [[]], {"": None},
)  # fmt: skip
"""What may stand where a file says something else: other types, numbers beyond every width, text that is no UTF-8."""


class Mutator:
    """Draws inputs from `seeds` (at least one); `tokens` are pieces that mean something in this format.

    `text`: the format is text. Noise stays printable, so that it is not refused for the one reason that it is none;
    and seeds that are JSON are mutated as values, too.
    """

    def __init__(
        self, random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes] = (), *, text: bool = False
    ) -> None:
        self._random = random
        self._seeds = list(seeds)
        self._extremes = tuple(tokens) if text and tokens else (*_NUMBERS, *_VARINTS, *tokens)
        self._tokens = tuple(tokens)
        self._text = text
        self._strokes: tuple[Callable[[bytearray], None], ...] = (
            self._flip,
            self._flip,
            self._overwrite,
            self._write_extreme,
            self._write_extreme,
            self._insert_extreme,
            self._insert_noise,
            self._cut_out,
            self._repeat,
            self._truncate,
            self._splice,
            self._swap,
        )
        if self._tokens:
            self._strokes += (self._insert_token, self._insert_token)

    def keep(self, data: bytes) -> None:
        """Take an input that did something new as one to go on from."""
        self._seeds.append(data)

    def draw(self) -> bytes:
        """Return the next input, of at most `MAX_INPUT_BYTES`."""
        data = bytearray(self._random.choice(self._seeds))
        # As often as not a JSON document stays one: else hardly any gets past the parser.
        strokes = (
            (self._change_json,) if self._text and self._random.random() < 0.5 and _is_json(data) else self._strokes
        )
        for _ in range(self._random.randint(1, _MOST_STROKES)):
            self._random.choice(strokes)(data)
        return bytes(data[:MAX_INPUT_BYTES])

    # -------------------------------------------------------------------------------------------------------- strokes

    def _at(self, data: bytearray) -> int:
        return self._random.randrange(len(data) + 1)

    def _span(self, data: bytearray) -> tuple[int, int]:
        start = self._at(data)
        return start, min(len(data), start + self._random.randint(1, _LONGEST_RUN))

    def _noise(self, count: int) -> bytes:
        return bytes(self._random.choices(range(0x20, 0x7F), k=count)) if self._text else self._random.randbytes(count)

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)

    def _overwrite(self, data: bytearray) -> None:
        start, end = self._span(data)
        data[start:end] = self._noise(end - start)

    def _write_extreme(self, data: bytearray) -> None:
        extreme, at = self._random.choice(self._extremes), self._at(data)
        data[at : at + len(extreme)] = extreme

    def _insert_extreme(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self._random.choice(self._extremes)

    def _insert_token(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self._random.choice(self._tokens)

    def _insert_noise(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self._noise(self._random.randint(1, _LONGEST_RUN))

    def _cut_out(self, data: bytearray) -> None:
        start, end = self._span(data)
        del data[start:end]

    def _repeat(self, data: bytearray) -> None:
        """A part stands several times: a field twice, or nesting without an end."""
        start, end = self._span(data)
        piece = bytes(data[start:end])
        if piece:
            data[end:end] = piece * self._random.randint(1, max(1, _LONGEST_GROWTH // len(piece)))

    def _truncate(self, data: bytearray) -> None:
        del data[self._at(data) :]

    def _splice(self, data: bytearray) -> None:
        other = self._random.choice(self._seeds)
        data[self._at(data) :] = other[self._random.randrange(len(other) + 1) :]

    def _swap(self, data: bytearray) -> None:
        start, end = self._span(data)
        piece = bytes(data[start:end])
        del data[start:end]
        at = self._at(data)
        data[at:at] = piece

    def _change_json(self, data: bytearray) -> None:
        """Put another value, or none, or a field more, somewhere into a JSON document."""
        document = json.loads(bytes(data))
        holder = _holder(document, self._random)
        value = self._random.choice(_JSON_VALUES)
        if isinstance(holder, dict) and holder:
            self._change_field(cast("dict[str, Any]", holder), value)
        elif isinstance(holder, list) and holder:
            items = cast("list[object]", holder)
            items[self._random.randrange(len(items))] = value
        else:
            document = value
        data[:] = json.dumps(document, indent=self._random.choice((None, 2))).encode()

    def _change_field(self, fields: dict[str, Any], value: Any) -> None:
        name = self._random.choice(sorted(fields))
        match self._random.randrange(4):
            case 0:
                del fields[name]
            case 1:
                fields[name + "x"] = value
            case _:
                fields[name] = value


def _is_json(data: bytearray) -> bool:
    try:
        json.loads(bytes(data))
    except (ValueError, RecursionError):
        return False
    return True


def _holder(document: object, random: Random) -> object:
    """Some object or array of a document, at any depth: here half of the time, else below."""
    deeper = _holders_in(document)
    return _holder(random.choice(deeper), random) if deeper and random.random() < 0.5 else document


def _holders_in(document: object) -> list[object]:
    within: list[object] = []
    if isinstance(document, dict):
        within = list(cast("dict[str, object]", document).values())
    elif isinstance(document, list):
        within = cast("list[object]", document)
    return [one for one in within if isinstance(one, (dict, list))]
