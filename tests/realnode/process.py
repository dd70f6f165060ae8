"""Child processes of the tests: output to a file, killed by their own pid, never left behind.

Nothing here knows what runs inside; nodes and signers are made of it.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["Child", "NotInTimeError", "quiet_port", "wait_until"]

# Seconds that a process gets after SIGTERM before it is killed. v0.38 may wait for its signer while it stops.
_PATIENCE_AFTER_SIGTERM = 5.0

# Seconds between two looks at something that is waited for.
_POLL = 0.02

# Lines of a log shown when something did not happen in time.
_TAIL_LINES = 30

# Where ports for tests begin: above the well-known ones of databases and web servers.
_FIRST_PORT = 20_000

# Ports given to one of this run's programs, which may not listen yet.
_PORTS_GIVEN: set[int] = set()


class NotInTimeError(AssertionError):
    """Something that must happen did not, within its time."""


def quiet_port() -> int:
    """A free port of the loopback below those that the kernel hands out by itself.

    A port asked for by binding to 0 is one of the kernel's own: with hundreds of short connections about, it may be in
    use again before the program that it was meant for listens there.
    """
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(_FIRST_PORT, end)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _PORTS_GIVEN:
            _PORTS_GIVEN.add(port)
            return port


def wait_until(holds: Callable[[], bool], seconds: float, what: str, logs: Callable[[], str] = str) -> float:
    """Wait until `holds()`; the seconds it took. Raises `NotInTimeError` with `what` and the tail of the logs."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > seconds:
            raise NotInTimeError(f"not within {seconds:g} s: {what}\n{logs()}")
        time.sleep(_POLL)
    return time.monotonic() - begun


class Child:
    """One program that can be started, killed and started again; all its output goes to one log file."""

    def __init__(self, argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._argv = list(argv)
        self._environment = None if environment is None else dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log

    def start(self, *extra: str) -> None:
        """Start it, with `extra` arguments for this once."""
        if self.alive:
            raise AssertionError(f"{self._argv[0]} runs already")
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._argv, *extra],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )

    @property
    def alive(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """How it ended: None while it runs or was never started, negative for a signal."""
        return None if self._process is None else self._process.poll()

    def kill_9(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and end it at once if it does not."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Stop it in the middle of whatever it does."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def tail(self) -> str:
        """The last lines of its log, headed by the name of the file."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"--- {self.log.name} (exit status {self.exit_status}):", *lines[-_TAIL_LINES:]])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._signal(number)
        try:
            self._process.wait(_PATIENCE_AFTER_SIGTERM)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
