"""Which pysyncobj this package was made for: the one whose source was read line by line.

The wrapper reaches into private names and leans on how they behave. Another release may behave otherwise, so nothing
but the audited files is accepted, at the start of every replica.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cmkms.errors import OperatorError

__all__ = ["AUDITED_SHA256", "AUDITED_VERSION", "check_audited", "check_installed", "source_digest"]

AUDITED_VERSION: Final = "0.3.17"
AUDITED_SHA256: Final = "db2a77da4e2ac7e51143a5b97c230f46014ebf314fcbeabe6012723962438a5a"
"""Of all .py files, by `source_digest`. To be changed only with docs/adr/0009, after reading the difference."""


_INSTALL: Final = f"install exactly pysyncobj=={AUDITED_VERSION} (pip install --force-reinstall from the lock file)"


def source_digest(package: Path) -> str:
    """Return the SHA-256 over name, length and content of each .py file below `package`, in order of names."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def check_installed() -> Path:
    """Find pysyncobj's folder, without importing it. Raises OperatorError that says what to install."""
    spec = find_spec("pysyncobj")
    if spec is None or spec.origin is None:
        raise OperatorError(f"pysyncobj is not installed; {_INSTALL}")
    return Path(spec.origin).parent


def check_audited() -> None:
    """Refuse to go on with any other pysyncobj. Raises OperatorError that says what to install."""
    package = check_installed()
    if source_digest(package) != AUDITED_SHA256:
        raise OperatorError(f"{package}: this pysyncobj is not the one that cmkms was made and tested with; {_INSTALL}")
