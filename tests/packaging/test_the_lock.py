"""The lock: everything pinned, everything by hash, in step with pyproject.toml, and tied to no registry."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import parse

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = sorted((REPOSITORY / "requirements").glob("*.txt"))
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
BUILD_TOOLS = PYPROJECT["dependency-groups"]["build"] + PYPROJECT["build-system"]["requires"]


def entries(lock: Path) -> list[str]:
    """Each package's entry: its first line and its hashes, joined."""
    without_comments = re.sub(r"(?m)^\s*#.*\n", "", lock.read_text())
    return without_comments.replace("\\\n", "").splitlines()


def pins(name: str) -> dict[str, Requirement]:
    lines = entries(REPOSITORY / "requirements" / f"{name}.txt")
    requirements = [Requirement(line.partition("--hash")[0].strip()) for line in lines]
    return {requirement.name: requirement for requirement in requirements}


def version(requirement: Requirement) -> str:
    [specifier] = requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_is_pinned_to_one_version_by_hash(lock: Path) -> None:
    assert len(entries(lock)) > 0
    for entry in entries(lock):
        assert re.match(r"[a-z0-9-]+==[^ ]+ ", entry), entry
        assert re.search(r" --hash=sha256:[0-9a-f]{64}(\s|$)", entry), entry


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_lock_says_where_packages_come_from(lock: Path) -> None:
    assert "://" not in lock.read_text()
    assert not re.search(r"(?m)^\s*--?(index|extra-index|find-links|trusted|i\b|f\b)", lock.read_text())


@pytest.mark.parametrize(
    ("lock", "declared"),
    [
        ("runtime", PYPROJECT["project"]["dependencies"]),
        ("build", BUILD_TOOLS),
        ("dev", PYPROJECT["project"]["dependencies"] + BUILD_TOOLS),
        ("dev", [entry for entry in PYPROJECT["dependency-groups"]["dev"] if isinstance(entry, str)]),
    ],
)
def test_what_pyproject_asks_for_is_in_the_lock(lock: str, declared: list[str]) -> None:
    for wanted in map(Requirement, declared):
        assert wanted.name in pins(lock), f"{wanted} is not in requirements/{lock}.txt: run make lock"
        assert wanted.specifier.contains(version(pins(lock)[wanted.name])), f"{wanted}: run make lock"


@pytest.mark.parametrize("base", ["runtime", "build"])
def test_developers_run_the_very_versions_that_users_run(base: str) -> None:
    developers = pins("dev")
    for name, pin in pins(base).items():
        assert version(developers[name]) == version(pin), name


def test_users_install_no_tool_of_development() -> None:
    assert not {"pytest", "ruff", "mypy", "hatchling", "setuptools", "grpcio-tools"} & set(pins("runtime"))


def test_pysyncobj_is_the_very_source_that_was_audited() -> None:
    # The hash is that of the released pysyncobj-0.3.17.tar.gz: there is nothing else to install it from.
    [entry] = [line for line in entries(REPOSITORY / "requirements" / "runtime.txt") if line.startswith("pysyncobj==")]
    audited = "8aaef68141714d556173778a51bcc4e221b6fd4c971dc1240f3ab4c0d2dfe765"
    assert entry.split() == ["pysyncobj==0.3.17", f"--hash=sha256:{audited}"]
    assert "pysyncobj==0.3.17" in PYPROJECT["project"]["dependencies"]


def test_a_wheel_is_made_by_a_setuptools_that_can_do_it_alone() -> None:
    # From 70.1 on; before, the package wheel would be needed and missing.
    assert parse(version(pins("build")["setuptools"])) >= parse("70.1")


def test_the_lowest_protobuf_runs_the_generated_code() -> None:
    generated = [path.read_text() for path in (REPOSITORY / "cmkms").rglob("*_pb2.py")]
    made_by = {match[1] for text in generated if (match := re.search(r"# Protobuf Python Version: (\S+)", text))}
    [floor] = [entry for entry in PYPROJECT["project"]["dependencies"] if entry.startswith("protobuf")]
    assert made_by == {floor.removeprefix("protobuf>=")}
