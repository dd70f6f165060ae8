"""The command line as an operator has it: no settings from elsewhere, and a home of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cmkms.chains import LoadedChain, load_chain
from cmkms.cli import app
from cmkms.config import Flags, load_config
from cmkms.guard.birth import OpenedGuard, open_guard
from cmkms.guard.disk import PosixDisk

CHAIN = "testnet-1"


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Operator:
    """Types commands for one home."""

    home: Path

    def run(self, *words: str, typed: str | None = None) -> Ran:
        result = CliRunner().invoke(app, list(words), input=typed)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.stderr
        return Ran(result.exit_code, result.stdout, result.stderr)

    def at_home(self, *words: str, typed: str | None = None) -> Ran:
        return self.run(*words, "--home", str(self.home), typed=typed)

    def init(self, *more: str) -> Ran:
        return self.at_home("init", "--chain-id", CHAIN, "--validator-addr", "tcp://127.0.0.1:26659", *more)

    @property
    def key_file(self) -> Path:
        return self.home / "priv" / "priv_validator_key.json"

    def loaded(self) -> LoadedChain:
        config = load_config(Flags(home=str(self.home)), {})
        return load_chain(config, config.chains[0])

    def give_birth(self) -> LoadedChain:
        """Let the guard be born as by `start --never-signed`, and stop at once."""
        loaded = self.loaded()
        opened = open_guard(loaded.site, PosixDisk(), never_signed=True)
        assert isinstance(opened, OpenedGuard)
        opened.guard.close()
        return loaded


@pytest.fixture(autouse=True)
def _no_settings_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("CMKMS_", "COMETKMS_")):
            monkeypatch.delenv(name)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path / "home")


@pytest.fixture
def ready(operator: Operator) -> Operator:
    """An operator whose home has the configuration of the only signer, and a key."""
    assert operator.init("--alone").code == 0
    assert operator.at_home("key", "generate").code == 0
    return operator
