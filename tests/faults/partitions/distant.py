"""Replicas of one cluster on hosts of their own: real addresses, TLS with pins, homes made by `cmkms cluster init`.

As the harness' cluster, but each replica lives in the network namespace of its host, where its status is asked for,
too: what is cut between hosts does not blind the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cmkms.harness.signer_cluster import CmkmsCluster, HomesBy
from cmkms.harness.signer_process import CmkmsProcess
from tests.faults.partitions.namespaces import Host

__all__ = ["DistantCluster", "DistantReplica"]

PEER_PORT: Final = 9430
HTTP_ADDR: Final = "127.0.0.1:8080"
"""The defaults of the product: each host has its own loopback."""


class DistantReplica(CmkmsProcess):
    """One replica on a host of its own."""

    def __init__(
        self, directory: Path, chain_id: str, validator_addrs: Sequence[str], *, replica_id: str, host: Host
    ) -> None:
        super().__init__(directory, chain_id, validator_addrs, replica_id=replica_id)
        self.host = host
        self.raft_addr = f"{host.addresses[0]}:{PEER_PORT}"
        self.http_addr = HTTP_ADDR

    def start(self, *, never_signed: bool | None = None) -> None:
        """See `CmkmsProcess.start`."""
        with self.host.inside():
            super().start(never_signed=never_signed)

    def _get(self, path: str) -> bytes | None:
        with self.host.inside():
            return super()._get(path)


class DistantCluster(CmkmsCluster):
    """Replicas `node-0`, `node-1`, ... , one for each of these hosts."""

    def __init__(
        self, directory: Path, chain_id: str, validator_addrs: Sequence[str], hosts: Mapping[str, Host]
    ) -> None:
        super().__init__(directory, chain_id, validator_addrs, replicas=len(hosts), homes_by=HomesBy.CLUSTER_INIT)
        self._replicas = {
            member: DistantReplica(directory / member, chain_id, validator_addrs, replica_id=member, host=hosts[member])
            for member in self.members
        }
