"""Where a control socket is bound and reached: a home's path may be longer than a socket's address can hold.

Must never hand out a name that lives longer than the directory's descriptor behind it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path

__all__ = ["short_name"]


@contextlib.contextmanager
def short_name(path: Path) -> Generator[str]:
    """Give a name for `path`, for as long as this context lasts, that fits where `path` may not.

    sockaddr_un of unix(7) holds 107 bytes; the way by a descriptor of the directory takes 30 and the file's own name.
    Raises OSError where the directory cannot be opened.
    """
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
