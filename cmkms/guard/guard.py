"""One guard: the accept service over its file. What it ACCEPTED is on disk, whatever happens next.

It answers from its durable record and its fuse only, one request at a time; it must never answer for something that is
not on disk yet, nor anything at all once its fuse is blown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cmkms.errors import BrokenInvariantError, DiskError, OperatorError
from cmkms.guard.ceiling import DEFAULT_MAX_BLOCK_RATE, height_ceiling
from cmkms.guard.decide import Accepted, AcceptRequest, Refused, RefusedBecause, Verdict, decide
from cmkms.guard.file import GuardFile, GuardRottenError
from cmkms.guard.fuse import Fuse
from cmkms.guard.hrs import HRS
from cmkms.guard.record import GuardRecord
from cmkms.status import GuardStatus

__all__ = ["Guard", "GuardClocks", "LowersWatermarkError"]


class LowersWatermarkError(OperatorError):
    """Somebody asked to lower a watermark, which nothing does."""


@dataclass(frozen=True, slots=True)
class GuardClocks:
    """The clocks of a guard. `wall` bounds heights and dates the fuse; `monotonic` measures; neither decides safety."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]


class Guard:
    """The guard of one chain and key. `file` is None if its file could not be trusted: then the fuse is blown."""

    def __init__(
        self,
        path: Path,
        file: GuardFile | None,
        fuse: Fuse,
        clocks: GuardClocks,
        *,
        max_block_rate: float = DEFAULT_MAX_BLOCK_RATE,
        last_record: GuardRecord | None = None,
    ) -> None:
        if file is None and fuse.blown is None:
            raise BrokenInvariantError(f"guard {path} has neither a file nor a blown fuse")
        self._path = path
        self._file = file
        self._fuse = fuse
        self._clocks = clocks
        self._max_block_rate = max_block_rate
        self._last_record = last_record
        self.on_sync: Callable[[float], None] | None = None
        """Told the seconds that each durable write took."""
        self.on_fuse: Callable[[str, bool], None] | None = None
        """Told the reason when the fuse blows, and whether it was the disk that failed: no guard on it is safe then."""
        self._closed = False

    @property
    def record(self) -> GuardRecord | None:
        """The durable record, or the highest readable one where the fuse is blown; None if there is none."""
        return self._file.record if self._file is not None else self._last_record

    @property
    def fuse(self) -> Fuse:
        """This guard's fuse."""
        return self._fuse

    @property
    def blown(self) -> str:
        """Why the fuse is blown; empty while it is whole."""
        return self._fuse.blown.reason if self._fuse.blown else ""

    def accept(self, request: AcceptRequest) -> Verdict:
        """Decide one request. When this returns ACCEPTED, the bytes are durable."""
        blown = self._fuse.blown
        if blown is not None or self._file is None:
            return Refused(RefusedBecause.FUSE, blown.reason if blown else "")
        if self._closed:
            return Refused(RefusedBecause.NOT_ARMED, "the guard is closed: this process is stopping")
        record = self._file.record
        now = self._clocks.wall()
        verdict = decide(record.state(self._ceiling(record, now)), request)
        if verdict == Accepted(advances=True):
            return self._advance(record.advanced(request.hrs, request.sign_bytes, int(now)), verdict)
        return verdict

    def raise_to(self, hrs: HRS, sign_bytes: bytes | None, *, accepted_at: int | None = None) -> bool:
        """Raise the watermark by the operator's word; `sign_bytes` None makes a seal. Tells whether anything changed.

        `accepted_at`: when that was signed (Unix seconds, None: now), from which the height ceiling rises.

        At the same HRS, other bytes than the stored ones make a seal: nobody knows then which were signed.
        Raises LowersWatermarkError, and DiskError when the guard's fuse is or gets blown.
        """
        record = self._usable_record()
        if hrs < record.hrs:
            raise LowersWatermarkError(f"the guard stands at {record.hrs}, above {hrs}; a watermark is never lowered")
        if hrs == record.hrs:
            if record.sign_bytes is None or record.sign_bytes == sign_bytes:
                return False
            sign_bytes = None
        self._write(record.advanced(hrs, sign_bytes, int(self._clocks.wall()) if accepted_at is None else accepted_at))
        return True

    def allow_height(self, height: int) -> None:
        """Raise the height ceiling, not the watermark, by the operator's word. Raises DiskError."""
        record = self._usable_record()
        allowed = max(height, record.allowed_height or 0)
        self._write(replace(record, sequence=record.sequence + 1, allowed_height=allowed))

    def ceiling(self) -> int | None:
        """Return the highest height that would be accepted now; None: any."""
        record = self.record
        return None if record is None else self._ceiling(record, self._clocks.wall())

    def blow_fuse(self, reason: str, *, disk_failed: bool = False) -> None:
        """Stop answering for good."""
        if self._fuse.blown is not None:
            return
        kept = self._fuse.blow(reason, self._clocks.wall())
        if not kept:
            reason += " (the marker could not be written either)"
        if self.on_fuse is not None:
            self.on_fuse(reason, disk_failed)

    def status(self) -> GuardStatus:
        """Return the guard's state for people."""
        record, blown = self.record, self._fuse.blown
        state = "fused" if blown else "armed"
        if record is None:
            return GuardStatus(state, str(self._path), fuse=blown)
        return GuardStatus(
            state=state,
            path=str(self._path),
            generation=record.generation.number,
            nonce=record.nonce.hex(),
            sequence=record.sequence,
            height=record.hrs.height,
            round=record.hrs.round,
            step=int(record.hrs.step),
            sealed=record.sign_bytes is None,
            max_height=record.max_height,
            fuse=blown,
        )

    def close(self) -> None:
        """Close the file and drop its lock."""
        self._closed = True
        if self._file is not None:
            self._file.close()

    def _advance(self, record: GuardRecord, verdict: Verdict) -> Verdict:
        try:
            self._write(record)
        except DiskError as error:
            return Refused(RefusedBecause.FUSE, str(error))
        return verdict

    def _write(self, record: GuardRecord) -> None:
        file = self._file
        if file is None:
            raise BrokenInvariantError(f"guard {self._path} has no file to write to")
        started = self._clocks.monotonic()
        try:
            file.write(record)
        except DiskError as error:
            self.blow_fuse(str(error), disk_failed=not isinstance(error, GuardRottenError))
            raise
        if file.record != record:
            raise BrokenInvariantError(f"guard {self._path} wrote {record.hrs} and holds {file.record.hrs}")
        if self.on_sync is not None:
            self.on_sync(self._clocks.monotonic() - started)

    def _usable_record(self) -> GuardRecord:
        if self._fuse.blown is not None or self._file is None:
            raise DiskError(f"the fuse of the guard {self._path} is blown; see `cmkms guard replace --help`")
        return self._file.record

    def _ceiling(self, record: GuardRecord, now: float) -> int | None:
        return height_ceiling(
            height=record.hrs.height,
            accepted_at=record.accepted_at,
            now=now,
            max_block_rate=self._max_block_rate,
            allowed_height=record.allowed_height,
        )
