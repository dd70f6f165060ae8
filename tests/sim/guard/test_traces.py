"""The traces by which a guard would sign twice, each found by exhaustive search over a design that left a sentence out.

One guard on a simulated disk; every test ends where the broken design would have accepted a second value.
"""

from __future__ import annotations

import errno

import pytest

from cmkms.guard.decide import Accepted, Conflict, Held, Refused, RefusedBecause, Sealed
from cmkms.guard.file import BLOCK_BYTES, FILE_BYTES, GuardBusyError, GuardFile
from cmkms.guard.record import RECORD_BYTES
from tests.sim.guard.lives import FUSE, GUARD, Lives, disk_error
from tests.unit.guard.world import hrs, precommit, prevote

ONE = precommit(5, number=1)
TWO = precommit(5, number=2)
AT = hrs(5, 0, 3)


@pytest.fixture
def lives() -> Lives:
    one = Lives()
    assert one.ask(prevote(5)) == Accepted(advances=True)
    return one


def dies_at(lives: Lives, operation: int) -> None:
    """Let the process die `operation` steps from now."""
    lives.disk.kill_at = lives.disk.operations + operation


WRITTEN_NOT_SYNCED = 3


class TestAnswerBeforeDurable:
    def test_a_failed_sync_is_never_answered_as_accepted(self, lives: Lives) -> None:
        lives.disk.sync_error = disk_error()
        assert isinstance(lives.ask(ONE), Refused)

    def test_nothing_accepted_is_lost_by_a_power_cut(self, lives: Lives) -> None:
        assert lives.ask(ONE) == Accepted(advances=True)
        lives.cut_power()
        lives.start()
        assert lives.ask(TWO) == Conflict(ONE)

    def test_a_repeat_is_not_answered_from_a_write_that_failed(self, lives: Lives) -> None:
        lives.disk.sync_error = disk_error()
        lives.ask(ONE)
        assert isinstance(lives.ask(ONE), Refused)

    def test_the_record_shown_to_others_is_the_durable_one(self, lives: Lives) -> None:
        lives.disk.write_error = disk_error()
        lives.ask(ONE)
        assert lives.watermark == hrs(5, 0, 2)


class TestStartTrustsThePageCache:
    def test_what_a_killed_process_left_in_the_cache_is_on_disk_before_it_is_answered(self, lives: Lives) -> None:
        dies_at(lives, WRITTEN_NOT_SYNCED)
        assert lives.ask(ONE) is None
        lives.start()
        assert lives.ask(ONE) == Accepted(advances=False)
        lives.cut_power()
        lives.start()
        assert lives.ask(TWO) == Conflict(ONE)

    def test_a_sync_at_start_is_not_enough_after_one_that_failed(self, lives: Lives) -> None:
        """The cache is clean and shows what the platter never got; the fuse's marker could not be written either."""
        lives.disk.sync_error = disk_error()
        lives.disk.full = True
        lives.ask(ONE)
        lives.kill()
        lives.disk.full = False
        lives.start()
        assert not lives.fused
        assert lives.ask(ONE) == Accepted(advances=False)
        lives.cut_power()
        lives.start()
        assert lives.ask(TWO) in (Conflict(ONE), Refused(RefusedBecause.FUSE, lives.guard.fuse.blown.reason))  # type: ignore[union-attr]


class TestAnErrorIsRetriedInPlace:
    @pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT])
    @pytest.mark.parametrize("where", ["write", "sync"])
    def test_the_first_error_blows_the_fuse_for_good(self, lives: Lives, number: int, where: str) -> None:
        setattr(lives.disk, f"{where}_error", disk_error(number))
        assert isinstance(lives.ask(ONE), Refused)
        assert isinstance(lives.ask(ONE), Refused)
        assert isinstance(lives.ask(precommit(6)), Refused)

    def test_a_restart_does_not_mend_it(self, lives: Lives) -> None:
        lives.disk.sync_error = disk_error()
        lives.ask(ONE)
        lives.kill()
        assert lives.disk.exists(FUSE)
        lives.start()
        assert isinstance(lives.ask(precommit(6)), Refused)

    def test_an_error_at_the_rewrite_of_a_start_blows_it_too(self, lives: Lives) -> None:
        lives.stop()
        lives.disk.sync_error = disk_error()
        lives.start()
        assert isinstance(lives.ask(precommit(6)), Refused)

    def test_a_file_that_failed_once_writes_no_more_even_if_asked_past_the_fuse(self, lives: Lives) -> None:
        file = lives.guard._file  # type: ignore[union-attr]
        assert file is not None
        lives.disk.sync_error = disk_error()
        lives.ask(ONE)
        before = bytes(lives.disk.media[GUARD].cache)
        with pytest.raises(Exception, match="failed before"):
            file.write(file.record.advanced(AT, TWO, 0))
        assert bytes(lives.disk.media[GUARD].cache) == before


