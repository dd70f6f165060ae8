"""The command line as a whole: its tree, its exit codes, its speed, and what it never says."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cmkms import __version__
from cmkms.cli import app
from cmkms.cli.options import _SETTINGS
from cmkms.config.layers import Flags
from cmkms.config.settings import FLAT_CHAIN_SETTINGS, HOME, NEVER_SIGNED, NODE_SETTINGS
from tests.patience import within
from tests.unit.cli.conftest import CHAIN, Operator

COMMANDS = [
    ("init",),
    ("start",),
    ("status",),
    ("version",),
    ("cluster", "init"),
    ("cluster", "lower"),
    ("cluster", "wait"),
    ("cluster", "birth"),
    ("cluster", "change"),
    ("identity", "show"),
    ("key", "generate"),
    ("key", "show"),
    ("config", "check"),
    ("config", "show"),
    ("state", "show"),
    ("state", "import"),
    ("state", "export"),
    ("guard", "show"),
    ("guard", "verify"),
    ("guard", "replace"),
    ("chain", "allow-height"),
]

HELP_SECONDS = within(0.2)
"""Of processor time: on a busy machine the wall clock says nothing."""


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("CMKMS_", "COMETKMS_"))} | more


def process(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cmkms", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(**more),
    )


def flags_of(*words: str) -> set[str]:
    command: Any = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    return {name for parameter in command.params for name in parameter.opts if name.startswith("--")} - {"--help"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(operator: Operator, words: tuple[str, ...]) -> None:
    ran = operator.run(*words, "--help")
    assert ran.code == 0
    assert f"Usage: cmkms {' '.join(words)}" in ran.out


def test_these_are_all_commands() -> None:
    root: Any = typer.main.get_command(app)
    found = [
        (name, below) if below else (name,)
        for name, command in root.commands.items()
        for below in getattr(command, "commands", {"": None})
    ]
    assert sorted(found) == sorted(COMMANDS)


def test_every_setting_is_a_flag_of_start_and_no_other_but_one() -> None:
    settings = {setting.flag for setting in (HOME, *NODE_SETTINGS, *FLAT_CHAIN_SETTINGS) if setting.flag}
    assert flags_of("start") == settings | {NEVER_SIGNED.flag}
    assert flags_of("config", "check") == settings
    assert flags_of("config", "show") == settings | {"--output"}
    assert flags_of("init") == settings | {"--alone"}


def test_the_flags_are_those_that_the_configuration_takes() -> None:
    assert set(_SETTINGS) == set(Flags.__dataclass_fields__)


def test_every_flag_reaches_the_configuration(ready: Operator) -> None:
    given = {
        "--id": "a",
        "--raft-addr": "h:1",
        "--http-addr": ":2",
        "--default-ttl": "2s",
        "--peer": "a=h:1",
        "--validator-addr": "unix:///s",
        "--chain-id": "c",
        "--log-level": "debug",
        "--log-format": "json",
    }
    words = [word for pair in given.items() for word in pair]
    rows = json.loads(ready.at_home("config", "show", *words, "--allow-unsafe", "-o", "json").out)
    assert {row["source"] for row in rows} == {"default", "--home", "--allow-unsafe", *given}


def test_repeated_flags_are_all_taken(ready: Operator) -> None:
    ran = ready.at_home("config", "show", "--validator-addr", "unix:///a", "--validator-addr", "unix:///b")
    assert '["unix:///a", "unix:///b"]' in ran.out


def test_without_a_command_the_help_is_shown(operator: Operator) -> None:
    assert "Commands:" in operator.run().out + operator.run().err


@pytest.mark.parametrize("words", [("frobnicate",), ("start", "--frobnicate"), ("key",), ("state", "import", "c")])
def test_what_is_no_command_ends_with_2(operator: Operator, words: tuple[str, ...]) -> None:
    assert operator.run(*words).code == 2


class TestStart:
    def test_a_wrong_configuration_ends_it_with_2(self, operator: Operator) -> None:
        ran = operator.at_home("start")
        assert (ran.code, "the configuration has 4 problems" in ran.err) == (2, True)

    def test_never_signed_is_no_variable(self, ready: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CMKMS_NEVER_SIGNED", CHAIN)
        ran = ready.at_home("start")
        assert (ran.code, "is said once, on the command line" in ran.err) == (2, True)

    def test_never_signed_for_a_chain_that_is_not_there_is_refused(self, ready: Operator) -> None:
        # In a process of its own: starting changes what this process may do.
        ran = process("start", "--home", str(ready.home), "--never-signed", "other", "--allow-unsafe")
        assert (ran.returncode, "--never-signed other: no such chain" in ran.stderr) == (2, True)


class TestTheProcess:
    def test_the_version_is_printed(self) -> None:
        ran = process("version")
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.startswith(f"cmkms {__version__} (Python 3.")

    def test_an_error_is_one_line_on_standard_error_and_2(self, tmp_path: Path) -> None:
        ran = process("key", "show", "--home", str(tmp_path))
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr == f"cmkms: {tmp_path}/priv/priv_validator_key.json: no such file\n"

    def test_a_long_error_is_not_broken_into_lines(self, tmp_path: Path) -> None:
        ran = process("key", "show", "--home", str(tmp_path / ("x" * 200)), COLUMNS="40")
        assert ran.stderr.count("\n") == 1

    def test_settings_come_from_the_environment(self, tmp_path: Path) -> None:
        home = str(tmp_path / "h")
        assert process("init", "--id", "kms-1", "--alone", CMKMS_HOME=home).returncode == 0
        ran = process(
            "config", "check", COMETKMS_HOME=home, CMKMS_CHAIN_ID="c-1", CMKMS_VALIDATOR_ADDR="unix:///a,unix:///b"
        )
        assert "kms-1 is the only signer of c-1." in ran.stdout

    def test_help_is_fast(self) -> None:
        def seconds() -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert process("--help").returncode == 0
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        assert min(seconds() for _ in range(5)) < HELP_SECONDS

    def test_help_loads_no_signer(self) -> None:
        script = (
            "import sys; from cmkms.cli import app\n"
            "try: app(['--help'])\n"
            "except SystemExit: print(sorted(name for name in sys.modules if name.startswith('cmkms.')))"
        )
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
        loaded = re.findall(r"'cmkms\.(\w+)", ran.stdout.splitlines()[-1])
        assert set(loaded) == {"cli", "errors"}


class TestSecrets:
    @pytest.mark.parametrize(
        "words",
        [
            ("key", "show"),
            ("key", "show", "-o", "json"),
            ("key", "generate"),
            ("config", "check"),
            ("config", "show"),
            ("config", "show", "-o", "json"),
            ("guard", "show", "-o", "json"),
            ("state", "show"),
            ("state", "export", CHAIN),
            ("guard", "verify"),
            ("init",),
        ],
        ids=" ".join,
    )
    def test_no_command_shows_a_private_key(self, ready: Operator, words: tuple[str, ...]) -> None:
        ready.give_birth()
        ran = ready.at_home(*words)
        assert ran.out + ran.err
        for secret in self.forms(ready):
            assert secret not in ran.out + ran.err

    @pytest.mark.parametrize("damage", ["truncate", "expanded", "type", "base64", "pub_key", "address"])
    def test_no_refusal_of_a_key_file_shows_it(self, ready: Operator, damage: str) -> None:
        secrets = self.forms(ready)
        document = json.loads(ready.key_file.read_text())
        value = document["priv_key"]["value"]
        match damage:
            case "truncate":
                ready.key_file.write_text(ready.key_file.read_text()[:-5])
            case "expanded":
                document["priv_key"]["value"] = value[:60] + "AAAAAAAA" + value[68:]
            case "type":
                document["priv_key"]["type"] = "tendermint/PrivKeySecp256k1"
            case "base64":
                document["priv_key"]["value"] = value[:-4] + "%%%%"
            case "pub_key":
                document["pub_key"]["value"] = "A" * 43 + "="
            case _:
                document["address"] = "00" * 20
        if damage != "truncate":
            ready.key_file.write_text(json.dumps(document))
        ran = ready.at_home("key", "show")
        assert ran.code == 2
        for secret in secrets:
            assert secret not in ran.out + ran.err

    def forms(self, operator: Operator) -> list[str]:
        """The ways in which a part of a private key of this home could show."""
        found: list[str] = []
        for name in ("priv_validator_key.json", "identity_key.json"):
            value = json.loads((operator.home / "priv" / name).read_text())["priv_key"]["value"]
            seed = base64.b64decode(value)[:32]
            found += [value[:20], seed.hex()[:20], seed.hex()[:20].upper(), repr(seed)[2:20]]
        return found
