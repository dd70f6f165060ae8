"""The wheel: what is in it, what is not, and that what it installs runs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import cmkms

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND_LIMIT_SECONDS = 60


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as hatchling of the lock builds it; nothing is fetched."""
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=COMMAND_LIMIT_SECONDS)
    [built] = target.iterdir()
    return built


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def dist_info(wheel: Path, name: str) -> str:
    [found] = [data for path, data in content(wheel).items() if path.endswith(f".dist-info/{name}")]
    return found.decode()


def test_the_wheel_carries_the_package_and_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in content(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"cmkms"}


def test_the_wheel_carries_every_module_of_the_tree(wheel: Path) -> None:
    modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "cmkms").rglob("*.py")}
    assert modules <= set(content(wheel))


def test_the_wheel_tells_type_checkers_that_it_is_typed(wheel: Path) -> None:
    assert "cmkms/py.typed" in content(wheel)


def test_the_wheel_carries_no_bytecode_and_no_secret(wheel: Path) -> None:
    assert not [name for name in content(wheel) if name.endswith((".pyc", ".json", ".toml", ".key", ".pem"))]


def test_the_wheel_has_the_version_that_the_package_says(wheel: Path) -> None:
    assert f"\nVersion: {cmkms.__version__}\n" in dist_info(wheel, "METADATA")


def test_the_wheel_carries_the_licence(wheel: Path) -> None:
    assert "Apache License" in dist_info(wheel, "licenses/LICENSE")


def test_the_wheel_asks_for_nothing_that_only_developers_need(wheel: Path) -> None:
    wanted = [line for line in dist_info(wheel, "METADATA").splitlines() if line.startswith("Requires-Dist: ")]
    assert wanted
    tools = ("pytest", "ruff", "mypy", "hatchling", "extra ==")
    assert not [line for line in wanted if any(tool in line for tool in tools)]


def test_the_installed_command_runs_outside_the_repository(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    run(sys.executable, "-m", "venv", str(environment), cwd=tmp_path)
    python = environment / "bin" / "python"
    run(str(python), "-m", "pip", "install", "--no-deps", "--no-index", str(wheel), cwd=tmp_path)

    output = run(str(environment / "bin" / "cmkms"), "version", cwd=tmp_path, dependencies=True)
    where = run(str(python), "-c", "import cmkms; print(cmkms.__file__)", cwd=tmp_path, dependencies=True)

    assert cmkms.__version__ in output
    assert where.startswith(str(environment))


def run(*command: str, cwd: Path, dependencies: bool = False) -> str:
    """Run a command; `dependencies` shows it the packages of this environment (not this repository), by PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if dependencies:
        environment["PYTHONPATH"] = sysconfig.get_path("platlib")
    done = subprocess.run(
        command, cwd=cwd, env=environment, check=False, capture_output=True, text=True, timeout=COMMAND_LIMIT_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
