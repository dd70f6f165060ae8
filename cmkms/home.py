"""The layout of a home directory, and how the files in it are read and written.

Owns every path that cmkms uses, the checks a secret file must pass before a byte of it is used, and writes that
survive a power cut. It must never follow a link to a secret, read without a bound, or leave a half-written file under
its final name.
"""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cmkms.errors import DiskError, OperatorError, SecretFileError

__all__ = [
    "Home",
    "check_private_dir",
    "create_durably",
    "make_private_dir",
    "read_bounded",
    "read_secret",
    "rename_durably",
    "write_durably",
]

PRIVATE_DIR_MODE: Final = 0o700
"""A home holds keys and the guard: nobody but its owner has any business in it."""

PRIVATE_FILE_MODE: Final = 0o600

_CHUNK_BYTES: Final = 65536
"""Read at once: a small file costs no more memory than that, whatever it might have had."""

_OPEN_FOR_READING: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""O_NONBLOCK, so that a FIFO put in a file's place is seen and refused, not waited for."""

_OPEN_FOR_CREATING: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Home:
    """Where one replica keeps everything. Only names paths: whether they exist is for their readers to find out."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The configuration, TOML."""
        return self.path / "config.toml"

    @property
    def data_dir(self) -> Path:
        """What cmkms writes while it runs. Never to be restored from a backup or a snapshot."""
        return self.path / "data"

    @property
    def priv_dir(self) -> Path:
        """Keys, the state given at birth, and the born markers."""
        return self.path / "priv"

    @property
    def identity_file(self) -> Path:
        """The key with which this replica identifies itself on validator connections (not the consensus key)."""
        return self.priv_dir / "identity_key.json"

    @property
    def default_key_file(self) -> Path:
        """The consensus key of a chain that names no other, in CometBFT's own form."""
        return self.priv_dir / "priv_validator_key.json"

    @property
    def default_state_file(self) -> Path:
        """The state a chain is born from, if it names no other, in CometBFT's own form."""
        return self.priv_dir / "priv_validator_state.json"

    @property
    def lock_file(self) -> Path:
        """Held locked for the life of the one process that may use this home."""
        # No chain id becomes a name with "@" in it (`_file_name`): a chain may call itself "lock".
        return self.data_dir / "@lock"

    @property
    def control_socket(self) -> Path:
        """Where a running replica takes its operator's commands."""
        return self.data_dir / "@control"

    def chain_dir(self, chain_id: str) -> Path:
        """Directory of one chain's guard and of what goes with it."""
        return self.data_dir / _file_name(chain_id)

    def guard_file(self, chain_id: str) -> Path:
        """Durable watermark of one chain."""
        return self.chain_dir(chain_id) / "guard"

    def released_file(self, chain_id: str) -> Path:
        """Last signature that was released for one chain, with its sign-bytes."""
        return self.chain_dir(chain_id) / "last_released.json"

    def fuse_file(self, chain_id: str) -> Path:
        """Present once the fuse of one chain's guard has tripped; says why."""
        return self.chain_dir(chain_id) / "fuse.json"

    def born_marker(self, chain_id: str) -> Path:
        """Says that a guard was born for this chain, and with which nonce: tells a lost guard from a first start."""
        return self.priv_dir / "born" / f"{_file_name(chain_id)}.json"


def _file_name(chain_id: str) -> str:
    """Make a chain id a single path component, one to one. A chain may call itself `..` or `a/b`."""
    name = quote(chain_id, safe="")
    return f"%{name}" if name in {".", ".."} else name


