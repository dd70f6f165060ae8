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
from collections.abc import Sequence
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

__all__ = ["KilledCluster", "KilledReplica"]

_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([launcher.__name__])

_TROUBLE: Final = {"error", "critical"}
_REFUSALS: Final = {"conflict", "held", "regression"}
"""What nodes that contradict each other, and lag behind, are told; never that no variant of a vote can be signed."""


class _Forked:
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
        while (code := self.poll()) is None:
            self._process.join(0.001)
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
        return [line for line in map(_line, whole.splitlines()) if line["level"] in _TROUBLE and not _is_refusal(line)]

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

    def _launch(self, *arguments: str) -> RunningProgram:
        process = _FORKS.Process(
            target=launcher.launch,
            args=(arguments, str(self.log_file), str(self.control.directory), self.bug),
            daemon=True,
        )
        process.start()
        return _Forked(process)


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

    def held_by_a_majority(self) -> HRS:
        """The highest place that a majority of the guards' files stands at or above."""
        marks = [replica.guard() for replica in self.replicas]
        held = sorted(HRS(0, 0, 0) if mark is None else mark.hrs for mark in marks)
        return held[-(len(self.members) // 2 + 1)]


def _is_refusal(line: dict[str, Any]) -> bool:
    return line["event"] == "refused" and line["reason"] in _REFUSALS


def _line(line: bytes) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(line)
    except ValueError:
        return {"level": "error", "event": f"not a line of the log: {line!r}"}
    return read
