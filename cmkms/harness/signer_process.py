"""A cmkms as its operator sees it: made by its command line in a directory of its own, started, killed, started again.

Demo, benchmarks and tests drive it, alone or as one replica of several (`signer_cluster.py`). It imports nothing of the
signer: a process, its files and its HTTP address are all it has.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Final, Protocol

from cmkms.harness.replica_status import ReplicaStatus, parse_status

__all__ = ["CmkmsProcess", "RunningProgram", "SignerProcessError", "free_port", "reserved_port", "run_cmkms"]

_COMMAND_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 5.0
_HTTP_SECONDS: Final = 1.0
_STATUS_BYTES: Final = 1 << 20
"""A status is some kilobytes long; what is longer is none."""
_LOG_TAIL_LINES: Final = 30
_POLL_SECONDS: Final = 0.01

_HTTP: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Whatever proxy this machine has for the world, a replica on the loopback is asked directly."""

_reserved: list[socket.socket] = []
"""Keeps the ports that were handed out."""


@atexit.register
def _let_go() -> None:
    for reserved in _reserved:
        reserved.close()


class SignerProcessError(RuntimeError):
    """A command of cmkms failed, or the signer did not come up: holds what it said."""


def reserved_port() -> socket.socket:
    """A socket bound to a port of the loopback, which is free for a program that will listen there until it is closed.

    It does not listen: the kernel gives the port to no connection and to no other search for a free one meanwhile, and
    connecting there is refused. Whoever listens with SO_REUSEADDR, as servers do, may.
    """
    reserved = socket.socket()
    reserved.bind(("127.0.0.1", 0))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return reserved


def free_port() -> int:
    """A `reserved_port` that nobody else is given while this process lives."""
    reserved = reserved_port()
    _reserved.append(reserved)
    port: int = reserved.getsockname()[1]
    return port


