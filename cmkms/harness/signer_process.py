"""A cmkms as its operator sees it: made by its command line in a directory of its own, started, killed, started again.

Demo, benchmark and acceptance tests drive it. It imports nothing of the signer: a process and its files are all it has.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["CmkmsProcess", "SignerProcessError", "free_port"]

_COMMAND_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 5.0
_LOG_TAIL_LINES: Final = 30
_POLL_SECONDS: Final = 0.01


class SignerProcessError(RuntimeError):
    """A command of cmkms failed, or the signer did not come up: holds what it said."""


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class CmkmsProcess:
    """One replica for one chain, with `home` and `cmkms.log` inside `directory`.

    It is allowed unsafe file systems: tests and demos live in temporary directories, which may forget. Never do that
    for a real validator.
    """

    def __init__(self, directory: Path, chain_id: str, validator_addrs: Sequence[str]) -> None:
        self.chain_id = chain_id
        self.home = directory / "home"
        self.log_file = directory / "cmkms.log"
        self.key_file = self.home / "priv" / "priv_validator_key.json"
        self.http_addr = f"127.0.0.1:{free_port()}"
        self._validator_addrs = tuple(validator_addrs)
        self._process: subprocess.Popen[bytes] | None = None
        self._born = False

    def initialise(self, key_file: Path | None = None) -> bytes:
        """Make the home, and a new consensus key, or take that of `key_file` (CometBFT's form) over.

        Returns the public key (32 bytes). Raises SignerProcessError.
        """
        addresses = [part for address in self._validator_addrs for part in ("--validator-addr", address)]
        self.command(
            *("init", "--home", str(self.home), "--id", "node-0", "--raft-addr", f"127.0.0.1:{free_port()}"),
            *("--chain-id", self.chain_id, *addresses),
        )
        if key_file is None:
            self.command("key", "generate", "--home", str(self.home))
        else:
            self.key_file.touch(0o600)
            self.key_file.write_bytes(key_file.read_bytes())
        return base64.b64decode(json.loads(self.key_file.read_text())["pub_key"]["value"])

    def start(self) -> None:
        """Start it, without waiting. The first start says that this key has never signed; later ones must not."""
        if self.alive:
            raise SignerProcessError("this signer runs already")
        never_signed = () if self._born else ("--never-signed", self.chain_id)
        arguments = ("start", "--home", str(self.home), "--http-addr", self.http_addr, "--allow-unsafe", *never_signed)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, by a full list of arguments
                [sys.executable, "-m", "cmkms", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                process_group=0,
            )
        self._born = True

    def wait_healthy(self, seconds: float) -> None:
        """Wait until `/healthz` answers. Raises SignerProcessError with the end of the log after `seconds`."""
        deadline = time.monotonic() + seconds
        while not self.healthy():
            if not self.alive or time.monotonic() > deadline:
                raise SignerProcessError(f"cmkms is not healthy (alive: {self.alive})\n{self.log_tail()}")
            time.sleep(_POLL_SECONDS)

    def healthy(self) -> bool:
        """Whether `/healthz` answers ok now."""
        with contextlib.suppress(OSError, urllib.error.URLError):
            answer = urllib.request.urlopen(f"http://{self.http_addr}/healthz", timeout=1.0)
            with answer:
                return bool(answer.read(16) == b"ok")
        return False

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id. Raises SignerProcessError when it was never started."""
        if self._process is None:
            raise SignerProcessError("this signer was never started")
        return self._process.pid

    def kill(self) -> None:
        """End it as a crash would: SIGKILL."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """End it in good order: SIGTERM, and SIGKILL after five seconds."""
        self._end(signal.SIGTERM)

    def log_tail(self) -> str:
        """The end of its log."""
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def command(self, *arguments: str) -> str:
        """Run a `cmkms` command to its end; returns what it printed. Raises SignerProcessError if it fails."""
        done = subprocess.run(  # noqa: S603 - as above
            [sys.executable, "-m", "cmkms", *arguments],
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            env=_environment(),
            check=False,
        )
        if done.returncode:
            what = f"`cmkms {' '.join(arguments)}` ended with {done.returncode}"
            raise SignerProcessError(f"{what}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _environment() -> dict[str, str]:
    """Our environment, without the settings of a cmkms that may run on this machine."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("CMKMS_", "COMETKMS_"))}
