"""The Dockerfile: what can be read off it, and (slow) its steps, run without a container engine."""

from __future__ import annotations

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.packaging.dockerfile_steps import Instruction, parse

REPOSITORY = Path(__file__).resolve().parents[2]
INSTRUCTIONS = parse((REPOSITORY / "Dockerfile").read_text())


def arguments(keyword: str, instructions: list[Instruction] = INSTRUCTIONS) -> list[str]:
    return [instruction.argument for instruction in instructions if instruction.keyword == keyword]


def last_stage() -> list[Instruction]:
    first = max(index for index, instruction in enumerate(INSTRUCTIONS) if instruction.keyword == "FROM")
    return INSTRUCTIONS[first:]


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    [user] = arguments("USER", last_stage())
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_nothing_is_installed_into_the_image_but_by_hash_or_from_the_own_wheel() -> None:
    installs = [step for step in arguments("RUN") if re.search(r"pip (install|wheel|download)\b", step)]
    assert installs
    assert all("--require-hashes" in step or "--no-index" in step for step in installs)


def test_what_has_no_wheel_is_made_by_a_setuptools_that_came_by_hash_before() -> None:
    steps = arguments("RUN")
    [build_tools] = [index for index, step in enumerate(steps) if "-r requirements/build.txt" in step]
    [from_source] = [index for index, step in enumerate(steps) if "--no-binary" in step]
    assert build_tools < from_source
    assert "--no-binary pysyncobj --no-build-isolation" in steps[from_source]


def test_the_last_stage_fetches_nothing() -> None:
    assert not [step for step in arguments("RUN", last_stage()) if re.search(r"pip|apt|curl|wget", step)]


def test_the_home_is_a_volume_for_a_container_forgets() -> None:
    assert arguments("VOLUME", last_stage()) == ['["/var/lib/cmkms"]']


def test_what_the_dockerfile_copies_reaches_the_engine() -> None:
    let_through = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for words in map(shlex.split, arguments("COPY")):
        if not words[0].startswith("--from="):
            assert all(source in let_through and (REPOSITORY / source).exists() for source in words[:-1])


@pytest.mark.parametrize("secret", [".git/config", "priv/priv_validator_key.json", "data/guard", ".venv/bin/python"])
def test_what_is_nobody_elses_business_does_not_reach_the_engine(secret: str) -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    let_through = [line[1:] for line in lines if line.startswith("!")]
    assert not [pattern for pattern in let_through if fnmatch(secret, pattern) or secret.startswith(f"{pattern}/")]
