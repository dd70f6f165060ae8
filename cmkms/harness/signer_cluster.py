"""Several replicas of cmkms that sign for one chain as one: made, started, killed, paused and cut off from each other.

It drives programs by their command line and reads their `/status`, as an operator with a script would; it decides
nothing for them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from cmkms.harness.guard_files import check_guards
from cmkms.harness.observation import Observation
from cmkms.harness.peer_proxies import PeerProxies
from cmkms.harness.replica_status import ReplicaStatus
from cmkms.harness.signer_process import CmkmsProcess, SignerProcessError, run_cmkms

__all__ = ["CmkmsCluster", "HomesBy"]

_POLL_SECONDS: Final = 0.02


class HomesBy(Enum):
    """Which command makes the homes: `cmkms init` for each replica, or `cmkms cluster init` for all."""

    INIT = "init"
    CLUSTER_INIT = "cluster init"


class CmkmsCluster:
    """Replicas `node-0`, `node-1`, ... of one chain, each in a folder of its own name inside `directory`.

    One replica alone is a cluster, too. With `peer_proxies` they reach each other through proxies, which are
    `self.proxies`. As a context manager it ends every replica.
    """

    replica_type: ClassVar[type[CmkmsProcess]] = CmkmsProcess
    """How a replica is made and run; tests of faults have types of their own."""

    def __init__(
        self,
        directory: Path,
        chain_id: str,
        validator_addrs: Sequence[str],
        *,
        replicas: int = 3,
        homes_by: HomesBy = HomesBy.INIT,
        peer_proxies: bool = False,
    ) -> None:
        self.directory = directory
        self.chain_id = chain_id
        self.members = tuple(f"node-{number}" for number in range(replicas))
        self._validator_addrs = tuple(validator_addrs)
        self._homes_by = homes_by
        self._replicas = {
            member: self.replica_type(directory / member, chain_id, validator_addrs, replica_id=member)
            for member in self.members
        }
        addresses = {member: replica.raft_addr for member, replica in self._replicas.items()}
        self._proxies = PeerProxies(addresses) if peer_proxies else None
        for replica in self._replicas.values():
            replica.peers = self._peer_lines(replica.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------- making it

    def initialise(self, key_file: Path | None = None) -> bytes:
        """Make every home, and give all of them one key; as `make_homes` and `give_key`."""
        self.make_homes()
        return self.give_key(key_file)

    def make_homes(self) -> None:
        """Make every home. Raises SignerProcessError."""
        if self._homes_by is HomesBy.CLUSTER_INIT:
            self._cluster_init()
        else:
            with ThreadPoolExecutor(len(self.members)) as pool:
                list(pool.map(CmkmsProcess.make_home, self._replicas.values()))

    def give_key(self, key_file: Path | None = None) -> bytes:
        """Give every replica the consensus key of `key_file` (CometBFT's form), or a new one.

        Returns the public key (32 bytes). Raises SignerProcessError.
        """
        first, *others = self._replicas.values()
        if key_file is None:
            first.command("key", "generate", "--home", str(first.home))
            key_file = first.key_file
        else:
            first.take_key(key_file)
        for replica in others:
            replica.take_key(key_file)
        return first.pub_key()

    def start_all(self, *, never_signed: Iterable[str] | None = None) -> None:
        """Start every replica that does not run, without waiting.

        At its first start each one says that the key has never signed, or only those named in `never_signed`.
        """
        told = None if never_signed is None else frozenset(never_signed)
        for replica in self._replicas.values():
            if not replica.alive:
                replica.start(never_signed=None if told is None else replica.id in told)

    def wait_ready(self, seconds: float) -> None:
        """Wait until every living replica sees its peers that live, and all say that the cluster can sign.

        Raises:
            SignerProcessError: not within `seconds`, or one of them ended; with what each waits for and its log's end.
        """
        living = self.alive
        deadline = time.monotonic() + seconds
        while not self.ready():
            dead = set(living) - set(self.alive)
            if dead or time.monotonic() > deadline:
                raise SignerProcessError(f"the cluster cannot sign (ended: {', '.join(dead) or 'none'})\n{self.logs()}")
            time.sleep(_POLL_SECONDS)

    def ready(self) -> bool:
        """Whether every living replica sees its peers that live, and says that the cluster can sign."""
        alive = set(self.alive)
        statuses = self.statuses()
        return bool(alive) and all(
            (status := statuses.get(member)) is not None
            and status.can_sign
            and alive <= {member, *(peer.id for peer in status.peers if peer.connected)}
            for member in alive
        )

    def close(self) -> None:
        """End every replica with SIGKILL, and the proxies. Harmless when repeated."""
        for replica in self._replicas.values():
            replica.kill()
        if self._proxies is not None:
            self._proxies.close()

    # ------------------------------------------------------------------------------------------------- looking at it

    @property
    def proxies(self) -> PeerProxies:
        """The network between the replicas. Raises SignerProcessError where the cluster was made without proxies."""
        if self._proxies is None:
            raise SignerProcessError("these replicas reach each other directly: make the cluster with peer_proxies")
        return self._proxies

    def replica(self, member: str) -> CmkmsProcess:
        """One replica by its id."""
        return self._replicas[member]

    @property
    def alive(self) -> tuple[str, ...]:
        """The replicas whose processes run (or are paused)."""
        return tuple(member for member, replica in self._replicas.items() if replica.alive)

    def others(self, *members: str) -> tuple[str, ...]:
        """All replicas but these."""
        return tuple(member for member in self.members if member not in members)

    def statuses(self) -> dict[str, ReplicaStatus]:
        """What each replica says of itself now; those that do not answer are left out."""
        found = {member: replica.status() for member, replica in self._replicas.items() if replica.alive}
        return {member: status for member, status in found.items() if status is not None}

    def holder(self) -> str | None:
        """Who holds the lease by its own word; of two, the one of the later term."""
        leading = [status for status in self.statuses().values() if status.is_leader]
        return max(leading, key=lambda status: status.term).id if leading else None

    def connected_to(self, address: str) -> str | None:
        """Which replica the node at this address is served by."""
        return next((member for member, status in self.statuses().items() if status.serves(address)), None)

    def wait_holder(self, seconds: float, *, other_than: str | None = None) -> str:
        """Wait until somebody (else) holds the lease; returns its id. Raises SignerProcessError after `seconds`."""
        deadline = time.monotonic() + seconds
        while (holder := self.holder()) is None or holder == other_than:
            if time.monotonic() > deadline:
                besides = f" besides {other_than}" if other_than else ""
                raise SignerProcessError(f"nobody{besides} holds the lease after {seconds:g} s\n{self.logs()}")
            time.sleep(_POLL_SECONDS)
        return holder

    def logs(self) -> str:
        """What each replica waits for, and the end of its log."""
        statuses: dict[str, ReplicaStatus] = {}
        with contextlib.suppress(ValueError):
            statuses = self.statuses()
        parts: list[str] = []
        for member, replica in self._replicas.items():
            waits = f"waits for: {statuses[member].waiting_for or 'nothing'}" if member in statuses else "no status"
            parts.append(f"--- {member} (exit code {replica.exit_code}, {waits}):\n{replica.log_tail()}")
        return "\n".join(parts)

    def guard_files(self) -> dict[str, bytes | None]:
        """What lies on each replica's disk for the chain, whether it runs or not; None where there is no guard."""
        paths = {member: replica.guard_file for member, replica in self._replicas.items()}
        return {member: path.read_bytes() if path.exists() else None for member, path in paths.items()}

    def check_guards(self, observations: Iterable[Observation]) -> list[str]:
        """What is wrong with the guards after all that was observed; nothing if a majority stands where it has to."""
        return check_guards(self.guard_files(), observations)

    # ------------------------------------------------------------------------------------------------- harming it

    def start(self, member: str) -> None:
        """Start one replica again, without waiting."""
        self._replicas[member].start()

    def kill(self, member: str) -> None:
        """SIGKILL to one replica."""
        self._replicas[member].kill()

    def terminate(self, member: str) -> float:
        """SIGTERM to one replica; returns the seconds until it had ended."""
        return self._replicas[member].terminate()

    def pause(self, member: str) -> None:
        """SIGSTOP to one replica: its sockets stay open and nobody answers."""
        self._replicas[member].pause()

    def resume(self, member: str) -> None:
        """SIGCONT to one replica."""
        self._replicas[member].resume()

    # ------------------------------------------------------------------------------------------------- details

    def _peer_lines(self, member: str) -> tuple[str, ...]:
        """The `--peer` lines of one replica; none for a replica alone, nor where the configuration holds them."""
        if len(self.members) == 1 or (self._homes_by is HomesBy.CLUSTER_INIT and self._proxies is None):
            return ()
        return tuple(f"{other}={self._address(member, other)}" for other in self.members)

    def _address(self, member: str, other: str) -> str:
        if self._proxies is None or member == other:
            return self._replicas[other].raft_addr
        return self._proxies.address(member, other)

    def _cluster_init(self) -> None:
        out = self.directory / "homes"
        nodes = [f"--node={member}={replica.raft_addr}" for member, replica in self._replicas.items()]
        addresses = [f"--validator-addr={address}" for address in self._validator_addrs]
        run_cmkms("cluster", "init", *nodes, "--chain-id", self.chain_id, *addresses, "--out", str(out))
        for member, replica in self._replicas.items():
            replica.home = out / member
