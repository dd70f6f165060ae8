"""What an operator does while the signer is stopped: import, export, allow, inspect, replace; and what each refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cmkms.errors import OperatorError
from cmkms.guard.birth import GuardRefusedError, GuardSite, OpenedGuard, open_guard
from cmkms.guard.born import read_marker
from cmkms.guard.decide import Accepted, Conflict, Refused, RefusedBecause, Regression, Sealed
from cmkms.guard.disk import PosixDisk
from cmkms.guard.file import FILE_BYTES, GuardBusyError
from cmkms.guard.guard import LowersWatermarkError
from cmkms.guard.hrs import MAX_HEIGHT, MAX_ROUND, NEVER
from cmkms.guard.inspection import inspect_guard
from cmkms.guard.lock import HomeLock, HomeLockedError
from cmkms.guard.offline import allow_height, export_state, import_state
from cmkms.guard.released import load_released, store_released
from cmkms.guard.replacement import plan_replacement, replace_guard
from cmkms.guard.state_file import SignState, parse_state, render_state
from tests.unit.guard.world import (
    CHAIN,
    CLOCKS,
    KEY,
    NOW,
    hrs,
    make_site,
    precommit,
    prevote,
    proposal,
    put_state,
    request,
    signed,
)

DISK = PosixDisk()
STORED = precommit(50)
OTHER = precommit(50, number=2)


def opened(site: GuardSite, *, never_signed: bool = False) -> OpenedGuard:
    one = open_guard(site, DISK, never_signed=never_signed, clocks=CLOCKS)
    assert isinstance(one, OpenedGuard)
    return one


def accept(site: GuardSite, *asked: bytes) -> list[object]:
    """Run the signer for a moment and ask it."""
    one = opened(site)
    try:
        return [one.guard.accept(request(sign_bytes, one.generation)) for sign_bytes in asked]
    finally:
        one.guard.close()


def rot(path: Path, slot: int) -> None:
    data = bytearray(path.read_bytes())
    data[slot * 8192 : slot * 8192 + 8192] = bytes(8192)
    path.write_bytes(data)


def newest_slot(site: GuardSite) -> int:
    record = inspect_guard(site).record
    assert record is not None
    return record.sequence % 2


def state_at(site: GuardSite, given: SignState) -> Path:
    path = site.home.path / "given.json"
    path.write_bytes(render_state(given))
    return path


@pytest.fixture
def site(tmp_path: Path) -> GuardSite:
    """A guard that has signed 50/0/3."""
    one = make_site(tmp_path)
    opened(one, never_signed=True).guard.close()
    assert accept(one, STORED) == [Accepted(advances=True)]
    return one


class TestImport:
    def test_it_raises(self, site: GuardSite) -> None:
        done = import_state(site, DISK, state_at(site, signed(precommit(60))), clocks=CLOCKS)
        assert (done.before, done.after, done.sealed, done.moved) == (hrs(50, 0, 3), hrs(60, 0, 3), False, True)
        assert accept(site, precommit(60), precommit(60, number=2)) == [
            Accepted(advances=False),
            Conflict(precommit(60)),
        ]

    def test_what_was_imported_is_kept_as_the_last_released(self, site: GuardSite) -> None:
        import_state(site, DISK, state_at(site, signed(precommit(60))), clocks=CLOCKS)
        assert load_released(site) == signed(precommit(60))

    @pytest.mark.parametrize("lower", [precommit(49, 9), prevote(50), proposal(50)])
    def test_it_never_lowers(self, site: GuardSite, lower: bytes) -> None:
        with pytest.raises(LowersWatermarkError, match="never lowered"):
            import_state(site, DISK, state_at(site, signed(lower)), clocks=CLOCKS)
        assert accept(site, STORED) == [Accepted(advances=False)]

    @pytest.mark.parametrize(
        "given",
        [signed(OTHER), signed(precommit(50, at=7)), SignState(hrs(50, 0, 3))],
        ids=["another block", "another time", "no bytes"],
    )
    def test_other_bytes_at_the_same_point_make_a_seal(self, site: GuardSite, given: SignState) -> None:
        done = import_state(site, DISK, state_at(site, given), clocks=CLOCKS)
        assert (done.sealed, done.moved) == (True, True)
        assert accept(site, STORED, OTHER) == [Sealed(hrs(50, 0, 3))] * 2

    def test_the_very_same_state_changes_nothing(self, site: GuardSite) -> None:
        done = import_state(site, DISK, state_at(site, signed(STORED)), clocks=CLOCKS)
        assert (done.sealed, done.moved) == (False, False)
        assert accept(site, STORED) == [Accepted(advances=False)]

    def test_a_point_without_bytes_above_is_a_seal(self, site: GuardSite) -> None:
        assert import_state(site, DISK, state_at(site, SignState(hrs(60, 0, 3))), clocks=CLOCKS).sealed
        assert accept(site, precommit(60)) == [Sealed(hrs(60, 0, 3))]

    def test_it_takes_the_file_that_kept_the_signer_from_starting(self, site: GuardSite) -> None:
        path = put_state(site, signed(precommit(60)))
        with pytest.raises(GuardRefusedError, match="state import"):
            opened(site)
        import_state(site, DISK, path, clocks=CLOCKS)
        assert accept(site, precommit(60, number=2)) == [Conflict(precommit(60))]

    def test_the_age_of_what_was_imported_lifts_the_ceiling_as_at_birth(self, site: GuardSite) -> None:
        """Half a day of blocks after the old signer's last one, the node must not meet the ceiling."""
        import_state(site, DISK, state_at(site, signed(precommit(1000, at=NOW - 43200))), clocks=CLOCKS)
        assert accept(site, precommit(1000 + 43200)) == [Accepted(advances=True)]

    def test_before_birth_there_is_nothing_to_raise(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        with pytest.raises(GuardRefusedError, match="no guard yet"):
            import_state(site, DISK, state_at(site, signed(STORED)), clocks=CLOCKS)
        assert not site.path.exists()

    def test_a_blown_fuse_is_no_place_to_import_to(self, site: GuardSite) -> None:
        site.home.fuse_file(CHAIN).write_text(json.dumps({"reason": "EIO", "since": 1}))
        with pytest.raises(GuardRefusedError, match="guard replace"):
            import_state(site, DISK, state_at(site, signed(precommit(60))), clocks=CLOCKS)

    def test_a_file_that_is_not_there_is_named(self, site: GuardSite) -> None:
        with pytest.raises(OperatorError, match=r"nowhere\.json: no such file"):
            import_state(site, DISK, site.home.path / "nowhere.json", clocks=CLOCKS)


class TestBesideARunningSigner:
    def test_nothing_that_changes_or_exports_runs(self, site: GuardSite) -> None:
        path = state_at(site, signed(precommit(60)))
        plan = plan_replacement(site, 100)
        lock = HomeLock(site.home, "cmkms start --id node-0")
        try:
            for command in (
                lambda: import_state(site, DISK, path),
                lambda: export_state(site, KEY),
                lambda: allow_height(site, DISK, 99),
                lambda: replace_guard(site, DISK, plan),
            ):
                with pytest.raises(HomeLockedError, match=r"cmkms start --id node-0 \(process \d+\)"):
                    command()
        finally:
            lock.close()

    def test_a_guard_that_is_held_without_the_homes_lock_is_not_replaced(self, site: GuardSite) -> None:
        plan = plan_replacement(site, 100)
        one = opened(site)
        try:
            with pytest.raises(GuardBusyError, match="locked by process"):
                replace_guard(site, DISK, plan)
        finally:
            one.guard.close()

    def test_looking_takes_no_lock(self, site: GuardSite) -> None:
        one = opened(site)
        try:
            assert inspect_guard(site).problems == ()
        finally:
            one.guard.close()


class TestExport:
    def exported(self, site: GuardSite) -> SignState:
        return parse_state(export_state(site, KEY), "exported", CHAIN, site.verify)

    def test_it_gives_what_a_plain_node_goes_on_from(self, site: GuardSite) -> None:
        assert self.exported(site) == signed(STORED)
        assert json.loads(export_state(site, KEY))["height"] == "50"

    def test_it_makes_the_round_trip(self, site: GuardSite, tmp_path: Path) -> None:
        other = make_site(tmp_path / "other")
        other.state_file.write_bytes(export_state(site, KEY))
        assert accept(other, OTHER) == [Conflict(STORED)]

    def test_a_seal_has_a_point_and_no_bytes(self, site: GuardSite) -> None:
        import_state(site, DISK, state_at(site, SignState(hrs(60, 0, 3))), clocks=CLOCKS)
        assert self.exported(site) == SignState(hrs(60, 0, 3))

    def test_a_sealed_guard_gives_the_signature_that_it_knows_of_its_point(self, site: GuardSite) -> None:
        replace_guard(site, DISK, plan_replacement(site, state_at(site, signed(precommit(60)))))
        assert self.exported(site) == signed(precommit(60))

    def test_a_newborn_says_height_zero(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        opened(site, never_signed=True).guard.close()
        assert self.exported(site) == SignState(NEVER)

    def test_without_a_guard_there_is_nothing_to_export(self, tmp_path: Path) -> None:
        with pytest.raises(GuardRefusedError, match="not born yet"):
            export_state(make_site(tmp_path), KEY)

    def test_a_lost_guard_gives_nothing(self, site: GuardSite) -> None:
        site.path.unlink()
        with pytest.raises(GuardRefusedError, match="lost"):
            export_state(site, KEY)

    def test_a_rotten_guard_gives_nothing_because_its_newest_record_may_be_gone(self, site: GuardSite) -> None:
        """The older slot can still be read: a node that went on from it would sign the newest point again."""
        accept(site, precommit(51))
        rot(site.path, newest_slot(site))
        assert inspect_guard(site).record is not None
        with pytest.raises(GuardRefusedError, match="rotten"):
            export_state(site, KEY)

    def test_a_guard_of_another_birth_gives_nothing(self, site: GuardSite, tmp_path: Path) -> None:
        other = make_site(tmp_path / "other")
        opened(other, never_signed=True).guard.close()
        site.path.write_bytes(other.path.read_bytes())
        with pytest.raises(GuardRefusedError, match="born marker"):
            export_state(site, KEY)

    def test_a_guard_below_what_was_released_was_rolled_back_and_gives_nothing(self, site: GuardSite) -> None:
        store_released(site, DISK, signed(precommit(60)))
        with pytest.raises(GuardRefusedError, match="60/0/3"):
            export_state(site, KEY)

    def test_behind_a_blown_fuse_nothing_is_certain_and_nothing_given(self, site: GuardSite) -> None:
        site.home.fuse_file(CHAIN).write_text(json.dumps({"reason": "EIO", "since": 1}))
        with pytest.raises(GuardRefusedError, match=r"the fuse is blown: EIO.*guard replace .* --above HEIGHT"):
            self.exported(site)


class TestAllowHeight:
    def test_it_lifts_the_ceiling_and_leaves_the_watermark(self, site: GuardSite) -> None:
        far = precommit(5_000_000)
        assert accept(site, far) == [Refused(RefusedBecause.CEILING, "height 5000000 is above the ceiling 2050")]
        assert allow_height(site, DISK, 5_000_000, clocks=CLOCKS) == 5_000_000
        assert accept(site, STORED, far) == [Accepted(advances=False), Accepted(advances=True)]

    def test_a_lower_height_takes_nothing_back(self, site: GuardSite) -> None:
        allow_height(site, DISK, 5_000_000, clocks=CLOCKS)
        assert allow_height(site, DISK, 51, clocks=CLOCKS) == 5_000_000

    @pytest.mark.parametrize("height", [0, -1, MAX_HEIGHT + 1, 2**64])
    def test_what_is_no_height_is_refused(self, site: GuardSite, height: int) -> None:
        with pytest.raises(OperatorError, match="no height"):
            allow_height(site, DISK, height, clocks=CLOCKS)
        with pytest.raises(OperatorError, match="no height"):
            plan_replacement(site, height)


class TestInspect:
    def test_what_a_start_refuses_is_a_problem(self, site: GuardSite) -> None:
        put_state(site, signed(precommit(60)))
        assert "above the guard's 50/0/3" in " ".join(inspect_guard(site).problems)
        site.state_file.unlink()
        store_released(site, DISK, signed(precommit(61)))
        assert "signature at 61/0/3" in " ".join(inspect_guard(site).problems)
        site.home.released_file(CHAIN).unlink()
        elsewhere = site.path.rename(site.path.with_name("elsewhere"))
        site.path.symlink_to(elsewhere)
        assert "symbolic link" in " ".join(inspect_guard(site).problems)

    def test_a_sound_guard_has_no_problems(self, site: GuardSite) -> None:
        report = inspect_guard(site)
        assert (report.problems, report.damage, report.fuse) == ((), (), None)

    @pytest.mark.parametrize("what", ["rotten", "lost", "fuse", "marker", "identity"])
    def test_whatever_would_keep_it_from_starting_is_a_problem(self, site: GuardSite, what: str) -> None:
        looked_at = site
        match what:
            case "rotten":
                rot(site.path, 0)
            case "lost":
                site.path.unlink()
            case "fuse":
                site.home.fuse_file(CHAIN).write_text("{}")
            case "marker":
                site.home.born_marker(CHAIN).write_text("{}")
            case _:
                looked_at = make_site(site.home.path, identity=bytes(32))
        assert what in " ".join(inspect_guard(looked_at).problems)

    def test_one_damaged_copy_is_damage_and_no_problem(self, site: GuardSite) -> None:
        data = bytearray(site.path.read_bytes())
        data[100] ^= 1
        site.path.write_bytes(data)
        report = inspect_guard(site)
        assert len(report.damage) == 1
        assert report.problems == ()

    def test_it_writes_nothing(self, site: GuardSite) -> None:
        before = {path: path.read_bytes() for path in site.home.path.rglob("*") if path.is_file()}
        inspect_guard(site)
        assert {path: path.read_bytes() for path in site.home.path.rglob("*") if path.is_file()} == before


class TestReplace:
    def replaced(self, site: GuardSite, source: Path | int) -> None:
        replace_guard(site, DISK, plan_replacement(site, source))

    def test_above_a_height_seals_all_of_it(self, site: GuardSite) -> None:
        self.replaced(site, 60)
        seal = hrs(60, MAX_ROUND, 3)
        assert accept(site, STORED, precommit(60, MAX_ROUND), proposal(61)) == [
            Regression(seal),
            Sealed(seal),
            Accepted(advances=True),
        ]

    def test_not_even_the_bytes_that_a_state_file_names_are_accepted_again(self, site: GuardSite) -> None:
        self.replaced(site, state_at(site, signed(precommit(60))))
        assert accept(site, precommit(60)) == [Sealed(hrs(60, 0, 3))]

    def test_what_was_released_last_is_kept_and_can_still_be_answered(self, site: GuardSite) -> None:
        self.replaced(site, state_at(site, signed(precommit(60))))
        assert load_released(site) == signed(precommit(60))

    def test_above_a_height_it_keeps_the_last_released_of_before(self, site: GuardSite) -> None:
        store_released(site, DISK, signed(STORED))
        self.replaced(site, 50)
        assert load_released(site) == signed(STORED)

    def test_it_is_a_new_generation_and_the_old_one_is_answered_no_more(self, site: GuardSite) -> None:
        before = opened(site)
        before.guard.close()
        self.replaced(site, 60)
        after = opened(site)
        try:
            assert after.generation.number == before.generation.number + 1
            verdict = after.guard.accept(request(precommit(70), before.generation))
            assert isinstance(verdict, Refused)
            assert verdict.because is RefusedBecause.GENERATION
        finally:
            after.guard.close()

    def test_the_old_file_and_fuse_are_kept_beside_it(self, site: GuardSite) -> None:
        old = site.path.read_bytes()
        site.home.fuse_file(CHAIN).write_text(json.dumps({"reason": "EIO", "since": 1}))
        self.replaced(site, 60)
        kept = [path for path in site.path.parent.iterdir() if path.name.startswith("guard.replaced-at-")]
        assert [path.read_bytes() for path in kept] == [old]
        assert not site.home.fuse_file(CHAIN).exists()
        assert accept(site, precommit(61)) == [Accepted(advances=True)]

    @pytest.mark.parametrize("source", [49, 1, "prevote of 50"])
    def test_a_point_below_what_can_still_be_read_is_refused(self, site: GuardSite, source: int | str) -> None:
        given = source if isinstance(source, int) else state_at(site, signed(prevote(50)))
        with pytest.raises(GuardRefusedError, match="too low"):
            plan_replacement(site, given)

    def test_by_the_word_of_its_operator_it_begins_anew_whatever_was_signed(self, site: GuardSite) -> None:
        """A test net was reset under its old chain id: what was released for the old one speaks against nothing."""
        store_released(site, DISK, replace(signed(STORED), generation=1))
        replace_guard(site, DISK, plan_replacement(site, 0, lowers=True))
        for height in (1, 2):
            assert accept(site, precommit(height)) == [Accepted(advances=True)]
        assert not inspect_guard(site).problems
        assert parse_state(export_state(site, KEY), "export", CHAIN, site.verify).hrs == hrs(2, 0, 3)

    def test_without_that_word_no_height_is_the_beginning(self, site: GuardSite) -> None:
        with pytest.raises(OperatorError, match="0 is no height"):
            plan_replacement(site, 0)

    @pytest.mark.parametrize("how", ["lost", "rotten"])
    def test_a_point_below_a_signature_that_left_is_refused_even_where_no_record_can_be_read(
        self, site: GuardSite, how: str
    ) -> None:
        store_released(site, DISK, signed(STORED))
        if how == "lost":
            site.path.unlink()
        else:
            site.path.write_bytes(bytes(FILE_BYTES))
        with pytest.raises(GuardRefusedError, match=r"signature at 50/0/3.*too low"):
            plan_replacement(site, 49)
        self.replaced(site, 50)

    def test_the_point_itself_is_enough(self, site: GuardSite) -> None:
        self.replaced(site, state_at(site, signed(STORED)))
        assert accept(site, STORED, OTHER) == [Sealed(hrs(50, 0, 3))] * 2

    def test_a_state_file_that_says_never_is_refused(self, site: GuardSite) -> None:
        with pytest.raises(GuardRefusedError, match="nothing was ever signed"):
            plan_replacement(site, state_at(site, SignState(NEVER)))

    def test_what_was_signed_between_plan_and_deed_is_not_forgotten(self, site: GuardSite) -> None:
        """The operator is asked for the chain id in between, and stops the signer only then."""
        plan = plan_replacement(site, 50)
        accept(site, precommit(51))
        with pytest.raises(GuardRefusedError, match="too low"):
            replace_guard(site, DISK, plan)
        assert accept(site, precommit(51, number=2)) == [Conflict(precommit(51))]

    def test_a_marker_that_cannot_be_read_is_replaced_too(self, site: GuardSite) -> None:
        site.home.born_marker(CHAIN).write_bytes(b"\0")
        self.replaced(site, 60)
        assert read_marker(site.home.born_marker(CHAIN)) is not None
        assert accept(site, precommit(61)) == [Accepted(advances=True)]

    @pytest.mark.parametrize("how", ["lost", "rotten", "empty", "link"])
    def test_whatever_happened_to_the_old_file_it_can_be_replaced(self, site: GuardSite, how: str) -> None:
        match how:
            case "lost":
                site.path.unlink()
            case "rotten":
                site.path.write_bytes(bytes(FILE_BYTES))
            case "empty":
                site.path.write_bytes(b"")
            case _:
                site.path.unlink()
                site.path.symlink_to(site.home.path / "nowhere")
        self.replaced(site, 60)
        assert accept(site, precommit(61)) == [Accepted(advances=True)]

    def test_a_pause_outlives_it(self, site: GuardSite) -> None:
        """A pause is how a key moves elsewhere: a new file must not undo it."""
        one = opened(site)
        assert one.guard.record is not None
        assert one.guard._file is not None
        one.guard._file.write(
            replace(one.guard.record, sequence=one.guard.record.sequence + 1, paused=True, max_height=70)
        )
        one.guard.close()
        self.replaced(site, 60)
        record = inspect_guard(site).record
        assert record is not None
        assert (record.paused, record.max_height) == (True, 70)
