"""A sample of damage under a real `cmkms start`: it ends, or serves, as the thousands of homes opened beside it say."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests.faults.disks.damage import KINDS, Case
from tests.faults.disks.homes import CONFIG, FUSE, GUARD, RELEASED, SoundHome
from tests.faults.disks.opener import Opened, Opener

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

PATIENCE: Final = 60.0
UP: Final = '"cmkms is up"'
KEY: Final = "priv/priv_validator_key.json"
IDENTITY: Final = "priv/identity_key.json"
MARKER: Final = "priv/born/testnet-1.json"

SAMPLE: Final = [
    Case(CONFIG, "of nothing but zeros", bytes(500)),
    Case(CONFIG, "empty", b""),
    Case(KEY, "empty", b""),
    Case(IDENTITY, "gone", None),
    Case(MARKER, "empty", b""),
    Case(GUARD, "gone", None),
    Case(GUARD, "empty", b""),
    Case(GUARD, "of nothing but zeros", bytes(16384)),
    Case(FUSE, "empty", b""),
    Case(RELEASED, "empty", b""),
]


def lay(home: SoundHome, case: Case) -> None:
    home.restore()
    path = home.home / case.name
    if case.data is None:
        path.unlink()
    else:
        path.write_bytes(case.data)


def start(home: SoundHome) -> tuple[int, str]:
    """Start it for real; returns its exit code, 0 where it came up, and what it said."""
    log = home.home.parent / "started.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "cmkms", "start", "--home", str(home.home), "--allow-unsafe", "--log-format=json"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + PATIENCE
    try:
        while process.poll() is None and UP not in log.read_text(encoding="utf-8"):
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.02)
        return process.poll() or 0, log.read_text(encoding="utf-8")
    finally:
        process.kill()
        process.wait()


def compare(home: SoundHome, opener: Opener, case: Case) -> None:
    """Both ways say the same."""
    lay(home, case)
    expected: Opened = opener.open(home.home, home.question)
    lay(home, case)
    code, said = start(home)
    assert code == expected.code, f"{case.name} {case.what}: {said}"
    assert "Traceback" not in said
    if code:
        # Wrapped and coloured it may be; no word of it is missing.
        assert [word for word in expected.said.split() if word not in said] == []
    elif expected.without_guard == "fuse blown":
        assert "FUSE BLOWN" in said


@pytest.fixture
def home(of_three: SoundHome, tmp_path: Path) -> SoundHome:
    of_three.restore()
    return of_three.copy(tmp_path / "home")


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: f"{case.name} {case.what}")
def test_a_real_start_says_the_same(home: SoundHome, opener: Opener, case: Case) -> None:
    compare(home, opener, case)


@pytest.mark.slow
def test_a_hundred_real_starts_say_the_same(home: SoundHome, opener: Opener) -> None:
    rng = random.Random(1)
    for _ in range(100):
        name, kind = rng.choice(sorted(home.files)), rng.choice(sorted(KINDS))
        at = rng.randrange(len(home.files[name]))
        compare(home, opener, Case(name, f"{kind} {at}", KINDS[kind](home.files[name], at)))
