"""The Makefile's promises to somebody who has just cloned this, and .ci/run's to somebody who broke something."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
VENV_SCRIPT = REPOSITORY / "requirements" / "venv.sh"
TARGETS = [
    "demo",
    "demo-node",
    "venv",
    "test",
    "test-all",
    "realnode",
    "lint",
    "bench",
    "failover",
    "lock",
    "clean",
    "help",
]


def run(*command: str | Path, path: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository; `path` is a folder whose programs come first."""
    # A make inside a make must not see what the outer one was told.
    outer = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTEST_ARGS", "PYTHON", "VENV"}
    inherited = {name: value for name, value in os.environ.items() if name not in outer}
    if path is not None:
        inherited["PATH"] = f"{path}:{inherited['PATH']}"
    return subprocess.run(
        [str(word) for word in command],
        cwd=REPOSITORY,
        env=inherited | variables,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_make_alone_lists_what_can_be_done() -> None:
    done = run("make")
    assert done.returncode == 0
    assert all(f"  make {target} " in done.stdout for target in TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_exists(target: str, tmp_path: Path) -> None:
    done = run("make", "--dry-run", target, f"VENV={tmp_path}/venv")
    assert done.returncode == 0, done.stderr


def test_the_demo_installs_nothing_that_only_developers_need(tmp_path: Path) -> None:
    planned = run("make", "--dry-run", "demo", f"VENV={tmp_path}/venv").stdout
    assert "-r requirements/runtime.txt" in planned
    assert "requirements/dev.txt" not in planned


def test_every_install_of_the_makefile_is_by_hash_or_fetches_nothing(tmp_path: Path) -> None:
    planned = run("make", "--dry-run", "test", f"VENV={tmp_path}/venv").stdout.splitlines()
    installs = [line for line in planned if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line or "--no-deps --no-build-isolation" in line for line in installs)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_only_pysyncobj_is_made_from_its_source_and_what_makes_it_is_there_before(target: str, tmp_path: Path) -> None:
    planned = run("make", "--dry-run", target, f"VENV={tmp_path}/venv").stdout.splitlines()
    locked = [line for line in planned if "--require-hashes" in line]
    assert all("--only-binary :all:" in line for line in locked)
    assert "-r requirements/build.txt" in locked[0]
    assert "--no-binary" not in locked[0]
    assert all("--no-binary pysyncobj --no-build-isolation" in line for line in locked[1:])


def test_an_old_python_is_refused_with_what_to_do(tmp_path: Path) -> None:
    old = program(tmp_path / "python3", "exit 1")
    done = run(VENV_SCRIPT, tmp_path / "venv", PYTHON=str(old))
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "apt install" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_python_without_the_venv_module_is_refused_with_what_to_do(tmp_path: Path) -> None:
    bare = program(tmp_path / "python3", 'case "$2" in *ensurepip*) exit 1 ;; esac')
    done = run(VENV_SCRIPT, tmp_path / "venv", PYTHON=str(bare))
    assert done.returncode == 1
    assert "apt install python3-venv" in done.stderr


def test_an_old_python3_does_not_hide_a_newer_one_beside_it(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "python3", "exit 1")
    program(tmp_path / "bin" / "python3.13", f'test "$2" != venv || echo made > "{tmp_path}/made"')
    done = run(VENV_SCRIPT, tmp_path / "venv", path=tmp_path / "bin")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made").exists()


def test_an_environment_made_by_hand_is_kept(tmp_path: Path) -> None:
    program(tmp_path / "venv" / "bin" / "python", "exit 0")
    done = run(VENV_SCRIPT, tmp_path / "venv", PYTHON="/nonexistent")
    assert done.returncode == 0, done.stderr


def test_an_environment_whose_python_is_gone_is_named(tmp_path: Path) -> None:
    program(tmp_path / "venv" / "bin" / "python", "exit 127")
    done = run(VENV_SCRIPT, tmp_path / "venv")
    assert done.returncode == 1
    assert f"rm -r {tmp_path / 'venv'}" in done.stderr


def test_ci_goes_on_after_a_failed_step_and_fails_in_the_end(tmp_path: Path) -> None:
    program(tmp_path / "make", 'echo "ran $1"; test "$1" != lint-mypy')
    done = run(REPOSITORY / ".ci" / "run", path=tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert "FAILED: mypy, strict" in done.stdout
    assert "ran realnode" in done.stdout


def test_ci_without_an_environment_stops_at_once(tmp_path: Path) -> None:
    program(tmp_path / "make", 'echo "ran $1"; exit 2')
    done = run(REPOSITORY / ".ci" / "run", path=tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert "ran test" not in done.stdout


def test_ci_leaves_nothing_behind(tmp_path: Path) -> None:
    program(tmp_path / "make", "exit 2")
    run(REPOSITORY / ".ci" / "run", path=tmp_path, TMPDIR=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["make"]
