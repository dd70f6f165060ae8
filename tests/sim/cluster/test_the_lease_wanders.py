"""A lease that two replicas push to each other, each by what the other said before a third one went.

Found with real processes that signed for two chains: as nobody reached both majorities any more, the lease went to and
fro eight times within a tenth of a second, and the chain that had its majority waited.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.cluster.cluster import Cluster

HELD = "this replica holds the lease"


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("goes", ["in good order", "by kill -9", "with its machine"])
def test_where_no_replica_is_better_placed_it_stays(tmp_path: Path, seed: int, goes: str) -> None:
    """One has lost its guard, another goes: neither of those left reaches two guards."""
    cluster = Cluster(tmp_path, seed=seed).up()
    holder = cluster.holder
    assert holder
    without, gone = (name for name in cluster.hosts if name != holder)
    guard = cluster.process(without).chain.guard
    assert guard is not None
    guard.blow_fuse("a disk that failed")
    cluster.run(0.5 + seed * 0.013)
    assert cluster.holder == holder
    before = taken(cluster)
    if goes == "in good order":
        cluster.leave(gone)
    else:
        cluster.kill(gone, machine=goes == "with its machine")
    cluster.run(2.0)
    assert taken(cluster) - before <= 2


def taken(cluster: Cluster) -> int:
    """How often the lease was taken."""
    return sum(line == HELD for _, _, line in cluster.lines)
