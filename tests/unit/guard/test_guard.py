"""One guard over its file: what it answers, what it writes, and what it tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cmkms.errors import BrokenInvariantError, DiskError
from cmkms.guard.claims import MAX_REASON_BYTES, NO_FLOOR, FloorClaim, FloorKind, GuardPhase, refused_claim
from cmkms.guard.decide import Accepted, Held, Refused, RefusedBecause
from cmkms.guard.file import GuardFile
from cmkms.guard.fuse import Fuse
from cmkms.guard.generation import NO_GENERATION, Member, first_generation
from cmkms.guard.guard import Guard
from cmkms.guard.hrs import MAX_HEIGHT, NEVER
from cmkms.guard.record import GuardRecord, RecordTooLargeError
from tests.sim.guard.disk import SimulatedDisk
from tests.sim.guard.lives import disk_error
from tests.unit.guard.world import (
    CHAIN,
    IDENTITY,
    KEY_HASH,
    NONCE,
    NOW,
    Clock,
    hrs,
    precommit,
    prevote,
    proposal,
    record,
    request,
)

GUARD = Path("/simulated/guard")
FOUNDERS = (Member("node-0", IDENTITY, NONCE), Member("node-1", b"1" * 32, b"1" * 16))


class Setup:
    """A guard on a simulated disk, with a clock that the test sets."""

    def __init__(self, first: GuardRecord) -> None:
        self.disk = SimulatedDisk()
        self.clock = Clock()
        self.told: list[str] = []
        self.fuse = Fuse(self.disk, Path("/simulated/fuse.json"))
        GuardFile.create(self.disk, GUARD, first)
        self.guard = Guard(GUARD, GuardFile.open(self.disk, GUARD), self.fuse, self.clock.clocks)
        self.guard.on_fuse = lambda reason, disk_failed: self.told.append(f"disk: {reason}" if disk_failed else reason)

    def ask(self, sign_bytes: bytes) -> object:
        return self.guard.accept(request(sign_bytes))

    @property
    def platter(self) -> bytes:
        return bytes(self.disk.media[GUARD].platter)


@pytest.fixture
def one() -> Setup:
    """Stands at 5/0/3."""
    return Setup(record(hrs(5, 0, 3), precommit(5)))


class TestAccepting:
    def test_an_acceptance_is_written_once_and_a_repeat_writes_nothing(self, one: Setup) -> None:
        before = one.disk.operations
        assert one.ask(precommit(6)) == Accepted(advances=True)
        written = one.disk.operations
        assert written > before
        for again in (precommit(6), precommit(6, at=7), precommit(6, number=2), prevote(6), proposal(5)):
            one.ask(again)
        assert one.disk.operations == written

    def test_what_is_written_carries_point_bytes_and_time(self, one: Setup) -> None:
        one.clock.now = NOW + 99.9
        one.ask(precommit(6))
        kept = one.guard.record
        assert kept is not None
        assert (kept.hrs, kept.sign_bytes, kept.accepted_at) == (hrs(6, 0, 3), precommit(6), NOW + 99)

    def test_the_time_that_a_write_took_is_told(self, one: Setup) -> None:
        took: list[float] = []
        one.guard.on_sync = took.append
        one.ask(precommit(6))
        one.ask(precommit(6))
        assert took == [0.0]

    def test_switches_outlive_an_acceptance(self) -> None:
        one = Setup(replace(record(hrs(5, 0, 3)), max_height=7, allowed_height=9000))
        one.ask(precommit(6))
        assert one.guard.record is not None
        assert (one.guard.record.max_height, one.guard.record.allowed_height) == (7, 9000)
        assert isinstance(one.ask(precommit(8)), Refused)

    @pytest.mark.parametrize(
        ("given", "because"),
        [({"paused": True}, RefusedBecause.PAUSED), ({"armed": False}, RefusedBecause.NOT_ARMED)],
    )
    def test_a_switch_in_the_record_refuses(self, given: dict[str, bool], because: RefusedBecause) -> None:
        verdict = Setup(replace(record(NEVER), **given)).ask(precommit(1))  # type: ignore[arg-type]
        assert isinstance(verdict, Refused)
        assert verdict.because is because


class TestTheCeiling:
    def test_a_hostile_height_is_refused_and_uses_nothing_up(self, one: Setup) -> None:
        verdict = one.ask(precommit(MAX_HEIGHT))
        assert isinstance(verdict, Refused)
        assert verdict.because is RefusedBecause.CEILING
        assert one.ask(precommit(6)) == Accepted(advances=True)

    def test_it_rises_with_the_time_since_the_last_acceptance(self, one: Setup) -> None:
        assert one.guard.ceiling() == 2005
        one.clock.now += 60
        assert one.guard.ceiling() == 6005
        one.ask(precommit(6))
        assert one.guard.ceiling() == 2006

    def test_the_first_height_of_all_is_free(self) -> None:
        one = Setup(record(NEVER))
        assert one.guard.ceiling() is None
        assert one.ask(precommit(5_000_000)) == Accepted(advances=True)

    def test_the_operator_lifts_it_without_moving_the_watermark(self, one: Setup) -> None:
        one.guard.allow_height(10_000)
        assert one.guard.ceiling() == 10_000
        assert one.ask(precommit(5, at=7)) == Held(precommit(5))


class TestTheFuse:
    def test_it_is_told_once_with_its_reason(self, one: Setup) -> None:
        one.disk.sync_error = disk_error()
        verdict = one.ask(precommit(6))
        one.ask(precommit(6))
        one.guard.blow_fuse("another reason")
        assert isinstance(verdict, Refused)
        assert verdict.because is RefusedBecause.FUSE
        assert len(one.told) == 1
        assert "Input/output error" in one.told[0]
        assert one.guard.status().state == "fused"

    def test_only_a_failing_disk_is_told_as_one(self, one: Setup) -> None:
        told: list[bool] = []
        one.guard.on_fuse = lambda _, disk_failed: told.append(disk_failed)
        one.disk.sync_error = disk_error()
        one.ask(precommit(6))
        assert told == [True]

    def test_a_closed_guard_answers_nothing_and_blows_no_fuse(self, one: Setup) -> None:
        one.guard.close()
        verdict = one.ask(precommit(6))
        assert isinstance(verdict, Refused)
        assert verdict.because is RefusedBecause.NOT_ARMED
        assert one.guard.blown == ""

    def test_that_its_marker_could_not_be_written_is_told_too(self, one: Setup) -> None:
        one.disk.full = True
        one.guard.blow_fuse("a reason")
        assert one.told == ["a reason (the marker could not be written either)"]

    def test_nothing_is_raised_behind_it(self, one: Setup) -> None:
        one.guard.blow_fuse("a reason")
        before = one.platter
        with pytest.raises(DiskError, match="fuse"):
            one.guard.raise_to(hrs(9), None)
        with pytest.raises(DiskError, match="fuse"):
            one.guard.allow_height(9)
        assert one.platter == before

    def test_a_guard_with_neither_file_nor_fuse_is_a_bug(self, one: Setup) -> None:
        with pytest.raises(BrokenInvariantError):
            Guard(GUARD, None, one.fuse, one.clock.clocks)

    def test_without_a_file_it_still_shows_what_could_be_read(self, one: Setup) -> None:
        one.fuse.blow("rotten", 0.0)
        guard = Guard(GUARD, None, one.fuse, one.clock.clocks, last_record=record(hrs(5, 0, 3)))
        assert guard.status().height == 5
        assert isinstance(guard.accept(request(precommit(6))), Refused)


class TestTheFile:
    def test_a_record_that_does_not_follow_is_a_bug_and_is_not_written(self, one: Setup) -> None:
        file = one.guard._file
        assert file is not None
        before = one.platter
        last = file.record
        for wrong in (
            last,
            replace(last, sequence=last.sequence + 2),
            replace(last, sequence=last.sequence + 1, hrs=hrs(4, 9, 3)),
            replace(last, sequence=last.sequence + 1, sign_bytes=precommit(last.hrs.height, number=2)),
            replace(last, sequence=last.sequence + 1, armed=False),
            replace(last, sequence=last.sequence + 1, nonce=bytes(16)),
            replace(last, sequence=last.sequence + 1, generation=NO_GENERATION),
        ):
            with pytest.raises(BrokenInvariantError, match="is not written: "):
                file.write(wrong)
        assert one.platter == before

    def test_every_write_goes_to_the_other_slot(self, one: Setup) -> None:
        sequences: list[int] = []
        for height in range(6, 10):
            one.ask(precommit(height))
            assert one.guard.record is not None
            sequences.append(one.guard.record.sequence)
        assert sequences == list(range(sequences[0], sequences[0] + 4))

    def test_closed_it_answers_nothing_as_accepted(self, one: Setup) -> None:
        one.guard.close()
        assert isinstance(one.ask(precommit(6)), Refused)


def test_its_status_is_its_record(one: Setup) -> None:
    status = one.guard.status()
    assert (status.state, status.height, status.round, status.step) == ("armed", 5, 0, 3)
    assert (status.sealed, status.generation, status.fuse) == (False, 1, None)


class TestItsPartInABirth:
    generation = first_generation(CHAIN, KEY_HASH, *FOUNDERS)

    def bind(self, one: Setup) -> None:
        one.guard.bind(self.generation, FOUNDERS, hrs(5, 0, 3), precommit(5), NOW)

    @pytest.fixture
    def unbound(self) -> Setup:
        return Setup(replace(record(NEVER), armed=False, generation=NO_GENERATION))

    def test_a_binding_that_fails_blows_the_fuse_and_is_not_claimed(self, unbound: Setup) -> None:
        unbound.disk.sync_error = disk_error()
        with pytest.raises(DiskError):
            self.bind(unbound)
        claim = unbound.guard.claim(CHAIN, KEY_HASH)
        assert (claim.phase, claim.generation, claim.agrees) == (GuardPhase.FUSED, NO_GENERATION, b"")
        assert "Input/output error" in claim.reason

    def test_an_arming_that_fails_blows_the_fuse_and_what_it_is_bound_to_is_still_claimed(self, unbound: Setup) -> None:
        """The others may arm: this file will never be bound to anything else."""
        unbound.guard.write_marker = lambda _record, _previous, _members: None
        self.bind(unbound)
        agreed = unbound.guard.claim(CHAIN, KEY_HASH).agrees
        unbound.disk.write_error = disk_error()
        with pytest.raises(DiskError):
            unbound.guard.arm()
        claim = unbound.guard.claim(CHAIN, KEY_HASH)
        assert (claim.phase, claim.generation) == (GuardPhase.FUSED, self.generation)
        assert claim.agrees == agreed != b""

    def test_members_that_cannot_be_kept_leave_it_unbound_and_whole(self, unbound: Setup) -> None:
        def fails(_record: GuardRecord, _members: tuple[Member, ...]) -> None:
            raise DiskError("full")

        unbound.guard.write_founders = fails
        with pytest.raises(DiskError, match="full"):
            self.bind(unbound)
        assert (unbound.guard.phase, unbound.guard.blown) == (GuardPhase.UNBOUND, "")

    def test_what_does_not_fit_the_record_changes_nothing(self, unbound: Setup) -> None:
        before = unbound.platter
        with pytest.raises(RecordTooLargeError):
            unbound.guard.bind(self.generation, FOUNDERS, hrs(5, 0, 3), bytes(233), NOW)
        assert (unbound.platter, unbound.guard.blown) == (before, "")
        self.bind(unbound)

    def test_the_floor_and_the_agreement_of_a_claim_are_those_of_the_moment(self, unbound: Setup) -> None:
        claim = unbound.guard.claim(CHAIN, KEY_HASH, agrees=b"a")
        assert unbound.guard.claim(CHAIN, KEY_HASH, agrees=b"a") is claim
        assert unbound.guard.claim(CHAIN, KEY_HASH, agrees=b"b").agrees == b"b"
        floor = FloorClaim(FloorKind.NEVER_SIGNED, NEVER, None, 0)
        assert unbound.guard.claim(CHAIN, KEY_HASH, floor=floor).floor == floor

    def test_an_armed_guards_claim_is_made_anew_only_when_it_has_moved(self, one: Setup) -> None:
        claim = one.guard.claim(CHAIN, KEY_HASH, agrees=b"of long ago")
        assert (claim.phase, claim.hrs, claim.floor) == (GuardPhase.ARMED, hrs(5, 0, 3), NO_FLOOR)
        assert one.guard.claim(CHAIN, KEY_HASH, agrees=b"of long ago") is claim
        one.ask(precommit(6))
        assert one.guard.claim(CHAIN, KEY_HASH).hrs == hrs(6, 0, 3)
        one.guard.blow_fuse("a reason")
        assert one.guard.claim(CHAIN, KEY_HASH).phase is GuardPhase.FUSED

    def test_a_reason_is_cut_to_what_a_claim_may_carry(self, one: Setup) -> None:
        one.guard.blow_fuse("ü" * 400)
        claim = one.guard.claim(CHAIN, KEY_HASH)
        assert claim.reason == "ü" * (MAX_REASON_BYTES // 2)
        assert refused_claim(CHAIN, KEY_HASH, "x" * 501).reason == "x" * 500
