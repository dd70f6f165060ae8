"""The tests' own signer ends when it is told to, whatever it is doing."""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path

import pytest

from tests.unit.harness import dialing_signer
from tests.unit.harness.dialing_signer import DialingSigner


def test_it_ends_in_the_midst_of_dialling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node takes its connections and drops them: the signer dials all the time."""
    monkeypatch.setattr(dialing_signer, "REDIAL_SECONDS", 0.0)
    rng = random.Random(1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen(2)
        listener.settimeout(0)
        for _ in range(200):
            with DialingSigner(f"unix://{tmp_path}/sock", lambda _: None):
                end = time.monotonic() + rng.uniform(0, 0.005)
                while time.monotonic() < end:
                    drop_one(listener)


def drop_one(listener: socket.socket) -> None:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return