class TestTheNewestSlotRots:
    def rot(self, lives: Lives, *copies: int) -> None:
        guard = lives.guard
        assert guard is not None
        assert guard.record is not None
        newest = guard.record.sequence % 2
        lives.stop()
        for copy in copies:
            lives.disk.rot(GUARD, (2 * newest + copy) * BLOCK_BYTES + 300)

    def test_both_copies_gone_is_a_fuse_and_no_way_back_to_the_older_slot(self, lives: Lives) -> None:
        lives.ask(ONE)
        self.rot(lives, 0, 1)
        lives.start()
        assert lives.fused
        assert isinstance(lives.ask(TWO), Refused)

    @pytest.mark.parametrize("copy", [0, 1])
    def test_one_copy_gone_is_mended_from_the_other(self, lives: Lives, copy: int) -> None:
        lives.ask(ONE)
        self.rot(lives, copy)
        lives.start()
        assert lives.ask(TWO) == Conflict(ONE)
        lives.stop()
        file = GuardFile.open(lives.disk, GUARD)
        assert file.damage == ()

    def test_one_copy_gone_and_the_other_stale_is_not_taken_for_the_newest(self, lives: Lives) -> None:
        """A drive that swallowed one of the two writes, and then lost the other."""
        medium = lives.disk.media[GUARD]
        stale = bytes(medium.platter)
        lives.ask(ONE)
        assert lives.guard is not None
        assert lives.guard.record is not None
        start = (2 * (lives.guard.record.sequence % 2) + 1) * BLOCK_BYTES
        lives.ask(precommit(6))
        medium.platter[start : start + BLOCK_BYTES] = stale[start : start + BLOCK_BYTES]
        medium.cache[:] = medium.platter
        lives.stop()
        lives.disk.rot(GUARD, start - BLOCK_BYTES + 300)
        lives.start()
        assert lives.fused

    def test_the_two_copies_of_a_slot_never_share_a_block_nor_do_the_slots(self, lives: Lives) -> None:
        data = bytes(lives.disk.media[GUARD].platter)
        assert len(data) == FILE_BYTES
        heads = [at for at in range(0, FILE_BYTES, 512) if any(data[at : at + 512])]
        assert heads == [0, BLOCK_BYTES, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES]
        assert RECORD_BYTES == 512

    def test_a_write_leaves_the_slot_before_it_untouched(self, lives: Lives) -> None:
        assert lives.guard is not None
        for number in range(6, 12):
            before = bytes(lives.disk.media[GUARD].platter)
            lives.ask(precommit(number))
            after = bytes(lives.disk.media[GUARD].platter)
            half = FILE_BYTES // 2
            changed = [before[:half] != after[:half], before[half:] != after[half:]]
            assert sorted(changed) == [False, True]
            assert len(after) == FILE_BYTES


class TestTheFileIsAnothers:
    def test_a_file_replaced_under_the_running_guard_blows_the_fuse(self, lives: Lives) -> None:
        lives.disk.media[GUARD] = lives.disk.media.pop(GUARD)
        medium = lives.disk.media[GUARD]
        lives.disk.media[GUARD] = type(medium)(bytearray(medium.cache), bytearray(medium.platter))
        assert isinstance(lives.ask(ONE), Refused)
        assert lives.fused

    def test_a_file_removed_under_the_running_guard_blows_the_fuse(self, lives: Lives) -> None:
        lives.disk.lose(GUARD)
        assert isinstance(lives.ask(ONE), Refused)

    def test_a_second_process_is_refused_while_the_first_lives(self, lives: Lives) -> None:
        with pytest.raises(GuardBusyError, match="process 1"):
            GuardFile.open(lives.disk, GUARD)
        assert lives.ask(ONE) == Accepted(advances=True)

    def test_an_older_copy_of_one_slot_is_a_write_that_went_missing(self, lives: Lives) -> None:
        """A backup restored in part, or a drive that lost a whole slot's write long ago."""
        medium = lives.disk.media[GUARD]
        old = bytes(medium.platter)
        for number in (6, 7, 8):
            lives.ask(precommit(number))
        medium.platter[: FILE_BYTES // 2] = old[: FILE_BYTES // 2]
        medium.cache[:] = medium.platter
        lives.stop()
        lives.start()
        assert lives.fused


class TestSeals:
    def test_an_import_of_other_bytes_at_the_same_point_seals_it(self, lives: Lives) -> None:
        lives.ask(ONE)
        assert lives.guard is not None
        assert lives.guard.raise_to(AT, TWO)
        assert lives.ask(ONE) == Sealed(AT)
        assert lives.ask(TWO) == Sealed(AT)

    def test_a_seal_holds_over_a_power_cut(self, lives: Lives) -> None:
        assert lives.guard is not None
        lives.guard.raise_to(AT, None)
        lives.cut_power()
        lives.start()
        assert lives.ask(ONE) == Sealed(AT)

    def test_a_seal_is_not_lifted_by_an_import_at_the_same_point(self, lives: Lives) -> None:
        assert lives.guard is not None
        lives.guard.raise_to(AT, None)
        assert not lives.guard.raise_to(AT, ONE)
        assert lives.ask(ONE) == Sealed(AT)

    def test_a_vote_held_is_repeated_by_whoever_comes_next(self, lives: Lives) -> None:
        lives.ask(ONE)
        lives.kill()
        lives.start()
        assert lives.ask(precommit(5, at=7)) == Held(ONE)
        assert lives.ask(ONE) == Accepted(advances=False)
