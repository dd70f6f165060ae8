"""Reads guard files from outside: what a replica's disk would say after everything has been killed.

Written from the layout that is on record, not from the product's code, so that a mistake there is not repeated here.
It never writes, never mends, and trusts no file that it cannot read whole.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cmkms.harness.answers import Released, read_answer
from cmkms.harness.observation import Observation
from cmkms.harness.values import HRS

__all__ = ["Watermark", "check_guards", "read_watermark"]

_BLOCK_BYTES: Final = 4096
_RECORD_BYTES: Final = 512
_FILE_BYTES: Final = 4 * _BLOCK_BYTES
"""Two slots of two blocks; each block has one copy of its slot's record at its head."""

_MAGIC: Final = b"CMKMSGRD"
_VERSION: Final = 1

_WHO: Final = struct.Struct(">8sHH51s33s32s16sQ32s")
"""Magic, version, flags, chain id, member id, key hash, nonce, generation's number and hash."""
_WHERE: Final = struct.Struct(">QQIBQQQ")
"""Sequence, height, round, step, highest height, height allowed by hand, when it was accepted."""
_WHAT: Final = struct.Struct(">H232s")
"""Length of the sign-bytes, and the bytes."""
_CRC: Final = struct.Struct(">I")
_WHERE_AT: Final = _WHO.size
_WHAT_AT: Final = _WHERE_AT + _WHERE.size
_PADDING_AT: Final = _WHAT_AT + _WHAT.size
_CRC_AT: Final = _RECORD_BYTES - _CRC.size

_ARMED: Final = 1
_SEALED: Final = 2
_PAUSED: Final = 4


@dataclass(frozen=True, slots=True)
class Watermark:
    """What one guard holds. `sign_bytes` is None for a seal: nothing is accepted at or below it, not even repeats."""

    chain_id: str
    member: str
    key_hash: bytes
    nonce: bytes
    generation: int
    generation_hash: bytes
    sequence: int
    height: int
    round: int
    step: int
    sign_bytes: bytes | None
    armed: bool
    paused: bool
    max_height: int

    @property
    def hrs(self) -> HRS:
        """Where it stands."""
        return HRS(self.height, self.round, self.step)


def read_watermark(data: bytes) -> Watermark | None:
    """The record of the highest sequence number in a whole guard file, or None where no record is sound."""
    return max(_sound_records(data), key=lambda record: record.sequence, default=None)


def _sound_records(data: bytes) -> Iterator[Watermark]:
    """Every copy that reads whole; of a file that has not the size of a guard file, none."""
    if len(data) != _FILE_BYTES:
        return
    for start in range(0, _FILE_BYTES, _BLOCK_BYTES):
        record = _read_record(data[start : start + _RECORD_BYTES])
        if record is not None:
            yield record


@lru_cache(maxsize=64)
def _read_record(record: bytes) -> Watermark | None:
    """One record, or None if it is damaged: checksum, magic, version, lengths and padding are all looked at.

    Three of four copies are as they were a moment ago, where a simulation looks after every write.
    """
    (checksum,) = _CRC.unpack_from(record, _CRC_AT)
    if zlib.crc32(record[:_CRC_AT]) != checksum or any(record[_PADDING_AT:_CRC_AT]):
        return None
    magic, version, flags, chain, member, key_hash, nonce, generation, generation_hash = _WHO.unpack_from(record)
    sequence, height, round_, step, max_height, _allowed, _accepted = _WHERE.unpack_from(record, _WHERE_AT)
    length, held = _WHAT.unpack_from(record, _WHAT_AT)
    chain_id, member_id, sign_bytes = _short_text(chain), _short_text(member), _prefix(held, length)
    if magic != _MAGIC or version != _VERSION or chain_id is None or member_id is None or sign_bytes is None:
        return None
    sealed = bool(flags & _SEALED)
    if sealed and sign_bytes:
        return None
    return Watermark(
        chain_id=chain_id,
        member=member_id,
        key_hash=key_hash,
        nonce=nonce,
        generation=generation,
        generation_hash=generation_hash,
        sequence=sequence,
        height=height,
        round=round_,
        step=step,
        sign_bytes=None if sealed else sign_bytes,
        armed=bool(flags & _ARMED),
        paused=bool(flags & _PAUSED),
        max_height=max_height,
    )


def _prefix(field: bytes, length: int) -> bytes | None:
    """The first `length` bytes of a field whose rest is zeros; None if it is not so."""
    if length > len(field) or any(field[length:]):
        return None
    return field[:length]


def _short_text(field: bytes) -> str | None:
    """A text behind its one byte of length; None if it cannot be one."""
    text = _prefix(field[1:], field[0])
    try:
        return None if text is None else text.decode("ascii")
    except UnicodeDecodeError:
        return None


def check_guards(
    files: Mapping[str, bytes | None], observations: Iterable[Observation], *, members: int | None = None
) -> list[str]:
    """What is wrong with the guards of one chain after a run; nothing if a majority stands where it has to.

    `files` is what lies on each replica's disk, None for nothing. A guard stands at or above the highest place at which
    a signature was released if it is above, or there with the very bytes that were released, or sealed there.
    `members` is the number of guards in the generation; left out, every file is one. A nonce counts once: a file that
    was copied is one guard.
    """
    found = {name: None if data is None else read_watermark(data) for name, data in files.items()}
    chains = {mark.chain_id for mark in found.values() if mark is not None}
    highest = _highest_released(observations, chains)
    if highest is None:
        return []
    standing = {mark.nonce for mark in found.values() if mark is not None and _stands(mark, highest)}
    of = len(files) if members is None else members
    if len(standing) > of // 2:
        return []
    where = ", ".join(f"{name} {_describe(mark, highest)}" for name, mark in sorted(found.items()))
    count = f"{len(standing)} of {of} guards stand there or above, by their nonces"
    return [f"a signature was released at {highest.hrs}, and {count}: {where}"]


def _highest_released(observations: Iterable[Observation], chains: set[str]) -> Released | None:
    """The highest message under a good signature; without any guard that says its chain, of whatever chain."""
    highest: Released | None = None
    for seen in observations:
        answer = read_answer(seen)
        if answer is not None and (not chains or answer.chain_id in chains) and answer.highest > _place(highest):
            highest = max([highest, *answer.released()], key=_place)
    return highest


def _place(message: Released | None) -> HRS:
    return HRS(0, 0, 0) if message is None else message.hrs


def _stands(mark: Watermark, highest: Released) -> bool:
    return mark.hrs > highest.hrs or (mark.hrs == highest.hrs and mark.sign_bytes in {None, highest.sign_bytes})


def _describe(mark: Watermark | None, highest: Released) -> str:
    if mark is None:
        return "cannot be read"
    other = " over other bytes" if mark.hrs == highest.hrs and not _stands(mark, highest) else ""
    return f"at {mark.hrs}{other} (generation {mark.generation}, nonce {mark.nonce.hex()[:8]})"
