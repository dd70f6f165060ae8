"""Replicas that are killed by the thousand: forked from a process that has loaded cmkms, with places armed inside them.

A start by `python -m cmkms` takes half a second of imports, which no kill is interesting in. What follows them is the
same here: a process of its own, with the same arguments, files, sockets and end.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final

from cmkms.harness.guard_files import Watermark, read_watermark
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import CmkmsProcess, RunningProgram
from cmkms.harness.values import HRS
from tests.faults.cluster.replicas import CHAIN
from tests.faults.kills import launcher
from tests.faults.kills.bugs import Bug
from tests.faults.kills.places import Arming, Control, Hit, Place

__all__ = ["FORKS", "Forked", "KilledCluster", "KilledReplica"]

FORKS: Final = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([launcher.__name__])
"""Where replicas are forked from: loaded once."""

_POLL_SECONDS: Final = 0.02
_TROUBLE: Final = {"error", "critical"}


class Forked:
    """A forked process as `subprocess.Popen` would show it. Asked from several threads."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        self._asking = threading.Lock()

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    def poll(self) -> int | None:
        with self._asking:
            return self._process.exitcode

    def wait(self) -> int:
        # Not `join`: of two threads that read how it ended, the second is told that it was 255.
        while (code := self.poll()) is None:
            connection.wait([self._process.sentinel], 0.001)
        return code

    def send_signal(self, sig: int, /) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class KilledReplica(CmkmsProcess):
    """A replica with armed places. `bug` is planted in it at its next start."""

    def __init__(
        self, directory: Path, chain_id: str, validator_addrs: Sequence[str], *, replica_id: str = "node-0"
    ) -> None:
        super().__init__(directory, chain_id, validator_addrs, replica_id=replica_id)
        self.control = Control(directory / "control")
        self.bug: Bug | None = None
        self.expected_refusals = {"conflict", "held", "regression"}
        """What nodes that contradict each other, and lag behind, are told; never that a vote cannot be signed."""
        self.killed: set[int] = set()
        """The processes that were sent a SIGKILL, or hit themselves with one."""
        self._read = 0
        self._hits = 0

    def kill(self) -> None:
        if self.alive:
            self.killed.add(self.pid)
        super().kill()

    def arm(self, place: Place, arming: Arming | None = None) -> None:
        self.control.arm(place, arming or Arming())

    def new_hits(self) -> list[Hit]:
        """The hits since the last call."""
        hits = self.control.hits()[self._hits :]
        self._hits += len(hits)
        return hits

    def new_trouble(self) -> list[dict[str, Any]]:
        """The lines of its log since the last call that tell of an unexpected error, or are none of its lines."""
        if not self.log_file.exists():
            return []
        with self.log_file.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [
            line for line in map(_line, whole.splitlines()) if line["level"] in _TROUBLE and not self._is_expected(line)
        ]

    def _is_expected(self, line: dict[str, Any]) -> bool:
        if line["event"] == "refused":
            return line["reason"] in self.expected_refusals
        # uvloop's own words about a TLS connection whose other end was killed in its midst: the link begins anew.
        return line.get("logger") == "asyncio" and "uvloop/sslproto.pyx" in line.get("exception", "")

    @property
    def ended_by_itself(self) -> bool:
        """Whether its last process has ended though nobody killed it or told it to stop."""
        return self.exit_code not in {None, 0} and not (
            self.exit_code == -signal.SIGKILL and (self.pid in self.killed or self._hit_itself())
        )

    def _hit_itself(self) -> bool:
        return any(hit.pid == self.pid for hit in self.control.hits())

    def guard(self) -> Watermark | None:
        """What its guard's file says now."""
        path = self.home / "data" / CHAIN / "guard"
        return read_watermark(path.read_bytes()) if path.exists() else None

    @property
    def fused(self) -> bool:
        return (self.home / "data" / CHAIN / "fuse.json").exists()

    def operate(self, *arguments: str, seconds: float = 30.0) -> tuple[int | None, str]:
        """Run a command of `cmkms` on its home; returns the exit code, None where it had to be ended, and its words."""
        log = self.home.with_name("operator.log")
        log.unlink(missing_ok=True)
        process = FORKS.Process(
            target=launcher.operate, args=((*arguments, "--home", str(self.home)), str(log)), daemon=True
        )
        process.start()
        process.join(seconds)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
        return code, log.read_text() if log.exists() else ""

    def _launch(self, *arguments: str) -> RunningProgram:
        process = FORKS.Process(
            target=launcher.launch,
            args=(arguments, str(self.log_file), str(self.control.directory), self.bug),
            daemon=True,
        )
        process.start()
        return Forked(process)


class KilledCluster(CmkmsCluster):
    """Three of them."""

    replica_type = KilledReplica

    def replica(self, member: str) -> KilledReplica:
        replica = super().replica(member)
        assert isinstance(replica, KilledReplica)
        return replica

    @property
    def replicas(self) -> list[KilledReplica]:
        return [self.replica(member) for member in self.members]

    def plant(self, bug: Bug | None) -> None:
        for replica in self.replicas:
            replica.bug = bug

    def disarm(self) -> None:
        for replica in self.replicas:
            replica.control.disarm()

    def wait_connected(self, seconds: float) -> None:
        """Wait until each sees all others. Raises AssertionError."""
        deadline = time.monotonic() + seconds
        while not self._connected():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(_POLL_SECONDS)

    def _connected(self) -> bool:
        seen = [{peer.id for peer in status.peers if peer.connected} for status in self.statuses().values()]
        return len(seen) == len(self.members) and all(len(peers) == len(self.members) - 1 for peers in seen)

    def held_by_a_majority(self) -> HRS:
        """The highest place that a majority of the guards' files stands at or above."""
        marks = [replica.guard() for replica in self.replicas]
        held = sorted(HRS(0, 0, 0) if mark is None else mark.hrs for mark in marks)
        return held[-(len(self.members) // 2 + 1)]


def _line(line: bytes) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(line)
    except ValueError:
        return {"level": "error", "event": f"not a line of the log: {line!r}"}
    return read
