"""Real kernels, real file systems: full, failing, read-only and unsuitable ones, links, modes, and two processes.

What needs a mount is skipped where the tests do not run as root.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cmkms.errors import DiskError
from cmkms.guard import disk
from cmkms.guard.birth import GuardSite, OpenedGuard, open_guard
from cmkms.guard.decide import Accepted, Conflict, Refused, RefusedBecause
from cmkms.guard.disk import PosixDisk
from cmkms.guard.file import FILE_BYTES, GuardBusyError, GuardFile, GuardUnopenedError
from cmkms.guard.filesystem import untrusted_file_system
from cmkms.guard.lock import HomeLock, HomeLockedError
from tests.faults.guard.mortal import in_a_process_that_dies
from tests.unit.guard.world import CLOCKS, make_site, precommit, request

DISK = PosixDisk()
STORED = precommit(50)

HOLDS_A_GUARD = """
import sys
from pathlib import Path
from cmkms.guard.disk import PosixDisk
file = PosixDisk().open_locked(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def started(site: GuardSite, *, never_signed: bool = False) -> OpenedGuard:
    opened = open_guard(site, DISK, never_signed=never_signed, clocks=CLOCKS)
    assert isinstance(opened, OpenedGuard)
    return opened


def ask(opened: OpenedGuard, sign_bytes: bytes) -> object:
    return opened.guard.accept(request(sign_bytes, opened.generation))


def new_guard(path: Path) -> GuardSite:
    """A guard at `path` that has signed 50/0/3."""
    site = make_site(path)
    opened = started(site, never_signed=True)
    assert ask(opened, STORED) == Accepted(advances=True)
    opened.guard.close()
    return site


def holds_its_word(site: GuardSite) -> None:
    opened = started(site)
    assert ask(opened, precommit(50, number=2)) == Conflict(STORED)
    opened.guard.close()


@contextmanager
def mounted(at: Path, *arguments: str) -> Generator[Path]:
    at.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(at)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@contextmanager
def small_ext4(work: Path, backing: Path) -> Generator[Path]:
    """A file system of 4 MiB in a file in `backing`."""
    image = backing / "image"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    # Without a journal: the error comes back from the data's own write, not from a dead journal.
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-b", "4096", image], check=True)
    with mounted(work / "ext4", "-o", "loop", str(image)) as at:
        yield at


def fill(path: Path) -> None:
    """Take all the room there is."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        while os.write(descriptor, bytes(4096)):
            pass
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017 - there is no other way to know that it is full
    finally:
        os.close(descriptor)


@pytest.fixture
def site(tmp_path: Path) -> GuardSite:
    return new_guard(tmp_path)


class TestTwoProcesses:
    def test_the_second_on_one_guard_is_refused_with_the_pid_of_the_first(self, site: GuardSite) -> None:
        holder = subprocess.Popen(
            [
                sys.executable,
                "-c",
                HOLDS_A_GUARD,
                str(site.path),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(GuardBusyError, match=f"in use by process {holder.pid}:.*Stop it first"):
                open_guard(site, DISK, clocks=CLOCKS)
            assert not site.home.fuse_file(site.chain_id).exists()
        finally:
            holder.communicate(b"")
        holds_its_word(site)

    @needs_root
    def test_a_lock_on_the_same_inode_of_another_disk_is_not_named(self, tmp_path: Path) -> None:
        with (
            mounted(tmp_path / "one", "-t", "tmpfs", "tmpfs") as one,
            mounted(tmp_path / "other", "-t", "tmpfs", "tmpfs") as other,
        ):
            paths = [one / "guard", other / "guard"]
            for path in paths:
                path.write_bytes(b"")
            assert paths[0].stat().st_ino == paths[1].stat().st_ino
            for mine, others in (paths, paths[::-1]):
                file = DISK.open_locked(mine)
                assert disk._lock_holder(mine.stat()) == os.getpid()
                assert disk._lock_holder(others.stat()) == 0
                file.close()

    def test_the_second_on_one_home_is_refused_by_name(self, tmp_path: Path) -> None:
        home = make_site(tmp_path).home
        first = HomeLock(home, "cmkms start --id node-0")
        with pytest.raises(HomeLockedError, match=rf"cmkms start --id node-0 \(process {os.getpid()}\)"):
            HomeLock(home, "another")
        first.close()
        HomeLock(home, "another").close()

    def test_a_killed_process_leaves_no_lock_behind(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)

        def dies() -> None:
            HomeLock(site.home, "killed")
            started(site, never_signed=True)
            os.kill(os.getpid(), 9)

        assert in_a_process_that_dies(dies)
        HomeLock(site.home, "next").close()
        started(site).guard.close()

    def test_any_other_close_of_the_file_in_this_process_keeps_the_lock(self, site: GuardSite) -> None:
        """As a POSIX lock would not: any code that reads the file once would drop it."""
        opened = started(site)
        site.path.read_bytes()
        with pytest.raises(GuardBusyError):
            GuardFile.open(DISK, site.path)
        opened.guard.close()

    @pytest.mark.parametrize("how", ["directory", "link"])
    def test_a_lock_file_that_is_something_else_is_an_error_and_no_traceback(self, tmp_path: Path, how: str) -> None:
        home = make_site(tmp_path).home
        if how == "link":
            home.lock_file.symlink_to(tmp_path / "elsewhere")
        else:
            home.lock_file.mkdir()
        with pytest.raises(DiskError, match="lock the home"):
            HomeLock(home, "cmkms start")


class TestTheFileUnderTheRunningGuard:
    @pytest.mark.parametrize("how", ["copied over", "removed", "restored by rename"])
    def test_replaced_it_blows_the_fuse(self, site: GuardSite, how: str) -> None:
        before = site.path.read_bytes()
        opened = started(site)
        assert ask(opened, precommit(51)) == Accepted(advances=True)
        match how:
            case "removed":
                site.path.unlink()
            case "restored by rename":
                backup = site.path.with_name("backup")
                backup.write_bytes(before)
                backup.rename(site.path)
            case _:
                site.path.unlink()
                site.path.write_bytes(before)
        verdict = ask(opened, precommit(52))
        assert isinstance(verdict, Refused)
        assert verdict.because is RefusedBecause.FUSE
        assert "replaced or removed" in verdict.detail
        opened.guard.close()
        again = started(site)
        assert isinstance(ask(again, precommit(51, number=2)), Refused)
        again.guard.close()

    def test_a_limit_on_file_sizes_is_an_error_like_any_other(self, site: GuardSite) -> None:
        def limited() -> None:
            opened = started(site)
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES // 4, FILE_BYTES // 4))
            refused = [ask(opened, precommit(height)) for height in (51, 52)]
            assert any(isinstance(one, Refused) for one in refused)
            assert opened.guard.fuse.blown is not None
            assert isinstance(ask(opened, precommit(53)), Refused)

        assert not in_a_process_that_dies(limited)
        again = started(site)
        assert not isinstance(ask(again, precommit(50, number=2)), Accepted)
        again.guard.close()


class TestWhatCannotBeOpened:
    """Put right, it goes on: none of these says anything about what is in the file."""

    def test_a_link_is_not_followed(self, site: GuardSite) -> None:
        elsewhere = site.home.path / "elsewhere"
        site.path.rename(elsewhere)
        site.path.symlink_to(elsewhere)
        with pytest.raises(GuardUnopenedError, match="symbolic link"):
            started(site)
        site.path.unlink()
        elsewhere.rename(site.path)
        holds_its_word(site)

    def test_a_directory_in_its_place_is_refused(self, site: GuardSite) -> None:
        aside = site.path.with_name("aside")
        site.path.rename(aside)
        site.path.mkdir()
        with pytest.raises(GuardUnopenedError, match="directory"):
            started(site)
        site.path.rmdir()
        aside.rename(site.path)
        holds_its_word(site)

    def test_a_fifo_in_its_place_is_refused_and_not_waited_for(self, site: GuardSite) -> None:
        site.path.rename(site.path.with_name("aside"))
        os.mkfifo(site.path)
        with pytest.raises(GuardUnopenedError, match="not a regular file"):
            started(site)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_a_start_as_the_wrong_user_costs_no_fuse(self, site: GuardSite) -> None:
        nobody = 65534
        for path in (site.home.path, *site.home.path.rglob("*"), *list(site.home.path.parents)[:3]):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0))

        def as_nobody() -> None:
            os.setuid(nobody)
            with pytest.raises(GuardUnopenedError, match=f"user {nobody}"):
                open_guard(site, DISK, clocks=CLOCKS)

        site.home.born_marker(site.chain_id).chmod(0o644)
        assert not in_a_process_that_dies(as_nobody)
        holds_its_word(site)


class TestUnsuitableFileSystems:
    def test_a_local_disk_is_suitable(self) -> None:
        where = Path(__file__).parent
        fstype = subprocess.run(
            ["stat", "-f", "-c", "%T", where], capture_output=True, text=True, check=True
        ).stdout.strip()
        suitable = fstype in {"ext2/ext3", "xfs", "btrfs", "zfs", "f2fs"}
        assert (untrusted_file_system(where) == "") is suitable

    def test_memory_is_named(self) -> None:
        shared_memory = Path("/dev/shm")  # noqa: S108 - looked at, not written to
        if not shared_memory.exists():
            pytest.skip("no /dev/shm here")
        assert untrusted_file_system(shared_memory).startswith("tmpfs: memory")

    @needs_root
    def test_a_mounted_tmpfs_is_named(self, tmp_path: Path) -> None:
        with mounted(tmp_path / "memory", "-t", "tmpfs", "tmpfs") as at:
            assert untrusted_file_system(at).startswith("tmpfs")

    @needs_root
    def test_an_overlay_is_named(self, tmp_path: Path) -> None:
        with mounted(tmp_path / "memory", "-t", "tmpfs", "tmpfs") as memory:
            for name in ("lower", "upper", "work"):
                (memory / name).mkdir()
            layers = f"lowerdir={memory}/lower,upperdir={memory}/upper,workdir={memory}/work"
            with mounted(tmp_path / "overlay", "-t", "overlay", "-o", layers, "overlay") as at:
                assert untrusted_file_system(at).startswith("overlay")

    def test_a_path_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="No such file"):
            untrusted_file_system(tmp_path / "nowhere")


@needs_root
class TestAFullDisk:
    def test_a_born_guard_goes_on_signing_and_starts_again(self, tmp_path: Path) -> None:
        """Nothing but its own file matters to it, and that has its room."""
        with small_ext4(tmp_path, tmp_path) as at:
            site = new_guard(at)
            fill(at / "filler")
            for height in (51, 52, 53):
                lock = HomeLock(site.home, "cmkms start --id node-0")
                opened = started(site)
                assert ask(opened, precommit(height)) == Accepted(advances=True)
                opened.guard.close()
                lock.close()

    def test_a_birth_fails_and_is_done_when_there_is_room(self, tmp_path: Path) -> None:
        with small_ext4(tmp_path, tmp_path) as at:
            site = make_site(at)
            fill(at / "filler")
            with pytest.raises(DiskError, match="No space"):
                started(site, never_signed=True)
            (at / "filler").unlink()
            opened = started(site, never_signed=True)
            assert ask(opened, STORED) == Accepted(advances=True)
            opened.guard.close()


@needs_root
class TestAFailingDisk:
    def test_an_error_of_the_device_blows_the_fuse_and_is_not_retried(self, tmp_path: Path) -> None:
        """The file system lies in a file, whose blocks are taken away while no new ones are to be had."""
        with (
            mounted(tmp_path / "backing", "-t", "tmpfs", "-o", "size=6m", "tmpfs") as backing,
            small_ext4(tmp_path, backing) as at,
        ):
            site = new_guard(at)
            opened = started(site)
            take_blocks_away(site.path, backing / "image")
            fill(backing / "filler")
            verdicts = [ask(opened, precommit(height)) for height in (51, 52)]
            assert all(isinstance(one, Refused) for one in verdicts), verdicts
            assert opened.guard.fuse.blown is not None
            # Which of the two the loop device gives is the kernel's choice.
            assert any(f"[Errno {number}]" in opened.guard.fuse.blown.reason for number in (errno.EIO, errno.ENOSPC))
            (backing / "filler").unlink()
            assert isinstance(ask(opened, precommit(53)), Refused)
            opened.guard.close()

    def test_a_file_system_that_is_read_only_at_a_start_is_refused_and_costs_no_fuse(self, tmp_path: Path) -> None:
        with small_ext4(tmp_path, tmp_path) as at:
            site = new_guard(at)
            subprocess.run(["mount", "-o", "remount,ro", at], check=True)
            with pytest.raises(GuardUnopenedError, match="read-only"):
                started(site)
            subprocess.run(["mount", "-o", "remount,rw", at], check=True)
            holds_its_word(site)


def take_blocks_away(guard: Path, image: Path) -> None:
    """Punch the guard's blocks out of the image: whoever writes them again needs new room."""
    fibmap = 1
    with guard.open("rb") as file:
        blocks = [
            struct.unpack("i", fcntl.ioctl(file, fibmap, struct.pack("i", number)))[0]
            for number in range(FILE_BYTES // 4096)
        ]
    assert all(blocks)
    for number in blocks:
        subprocess.run(["fallocate", "-p", "-o", str(number * 4096), "-l", "4096", image], check=True)
