"""The signers under a real node: cmkms through its command line alone, and the Go reference signer to prove the set-up.

Both are programs with files; nothing of cmkms is imported here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from tests.realnode.binaries import REFERENCE_SIGNER, binary
from tests.realnode.process import Child, free_port, wait_until

__all__ = ["CmkmsSigner", "ReferenceSigner", "Signer", "Watermark"]

# Seconds for a command of cmkms that only reads or writes files.
_COMMAND_SECONDS = 30.0

# Seconds from `cmkms start` to a healthy answer: ready within one by design, the rest is for a busy machine.
_READY_SECONDS = 15.0

_HTTP_SECONDS = 5.0

_FRESH_STATE = '{"height": "0", "round": 0, "step": 0}'


@dataclass(frozen=True, slots=True, order=True)
class Watermark:
    """The highest height, round and step that a signer has durably signed for; step 3 is a precommit."""

    height: int
    round: int
    step: int


class Signer(Protocol):
    """What a test does to a signer."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        ...

    def start(self) -> None:
        """Start it: it dials the node by itself."""
        ...

    def kill_9(self) -> None:
        """End it as a crash would."""
        ...

    def stop(self) -> None:
        """End it in good order."""
        ...

    def pause(self) -> None:
        """Stop it in the middle of whatever it does."""
        ...

    def resume(self) -> None:
        """Let it go on after `pause`."""
        ...

    def watermark(self) -> Watermark:
        """What it holds on disk."""
        ...

    def logs(self) -> str:
        """The end of its log."""
        ...


class _Process:
    """What both have in common: one child."""

    def __init__(self, child: Child) -> None:
        self._child = child

    @property
    def alive(self) -> bool:
        return self._child.alive

    def kill_9(self) -> None:
        self._child.kill_9()

    def stop(self) -> None:
        self._child.stop()

    def pause(self) -> None:
        self._child.pause()

    def resume(self) -> None:
        self._child.resume()

    def logs(self) -> str:
        return self._child.tail()


class ReferenceSigner(_Process):
    """priv_val_server: CometBFT's own FilePV behind a socket. Dials for a second at its start and then never again."""

    def __init__(self, directory: Path, chain_id: str, validator_addr: str, key_file: Path) -> None:
        self._state_file = directory / "priv_validator_state.json"
        self._state_file.write_text(_FRESH_STATE)
        argv = [
            str(binary(REFERENCE_SIGNER)),
            f"-addr={validator_addr}",
            f"-chain-id={chain_id}",
            f"-priv-key={key_file}",
            f"-priv-state={self._state_file}",
        ]
        super().__init__(Child(argv, directory / "priv_val_server.log"))

    def start(self) -> None:
        """Start it: the node must listen already."""
        self._child.start()

    def watermark(self) -> Watermark:
        """What its state file holds."""
        state = json.loads(self._state_file.read_text())
        return Watermark(int(state["height"]), int(state["round"]), int(state["step"]))


class CmkmsSigner(_Process):
    """One replica of cmkms with a home made by `cmkms init` and the validator's key copied into it."""

    def __init__(self, directory: Path, chain_id: str, validator_addr: str, key_file: Path) -> None:
        self._chain_id = chain_id
        self._home = directory / "cmkms"
        http_address = f"127.0.0.1:{free_port()}"
        self._url = f"http://{http_address}"
        self._started_before = False
        _run_cmkms(
            *("init", "--home", str(self._home), "--id", "node-0", "--raft-addr", f"127.0.0.1:{free_port()}"),
            *("--chain-id", chain_id, "--validator-addr", validator_addr),
        )
        copied = self._home / "priv" / "priv_validator_key.json"
        shutil.copyfile(key_file, copied)
        copied.chmod(0o600)
        # Tests may run on a file system that keeps nothing (/tmp in memory): that is what --allow-unsafe admits.
        argv = _cmkms("start", "--home", str(self._home), "--allow-unsafe", "--http-addr", http_address)
        super().__init__(Child(argv, directory / "cmkms.log", _environment()))

    def start(self) -> None:
        """Start it. The first time says what only an operator can know: that this key has never signed."""
        first_time = () if self._started_before else ("--never-signed", self._chain_id)
        self._child.start(*first_time)
        self._started_before = True

    def wait_until_ready(self) -> float:
        """Wait until it answers /healthz; the seconds it took."""
        return wait_until(self._healthy, _READY_SECONDS, "cmkms is healthy", self.logs)

    def watermark(self) -> Watermark:
        """What its guard's file holds, as `cmkms guard show` reads it."""
        (guard,) = json.loads(_run_cmkms("guard", "show", "--home", str(self._home), "-o", "json"))
        return Watermark(guard["height"], guard["round"], guard["step"])

    def status(self) -> dict[str, Any]:
        """What GET /status answers."""
        answer: dict[str, Any] = httpx.get(f"{self._url}/status", timeout=_HTTP_SECONDS).raise_for_status().json()
        return answer

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self._url}/healthz", timeout=_HTTP_SECONDS).text == "ok"
        except httpx.TransportError:
            return False


def _cmkms(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cmkms", *arguments]


def _environment() -> dict[str, str]:
    """This process' environment without settings of a cmkms that its operator may run here."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("CMKMS_", "COMETKMS_"))}


def _run_cmkms(*arguments: str) -> str:
    done = subprocess.run(
        _cmkms(*arguments),
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        env=_environment(),
        check=False,
    )
    assert done.returncode == 0, f"cmkms {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
