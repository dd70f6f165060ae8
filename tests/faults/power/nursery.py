"""Starts `cmkms start` by fork from a process that has loaded its modules already: a cut costs no second of imports.

What runs is the command line of cmkms from its first line on, in a process of its own. As a program it is the nursery
itself, which reads one request a line and answers each with one line; as a module it holds the side that asks.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Final, NoReturn

from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import CmkmsProcess, RunningProgram

__all__ = ["Nursery", "Nursling", "NurslingCluster"]

_MODULES: Final = ("cmkms.cli", "cmkms.config", "cmkms.http.app", "cmkms.http.server", "cmkms.node")


class Nursery:
    """The asking side. One at a time; every process that it started ends with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.power.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: text for name, text in os.environ.items() if not name.startswith(("CMKMS_", "COMETKMS_"))},
        )

    def start(self, arguments: list[str], log: Path) -> _Child:
        """Start `cmkms` with these arguments; what it says is appended to `log`."""
        return _Child(self, self._ask({"start": arguments, "log": str(log)}))

    def wait(self, pid: int) -> int:
        """Wait for the end of a process; returns its exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(self._ask({"wait": pid}))

    def close(self) -> None:
        """End it. Harmless when repeated."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, request: dict[str, object]) -> int:
        with self._lock:
            sent, received = self._process.stdin, self._process.stdout
            if sent is None or received is None:
                raise RuntimeError("the nursery has no pipes")
            sent.write(json.dumps(request) + "\n")
            sent.flush()
            return int(received.readline())


class _Child:
    """A process of the nursery, as `subprocess.Popen` would show it; its id is its own until it is waited for."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self._nursery = nursery
        self._ended = os.pidfd_open(pid)
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        with self._lock:
            if self._code is None and select.select([self._ended], [], [], 0)[0]:
                self._code = self._nursery.wait(self.pid)
                os.close(self._ended)
            return self._code

    def wait(self) -> int:
        while (code := self.poll()) is None:
            select.select([self._ended], [], [])
        return code

    def send_signal(self, sig: int, /) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(9)


class Nursling(CmkmsProcess):
    """A replica that comes out of a nursery, unless its `program` was changed: that one is run as it is."""

    nursery: Nursery | None = None
    """Set before the first start."""

    def _launch(self, *arguments: str) -> RunningProgram:
        if self.nursery is None or self.program != (sys.executable, "-m", "cmkms"):
            return super()._launch(*arguments)
        return self.nursery.start(list(arguments), self.log_file)


class NurslingCluster(CmkmsCluster):
    """A cluster of such replicas."""

    replica_type = Nursling


def _serve(requests: IO[str], answers: IO[str]) -> None:
    for line in requests:
        request = json.loads(line)
        if "wait" in request:
            _, answer = os.waitpid(int(request["wait"]), 0)
        else:
            answer = os.fork()
            if answer == 0:
                _become(request["start"], request["log"])
        print(answer, file=answers, flush=True)


def _become(arguments: list[str], log: str) -> NoReturn:
    """Become `cmkms` with these arguments, in a process group of its own, as a service manager would start it."""
    os.setpgid(0, 0)
    descriptors = (os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
    for number, descriptor in enumerate((*descriptors, descriptors[1])):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    sys.argv[1:] = arguments
    from cmkms.cli import main  # noqa: PLC0415 - only a nursery has use for it

    main()
    raise SystemExit(0)


if __name__ == "__main__":
    for module in _MODULES:
        __import__(module)
    _serve(sys.stdin, sys.stdout)
