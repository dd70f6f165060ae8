"""A home that is one of several, at every start: what is begun, what is bound, what is born, and what is refused."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cmkms.errors import BrokenInvariantError, DiskError
from cmkms.guard.birth import GuardRefusedError, GuardSite, OpenedGuard, UnarmedGuard, after_arming, open_guard
from cmkms.guard.born import read_marker
from cmkms.guard.claims import NO_FLOOR, FloorClaim, FloorKind, GuardPhase
from cmkms.guard.decide import Accepted, Conflict, Refused, RefusedBecause
from cmkms.guard.disk import PosixDisk
from cmkms.guard.generation import NO_GENERATION, GenerationId, Member, birth_digest, first_generation
from cmkms.guard.guard import Guard
from cmkms.guard.hrs import HRS, NEVER
from cmkms.guard.record import GuardRecord
from cmkms.guard.released import load_released, store_released
from cmkms.guard.state_file import SignState
from tests.unit.guard.world import CHAIN, CLOCKS, IDENTITY, KEY_HASH, NOW, hrs, make_site, precommit, put_state, request
from tests.unit.guard.world import signed as state_of

DISK = PosixDisk()
MEMBERS = ("node-0", "node-1", "node-2")
STORED = precommit(50)


@pytest.fixture
def site(tmp_path: Path) -> GuardSite:
    return make_site(tmp_path, members=MEMBERS)


@contextmanager
def unarmed(site: GuardSite, *, never_signed: bool = False) -> Generator[UnarmedGuard]:
    opened = open_guard(site, DISK, never_signed=never_signed, clocks=CLOCKS)
    assert isinstance(opened, UnarmedGuard)
    try:
        yield opened
    finally:
        opened.guard.close()


@contextmanager
def started(site: GuardSite) -> Generator[OpenedGuard]:
    opened = open_guard(site, DISK, clocks=CLOCKS)
    assert isinstance(opened, OpenedGuard)
    try:
        yield opened
    finally:
        opened.guard.close()


def record_of(guard: Guard) -> GuardRecord:
    assert guard.record is not None
    return guard.record


def founders(guard: Guard) -> tuple[Member, ...]:
    others = (Member(name, name.encode() * 4, name.encode().ljust(16)) for name in MEMBERS[1:])
    return (Member("node-0", IDENTITY, record_of(guard).nonce), *others)


def generation_of(members: tuple[Member, ...]) -> GenerationId:
    return first_generation(CHAIN, KEY_HASH, *members)


def bind(guard: Guard, at: HRS = NEVER, sign_bytes: bytes | None = None) -> tuple[Member, ...]:
    members = founders(guard)
    guard.bind(generation_of(members), members, at, sign_bytes, NOW if at != NEVER else 0)
    return members


def be_born(site: GuardSite, at: HRS = NEVER, sign_bytes: bytes | None = None) -> tuple[Member, ...]:
    with unarmed(site) as opened:
        members = bind(opened.guard, at, sign_bytes)
        opened.guard.arm()
        after_arming(site, DISK, opened.guard)
        return members


class TestTheFirstStart:
    def test_makes_a_file_that_is_bound_to_nothing_and_answers_nothing(self, site: GuardSite) -> None:
        with unarmed(site) as opened:
            record = record_of(opened.guard)
            assert (record.generation, record.hrs, record.armed) == (NO_GENERATION, NEVER, False)
            verdict = opened.guard.accept(request(STORED, NO_GENERATION))
            assert isinstance(verdict, Refused)
            assert verdict.because is RefusedBecause.NOT_ARMED
        assert read_marker(site.home.born_marker(CHAIN)) is None

    def test_a_restart_keeps_the_nonce(self, site: GuardSite) -> None:
        nonces: set[bytes] = set()
        for _ in range(3):
            with unarmed(site) as opened:
                nonces.add(record_of(opened.guard).nonce)
        assert len(nonces) == 1

    def test_without_a_word_it_offers_no_floor(self, site: GuardSite) -> None:
        with unarmed(site) as opened:
            assert opened.floor == NO_FLOOR

    def test_the_operators_word_is_offered_without_a_time(self, site: GuardSite) -> None:
        with unarmed(site, never_signed=True) as opened:
            assert opened.floor == FloorClaim(FloorKind.NEVER_SIGNED, NEVER, None, 0)

    def test_a_state_file_is_offered_and_stays_where_it_is(self, site: GuardSite) -> None:
        put_state(site, state_of(STORED))
        with unarmed(site) as opened:
            assert opened.floor == FloorClaim(FloorKind.STATE, hrs(50, 0, 3), STORED, NOW)
            assert "50/0/3" in " ".join(opened.notes)
        assert site.state_file.exists()

    def test_one_that_says_height_zero_counts_as_the_operators_word_and_warns(self, site: GuardSite) -> None:
        put_state(site, SignState(NEVER))
        with unarmed(site) as opened:
            assert opened.floor.kind is FloorKind.NEVER_SIGNED
            assert "NEVER signed" in " ".join(opened.notes)

    def test_both_contradict_each_other_before_there_is_a_file(self, site: GuardSite) -> None:
        put_state(site, state_of(STORED))
        with pytest.raises(GuardRefusedError, match="contradict"):
            open_guard(site, DISK, never_signed=True)
        assert not site.path.exists()

    def test_without_a_word_it_offers_the_last_signature_that_this_home_knows_of(self, site: GuardSite) -> None:
        """A home made anew that has learnt from the others what they signed starts again, and never below that."""
        site.path.parent.mkdir(mode=0o700)
        store_released(site, DISK, state_of(precommit(60)))
        with unarmed(site) as opened:
            assert (opened.floor.kind, opened.floor.hrs) == (FloorKind.STATE, hrs(60, 0, 3))
            assert opened.floor.sign_bytes == precommit(60)

    @pytest.mark.parametrize("word", ["never signed", "an older state"])
    def test_below_this_keys_own_signature_it_is_refused(self, site: GuardSite, word: str) -> None:
        site.path.parent.mkdir(mode=0o700)
        store_released(site, DISK, state_of(precommit(60)))
        if word == "an older state":
            put_state(site, state_of(STORED))
        with pytest.raises(GuardRefusedError, match="signature at 60/0/3"):
            open_guard(site, DISK, never_signed=word == "never signed")
        assert not site.path.exists()


class TestBinding:
    def test_is_durable_and_answers_nothing_yet(self, site: GuardSite) -> None:
        with unarmed(site) as opened:
            members = bind(opened.guard, hrs(50, 0, 3), STORED)
            assert isinstance(opened.guard.accept(request(STORED, generation_of(members))), Refused)
        with unarmed(site) as again:
            record = record_of(again.guard)
            assert (record.generation, record.hrs, record.sign_bytes) == (
                generation_of(members),
                hrs(50, 0, 3),
                STORED,
            )
            assert (again.guard.phase, record.armed) == (GuardPhase.BOUND, False)

    def test_happens_once(self, site: GuardSite) -> None:
        with unarmed(site) as opened:
            members = bind(opened.guard)
            other = (members[0], replace(members[1], nonce=bytes(16)), members[2])
            for again in (members, other):
                with pytest.raises(BrokenInvariantError, match="bound to generation"):
                    opened.guard.bind(generation_of(again), again, NEVER, None, 0)

    def test_is_refused_where_the_generation_is_not_that_of_the_members(self, site: GuardSite) -> None:
        with unarmed(site) as opened, pytest.raises(BrokenInvariantError, match="not that of its members"):
            opened.guard.bind(GenerationId(1, bytes(32)), founders(opened.guard), NEVER, None, 0)

    def test_is_refused_where_the_generation_does_not_name_this_file(self, site: GuardSite) -> None:
        with unarmed(site) as opened:
            mine, *others = founders(opened.guard)
            without = (replace(mine, nonce=bytes(16)), *others)
            with pytest.raises(BrokenInvariantError, match="no member"):
                opened.guard.bind(generation_of(without), without, NEVER, None, 0)
            assert opened.guard.phase is GuardPhase.UNBOUND

    def test_a_bound_guard_claims_what_it_is_bound_to_whatever_is_said_now(self, site: GuardSite) -> None:
        with unarmed(site) as opened:
            members = bind(opened.guard, hrs(50, 0, 3), STORED)
        with unarmed(site) as again:
            claim = again.guard.claim(CHAIN, KEY_HASH, floor=again.floor, agrees=b"something else")
            assert claim.agrees == birth_digest(generation_of(members), hrs(50, 0, 3), STORED, NOW)
            assert claim.floor == FloorClaim(FloorKind.STATE, hrs(50, 0, 3), STORED, NOW)

    def test_a_state_file_that_came_since_and_says_more_is_refused_with_the_command(self, site: GuardSite) -> None:
        with unarmed(site) as opened:
            bind(opened.guard)
        put_state(site, state_of(STORED))
        with pytest.raises(GuardRefusedError, match="cluster birth --restart"):
            open_guard(site, DISK)


class TestArming:
    def test_it_answers_from_where_it_is_bound_to(self, site: GuardSite) -> None:
        members = be_born(site, hrs(50, 0, 3), STORED)
        with started(site) as opened:
            assert opened.generation == generation_of(members)
            assert opened.guard.members == members
            assert opened.guard.accept(request(precommit(50, number=2), opened.generation)) == Conflict(STORED)
            assert opened.guard.accept(request(precommit(51), opened.generation)) == Accepted(advances=True)

    def test_the_marker_names_all_members(self, site: GuardSite) -> None:
        members = be_born(site)
        marker = read_marker(site.home.born_marker(CHAIN))
        assert marker is not None
        assert (marker.members, marker.generation) == (members, generation_of(members))

    def test_one_that_lies_behind_what_the_others_signed_starts_again(self, site: GuardSite) -> None:
        """It was told of their last signature, and kept it; its own guard has not accepted that yet."""
        be_born(site, hrs(50), STORED)
        store_released(site, DISK, state_of(precommit(60)))
        with started(site) as opened:
            assert record_of(opened.guard).hrs == hrs(50)

    def test_a_second_time_changes_nothing(self, site: GuardSite) -> None:
        with unarmed(site) as opened:
            bind(opened.guard)
            opened.guard.arm()
            sequence = record_of(opened.guard).sequence
            opened.guard.arm()
            assert record_of(opened.guard).sequence == sequence

    def test_a_restart_remembers_with_whom_it_is_bound(self, site: GuardSite) -> None:
        with unarmed(site) as opened:
            members = bind(opened.guard)
        with unarmed(site) as again:
            assert again.guard.members == members
            again.guard.arm()
        with started(site) as armed:
            assert armed.guard.members == members

    @pytest.mark.parametrize("founders", [None, b"", b"{}", "another's"])
    def test_where_it_has_forgotten_them_it_is_told_and_checks(
        self, site: GuardSite, tmp_path: Path, founders: bytes | str | None
    ) -> None:
        with unarmed(site) as opened:
            members = bind(opened.guard)
        match founders:
            case None:
                site.founders_file.unlink()
            case bytes():
                site.founders_file.write_bytes(founders)
            case _:
                other = make_site(tmp_path / "other", members=MEMBERS)
                with unarmed(other) as opened:
                    bind(opened.guard)
                site.founders_file.write_bytes(other.founders_file.read_bytes())
        with unarmed(site) as again:
            assert again.guard.members == ()
            for wrong in ((), members[:2], (members[0], replace(members[1], identity=bytes(32)), members[2])):
                with pytest.raises(BrokenInvariantError, match="not that of its members"):
                    again.guard.arm(wrong)
            assert read_marker(site.home.born_marker(CHAIN)) is None
            again.guard.arm(members)
            assert again.guard.phase is GuardPhase.ARMED

    def test_unbound_it_never_arms(self, site: GuardSite) -> None:
        with unarmed(site) as opened, pytest.raises(BrokenInvariantError):
            opened.guard.arm(founders(opened.guard))

    def test_a_marker_that_cannot_be_written_leaves_it_bound_and_whole(self, site: GuardSite) -> None:
        with unarmed(site) as opened:
            bind(opened.guard)
            site.home.born_marker(CHAIN).parent.write_text("in the way")
            with pytest.raises(DiskError):
                opened.guard.arm()
            assert (opened.guard.phase, opened.guard.blown) == (GuardPhase.BOUND, "")
            site.home.born_marker(CHAIN).parent.unlink()
            opened.guard.arm()
            assert record_of(opened.guard).armed

    def test_what_was_signed_last_is_kept_and_the_state_file_set_aside(self, site: GuardSite) -> None:
        put_state(site, state_of(STORED))
        be_born(site, hrs(50, 0, 3), STORED)
        assert load_released(site) == state_of(STORED)
        assert not site.state_file.exists()

    def test_a_state_file_below_where_all_begin_is_set_aside_too(self, site: GuardSite) -> None:
        put_state(site, state_of(STORED))
        be_born(site, hrs(60, 0, 3), precommit(60))
        assert load_released(site) is None
        assert not site.state_file.exists()
