"""The signers under a real node: cmkms through its command line alone, and the Go reference signer to prove the set-up.

Both are programs with files: nothing of the signer itself is imported here.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cmkms.harness.signer_process import CmkmsProcess
from tests.realnode.binaries import REFERENCE_SIGNER, binary
from tests.realnode.process import Child, quiet_port

__all__ = ["CmkmsSigner", "ReferenceSigner", "Signer", "Watermark"]

# Seconds from `cmkms start` to a healthy answer: one by design, the rest is for a machine with much other work.
_READY_SECONDS = 30.0

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

    @property
    def waits_for_its_node(self) -> bool:
        """Whether it may be started long before its node."""
        ...

    def start(self) -> None:
        """Start it: it dials the node by itself."""
        ...

    def wait_until_ready(self) -> None:
        """Wait until its own start is over."""
        ...

    def kill_9(self) -> None:
        """End it as a crash would."""
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


class ReferenceSigner:
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
        self._child = Child(argv, directory / "priv_val_server.log")

    @property
    def alive(self) -> bool:
        return self._child.alive

    @property
    def waits_for_its_node(self) -> bool:
        return False

    def start(self) -> None:
        """Start it: the node must listen already."""
        self._child.start()

    def wait_until_ready(self) -> None:
        """It says nothing about that; it takes milliseconds."""

    def kill_9(self) -> None:
        self._child.kill_9()

    def pause(self) -> None:
        self._child.pause()

    def resume(self) -> None:
        self._child.resume()

    def watermark(self) -> Watermark:
        """What its state file holds."""
        state = json.loads(self._state_file.read_text())
        return Watermark(int(state["height"]), int(state["round"]), int(state["step"]))

    def logs(self) -> str:
        return self._child.tail()


class CmkmsSigner:
    """One replica of cmkms with a home made by `cmkms init` and the validator's key copied into it."""

    def __init__(self, directory: Path, chain_id: str, validator_addr: str, key_file: Path) -> None:
        self._replica = CmkmsProcess(directory, chain_id, [validator_addr])
        self._replica.http_addr = f"127.0.0.1:{quiet_port()}"
        self._replica.initialise(key_file)

    @property
    def alive(self) -> bool:
        return self._replica.alive

    @property
    def waits_for_its_node(self) -> bool:
        return True

    def start(self) -> None:
        """Start it. The first time says what only an operator can know: that this key has never signed."""
        self._replica.start()

    def wait_until_ready(self) -> None:
        self._replica.wait_healthy(_READY_SECONDS)

    def kill_9(self) -> None:
        self._replica.kill()

    def pause(self) -> None:
        os.kill(self._replica.pid, signal.SIGSTOP)

    def resume(self) -> None:
        if self.alive:
            os.kill(self._replica.pid, signal.SIGCONT)

    def watermark(self) -> Watermark:
        """What its guard's file holds, as `cmkms guard show` reads it."""
        (guard,) = json.loads(self._replica.command("guard", "show", "--home", str(self._replica.home), "-o", "json"))
        return Watermark(guard["height"], guard["round"], guard["step"])

    def logs(self) -> str:
        return self._replica.log_tail()
