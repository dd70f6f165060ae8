"""What an operator does to the guard of one of several replicas while it is stopped, and what each command refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cmkms.guard.birth import GuardRefusedError, GuardSite, OpenedGuard, open_guard
from cmkms.guard.decide import Accepted
from cmkms.guard.disk import PosixDisk
from cmkms.guard.file import FILE_BYTES, GuardBusyError
from cmkms.guard.generation import NO_GENERATION
from cmkms.guard.hrs import NEVER
from cmkms.guard.inspection import inspect_guard
from cmkms.guard.lock import HomeLock, HomeLockedError
from cmkms.guard.offline import allow_height, caution, export_state, import_state, restart_birth
from cmkms.guard.released import store_released
from cmkms.guard.replacement import plan_replacement
from cmkms.guard.state_file import SignState, parse_state, render_state
from tests.faults.guard.test_birth_of_several import MEMBERS, be_born, bind, record_of, unarmed
from tests.unit.guard.world import CHAIN, CLOCKS, KEY, hrs, make_site, precommit, put_state, request, signed

DISK = PosixDisk()
STORED = precommit(50)


@pytest.fixture
def site(tmp_path: Path) -> GuardSite:
    return make_site(tmp_path, members=MEMBERS)


def begin(site: GuardSite, *, bound: bool = False) -> bytes:
    """Begin a birth; returns the nonce of its file."""
    with unarmed(site) as opened:
        if bound:
            bind(opened.guard)
        return record_of(opened.guard).nonce


def blow(site: GuardSite) -> None:
    site.home.fuse_file(CHAIN).write_text('{"reason": "EIO", "since": 1}')


def given(site: GuardSite, state: SignState) -> Path:
    path = site.home.path / "given.json"
    path.write_bytes(render_state(state))
    return path


class TestBeginningABirthAnew:
    @pytest.mark.parametrize("bound", [False, True])
    def test_the_next_start_has_a_new_nonce_and_the_old_file_is_kept(self, site: GuardSite, bound: bool) -> None:
        old = begin(site, bound=bound)
        content = site.path.read_bytes()
        aside = restart_birth(site, DISK)
        assert aside.read_bytes() == content
        assert begin(site) != old
        with unarmed(site) as opened:
            assert record_of(opened.guard).generation == NO_GENERATION

    def test_a_state_file_is_read_again(self, site: GuardSite) -> None:
        put_state(site, signed(STORED))
        begin(site, bound=False)
        restart_birth(site, DISK)
        with unarmed(site) as opened:
            assert opened.floor.hrs == hrs(50, 0, 3)

    def test_an_armed_guard_never_starts_over(self, site: GuardSite) -> None:
        be_born(site)
        with pytest.raises(GuardRefusedError, match=r"born marker.*never starts over.*cmkms cluster change"):
            restart_birth(site, DISK)
        site.home.born_marker(CHAIN).unlink()
        with pytest.raises(GuardRefusedError, match="it is armed"):
            restart_birth(site, DISK)
        assert site.path.exists()

    def test_nor_does_one_whose_marker_is_written_already(self, site: GuardSite) -> None:
        begin(site, bound=True)
        site.home.born_marker(CHAIN).parent.mkdir(mode=0o700)
        for marker in (site.founders_file.read_bytes(), b"\0"):
            site.home.born_marker(CHAIN).write_bytes(marker)
            with pytest.raises(GuardRefusedError, match="born marker"):
                restart_birth(site, DISK)

    def test_nor_one_that_is_lost(self, site: GuardSite) -> None:
        be_born(site)
        site.path.unlink()
        with pytest.raises(GuardRefusedError, match="born marker"):
            restart_birth(site, DISK)

    def test_nor_one_whose_fuse_is_blown(self, site: GuardSite) -> None:
        begin(site)
        blow(site)
        with pytest.raises(GuardRefusedError, match="fuse is blown"):
            restart_birth(site, DISK)

    @pytest.mark.parametrize("content", [b"", bytes(FILE_BYTES)])
    def test_nor_one_that_cannot_be_read(self, site: GuardSite, content: bytes) -> None:
        begin(site)
        site.path.write_bytes(content)
        with pytest.raises(GuardRefusedError, match="cannot be read"):
            restart_birth(site, DISK)

    def test_nor_one_with_a_rotten_slot(self, site: GuardSite) -> None:
        """The slot that is gone may have said that it is armed."""
        begin(site, bound=True)
        newest = record_of_file(site) % 2
        content = bytearray(site.path.read_bytes())
        content[newest * 8192 : newest * 8192 + 8192] = bytes(8192)
        site.path.write_bytes(content)
        with pytest.raises(GuardRefusedError, match="cannot be read"):
            restart_birth(site, DISK)

    def test_before_the_first_start_there_is_nothing_to_begin_anew(self, site: GuardSite) -> None:
        with pytest.raises(GuardRefusedError, match="nothing was begun"):
            restart_birth(site, DISK)

    def test_beside_a_running_replica_it_does_not_run(self, site: GuardSite) -> None:
        begin(site)
        lock = HomeLock(site.home, "cmkms start --id node-0")
        try:
            with pytest.raises(HomeLockedError):
                restart_birth(site, DISK)
        finally:
            lock.close()
        with unarmed(site), pytest.raises(GuardBusyError):
            restart_birth(site, DISK)

    def test_a_first_start_alone_that_was_interrupted_can_begin_anew_too(self, site: GuardSite) -> None:
        alone = replace(site, members=("node-0",))
        begin(site)
        restart_birth(alone, DISK)
        opened = open_guard(alone, DISK, never_signed=True, clocks=CLOCKS)
        assert isinstance(opened, OpenedGuard)
        opened.guard.close()


def record_of_file(site: GuardSite) -> int:
    record = inspect_guard(site).record
    assert record is not None
    return record.sequence


class TestThePeerListIsNoWayToChangeWhoTheGuardsAre:
    def test_born_alone_and_now_one_of_several(self, site: GuardSite) -> None:
        opened = open_guard(replace(site, members=("node-0",)), DISK, never_signed=True, clocks=CLOCKS)
        assert isinstance(opened, OpenedGuard)
        opened.guard.close()
        for _ in ("with its marker", "without"):
            assert self.members_of(site) == ("node-0",)
            site.home.born_marker(CHAIN).unlink()

    @pytest.mark.parametrize(
        "now",
        [("node-0", "node-1"), ("node-0", "node-1", "node-3"), (*MEMBERS, "node-3", "node-4")],
        ids=["fewer", "others", "more"],
    )
    def test_born_with_others_than_now(self, site: GuardSite, now: tuple[str, ...]) -> None:
        """Whom it asks is what its generation says, whatever the peer list says."""
        be_born(site)
        assert self.members_of(replace(site, members=now)) == MEMBERS

    def members_of(self, site: GuardSite) -> tuple[str, ...]:
        opened = open_guard(site, DISK, clocks=CLOCKS)
        assert isinstance(opened, OpenedGuard)
        opened.guard.close()
        return tuple(member.id for member in opened.guard.members)

    def test_born_with_others_and_now_alone(self, site: GuardSite) -> None:
        be_born(site)
        self.refused(replace(site, members=("node-0",)), r"one of 3 .*names node-0 only.*cmkms cluster change")
        opened = open_guard(site, DISK, clocks=CLOCKS)
        assert isinstance(opened, OpenedGuard)
        opened.guard.close()

    def test_the_order_of_the_list_means_nothing(self, site: GuardSite) -> None:
        be_born(site)
        opened = open_guard(replace(site, members=MEMBERS[::-1]), DISK, clocks=CLOCKS)
        assert isinstance(opened, OpenedGuard)
        opened.guard.close()

    @pytest.mark.parametrize("bound", [False, True])
    def test_begun_with_others_and_now_alone(self, site: GuardSite, bound: bool) -> None:
        begin(site, bound=bound)
        self.refused(replace(site, members=("node-0",)), r"begun together with other replicas.*birth --restart")

    def test_without_its_marker_an_armed_guard_does_not_know_its_members(self, site: GuardSite) -> None:
        be_born(site)
        marker = site.home.born_marker(CHAIN)
        content = marker.read_bytes()
        marker.write_bytes(b"{")
        self.refused(site, "names the other members")
        marker.unlink()
        self.refused(site, "no born marker")
        marker.write_bytes(content)
        opened = open_guard(site, DISK, clocks=CLOCKS)
        assert isinstance(opened, OpenedGuard)
        opened.guard.close()

    @pytest.mark.parametrize("changed", ["member_id", "pub_key"])
    def test_a_name_or_key_changed_before_birth_names_the_command(self, site: GuardSite, changed: str) -> None:
        begin(site)
        other = {"member_id": "node-1", "pub_key": bytes(32)}[changed]
        self.refused(replace(site, **{changed: other}), "birth --restart")  # type: ignore[arg-type]

    def refused(self, site: GuardSite, why: str) -> None:
        with pytest.raises(GuardRefusedError, match=why):
            open_guard(site, DISK, clocks=CLOCKS)
        assert inspect_guard(site).problems, "what a start refuses, `guard verify` must tell"


class TestLost:
    def test_the_others_go_on_without_it_and_no_word_of_an_operator_replaces_it(self, site: GuardSite) -> None:
        be_born(site)
        site.path.unlink()
        with pytest.raises(
            GuardRefusedError, match=r"lost.*cmkms guard replace.*cmkms cluster change.*the others go on"
        ):
            open_guard(site, DISK)
        with pytest.raises(GuardRefusedError, match="for a replica that signs alone"):
            plan_replacement(site, 100)

    def test_not_even_where_the_peer_list_now_names_it_alone(self, site: GuardSite) -> None:
        be_born(site)
        site.path.unlink()
        with pytest.raises(GuardRefusedError, match=r"one of 3.*signs alone"):
            plan_replacement(replace(site, members=("node-0",)), 100)


class TestRaisingOneGuardOfSeveral:
    def test_it_raises_and_says_what_that_is_worth(self, site: GuardSite) -> None:
        members = be_born(site)
        done = import_state(site, DISK, given(site, signed(STORED)), clocks=CLOCKS)
        assert done.after == hrs(50, 0, 3)
        assert inspect_guard(site).members == tuple(member.id for member in members)
        said = caution(site)
        assert "by itself protects nothing" in said
        assert "node-0, node-1, node-2" in said
        assert "when 2 of them have it" in said

    def test_alone_there_is_nothing_to_say(self, site: GuardSite) -> None:
        assert caution(replace(site, members=("node-0",))) == ""

    @pytest.mark.parametrize("bound", [False, True])
    def test_before_birth_there_is_nothing_to_raise(self, site: GuardSite, bound: bool) -> None:
        begin(site, bound=bound)
        with pytest.raises(GuardRefusedError, match="not born yet"):
            import_state(site, DISK, given(site, signed(STORED)), clocks=CLOCKS)
        with pytest.raises(GuardRefusedError, match="not born yet"):
            allow_height(site, DISK, 100, clocks=CLOCKS)
        with unarmed(site) as opened:
            assert record_of(opened.guard).hrs == NEVER

    def test_it_takes_the_file_that_kept_the_replica_from_starting(self, site: GuardSite) -> None:
        be_born(site)
        path = put_state(site, signed(STORED))
        with pytest.raises(GuardRefusedError, match=r"state import.*every other replica"):
            open_guard(site, DISK)
        import_state(site, DISK, path, clocks=CLOCKS)
        opened = open_guard(site, DISK, clocks=CLOCKS)
        assert isinstance(opened, OpenedGuard)
        opened.guard.close()


class TestExportingOneGuardOfSeveral:
    def exported(self, site: GuardSite) -> SignState:
        return parse_state(export_state(site, KEY), "exported", CHAIN, site.verify)

    def test_nothing_is_signed_for_it(self, site: GuardSite) -> None:
        """This guard has accepted the bytes; a majority may have accepted others, and signed them."""
        be_born(site)
        opened = open_guard(site, DISK, clocks=CLOCKS)
        assert isinstance(opened, OpenedGuard)
        assert opened.guard.accept(request(STORED, opened.generation)) == Accepted(advances=True)
        opened.guard.close()
        assert self.exported(site) == SignState(hrs(50, 0, 3))

    def test_a_signature_that_was_released_here_is_given(self, site: GuardSite) -> None:
        put_state(site, signed(STORED))
        be_born(site, hrs(50, 0, 3), STORED)
        assert self.exported(site) == signed(STORED)

    def test_so_is_one_that_the_others_made_and_this_guard_lags_behind(self, site: GuardSite) -> None:
        be_born(site, hrs(50, 0, 3), STORED)
        store_released(site, DISK, signed(precommit(60)))
        assert self.exported(site) == signed(precommit(60))

    def test_before_birth_there_is_nothing_to_export(self, site: GuardSite) -> None:
        begin(site, bound=True)
        with pytest.raises(GuardRefusedError, match="not born yet"):
            export_state(site, KEY)


class TestLooking:
    def test_how_far_a_guard_has_come_is_told(self, site: GuardSite) -> None:
        assert (inspect_guard(site).state, inspect_guard(site).problems) == ("missing", ("not born yet",))
        begin(site)
        report = inspect_guard(site)
        assert report.state == "unbound"
        assert report.problems == (
            "not born yet: bound to nothing until node-0, node-1, node-2 are all started and agree",
        )
        begin(site, bound=True)
        report = inspect_guard(site)
        assert report.state == "bound"
        assert "all known to be bound" in " ".join(report.problems)

    def test_an_armed_one_names_its_members(self, site: GuardSite) -> None:
        be_born(site)
        report = inspect_guard(site)
        assert (report.state, report.members, report.problems) == ("armed", MEMBERS, ())
        blow(site)
        assert inspect_guard(site).state == "fused"

    def test_a_fused_one_is_opened_fused_and_still_knows_its_members(self, site: GuardSite) -> None:
        be_born(site)
        blow(site)
        opened = open_guard(site, DISK, clocks=CLOCKS)
        assert isinstance(opened, OpenedGuard)
        assert opened.guard.blown == "EIO"
        assert tuple(member.id for member in opened.guard.members) == MEMBERS
        assert opened.guard.status().members == MEMBERS

    def test_an_unarmed_ones_status_says_so(self, site: GuardSite) -> None:
        with unarmed(site) as opened:
            assert opened.guard.status().state == "unborn"
            bind(opened.guard)
            assert (opened.guard.status().state, opened.guard.status().members) == ("bound", MEMBERS)
            opened.guard.arm()
            assert opened.guard.status().state == "armed"
