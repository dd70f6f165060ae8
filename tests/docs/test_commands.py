"""Every command that the documents quote is one that cmkms, the Makefile or the tree really has."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from cmkms.cli import app
from tests.docs.markdown import command_lines, documents, fences, inline_code, repository

OWN_FOLDERS = (".ci/", "benchmarks/", "cmkms/", "configs/", "demo/", "docs/", "proto/", "requirements/", "tests/")
# CometBFT keeps its .proto files there: provenance names them.
UPSTREAM = ("proto/cometbft/", "proto/tendermint/")
# What was decided or changed at some time keeps the words of its time.
RECORDS = re.compile(r"docs/adr/|CHANGELOG\.md")

every_document = pytest.mark.parametrize(
    "document", documents(), ids=lambda document: str(document.relative_to(repository()))
)


def targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z][a-z-]*):", (repository() / "Makefile").read_text()))


def find_command(words: list[str]) -> tuple[TyperCommand | TyperGroup, list[str]]:
    """Walk the words down the tree of commands; raises ValueError with the word that is no command."""
    command = typer.main.get_command(app)
    while isinstance(command, TyperGroup) and words and re.match(r"[a-z]", words[0]):
        if words[0] not in command.commands:
            raise ValueError(f"cmkms has no command {words[0]!r} here; it has: {', '.join(command.commands)}")
        command, words = command.commands[words[0]], words[1:]
    assert isinstance(command, TyperCommand | TyperGroup)
    return command, words


def complaint(words: list[str]) -> str:
    """Say why cmkms would refuse this command line (`words` without the program's name); empty if it would not."""
    try:
        command, rest = find_command(words)
    except ValueError as error:
        return str(error)
    if isinstance(command, TyperGroup) and not rest:
        return f"{command.name} is a group, it needs a command"
    parser = command.make_parser(typer.Context(command, info_name=command.name))
    try:
        values, surplus, _ = parser.parse_args(list(rest))
    except Exception as error:  # noqa: BLE001 - typer brings its own click, whose errors have no public name
        return str(error)
    if surplus:
        return f"too many arguments: {surplus}"
    given = {name for name, value in values.items() if isinstance(value, str | bool | list | tuple | int)}
    missing = [parameter.name for parameter in command.params if parameter.required and parameter.name not in given]
    return f"missing: {missing}" if missing and "help" not in given else ""


def options(words: list[str]) -> set[str]:
    command, _ = find_command(words)
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@every_document
def test_commands_in_blocks_are_accepted_by_cmkms(document: Path) -> None:
    for fence in fences(document.read_text()):
        for words in command_lines(fence):
            if Path(words[0]).name == "cmkms":
                assert complaint(words[1:]) == "", shlex.join(words)


@every_document
def test_commands_in_sentences_exist_with_their_flags(document: Path) -> None:
    if RECORDS.search(str(document.relative_to(repository()))):
        pytest.skip("a record of its time")
    for code in inline_code(document.read_text()):
        if not code.startswith("cmkms "):
            continue
        words = code.split()[1:]
        for alternative in words[-1].split("|") if "|" in words[-1] else [words[-1]]:
            quoted = [*words[:-1], alternative]
            flags = {word.partition("=")[0].strip("[]") for word in quoted if word.lstrip("[").startswith("--")}
            assert flags <= options(quoted), code


@every_document
def test_targets_of_make_exist(document: Path) -> None:
    text = document.read_text()
    quoted = [words for fence in fences(text) for words in command_lines(fence)]
    quoted += [code.split() for code in inline_code(text)]
    for words in quoted:
        if words and words[0] == "make":
            named = [word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]*", word)]
            assert set(named) <= targets(), " ".join(words)


@every_document
def test_every_install_is_by_hash_or_fetches_nothing(document: Path) -> None:
    quoted = [words for fence in fences(document.read_text()) for words in command_lines(fence)]
    installs = [words for words in quoted if Path(words[0]).name.startswith("pip") and "install" in words]
    for words in installs:
        fetches_nothing = {"--no-deps", "--no-build-isolation"} <= set(words)
        by_hash = {"--require-hashes", "--only-binary"} <= set(words)
        # What has no wheel must not be built by what a build environment would fetch.
        assert fetches_nothing or (by_hash and ("--no-binary" not in words or "--no-build-isolation" in words)), words


@every_document
def test_own_files_in_commands_exist(document: Path) -> None:
    for fence in fences(document.read_text()):
        for words in command_lines(fence):
            own = [word.removeprefix("./") for word in words if word.removeprefix("./").startswith(OWN_FOLDERS)]
            missing = [word for word in own if not (repository() / word.partition("::")[0]).exists()]
            assert not missing, shlex.join(words)


@every_document
def test_own_files_in_sentences_exist(document: Path) -> None:
    if RECORDS.search(str(document.relative_to(repository()))):
        pytest.skip("a record of its time")
    own = [code for code in inline_code(document.read_text()) if re.fullmatch(r"[\w./-]+", code)]
    own = [code for code in own if code.startswith(OWN_FOLDERS) and not code.startswith(UPSTREAM)]
    # A README in a folder may also speak from where it stands.
    missing = [code for code in own if not (repository() / code).exists() and not (document.parent / code).exists()]
    assert missing == []


@every_document
def test_toml_in_blocks_is_toml(document: Path) -> None:
    for fence in fences(document.read_text()):
        if fence.language == "toml":
            tomllib.loads(fence.text)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("frobnicate", "has no command"),
        ("key frobnicate", "has no command"),
        ("key", "needs a command"),
        ("start --frobnicate", "--frobnicate"),
        ("version surplus", "too many arguments"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line: str, why: str) -> None:
    assert why in complaint(shlex.split(line))


def test_a_command_that_exists_is_accepted() -> None:
    assert complaint(["version"]) == ""
