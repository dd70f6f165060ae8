"""Makes homes: folders, the identity for connections, and the configuration last. For `init` and `cluster init`.

Must never overwrite anything: whatever is there already is kept, or the command is refused.
"""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cmkms.home import Home
    from cmkms.keys import Identity

__all__ = ["make_parents", "make_rooms", "write_config"]


def make_parents(path: Path) -> None:
    """Make the directories above `path`. Raises DiskError."""
    from cmkms.errors import DiskError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{path.parent}: could not be made: {error.strerror}") from error


def make_rooms(home: Home) -> Identity:
    """Make a home's folders and its identity, as far as they are not there yet. Its parent must exist.

    Raises DiskError, OperatorError.
    """
    from cmkms.home import make_private_dir
    from cmkms.keys import create_identity, load_identity

    for directory in (home.path, home.data_dir, home.priv_dir):
        make_private_dir(directory)
    if os.path.lexists(home.identity_file):
        return load_identity(home.identity_file)
    return create_identity(home.identity_file)


def write_config(home: Home, content: str) -> None:
    """Write the configuration: from here on this is a home. Raises OperatorError if one has appeared, DiskError."""
    from cmkms.errors import OperatorError
    from cmkms.home import create_durably

    try:
        create_durably(home.config_file, content.encode())
    except FileExistsError:
        raise OperatorError(
            f"{home.config_file}: appeared while the home was being made; nothing overwritten"
        ) from None
