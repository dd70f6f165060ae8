"""Guard files made by hand from the layout that is on record, for the reader and the judge of guards."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

BLOCK = 4096
CHAIN = "chain-1"


@dataclass(frozen=True, slots=True)
class Record:
    """What a guard would write; the defaults are those of one that has never signed."""

    sequence: int = 1
    height: int = 0
    round: int = 0
    step: int = 0
    sign_bytes: bytes = b""
    flags: int = 1
    chain: bytes = CHAIN.encode()
    member: bytes = b"node-0"
    magic: bytes = b"CMKMSGRD"
    version: int = 1
    generation: int = 1
    generation_hash: bytes = bytes(range(32))
    nonce: bytes = b"n" * 16
    key_hash: bytes = b"k" * 32

    def encoded(self) -> bytes:
        body = b"".join(
            (
                self.magic,
                struct.pack(">HH", self.version, self.flags),
                bytes([len(self.chain)]) + self.chain.ljust(50, b"\0"),
                bytes([len(self.member)]) + self.member.ljust(32, b"\0"),
                self.key_hash,
                self.nonce,
                struct.pack(">Q", self.generation) + self.generation_hash,
                struct.pack(">QQIB", self.sequence, self.height, self.round, self.step),
                struct.pack(">QQQ", 0, 0, 1_700_000_000),
                struct.pack(">H", len(self.sign_bytes)) + self.sign_bytes.ljust(232, b"\0"),
            )
        ).ljust(508, b"\0")
        return body + struct.pack(">I", zlib.crc32(body))


def guard_file(*records: Record | bytes) -> bytes:
    """A file of two slots: the first record twice in slot 0, the second, if any, twice in slot 1."""
    slots = [record if isinstance(record, bytes) else record.encoded() for record in records]
    slots += [bytes(512)] * (2 - len(slots))
    return b"".join(slot.ljust(BLOCK, b"\0") * 2 for slot in slots)


def blank(data: bytes, *blocks: int) -> bytes:
    """The file after the drive has lost the first sectors of these blocks."""
    lost = bytearray(data)
    for block in blocks:
        lost[block * BLOCK : block * BLOCK + 512] = bytes(512)
    return bytes(lost)
