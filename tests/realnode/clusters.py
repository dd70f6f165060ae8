"""Three replicas of cmkms as the one signer of a real node, or of several; started, killed and judged from outside.

The replicas themselves are `cmkms.harness`'; here they are given the form that the chains of these tests ask for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from cmkms.harness.signer_cluster import CmkmsCluster
from tests.realnode.binaries import Program
from tests.realnode.chain import Chain
from tests.realnode.node import Node, Transport
from tests.realnode.signers import Watermark

__all__ = ["ClusterChain", "ClusterSigner", "MakeClusterChain"]

# Seconds from three `cmkms start` to a cluster that can sign: two alone; the rest is for a machine with other work.
_READY_SECONDS = 60.0


class ClusterSigner:
    """Three replicas that all dial every one of the validator's nodes. What is done to it is done to all three."""

    def __init__(
        self,
        directory: Path,
        chain_id: str,
        validator_addrs: Sequence[str],
        key_file: Path,
        *,
        peer_proxies: bool = False,
    ) -> None:
        self.cluster = CmkmsCluster(directory / "replicas", chain_id, validator_addrs, peer_proxies=peer_proxies)
        self.cluster.initialise(key_file)

    @property
    def alive(self) -> bool:
        return bool(self.cluster.alive)

    @property
    def waits_for_its_node(self) -> bool:
        return True

    def start(self) -> None:
        """Start every replica that does not run."""
        self.cluster.start_all()

    def wait_until_ready(self) -> None:
        self.cluster.wait_ready(_READY_SECONDS)

    def kill_9(self) -> None:
        for member in self.cluster.alive:
            self.cluster.kill(member)

    def pause(self) -> None:
        for member in self.cluster.alive:
            self.cluster.pause(member)

    def resume(self) -> None:
        for member in self.cluster.alive:
            self.cluster.resume(member)

    def watermark(self) -> Watermark:
        """The highest that a majority holds on disk: what was signed lies at or below it."""
        return sorted(self._watermark(member) for member in self.cluster.members)[len(self.cluster.members) // 2]

    def logs(self) -> str:
        return self.cluster.logs()

    def close(self) -> None:
        """End every process and the network between them."""
        self.resume()
        self.cluster.close()

    def _watermark(self, member: str) -> Watermark:
        replica = self.cluster.replica(member)
        (guard,) = json.loads(replica.command("guard", "show", "--home", str(replica.home), "-o", "json"))
        return Watermark(guard["height"], guard["round"], guard["step"])


class ClusterChain(Chain):
    """One node and three replicas on one machine."""

    def __init__(self, node: Node, signer: ClusterSigner) -> None:
        super().__init__(node, signer)
        self.cluster = signer.cluster

    def server(self) -> str:
        """The replica that holds the node's connection. A node without one takes the next within a second."""
        for _ in range(100):
            if server := self.cluster.connected_to(self.node.laddr):
                return server
        raise AssertionError(f"no replica says that it serves {self.node.laddr}\n{self.logs()}")

    def holder(self) -> str:
        """The replica that holds the lease."""
        return self.cluster.wait_holder(_READY_SECONDS)

    def close(self) -> None:
        super().close()
        self.cluster.close()


class MakeClusterChain(Protocol):
    """What the fixture `make_cluster_chain` gives a test."""

    def __call__(
        self,
        program: Program,
        transport: Transport,
        *,
        peer_proxies: bool = False,
        consensus: Mapping[str, str] | None = None,
    ) -> ClusterChain: ...
