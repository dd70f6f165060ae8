"""The formal model is checked, and can fail. Owns the runs of docs/spec/check.py; what is checked stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = Path(__file__).resolve().parents[2] / "docs" / "spec"
CHECK = SPEC / "check.py"
QUICK_SECONDS = 280  # on a busy machine; a quiet one needs a few
ALL_SECONDS = 3600

needs_spin = pytest.mark.skipif(
    shutil.which("spin") is None or shutil.which("cc") is None,
    reason="the model is checked with spin and a C compiler (Debian, Ubuntu: apt install spin gcc)",
)


def check(*arguments: str | Path, seconds: float = QUICK_SECONDS, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHECK), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
        env={"PATH": path} if path else None,
    )


def names(section: str, page: str) -> list[str]:
    """The first column of the table under a heading."""
    text = page.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return [row.split(" | ")[0].removeprefix("| ") for row in text.splitlines() if re.match(r"\| (?!case )\w", row)]


def test_without_spin_it_is_skipped_and_says_what_to_install(tmp_path: Path) -> None:
    done = check("--quick", path=str(tmp_path))
    assert done.returncode == 0
    assert "skipped: " in done.stdout
    assert "apt install spin" in done.stdout


def test_the_page_of_results_shows_every_case_as_expected() -> None:
    page = (SPEC / "results.md").read_text()
    listed = re.findall(r'^    _(?:quorum|takeover)\("([^"]+)"', (SPEC / "cases.py").read_text(), re.MULTILINE)
    shown = names("It holds", page) + names("It is not idle", page) + names("Without one rule it breaks", page)
    assert shown == listed
    assert "not as expected" not in page


def test_every_rule_that_can_be_left_out_is_left_out_by_a_case() -> None:
    cases = (SPEC / "cases.py").read_text()
    models = "".join((SPEC / name).read_text() for name in ("quorum.pml", "takeover.pml"))
    switches = set(re.findall(r"\b(?:BREAK|WITNESS)_[A-Z_]*[A-Z]\b", models))
    assert switches
    assert {one for one in switches if f'"{one}"' not in cases} == set()


@pytest.mark.proof
@pytest.mark.timeout(300)
@needs_spin
def test_the_small_cases_hold_and_the_broken_ones_break(tmp_path: Path) -> None:
    done = check("--quick", "--results", tmp_path / "results.md")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "results.md").read_text()
    assert names("It holds", page)
    assert names("Without one rule it breaks", page)
    assert "is signed at HRS 1" in page


@pytest.mark.proof
@pytest.mark.timeout(300)
@needs_spin
def test_a_model_that_breaks_where_it_should_hold_fails_the_run(tmp_path: Path) -> None:
    # A copy whose seal is not strict, whatever the case says.
    for file in SPEC.iterdir():
        if file.suffix in {".py", ".pml"}:
            shutil.copy(file, tmp_path)
    model = tmp_path / "quorum.pml"
    model.write_text("#define BREAK_STRICT\n" + model.read_text())
    done = subprocess.run(
        [sys.executable, str(tmp_path / "check.py"), "--only", "3 to 1"],
        check=False,
        capture_output=True,
        text=True,
        timeout=QUICK_SECONDS,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "expected: holds" in done.stdout


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.timeout(ALL_SECONDS)
@needs_spin
def test_every_case_comes_as_expected() -> None:
    done = check(seconds=ALL_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
