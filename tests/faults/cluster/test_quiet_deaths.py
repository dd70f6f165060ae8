"""What replicas write when others of them are killed as they meet: lines of the log, few, and nothing past it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Final

import pytest

from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import CmkmsProcess
from tests.faults.cluster.replicas import READY, events

pytestmark = pytest.mark.proof

KILLS: Final = 12
MOST_LINES: Final = 6
"""From a replica's first line to where it has met both others."""
HANDSHAKES_SECONDS: Final = 0.03
"""Both take some milliseconds."""


@pytest.mark.timeout(300)
async def test_replicas_killed_amid_their_handshakes_leave_no_stack_behind(cluster: CmkmsCluster) -> None:
    rng = random.Random(1)
    for number in range(KILLS):
        victim = cluster.replica(cluster.members[number % len(cluster.members)])
        victim.kill()
        lines = len(events(victim)) + rng.randint(1, MOST_LINES)
        victim.start()
        await asyncio.to_thread(wait_lines, victim, lines)
        await asyncio.sleep(rng.uniform(0, HANDSHAKES_SECONDS))
    for member in set(cluster.members) - set(cluster.alive):
        cluster.start(member)
    await asyncio.to_thread(cluster.wait_ready, READY)
    for member in cluster.members:
        told = events(cluster.replica(member))
        assert [event for event in told if "exception" in event or "logger" in event] == []
        assert [event for event in told if event["level"] in {"error", "critical"}] == []
    with cluster.replica("node-0").log_file.open("a") as log:
        log.write("Traceback (most recent call last):\n")
    with pytest.raises(json.JSONDecodeError):
        events(cluster.replica("node-0"))


def wait_lines(replica: CmkmsProcess, count: int) -> None:
    """Wait until its log has so many lines, or for a moment that is longer than it takes to meet the others."""
    deadline = time.monotonic() + 3.0
    while len(replica.log_file.read_text().splitlines()) < count and time.monotonic() < deadline:
        time.sleep(0.001)
