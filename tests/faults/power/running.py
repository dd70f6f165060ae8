"""Runs a campaign of cuts as the program that it is, and reads what it says; skips where no power can be cut."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from tests.faults.power.__main__ import NOT_HERE, VIOLATED

__all__ = ["Campaign", "run"]


@dataclass(frozen=True, slots=True)
class Campaign:
    """As the command line has it. `lying` names the replica whose drive ignores flushes."""

    scenario: str
    replicas: int
    cuts: int
    seed: int
    without_sync: bool = False
    lying: str = ""

    def __str__(self) -> str:
        return f"{self.scenario}, {self.replicas} replicas"

    @property
    def arguments(self) -> list[str]:
        """What stands behind `python -m tests.faults.power`."""
        words = ["--scenario", self.scenario, "--replicas", str(self.replicas)]
        words += ["--cuts", str(self.cuts), "--seed", str(self.seed)]
        words += ["--without-sync"] if self.without_sync else []
        return words + (["--lying", self.lying] if self.lying else [])


def run(campaign: Campaign) -> dict[str, Any]:
    """Run it; returns the tally, whatever it says. Fails with what the program said if there is none."""
    # With its parent it ends, too: a test that hangs is ended without a chance to end what it started.
    with_parent = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    done = subprocess.run(
        [*with_parent, sys.executable, "-m", "tests.faults.power", *campaign.arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == NOT_HERE:
        pytest.skip(done.stderr.strip())
    assert done.returncode in {0, VIOLATED}, done.stderr
    tally: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == VIOLATED) is bool(tally["violations"])
    return tally
