"""What the tests of changes of generation share: a lost guard, the command of its operator, and how one sees the end.

Here and with real nodes alike; it knows of a cluster what the command line and `/status` tell of it.
"""

from __future__ import annotations

import shutil

from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import run_cmkms

__all__ = ["all_armed", "all_connected", "change", "lose"]


def lose(cluster: CmkmsCluster, member: str) -> None:
    """The disk with its guard is gone, and what told of it; identity and key are there again. It must not run."""
    replica = cluster.replica(member)
    assert not replica.alive
    shutil.rmtree(replica.guard_file.parent)
    shutil.rmtree(replica.home / "priv" / "born")


def change(cluster: CmkmsCluster, member: str, *arguments: str) -> str:
    """`cmkms cluster change` on one replica; what it says. Raises SignerProcessError."""
    home = str(cluster.replica(member).home)
    return run_cmkms("cluster", "change", "--home", home, "--yes", *arguments, cluster.chain_id)


def all_connected(cluster: CmkmsCluster) -> bool:
    """Whether every replica is up, and sees all others."""
    statuses = cluster.statuses().values()
    everyone = len(statuses) == len(cluster.members)
    return everyone and all(peer.connected for status in statuses for peer in status.peers)


def all_armed(cluster: CmkmsCluster) -> bool:
    """Whether every replica is up, with an armed guard."""
    states = [status.chains[0].guard_state for status in cluster.statuses().values()]
    return states == ["armed"] * len(cluster.members)
