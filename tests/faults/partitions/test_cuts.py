"""Replicas and nodes on hosts of their own, cut off from each other in every way: never twice, and always again.

Each test runs `python -m tests.faults.partitions`, the command that repeats it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from cmkms.harness.guard_files import check_guards
from cmkms.harness.recorder import read_observations
from tests.faults.partitions.campaign import CHAIN, RECORDING
from tests.faults.partitions.faults import FAULTS
from tests.faults.partitions.namespaces import DEVICE, why_not

_REPOSITORY: Final = Path(__file__).resolve().parents[3]
_STARTED_SECONDS: Final = 60.0
_GONE_SECONDS: Final = 10.0

pytestmark = [pytest.mark.proof, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True, scope="module")
def hosts_can_be_made() -> None:
    if lacking := why_not(sys.executable):
        pytest.skip(lacking)


@dataclass(frozen=True, slots=True)
class Ran:
    """How a campaign ended, and its report."""

    exit_code: int
    report: dict[str, Any]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.faults.partitions", *map(str, arguments)]


def campaign(directory: Path, *arguments: object) -> Ran:
    report = directory / "report.json"
    done = subprocess.run(
        command("--json", report, *arguments), cwd=_REPOSITORY, capture_output=True, text=True, check=False
    )
    assert report.exists(), done.stdout + done.stderr
    print(report.read_text())  # noqa: T201 - the figures of this run
    return Ran(done.returncode, json.loads(report.read_text()))


def of_kinds(*names: str) -> list[str]:
    return [part for name in names for part in ("--fault", name)]


class TestCuts:
    def test_five_cuts_cost_no_second_signature_and_no_standstill(self, tmp_path: Path) -> None:
        kinds = ("leader", "leader-among-replicas", "leader-deaf", "partial", "ring")
        kept = tmp_path / "kept"
        ran = campaign(tmp_path, "--cycles", 5, "--heal", 3, "--keep", kept, *of_kinds(*kinds))
        assert (ran.exit_code, ran.report["violations"]) == (0, [])
        assert set(ran.report["faults"]) == set(kinds)
        assert ran.report["packets"]["cut"] > 0
        guards = {home.name: (home / "data" / CHAIN / "guard").read_bytes() for home in (kept / "homes").iterdir()}
        assert check_guards(guards, read_observations(kept / RECORDING)) == []
        # That this check can fail: with the guards of two of three gone.
        lost: dict[str, bytes | None] = {**guards, "node-0": None, "node-1": None}
        assert check_guards(lost, read_observations(kept / RECORDING)) != []

    @pytest.mark.slow
    @pytest.mark.timeout(3600)
    def test_sixty_cuts_of_every_kind(self, tmp_path: Path) -> None:
        ran = campaign(tmp_path, "--cycles", 60, "--cut", 10, "--heal", 10)
        assert (ran.exit_code, ran.report["violations"]) == (0, [])
        assert set(ran.report["faults"]) == set(FAULTS)

    @pytest.mark.slow
    def test_five_replicas_in_a_ring_sign_on_and_lose_two(self, tmp_path: Path) -> None:
        ran = campaign(tmp_path, "--replicas", 5, "--cycles", 4, "--cut", 8, *of_kinds("ring", "minority"))
        assert (ran.exit_code, ran.report["violations"]) == (0, [])
        assert ran.report["faults"]["ring"]["signatures_during"] > 0


class TestThatACampaignCanFail:
    def test_a_signer_for_which_each_half_is_a_majority_is_caught(self, tmp_path: Path) -> None:
        ran = campaign(
            tmp_path,
            *("--sabotage", "majority-of-one", "--cycles", 2, "--cut", 3, "--heal", 1),
            *of_kinds("leader-among-replicas"),
        )
        assert ran.exit_code == 1
        assert any("TWO_MESSAGES" in violation for violation in ran.report["violations"])

    @pytest.mark.slow
    def test_a_signer_that_elects_nobody_is_caught(self, tmp_path: Path) -> None:
        ran = campaign(
            tmp_path,
            *("--sabotage", "no-elections", "--cycles", 1, "--cut", 6, "--heal", 2),
            *of_kinds("leader-among-replicas"),
        )
        assert ran.exit_code == 1
        assert any("nothing signed" in violation for violation in ran.report["violations"])


class TestWhatIsLeft:
    def test_a_campaign_that_is_killed_leaves_no_process_behind(self, tmp_path: Path) -> None:
        with started(tmp_path) as campaign:
            campaign.kill()
            campaign.wait()
            deadline = time.monotonic() + _GONE_SECONDS
            while left := running_with(tmp_path):
                assert time.monotonic() < deadline, left
                time.sleep(0.05)

    def test_the_network_of_the_machine_is_not_touched(self, tmp_path: Path) -> None:
        with started(tmp_path):
            assert DEVICE not in {path.name for path in Path("/sys/class/net").iterdir()}


@contextmanager
def started(directory: Path) -> Generator[subprocess.Popen[bytes]]:
    """A campaign that has come as far as its replicas. It is killed in the end."""
    quiet = subprocess.DEVNULL
    running = subprocess.Popen(command("--keep", directory), cwd=_REPOSITORY, stdout=quiet, stderr=quiet)
    try:
        deadline = time.monotonic() + _STARTED_SECONDS
        while not running_with(directory / "homes"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield running
    finally:
        running.kill()
        running.wait()


def running_with(path: Path) -> list[str]:
    """The command lines of running processes that name this path."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(path) in line:
                found.append(line)
    return found
