"""Homes to damage, made once, in a folder in memory where there is one: syncing tens of thousands of files costs."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disks.damage import Bench
from tests.faults.disks.homes import SoundHome, make_home
from tests.faults.disks.opener import Opener

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own in it


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="cmkms-damage-", dir=_MEMORY if _MEMORY.is_dir() else None))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def bench(folder: Path) -> Iterator[Bench]:
    bench = Bench(folder)
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def opener() -> Iterator[Opener]:
    opener = Opener()
    yield opener
    opener.close()


@pytest.fixture(scope="session")
def of_three(folder: Path) -> SoundHome:
    """The home of one of three replicas that have signed together."""
    return asyncio.run(make_home(_made(folder / "three"), 3))


@pytest.fixture(scope="session")
def alone(folder: Path) -> SoundHome:
    """The home of a replica that has signed alone."""
    return asyncio.run(make_home(_made(folder / "alone"), 1))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