def run_cmkms(*arguments: str) -> str:
    """Run a `cmkms` command to its end; returns what it printed. Raises SignerProcessError if it fails."""
    done = subprocess.run(  # noqa: S603 - our own program, by a full list of arguments
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


class RunningProgram(Protocol):
    """A process as `subprocess.Popen` shows it."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        ...

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        ...

    def send_signal(self, sig: int, /) -> None:
        """Send a signal, unless it has ended."""
        ...

    def kill(self) -> None:
        """As `send_signal`, with SIGKILL."""
        ...


class CmkmsProcess:
    """One replica for one chain, with `home` and `cmkms.log` inside `directory`.

    `peers` are the `--peer` lines that it is made and started with, its own among them; none leaves that to its
    configuration, which is made for a replica alone.
    It is allowed unsafe file systems: tests and demos live in temporary directories, which may forget. Never do that
    for a real validator.
    """

    def __init__(
        self, directory: Path, chain_id: str, validator_addrs: Sequence[str], *, replica_id: str = "node-0"
    ) -> None:
        self.id = replica_id
        self.chain_id = chain_id
        self.home = directory / "home"
        self.log_file = directory / "cmkms.log"
        self.http_addr = f"127.0.0.1:{free_port()}"
        self.raft_addr = f"127.0.0.1:{free_port()}"
        self.peers: tuple[str, ...] = ()
        self.program: tuple[str, ...] = (sys.executable, "-m", "cmkms")
        """What is started; tests of faults put a program before it that makes its world worse."""
        self._directory = directory
        self._validator_addrs = tuple(validator_addrs)
        self._process: RunningProgram | None = None
        self._born = False

    @property
    def key_file(self) -> Path:
        """Where its consensus key is expected."""
        return self.home / "priv" / "priv_validator_key.json"

    @property
    def guard_file(self) -> Path:
        """Where the guard of its chain lies."""
        return self.home / "data" / self.chain_id / "guard"

    def initialise(self, key_file: Path | None = None) -> bytes:
        """Make the home, and a new consensus key, or take that of `key_file` (CometBFT's form) over.

        Returns the public key (32 bytes). Raises SignerProcessError.
        """
        self.make_home()
        if key_file is None:
            self.command("key", "generate", "--home", str(self.home))
        else:
            self.take_key(key_file)
        return self.pub_key()

    def make_home(self) -> None:
        """`cmkms init`, alone if there are no `peers`, else with their list. Raises SignerProcessError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        addresses = [part for address in self._validator_addrs for part in ("--validator-addr", address)]
        self.command(
            *("init", "--home", str(self.home), "--id", self.id, "--raft-addr", self.raft_addr),
            *("--http-addr", self.http_addr, "--chain-id", self.chain_id, *addresses),
            *(self._peer_flags() or ("--alone",)),
        )

    def take_key(self, key_file: Path) -> None:
        """Copy a consensus key into the home."""
        self.key_file.touch(0o600)
        self.key_file.write_bytes(key_file.read_bytes())

    def pub_key(self) -> bytes:
        """The public half of the key in the home, 32 bytes."""
        return base64.b64decode(json.loads(self.key_file.read_text())["pub_key"]["value"])

    def start(self, *, never_signed: bool | None = None) -> None:
        """Start it, without waiting. The first start says that this key has never signed; later ones must not.

        `never_signed` says so, or not, against that rule.
        """
        if self.alive:
            raise SignerProcessError(f"{self.id} runs already")
        said = ("--never-signed", self.chain_id) if (not self._born if never_signed is None else never_signed) else ()
        arguments = ("start", "--home", str(self.home), "--http-addr", self.http_addr, "--allow-unsafe", *said)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._process = self._launch(*arguments, *self._peer_flags())
        self._born = True

    def wait_healthy(self, seconds: float) -> None:
        """Wait until `/healthz` answers. Raises SignerProcessError with the end of the log after `seconds`."""
        deadline = time.monotonic() + seconds
        while not self.healthy():
            if not self.alive or time.monotonic() > deadline:
                raise SignerProcessError(f"{self.id} is not healthy (alive: {self.alive})\n{self.log_tail()}")
            time.sleep(_POLL_SECONDS)

    def healthy(self) -> bool:
        """Whether `/healthz` answers ok now."""
        return self._get("/healthz") == b"ok"

    def status(self) -> ReplicaStatus | None:
        """What `/status` says now; None where nobody answers within a second.

        Raises:
            ValueError: the answer is no status.
        """
        body = self._get("/status")
        return None if body is None else parse_status(body)

    @property
    def alive(self) -> bool:
        """Whether the process runs, or is paused."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id. Raises SignerProcessError when it was never started."""
        if self._process is None:
            raise SignerProcessError(f"{self.id} was never started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How its last process ended, negative for a signal; None while it runs or if it never did."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """End it as a crash would: SIGKILL."""
        self._end(signal.SIGKILL)

    def terminate(self) -> float:
        """End it in good order: SIGTERM, and SIGKILL after five seconds. Returns the seconds it took."""
        return self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Stop it in the middle of whatever it does, its sockets open: SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`: SIGCONT."""
        if self.alive:
            os.kill(self.pid, signal.SIGCONT)

    def log_tail(self) -> str:
        """The end of its log."""
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def command(self, *arguments: str) -> str:
        """Run a `cmkms` command to its end; returns what it printed. Raises SignerProcessError if it fails."""
        return run_cmkms(*arguments)

    def _peer_flags(self) -> tuple[str, ...]:
        return tuple(part for peer in self.peers for part in ("--peer", peer))

    def _get(self, path: str) -> bytes | None:
        with (
            contextlib.suppress(OSError, HTTPException),
            _HTTP.open(f"http://{self.http_addr}{path}", timeout=_HTTP_SECONDS) as answer,
        ):
            return bytes(answer.read(_STATUS_BYTES))
        return None

    def _launch(self, *arguments: str) -> RunningProgram:
        """Run `self.program` with these arguments; tests that start many replicas have a faster way."""
        with self.log_file.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - as above
                [*self.program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                process_group=0,
            )

    def _end(self, number: signal.Signals) -> float:
        begun = time.monotonic()
        process = self._process  # it may be started again in the meantime, by another thread
        if process is None:
            return 0.0
        if process.poll() is None:
            process.send_signal(number)
        if process.poll() is None and not _ended(process.pid, _STOP_SECONDS):
            process.kill()
        process.wait()
        return time.monotonic() - begun


def _ended(pid: int, seconds: float) -> bool:
    """Wait for the end of a process, to the millisecond: `Popen.wait` with a time-out looks every 50 ms only."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:  # another one than its parent waits for it
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _environment() -> dict[str, str]:
    """Our environment, without the settings of a cmkms that may run on this machine."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("CMKMS_", "COMETKMS_"))}
