"""The durable term and vote of one member: what keeps it from voting twice in one term after a restart.

Losing them costs liveness only (two members may believe in a lease for a while), never a signature too many. So a
damaged or unwritable file warns, and stops nothing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cmkms.cluster.octets import MAX_NUMBER
from cmkms.errors import CmkmsError, DiskError
from cmkms.home import read_bounded, write_durably

__all__ = ["FileTermStore", "MemoryTermStore", "TermStore", "TermVote"]

_MAGIC: Final = b"CMKMSTRM"
_HEAD: Final = struct.Struct(">8sHQB")
_CRC: Final = struct.Struct(">I")
_VERSION: Final = 1
_MAX_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class TermVote:
    """The newest term that a member knows, and whom it voted for in it, if anybody."""

    term: int
    voted_for: str | None


class TermStore(Protocol):
    """Where a member keeps its term and vote. Neither call raises."""

    def load(self) -> TermVote:
        """Return what was stored last; term 0 if there is nothing of use."""
        ...

    def store(self, kept: TermVote) -> None:
        """Keep this; on return it is durable, or could not be made so, which somebody was told."""
        ...


class MemoryTermStore:
    """Term and vote that outlive a `Coordination`, but not the process: for tests and simulations."""

    def __init__(self) -> None:
        self._kept = TermVote(0, None)

    def load(self) -> TermVote:
        """Return what was stored last."""
        return self._kept

    def store(self, kept: TermVote) -> None:
        """Keep this."""
        self._kept = kept


class FileTermStore:
    """Term and vote in a small file with a checksum, replaced as a whole. `warn(text)` hears of every trouble."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn

    def load(self) -> TermVote:
        """Read the file; term 0 if there is none, or it cannot be used."""
        try:
            return _decode(read_bounded(self._path, _HEAD.size + _MAX_NAME + _CRC.size))
        except FileNotFoundError:
            return TermVote(0, None)
        except (CmkmsError, ValueError) as error:
            why = error if isinstance(error, CmkmsError) else "it is damaged"
            self._warn(f"{self._path} is not used, elections begin anew; no signature rests on it: {why}")
            return TermVote(0, None)

    def store(self, kept: TermVote) -> None:
        """Write the file durably."""
        try:
            write_durably(self._path, _encode(kept))
        except DiskError as error:
            self._warn(f"a restart may forget the election of term {kept.term}; no signature rests on it: {error}")


def _encode(kept: TermVote) -> bytes:
    name = (kept.voted_for or "").encode()
    body = _HEAD.pack(_MAGIC, _VERSION, kept.term, len(name)) + name
    return body + _CRC.pack(zlib.crc32(body))


def _decode(data: bytes) -> TermVote:
    """Read what `_encode` wrote. Raises ValueError (UnicodeDecodeError is one)."""
    if len(data) < _HEAD.size + _CRC.size:
        raise ValueError("it is too short")
    body = data[: -_CRC.size]
    if data[-_CRC.size :] != _CRC.pack(zlib.crc32(body)):
        raise ValueError("its checksum is wrong")
    magic, version, term, length = _HEAD.unpack_from(body)
    if magic != _MAGIC or version != _VERSION or length != len(body) - _HEAD.size or term > MAX_NUMBER:
        raise ValueError("it is not a file of terms that this release can read")
    return TermVote(term, body[_HEAD.size :].decode() or None)
