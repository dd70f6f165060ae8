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
from cmkms.guard.change import Change
from cmkms.guard.claims import NO_FLOOR, FloorClaim, GuardClaim, GuardPhase, claim_of, state_name
from cmkms.guard.decide import Accepted, AcceptRequest, Refused, RefusedBecause, Verdict, decide
from cmkms.guard.file import GuardFile, GuardRottenError
from cmkms.guard.fuse import Fuse
from cmkms.guard.generation import (
    FIRST_GENERATION,
    NO_GENERATION,
    GenerationId,
    Member,
    first_generation,
)
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

    def __init__(  # noqa: PLR0913 - what a start has found of it
        self,
        path: Path,
        file: GuardFile | None,
        fuse: Fuse,
        clocks: GuardClocks,
        *,
        max_block_rate: float = DEFAULT_MAX_BLOCK_RATE,
        last_record: GuardRecord | None = None,
        members: tuple[Member, ...] = (),
        change: Change | None = None,
    ) -> None:
        """`members` are those of its generation, and `change` what led to it, as far as they are known.

        Raises BrokenInvariantError.
        """
        if file is None and fuse.blown is None:
            raise BrokenInvariantError(f"guard {path} has neither a file nor a blown fuse")
        self._path = path
        self._file = file
        self._fuse = fuse
        self._clocks = clocks
        self._max_block_rate = max_block_rate
        self._last_record = last_record
        self._members = members
        self._change = change
        self._claim: tuple[GuardRecord | None, bool, FloorClaim, bytes, GuardClaim] | None = None
        self.write_founders: Callable[[GuardRecord, tuple[Member, ...]], object] | None = None
        """Keeps the members durably; `bind` does it first, so that a restart does not forget them."""
        self.write_change: Callable[[Change], object] | None = None
        """Keeps a change durably; `move` and `seal` do it first."""
        self.write_marker: Callable[[GuardRecord, bytes, tuple[Member, ...]], object] | None = None
        """Writes the born marker durably, with the hash of the generation before; `arm` does it first."""
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
    def members(self) -> tuple[Member, ...]:
        """The members of its generation, in order of id; empty while it is bound to none, or they are not known."""
        return self._members

    @property
    def change(self) -> Change | None:
        """The change that led to its generation; None for one that it was born into, or where it is not known."""
        return self._change

    @property
    def phase(self) -> GuardPhase:
        """How far its life has come."""
        record = self.record
        if self._fuse.blown is not None or record is None:
            return GuardPhase.FUSED
        if record.armed:
            return GuardPhase.ARMED
        return GuardPhase.UNBOUND if record.generation == NO_GENERATION else GuardPhase.BOUND

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

    def bind(
        self,
        generation: GenerationId,
        members: tuple[Member, ...],
        hrs: HRS,
        sign_bytes: bytes | None,
        accepted_at: int,
    ) -> None:
        """Bind durably, once and for good, to the birth of `generation`, which begins at `hrs` (None: a seal).

        It answers nothing yet. Raises RecordTooLargeError; DiskError: with the fuse blown, or, where only the members
        could not be kept, without; then it may be called again.
        """
        record = self._usable_record()
        self._check_binding(record, generation, members)
        bound = replace(
            record,
            sequence=record.sequence + 1,
            generation=generation,
            hrs=hrs,
            sign_bytes=sign_bytes,
            accepted_at=accepted_at,
        )
        if self.write_founders is not None:
            self.write_founders(bound, members)
        self._write(bound)
        self._members = _in_order(members)

    def arm(self, members: tuple[Member, ...] = ()) -> None:
        """Begin to answer: all members of its birth are known to be bound to it. The born marker is written first.

        `members` are needed where a restart has forgotten them. A second call changes nothing. Raises DiskError: with
        the fuse blown, or, where only the marker could not be written, without; then it may be called again.
        """
        record = self._usable_record()
        if record.armed:
            return
        members = _in_order(members or self._members)
        self._check_members(record, record.generation, members)
        self._arm(record, NO_GENERATION.hash, members)

    def move(self, change: Change) -> None:
        """Leave the generation that it answers for, durably and once: it answers nothing until it is sealed and armed.

        Raises DiskError: with the fuse blown, or, where only the change could not be kept, without.
        """
        record = self._usable_record()
        if not record.armed or record.generation != change.before or not _is_among(change.leaving, record):
            raise BrokenInvariantError(f"guard {self._path} of generation {record.generation} cannot leave it so")
        self._keep(change)
        moved = replace(record, sequence=record.sequence + 1, generation=change.after, armed=False)
        self._write(self._lowered(moved, change))
        self._members, self._change = _in_order(change.members), change

    def seal(self, change: Change, hrs: HRS, accepted_at: int) -> None:
        """Join the generation of `change` under a strict seal at `hrs`, or at its own watermark if that is higher.

        Nothing at or below is accepted any more, not even the bytes it holds. Where the change lowers the watermark, it
        alone says where the seal lies. It answers once `arm_sealed` was called.
        Raises DiskError as `move`.
        """
        record = self._usable_record()
        if not _is_among(change.members, record):
            raise BrokenInvariantError(f"guard {self._path} is no member of generation {change.after}")
        number, new = record.generation.number, change.after
        if number > new.number or (record.armed and number == new.number):
            raise BrokenInvariantError(f"guard {self._path} of generation {record.generation} is past {new}")
        if self.phase is GuardPhase.BOUND and number == FIRST_GENERATION:
            # Others may count it among those who are bound to that birth, and arm.
            raise BrokenInvariantError(f"guard {self._path} is bound to the birth of generation {record.generation}")
        self._keep(change)
        sealed = replace(
            record,
            sequence=record.sequence + 1,
            generation=new,
            armed=False,
            hrs=max(hrs, record.hrs),
            sign_bytes=None,
            accepted_at=record.accepted_at or accepted_at,
        )
        sealed = self._lowered(sealed, change)
        if replace(sealed, sequence=record.sequence) != record:
            self._write(sealed)
        self._members, self._change = _in_order(change.members), change

    def arm_sealed(self) -> None:
        """Begin to answer for the generation that it was sealed for. Raises DiskError as `arm`."""
        record, change = self._usable_record(), self._change
        if change is None or record.generation != change.after or record.sign_bytes is not None:
            raise BrokenInvariantError(f"guard {self._path} is not sealed for generation {record.generation}")
        if not record.armed:
            self._arm(record, change.link, _in_order(change.members))

    def claim(self, chain_id: str, key_hash: bytes, *, floor: FloorClaim = NO_FLOOR, agrees: bytes = b"") -> GuardClaim:
        """Return what this replica tells of its guard. `floor` and `agrees` are its own word, while it is not bound."""
        record, blown, last = self.record, self._fuse.blown is not None, self._claim
        if last is not None and last[0] is record and last[1:4] == (blown, floor, agrees):
            return last[4]
        claim = claim_of(record, chain_id, key_hash, self.phase, floor=floor, agrees=agrees, reason=self.blown)
        self._claim = (record, blown, floor, agrees, claim)
        return claim

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
        generation = NO_GENERATION if record is None else record.generation
        state = state_name(self.phase, generation)
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
            members=tuple(member.id for member in self._members),
        )

    def close(self) -> None:
        """Close the file and drop its lock."""
        self._closed = True
        if self._file is not None:
            self._file.close()

    def _arm(self, record: GuardRecord, previous: bytes, members: tuple[Member, ...]) -> None:
        if self.write_marker is None:
            raise BrokenInvariantError(f"guard {self._path} arms without a place for its born marker")
        self.write_marker(record, previous, members)
        self._write(replace(record, sequence=record.sequence + 1, armed=True))
        self._members = members

    def _lowered(self, record: GuardRecord, change: Change) -> GuardRecord:
        """What is left of the old life of the chain where `change` lowers the watermark: nothing."""
        if change.lowers_to is None:
            return record
        now = int(self._clocks.wall())
        return replace(record, hrs=change.lowers_to, sign_bytes=None, accepted_at=now, allowed_height=None)

    def _keep(self, change: Change) -> None:
        if self.write_change is not None and self._change != change:
            self.write_change(change)

    def _check_binding(self, record: GuardRecord, generation: GenerationId, members: tuple[Member, ...]) -> None:
        if record.armed or record.generation != NO_GENERATION:
            raise BrokenInvariantError(f"guard {self._path} is bound to generation {record.generation} already")
        self._check_members(record, generation, members)

    def _check_members(self, record: GuardRecord, generation: GenerationId, members: tuple[Member, ...]) -> None:
        """The hash is recomputed here, behind whoever asks: a birth that does not name this very file is a bug."""
        if first_generation(record.chain_id, record.key_hash, *members) != generation:
            raise BrokenInvariantError(f"guard {self._path}: generation {generation} is not that of its members")
        if not _is_among(members, record):
            raise BrokenInvariantError(f"guard {self._path} is no member of generation {generation}")

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


def _is_among(members: tuple[Member, ...], record: GuardRecord) -> bool:
    """Tell whether this very file is one of the members; whose identity that is, is for the channels to prove."""
    return (record.member_id, record.nonce) in {(member.id, member.nonce) for member in members}


def _in_order(members: tuple[Member, ...]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: member.id))