def read_secret(path: Path, max_bytes: int) -> bytes:
    """Read a file that holds a secret, after checking that nobody else could have read or replaced it.

    All checks are made on the opened descriptor, so that what was checked is what is read. The file must be regular
    and no symbolic link, belong to this process' user or to root, and be closed to group and others; its directory
    must belong to one of the same two, and not be writable for anyone else.

    Raises SecretFileError, whose message names the command that puts it right.
    """
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _check_directory(path.parent, os.fstat(directory))
            descriptor = os.open(path.name, _OPEN_FOR_READING | os.O_NOFOLLOW, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise SecretFileError(_why_unreadable(path, error)) from None
    try:
        _check_secret(path, os.fstat(descriptor), max_bytes)
        return _read_at_most(descriptor, path, max_bytes)
    finally:
        os.close(descriptor)


def _check_directory(directory: Path, found: os.stat_result) -> None:
    if found.st_uid not in {os.geteuid(), 0}:
        message = f"{directory}: belongs to user {found.st_uid}, who could replace the secrets in it"
        raise SecretFileError(f"{message}; {_make_ours(directory, found)}")
    if found.st_mode & 0o022:
        message = f"{directory}: others than its owner (mode {_octal(found)}) could replace the secrets in it"
        raise SecretFileError(f"{message}; run: chmod go-w {_shell(directory)}")


def _check_secret(path: Path, found: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SecretFileError(f"{path}: is not a regular file; put the file itself there")
    if found.st_uid not in {os.geteuid(), 0}:
        message = f"{path}: belongs to user {found.st_uid}, not to the user cmkms runs as"
        raise SecretFileError(f"{message}; {_make_ours(path, found)}")
    if found.st_mode & 0o077:
        message = f"{path}: open to group or others (mode {_octal(found)}); a secret must be its owner's alone"
        raise SecretFileError(f"{message}; run: chmod 600 {_shell(path)}")
    if found.st_size > max_bytes:
        raise SecretFileError(_too_long(path, found, max_bytes))


def _make_ours(path: Path, found: os.stat_result) -> str:
    if os.geteuid() == 0:
        # What root wrote here, the service could not read any more.
        return f"run this command as that user: sudo -u '#{found.st_uid}' ..."
    return f"run: chown {os.geteuid()} {_shell(path)}"


def _too_long(path: Path, found: os.stat_result, max_bytes: int) -> str:
    return f"{path}: {found.st_size} bytes long, expected at most {max_bytes}; is it the right file?"


def _why_unreadable(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"{path}: no such file"
    if error.errno == errno.ELOOP:
        return f"{path}: is a symbolic link; a secret is only read from a regular file, put the file itself there"
    return f"{path}: cannot be read: {error.strerror}"


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Read a file that holds no secret, of at most `max_bytes`. Links are followed.

    Raises FileNotFoundError if there is none, which callers are expected to have an answer for, and OperatorError for
    everything else: not a regular file, too long, unreadable.
    """
    try:
        descriptor = os.open(path, _OPEN_FOR_READING)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OperatorError(_why_unreadable(path, error)) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OperatorError(f"{path}: is not a regular file")
        if found.st_size > max_bytes:
            raise OperatorError(_too_long(path, found, max_bytes))
        return _read_at_most(descriptor, path, max_bytes)
    finally:
        os.close(descriptor)


def _read_at_most(descriptor: int, path: Path, max_bytes: int) -> bytes:
    """Read to the end. The size was checked before, but a file may grow while it is read."""
    chunks: list[bytes] = []
    room = max_bytes + 1
    try:
        while room > 0 and (chunk := os.read(descriptor, min(room, _CHUNK_BYTES))):
            chunks.append(chunk)
            room -= len(chunk)
    except OSError as error:
        raise DiskError(f"{path}: reading failed: {error.strerror}") from error
    if room <= 0:
        raise OperatorError(f"{path}: grew past {max_bytes} bytes while it was read; is something writing to it?")
    return b"".join(chunks)


def write_durably(path: Path, data: bytes, mode: int = PRIVATE_FILE_MODE) -> None:
    """Replace the file at `path` by `data`: on return it is on the disk and under its name.

    At any instant of a crash or power cut there is either the old file or the new one, whole. Raises DiskError.
    """
    with _written_beside(path, data, mode) as temporary:
        temporary.rename(path)


def create_durably(path: Path, data: bytes, mode: int = PRIVATE_FILE_MODE) -> None:
    """Like `write_durably`, for a file that must not exist yet.

    Raises FileExistsError, with what was there untouched, if anything of that name exists; otherwise DiskError.
    """
    with _written_beside(path, data, mode) as temporary:
        # link() refuses an existing name atomically; rename() would replace it.
        os.link(temporary, path, follow_symlinks=False)
        temporary.unlink()


@contextmanager
def _written_beside(path: Path, data: bytes, mode: int) -> Generator[Path]:
    """Give a temporary file beside `path` with `data` on disk; the caller names it, then the name is made durable."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            _write_synced(temporary, data, mode)
            yield temporary
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise DiskError(f"{path}: could not be written: {error.strerror}") from error


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, _OPEN_FOR_CREATING, mode)
    try:
        os.fchmod(descriptor, mode)  # the umask may have taken bits away
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename_durably(old: Path, new: Path) -> None:
    """Give a file another name in the same directory; a file of that name is replaced. Raises DiskError."""
    try:
        old.rename(new)
        _sync_directory(new.parent)
    except OSError as error:
        raise DiskError(f"{old}: could not be renamed to {new.name}: {error.strerror}") from error


def _sync_directory(directory: Path) -> None:
    """Make names in a directory durable: without it, a power cut can bring the old name back (CometBFT issue 6031)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_dir(path: Path) -> bool:
    """Make a directory for its owner only (0700), durably; its parent must exist. Say whether it is new.

    An existing directory is left as it is. Raises DiskError.
    """
    try:
        path.mkdir(mode=PRIVATE_DIR_MODE)
        _sync_directory(path.parent)
    except FileExistsError:
        if path.is_dir():
            return False
        raise DiskError(f"{path}: is in the way: a directory is needed here") from None
    except OSError as error:
        raise DiskError(f"{path}: could not be made: {error.strerror}") from error
    return True


def check_private_dir(path: Path) -> None:
    """Refuse a directory of the home that others can write to: they could put an older guard or another key into it.

    Raises SecretFileError with the command that puts it right; OperatorError if there is none.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}; make the home with: cmkms init") from None
    _check_directory(path, found)


def _octal(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):04o}"


def _shell(path: Path) -> str:
    return shlex.quote(str(path))
