"""The layout of a home, what a secret file must be, and that a write is all or nothing."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmkms.errors import DiskError, OperatorError, SecretFileError
from cmkms.home import (
    Home,
    check_private_dir,
    create_durably,
    make_private_dir,
    read_bounded,
    read_secret,
    rename_durably,
    write_durably,
)

MAX_BYTES = 100
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")

chain_ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50).filter(lambda text: len(text.encode()) <= 50)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    private = tmp_path / "priv"
    private.mkdir(mode=0o700)
    return private


@pytest.fixture
def secret(directory: Path) -> Path:
    path = directory / "secret"
    path.write_bytes(b"hush")
    path.chmod(0o600)
    return path


class TestLayout:
    def test_every_file_has_its_place(self) -> None:
        home = Home(Path("/var/lib/cmkms"))
        assert [
            home.config_file,
            home.identity_file,
            home.default_key_file,
            home.default_state_file,
            home.lock_file,
            home.guard_file("testnet-1"),
            home.released_file("testnet-1"),
            home.fuse_file("testnet-1"),
            home.born_marker("testnet-1"),
        ] == [
            home.path / name
            for name in (
                "config.toml",
                "priv/identity_key.json",
                "priv/priv_validator_key.json",
                "priv/priv_validator_state.json",
                "data/@lock",
                "data/testnet-1/guard",
                "data/testnet-1/last_released.json",
                "data/testnet-1/fuse.json",
                "priv/born/testnet-1.json",
            )
        ]

    @pytest.mark.parametrize(
        ("chain_id", "name"),
        [
            (".", "%."),
            ("..", "%.."),
            ("a/b", "a%2Fb"),
            ("../../etc", "..%2F..%2Fetc"),
            ("%..", "%25.."),
            ("ü", "%C3%BC"),
        ],
    )
    def test_a_chain_id_cannot_leave_the_data_directory(self, chain_id: str, name: str) -> None:
        assert Home(Path("/h")).guard_file(chain_id) == Path("/h/data") / name / "guard"

    @given(chain_ids)
    def test_any_chain_id_is_one_path_component_that_fits(self, chain_id: str) -> None:
        name = Home(Path("/h")).chain_dir(chain_id).name
        assert Home(Path("/h")).chain_dir(chain_id).parent == Path("/h/data")
        assert "/" not in name
        assert name not in {"", ".", ".."}
        assert len(name.encode()) < 255

    @given(chain_ids, chain_ids)
    def test_two_chains_never_share_a_directory(self, one: str, other: str) -> None:
        same = Home(Path("/h")).chain_dir(one) == Home(Path("/h")).chain_dir(other)
        assert same == (one == other)


class TestReadSecret:
    def test_a_private_file_is_read(self, secret: Path) -> None:
        assert read_secret(secret, MAX_BYTES) == b"hush"

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666])
    def test_a_file_open_to_others_is_refused_with_the_chmod_to_run(self, secret: Path, mode: int) -> None:
        secret.chmod(mode)
        with pytest.raises(SecretFileError, match=f"mode 0{mode:o}.*run: chmod 600 {secret}"):
            read_secret(secret, MAX_BYTES)

    @pytest.mark.parametrize("mode", [0o770, 0o707, 0o720, 0o1777])
    def test_a_directory_others_can_write_to_is_refused(self, secret: Path, mode: int) -> None:
        secret.parent.chmod(mode)
        with pytest.raises(SecretFileError, match=f"run: chmod go-w {secret.parent}$"):
            read_secret(secret, MAX_BYTES)

    def test_a_directory_others_can_only_look_into_is_fine(self, secret: Path) -> None:
        secret.parent.chmod(0o755)
        assert read_secret(secret, MAX_BYTES) == b"hush"

    def test_a_symbolic_link_is_refused(self, secret: Path) -> None:
        link = secret.with_name("link")
        link.symlink_to(secret)
        with pytest.raises(SecretFileError, match="is a symbolic link"):
            read_secret(link, MAX_BYTES)

    def test_a_fifo_is_refused_and_not_waited_for(self, directory: Path) -> None:
        os.mkfifo(directory / "fifo", 0o600)
        with pytest.raises(SecretFileError, match="not a regular file"):
            read_secret(directory / "fifo", MAX_BYTES)

    def test_a_directory_is_refused(self, directory: Path) -> None:
        (directory / "sub").mkdir(mode=0o700)
        with pytest.raises(SecretFileError, match="not a regular file"):
            read_secret(directory / "sub", MAX_BYTES)

    def test_a_missing_file_is_named(self, directory: Path) -> None:
        with pytest.raises(SecretFileError, match=f"^{directory}/none: no such file$"):
            read_secret(directory / "none", MAX_BYTES)

    def test_a_missing_directory_is_the_same_as_a_missing_file(self, directory: Path) -> None:
        with pytest.raises(SecretFileError, match="no such file"):
            read_secret(directory / "none" / "secret", MAX_BYTES)

    def test_a_file_of_the_greatest_length_is_read(self, secret: Path) -> None:
        secret.write_bytes(b"x" * MAX_BYTES)
        assert read_secret(secret, MAX_BYTES) == b"x" * MAX_BYTES

    def test_a_file_too_long_is_refused(self, secret: Path) -> None:
        secret.write_bytes(b"x" * (MAX_BYTES + 1))
        with pytest.raises(SecretFileError, match="101 bytes long, expected at most 100"):
            read_secret(secret, MAX_BYTES)

    @as_root
    def test_a_file_of_another_user_is_refused(self, secret: Path) -> None:
        os.chown(secret, 12345, -1)
        with pytest.raises(
            SecretFileError, match=r"belongs to user 12345.*run this command as that user: sudo -u '#12345'"
        ):
            read_secret(secret, MAX_BYTES)

    @as_root
    def test_a_directory_of_another_user_is_refused(self, secret: Path) -> None:
        os.chown(secret.parent, 12345, -1)
        with pytest.raises(
            SecretFileError, match=r"belongs to user 12345.*run this command as that user: sudo -u '#12345'"
        ):
            read_secret(secret, MAX_BYTES)

    @as_root
    def test_a_user_who_may_not_read_it_is_told_to_own_it(self, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        os.chown(secret, 12345, -1)
        monkeypatch.setattr(os, "geteuid", lambda: 777)
        os.chown(secret.parent, 777, -1)
        with pytest.raises(SecretFileError, match=f"belongs to user 12345.*run: chown 777 {secret}"):
            read_secret(secret, MAX_BYTES)

    def test_a_path_with_a_blank_is_quoted_in_the_command(self, directory: Path) -> None:
        path = directory / "my key"
        path.write_bytes(b"hush")
        path.chmod(0o644)
        with pytest.raises(SecretFileError, match=f"run: chmod 600 '{path}'"):
            read_secret(path, MAX_BYTES)


class TestReadBounded:
    def test_a_readable_file_is_read_whatever_its_mode(self, secret: Path) -> None:
        secret.chmod(0o644)
        assert read_bounded(secret, MAX_BYTES) == b"hush"

    def test_a_link_is_followed(self, secret: Path) -> None:
        link = secret.with_name("link")
        link.symlink_to(secret)
        assert read_bounded(link, MAX_BYTES) == b"hush"

    def test_a_missing_file_is_its_own_error(self, directory: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read_bounded(directory / "none", MAX_BYTES)

    def test_a_file_too_long_is_refused(self, secret: Path) -> None:
        secret.write_bytes(b"x" * (MAX_BYTES + 1))
        with pytest.raises(OperatorError, match="101 bytes long, expected at most 100"):
            read_bounded(secret, MAX_BYTES)

    def test_an_endless_device_is_refused(self) -> None:
        with pytest.raises(OperatorError, match="not a regular file"):
            read_bounded(Path("/dev/zero"), MAX_BYTES)

    def test_a_file_that_hides_its_length_is_still_bounded(self) -> None:
        with pytest.raises(OperatorError, match="grew past 10 bytes"):
            read_bounded(Path("/proc/self/status"), 10)  # the kernel says it has 0 bytes

    def test_a_loop_of_links_is_an_error_of_ours(self, directory: Path) -> None:
        (directory / "loop").symlink_to("loop")
        with pytest.raises(OperatorError, match="loop"):
            read_bounded(directory / "loop", MAX_BYTES)


class TestWriteDurably:
    def test_a_new_file_has_the_content_and_is_private(self, directory: Path) -> None:
        write_durably(directory / "file", b"content")
        assert (directory / "file").read_bytes() == b"content"
        assert (directory / "file").stat().st_mode & 0o777 == 0o600

    def test_an_old_file_is_replaced_with_its_mode(self, secret: Path) -> None:
        secret.chmod(0o644)
        write_durably(secret, b"new")
        assert secret.read_bytes() == b"new"
        assert secret.stat().st_mode & 0o777 == 0o600

    def test_the_mode_does_not_depend_on_the_umask(self, directory: Path) -> None:
        before = os.umask(0o077)
        try:
            write_durably(directory / "file", b"content", 0o644)
        finally:
            os.umask(before)
        assert (directory / "file").stat().st_mode & 0o777 == 0o644

    def test_nothing_is_left_beside_the_file(self, directory: Path) -> None:
        write_durably(directory / "file", b"content")
        assert list(directory.iterdir()) == [directory / "file"]

    def test_a_link_is_replaced_and_not_followed(self, secret: Path) -> None:
        link = secret.with_name("link")
        link.symlink_to(secret)
        write_durably(link, b"new")
        assert not link.is_symlink()
        assert secret.read_bytes() == b"hush"

    def test_a_write_that_fails_leaves_the_old_file_alone(self, secret: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # a disk that takes 1000 bytes of a file
        try:
            with pytest.raises(DiskError, match=os.strerror(errno.EFBIG)):
                write_durably(secret, b"x" * 5000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert secret.read_bytes() == b"hush"
        assert list(secret.parent.iterdir()) == [secret]

    def test_a_missing_directory_is_a_disk_error_that_names_the_file(self, directory: Path) -> None:
        with pytest.raises(DiskError, match="none/file: could not be written: No such file"):
            write_durably(directory / "none" / "file", b"")

    def test_content_is_synced_before_the_name_and_the_name_after(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[str] = []
        real_fsync = os.fsync

        def fsync(descriptor: int) -> None:
            target = Path(f"/proc/self/fd/{descriptor}").readlink()
            state = "named" if (directory / "file").exists() else "unnamed"
            seen.append(f"{'directory' if target == directory else 'content'} {state}")
            real_fsync(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        write_durably(directory / "file", b"content")
        assert seen == ["content unnamed", "directory named"]

    def test_a_killed_writer_leaves_one_whole_version(self, directory: Path) -> None:
        path = directory / "file"
        versions = {bytes([byte]) * 50_000 for byte in b"ab"}
        script = (
            "import itertools, pathlib, sys; from cmkms.home import write_durably\n"
            "for byte in itertools.cycle(b'ab'): write_durably(pathlib.Path(sys.argv[1]), bytes([byte]) * 50_000)"
        )
        for attempt in range(5):
            path.unlink(missing_ok=True)
            writer = subprocess.Popen([sys.executable, "-c", script, path])
            deadline = time.monotonic() + 20
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.003 * attempt)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            assert path.read_bytes() in versions


class TestCreateDurably:
    def test_a_new_file_has_the_content_and_is_private(self, directory: Path) -> None:
        create_durably(directory / "file", b"content")
        assert (directory / "file").read_bytes() == b"content"
        assert (directory / "file").stat().st_mode & 0o777 == 0o600
        assert list(directory.iterdir()) == [directory / "file"]

    def test_an_existing_file_is_not_touched(self, secret: Path) -> None:
        with pytest.raises(FileExistsError):
            create_durably(secret, b"new")
        assert secret.read_bytes() == b"hush"
        assert list(secret.parent.iterdir()) == [secret]

    def test_even_a_dangling_link_counts_as_existing(self, directory: Path) -> None:
        (directory / "file").symlink_to("nowhere")
        with pytest.raises(FileExistsError):
            create_durably(directory / "file", b"new")


class TestRenameDurably:
    def test_a_file_gets_its_new_name_and_replaces_what_had_it(self, secret: Path) -> None:
        new = secret.with_name("new")
        new.write_bytes(b"old content")
        rename_durably(secret, new)
        assert new.read_bytes() == b"hush"
        assert not secret.exists()

    def test_a_missing_file_is_a_disk_error_that_names_both(self, directory: Path) -> None:
        with pytest.raises(DiskError, match=f"^{directory}/a: could not be renamed to b: No such file"):
            rename_durably(directory / "a", directory / "b")


class TestMakePrivateDir:
    def test_a_new_directory_is_its_owners_alone(self, directory: Path) -> None:
        assert make_private_dir(directory / "new")
        assert (directory / "new").stat().st_mode & 0o777 == 0o700

    def test_an_existing_directory_is_left_as_it_is(self, directory: Path) -> None:
        directory.chmod(0o750)
        assert not make_private_dir(directory)
        assert directory.stat().st_mode & 0o777 == 0o750

    def test_a_file_in_the_way_is_named(self, secret: Path) -> None:
        with pytest.raises(DiskError, match=f"^{secret}: is in the way"):
            make_private_dir(secret)

    def test_a_missing_parent_is_named(self, directory: Path) -> None:
        with pytest.raises(DiskError, match="could not be made: No such file"):
            make_private_dir(directory / "none" / "new")


class TestPrivateDirectories:
    def test_one_that_others_can_write_to_is_refused_with_the_command_that_mends_it(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o770)
        with pytest.raises(SecretFileError, match=f"chmod go-w {tmp_path}"):
            check_private_dir(tmp_path)
        tmp_path.chmod(0o750)
        check_private_dir(tmp_path)

    def test_one_that_is_not_there_is_refused_with_the_command_that_makes_it(self, tmp_path: Path) -> None:
        with pytest.raises(OperatorError, match="cmkms init"):
            check_private_dir(tmp_path / "data")
