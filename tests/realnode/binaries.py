"""Builds the pinned programs of CometBFT that the tests run against, once, into a cache.

A version is known by its tag alone (v0.40.0 reports 0.39.0 when asked). What cannot be had here, because there is no Go
or no way to the module proxy, is `Unavailable` with a reason; a build that fails for any other reason is an error.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["COMETBFT_0_38", "COMETBFT_0_40", "NODES", "REFERENCE_SIGNER", "Program", "Unavailable", "binary", "built"]

# Where the binaries are kept: one folder per program and tag. The variable names another folder of the same layout.
_CACHE_VARIABLE = "CMKMS_TEST_CACHE"
_DEFAULT_CACHE = Path(__file__).resolve().parents[2] / ".cache" / "go-bin"

# Seconds. A cold build of v0.40.0 downloads and compiles for about two minutes on two cores.
_BUILD_SECONDS = 900

# What the go command says where the toolchain or the network, not the build, is at fault.
_ENVIRONMENT_AT_FAULT = (
    "connection refused",
    "connection reset",
    "dial tcp",
    "go.mod requires go >=",
    "i/o timeout",
    "module lookup disabled",
    "no such host",
    "requires go >=",
    "tls:",
)


@dataclass(frozen=True, slots=True)
class Program:
    """A main package of CometBFT at one tag."""

    name: str
    tag: str

    def __str__(self) -> str:
        return f"{self.name}@{self.tag}"

    @property
    def package(self) -> str:
        """What `go install` is given. Always a tag: v1.0.1 is retracted, yet sorts above every v0."""
        return f"github.com/cometbft/cometbft/cmd/{self}"


COMETBFT_0_38 = Program("cometbft", "v0.38.25")
COMETBFT_0_40 = Program("cometbft", "v0.40.0")
NODES = (COMETBFT_0_38, COMETBFT_0_40)
REFERENCE_SIGNER = Program("priv_val_server", "v0.38.25")


class Unavailable(Exception):  # noqa: N818 - a state of this machine, not a fault
    """This machine cannot provide the program; the text says why."""


def binary(program: Program) -> Path:
    """The program's executable, built now if it was not yet. Raises `Unavailable`, or RuntimeError if it fails."""
    if built(program):
        return _path(program)
    with _only_one_builder(program):
        if not built(program):  # another run may have built it while this one waited
            _build(program)
    return _path(program)


def built(program: Program) -> bool:
    """Whether the executable is there already."""
    return os.access(_path(program), os.X_OK)


def _cache() -> Path:
    named = os.environ.get(_CACHE_VARIABLE)
    return Path(named) if named else _DEFAULT_CACHE


def _path(program: Program) -> Path:
    return _cache() / str(program) / program.name


@contextmanager
def _only_one_builder(program: Program) -> Generator[None]:
    """Two test runs on one checkout build one program once: the second waits for the first."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{program}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(program: Program) -> None:
    go = shutil.which("go")
    if go is None:
        raise Unavailable(f"{program} cannot be built: no `go` on PATH")
    with tempfile.TemporaryDirectory(dir=_cache(), prefix=f"{program}.") as scratch:
        # GOFLAGS, GOPROXY and GOTOOLCHAIN are the environment's own.
        environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": scratch}
        try:
            done = subprocess.run(
                [go, "install", program.package],
                env=environment,
                capture_output=True,
                text=True,
                timeout=_BUILD_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{program} was not built within {_BUILD_SECONDS} s") from error
        if done.returncode != 0:
            raise _failure(program, done.stderr)
        target = _path(program)
        target.parent.mkdir(exist_ok=True)
        # A rename: whoever looks sees a whole executable or none.
        Path(scratch, program.name).replace(target)


def _failure(program: Program, stderr: str) -> Exception:
    said = stderr.strip()
    last_line = said.splitlines()[-1] if said else "nothing"
    if any(phrase in said for phrase in _ENVIRONMENT_AT_FAULT):
        return Unavailable(f"{program} cannot be built here, go says: {last_line}")
    return RuntimeError(f"`go install {program.package}` failed:\n{said}")
