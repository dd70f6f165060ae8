"""The systemd unit: what it promises an operator, and that systemd itself reads it without a complaint."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[2] / "configs" / "cmkms.service"
# systemd's own scale from 0 (nothing can be reached) to 10; web-facing daemons commonly stand between 5 and 9.
MOST_EXPOSURE = 2.0
HAS_ANALYZE = shutil.which("systemd-analyze") is not None


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if re.match(r"[A-Z]\w+=", line):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def analyze(*arguments: str) -> str:
    command = ["systemd-analyze", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Type", "notify"),
        ("Restart", "always"),
        ("RestartPreventExitStatus", "2"),
        ("StartLimitIntervalSec", "0"),
        ("StateDirectory", "cmkms"),
        ("StateDirectoryMode", "0700"),
        ("UMask", "0077"),
        ("LimitCORE", "0"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
    ],
)
def test_the_unit_says(name: str, value: str) -> None:
    assert settings()[name] == [value]


def test_the_signer_does_not_run_as_root() -> None:
    assert settings()["User"] == ["cmkms"]


def test_a_crashed_signer_is_back_before_its_next_vote_is_due() -> None:
    [delay] = settings()["RestartSec"]
    assert delay.endswith("ms")
    assert int(delay.removesuffix("ms")) <= 200


@pytest.mark.skipif(not HAS_ANALYZE, reason="no systemd-analyze on this machine")
def test_systemd_reads_every_line_of_the_unit(tmp_path: Path) -> None:
    # The command is not installed where the unit expects it, and that is all systemd may find.
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    assert analyze("verify", str(unit)) == ""


@pytest.mark.skipif(not HAS_ANALYZE, reason="no systemd-analyze on this machine")
def test_the_unit_leaves_little_exposed() -> None:
    output = analyze("security", "--offline=true", str(UNIT))
    score = re.search(r"exposure level for cmkms\.service: ([0-9.]+)", output)
    assert score, output
    assert float(score[1]) <= MOST_EXPOSURE
