"""Programs of CometBFT at pinned versions, built by Go into a cache when they are wanted.

Nothing is built that was not asked for, and nothing is put anywhere else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["COMETBFT", "PRIV_VAL_SERVER", "NotBuiltError", "build", "cached"]

COMETBFT: Final = "cometbft@v0.38.25"
PRIV_VAL_SERVER: Final = "priv_val_server@v0.38.25"

_PACKAGES: Final = "github.com/cometbft/cometbft/cmd/"
_CACHE: Final = Path(os.environ.get("CMKMS_TEST_CACHE") or Path(__file__).resolve().parents[1] / ".cache" / "go-bin")
"""One folder per program and version. The tests against real nodes use the same, by the same variable."""

_BUILD_SECONDS: Final = 900
"""A cold build downloads and compiles for a minute or two on a small machine."""


class NotBuiltError(RuntimeError):
    """The program is not here and cannot be built; the text says why and what to do."""


def cached(program: str) -> Path | None:
    """The executable of `name@version` if it was built before."""
    path = _CACHE / program / program.partition("@")[0]
    return path if os.access(path, os.X_OK) else None


def build(program: str) -> Path:
    """The executable of `name@version`, built by `go install` if it was not yet.

    Raises:
        NotBuiltError: there is no Go, or the build failed.
    """
    ready = cached(program)
    if ready is not None:
        return ready
    go = shutil.which("go")
    if go is None:
        raise NotBuiltError(
            f"{program} has to be built by Go, and there is no `go` on PATH: see https://go.dev/doc/install"
        )
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE, prefix=f"{program}.") as scratch:
        command = [go, "install", _PACKAGES + program]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": scratch}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NotBuiltError(f"`{' '.join(command)}` did not end within {_BUILD_SECONDS} s") from error
        if done.returncode:
            raise NotBuiltError(f"`{' '.join(command)}` failed:\n{done.stderr.strip()}")
        target = _CACHE / program / program.partition("@")[0]
        target.parent.mkdir(exist_ok=True)
        (Path(scratch) / target.name).replace(target)
    return target
