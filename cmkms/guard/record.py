"""The guard's record: everything that a guard knows, in one 512-byte disk sector.

A sector is written whole or not at all, so a record is never torn. Strict: a record that does not decode to exactly
what was encoded is no record. Pure.

Layout, version 1, big-endian: magic 8, version 2, flags 2, chain id 1+50, member id 1+32, key hash 32, nonce 16,
generation 8+32, sequence 8, height 8, round 4, step 1, max height 8, allowed height 8, accepted at 8 (Unix seconds),
sign-bytes 2+232, zeros, CRC-32 4.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from cmkms.errors import BrokenInvariantError, OperatorError
from cmkms.guard.decide import GuardState
from cmkms.guard.generation import NONCE_BYTES, GenerationId
from cmkms.guard.hrs import HRS, Step

__all__ = [
    "MAX_CHAIN_ID_BYTES",
    "MAX_MEMBER_ID_BYTES",
    "MAX_SIGN_BYTES",
    "RECORD_BYTES",
    "GuardRecord",
    "RecordDamagedError",
    "RecordTooLargeError",
    "decode_record",
    "encode_record",
]

RECORD_BYTES: Final = 512
"""One logical sector of any disk in use."""
MAX_CHAIN_ID_BYTES: Final = 50
"""CometBFT `types/genesis.go`, MaxChainIDLen."""
MAX_MEMBER_ID_BYTES: Final = 32
MAX_SIGN_BYTES: Final = 232
"""The longest sign-bytes of a proposal with 32-byte hashes and a 50-byte chain id have 199 bytes."""

_MAGIC: Final = b"CMKMSGRD"
_VERSION: Final = 1
_LAYOUT: Final = struct.Struct(f">8sHHB50sB32s32s{NONCE_BYTES}sQ32sQQIBQQQH{MAX_SIGN_BYTES}s")
_CRC: Final = struct.Struct(">I")
_BODY_BYTES: Final = RECORD_BYTES - _CRC.size
_ZEROS: Final = bytes(_BODY_BYTES - _LAYOUT.size)


class RecordDamagedError(Exception):
    """These 512 bytes are not a record: rot, or something else's data. Says which check failed."""


class RecordTooLargeError(OperatorError):
    """A chain id, member id or sign-bytes that does not fit the record."""


# Plain integers: IntFlag takes 10 us of the hot path.
_ARMED: Final = 1
_SEALED: Final = 2
_PAUSED: Final = 4


@dataclass(frozen=True, slots=True)
class GuardRecord:
    """One durable state of one guard. `sign_bytes` None is a seal; `sequence` counts writes of this file."""

    chain_id: str
    member_id: str
    key_hash: bytes
    nonce: bytes
    generation: GenerationId
    sequence: int
    armed: bool
    hrs: HRS
    sign_bytes: bytes | None
    accepted_at: int
    paused: bool = False
    max_height: int | None = None
    allowed_height: int | None = None

    def state(self, ceiling: int | None) -> GuardState:
        """Return what the decision needs of this record, with the height ceiling of this moment."""
        return GuardState(
            self.chain_id,
            self.key_hash,
            self.generation,
            self.armed,
            self.hrs,
            self.sign_bytes,
            self.paused,
            self.max_height,
            ceiling,
        )

    def advanced(self, hrs: HRS, sign_bytes: bytes | None, accepted_at: int) -> GuardRecord:
        """Return the record that follows this one when the watermark moves."""
        # Spelt out: on the hot path, and `replace` takes five times as long.
        return GuardRecord(
            self.chain_id,
            self.member_id,
            self.key_hash,
            self.nonce,
            self.generation,
            self.sequence + 1,
            self.armed,
            hrs,
            sign_bytes,
            accepted_at,
            self.paused,
            self.max_height,
            self.allowed_height,
        )


def encode_record(record: GuardRecord) -> bytes:
    """Return the record's 512 bytes. Raises RecordTooLargeError for what does not fit."""
    chain_id = _fit("chain id", record.chain_id.encode(), MAX_CHAIN_ID_BYTES)
    member_id = _fit("replica id", record.member_id.encode(), MAX_MEMBER_ID_BYTES)
    sign_bytes = _fit("sign-bytes", record.sign_bytes or b"", MAX_SIGN_BYTES)
    body = _LAYOUT.pack(
        _MAGIC,
        _VERSION,
        _flags(record),
        len(chain_id),
        chain_id,
        len(member_id),
        member_id,
        record.key_hash,
        record.nonce,
        record.generation.number,
        record.generation.hash,
        record.sequence,
        record.hrs.height,
        record.hrs.round,
        record.hrs.step,
        _bound("max_height", record.max_height),
        _bound("allowed_height", record.allowed_height),
        record.accepted_at,
        len(sign_bytes),
        sign_bytes,
    )
    body += _ZEROS
    return body + _CRC.pack(zlib.crc32(body))


def decode_record(data: bytes) -> GuardRecord:
    """Read a record back. Raises RecordDamagedError for anything that `encode_record` would not have written."""
    if len(data) != RECORD_BYTES:
        raise RecordDamagedError(f"{len(data)} bytes instead of {RECORD_BYTES}")
    if zlib.crc32(data[:_BODY_BYTES]) != _CRC.unpack_from(data, _BODY_BYTES)[0]:
        raise RecordDamagedError("checksum does not match")
    record = _unpack(data)
    if encode_record(record) != data:
        raise RecordDamagedError("not in the canonical form")
    return record


def _unpack(data: bytes) -> GuardRecord:
    (
        magic,
        version,
        flags,
        chain_length,
        chain_id,
        member_length,
        member_id,
        key_hash,
        nonce,
        generation_number,
        generation_hash,
        sequence,
        height,
        round_,
        step,
        max_height,
        allowed_height,
        accepted_at,
        bytes_length,
        sign_bytes,
    ) = _LAYOUT.unpack_from(data)
    if magic != _MAGIC:
        raise RecordDamagedError("not a guard record (wrong magic)")
    if version != _VERSION:
        raise RecordDamagedError(f"record version {version}; this release reads version {_VERSION}")
    try:
        return GuardRecord(
            chain_id=chain_id[:chain_length].decode(),
            member_id=member_id[:member_length].decode(),
            key_hash=key_hash,
            nonce=nonce,
            generation=GenerationId(generation_number, generation_hash),
            sequence=sequence,
            armed=bool(flags & _ARMED),
            hrs=HRS(height, round_, Step(step)),
            sign_bytes=None if flags & _SEALED else sign_bytes[:bytes_length],
            accepted_at=accepted_at,
            paused=bool(flags & _PAUSED),
            max_height=max_height or None,
            allowed_height=allowed_height or None,
        )
    except ValueError as error:
        raise RecordDamagedError(f"a field is out of range ({error})") from error


def _flags(record: GuardRecord) -> int:
    armed = _ARMED if record.armed else 0
    sealed = _SEALED if record.sign_bytes is None else 0
    paused = _PAUSED if record.paused else 0
    return armed | sealed | paused


def _bound(what: str, height: int | None) -> int:
    if height == 0:
        # 0 stands for "none" on disk: a guard told to sign nothing would come back and sign everything.
        raise BrokenInvariantError(f"{what} 0 cannot be told from none; the lowest bound is 1")
    return height or 0


def _fit(what: str, data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise RecordTooLargeError(f"{what} of {len(data)} bytes does not fit the guard's record (at most {limit})")
    return data
