"""`python -m cmkms start` as a process of the tests: a home, its log, its signals, its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cmkms.home import make_private_dir
from cmkms.keys import Ed25519Key, create_identity, write_key_file
from tests.patience import within

SEED: Final = bytes(range(100, 132))
"""Of the consensus key in every home here: known, so that a log can be searched for it."""
KEY: Final = Ed25519Key(SEED)
CHAIN: Final = "testnet-1"

UP: Final = "cmkms is up"
PATIENCE: Final = within(10.0)
"""Seconds that a test waits for a process."""


@dataclass(slots=True)
class Replica:
    """One home, and the processes started on it one after the other. `chains`: addresses by chain id."""

    folder: Path
    chains: dict[str, list[str]]
    log_level: str = "debug"
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict[str, str])
    _read_from: int = 0

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def log_file(self) -> Path:
        return self.folder / "log"

    def key_file(self, chain: str) -> Path:
        return self.home / "priv" / chain / "priv_validator_key.json"

    def make(self) -> None:
        """Lay out the home: a key for each chain, and a configuration that names them all."""
        for directory in (self.home, self.home / "data", self.home / "priv"):
            make_private_dir(directory)
        create_identity(self.home / "priv" / "identity_key.json")
        for chain in self.chains:
            self._make_key(chain)
        self.configure()

    def add_chain(self, chain: str, *addresses: str) -> None:
        """Configure one chain more."""
        self.chains = self.chains | {chain: list(addresses)}
        self._make_key(chain)
        self.configure()

    def _make_key(self, chain: str) -> None:
        make_private_dir(self.key_file(chain).parent)
        write_key_file(self.key_file(chain), KEY)

    def configure(self) -> None:
        """Write the configuration anew."""
        lines = ['id = "node-0"', 'raft_addr = "127.0.0.1:9430"', 'peer = ["node-0=127.0.0.1:9430"]']
        lines += ['http_addr = "127.0.0.1:0"', 'log_format = "json"', f'log_level = "{self.log_level}"']
        for chain, addresses in self.chains.items():
            state = f"priv/{chain}/priv_validator_state.json"
            lines += ["[[chain]]", f'id = "{chain}"', f"validator_addr = {json.dumps(addresses)}"]
            lines += [f'key = "priv/{chain}/priv_validator_key.json"', f'state = "{state}"']
        (self.home / "config.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def spawn(self, *flags: str, never_signed: bool = False) -> None:
        """Start a process and do not wait for it."""
        said = [part for chain in self.chains if never_signed for part in ("--never-signed", chain)]
        self._read_from = self.log_file.stat().st_size if self.log_file.exists() else 0
        environment = {
            name: text for name, text in os.environ.items() if "CMKMS" not in name and "COMETKMS" not in name
        }
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cmkms", "start", "--home", str(self.home), *said, *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment | self.environment,
            )

    async def start(self, *flags: str, never_signed: bool = False) -> float:
        """Start a process and wait until it says that it is up; returns the seconds that took."""
        before = time.monotonic()
        self.spawn(*flags, never_signed=never_signed)
        await self.logged(UP)
        return time.monotonic() - before

    @property
    def running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise RuntimeError("no process was started")
        return self.process

    @property
    def pid(self) -> int:
        return self.running.pid

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for the process to end; returns its exit code. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while (code := self.running.poll()) is None:  # noqa: ASYNC110 - a process sets no event
                await asyncio.sleep(0.005)
        return code

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.running.send_signal(number)
        return await self.ended()

    def close(self) -> None:
        """Leave nothing running."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # ----------------------------------------------------------------------------------------------- what it tells

    @property
    def log(self) -> str:
        """What the process that was started last has written."""
        with self.log_file.open(encoding="utf-8") as file:
            file.seek(self._read_from)
            return file.read()

    async def logged(self, text: str, seconds: float = PATIENCE) -> None:
        """Wait until the log holds this text. Raises TimeoutError with the log."""
        deadline = time.monotonic() + seconds
        while text not in self.log:
            if time.monotonic() > deadline or self.running.poll() is not None:
                raise TimeoutError(f"no {text!r} in the log (exit code {self.running.poll()}):\n{self.log}")
            await asyncio.sleep(0.005)

    def events(self, event: str) -> list[dict[str, Any]]:
        """The log lines of this event."""
        lines = (json.loads(line) for line in self.log.splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    async def status(self) -> dict[str, Any]:
        (line,) = self.events(UP)
        return json.loads(await asyncio.to_thread(_get, f"http://{line['http']}/status"))  # type: ignore[no-any-return]

    async def chain_status(self, chain: str = CHAIN) -> dict[str, Any]:
        (found,) = [one for one in (await self.status())["chains"] if one["chain_id"] == chain]
        return found  # type: ignore[no-any-return]


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - http, on the loopback
        body: bytes = answer.read()
        return body
