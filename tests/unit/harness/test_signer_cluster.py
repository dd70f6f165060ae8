"""A cluster tells what lies on its replicas' disks, and a guard that stands too low is noticed after a run."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cmkms.harness.chain import block_id
from cmkms.harness.guard_files import read_watermark
from cmkms.harness.node import SimulatedNode
from cmkms.harness.observation import Observation
from cmkms.harness.signbytes import vote_sign_bytes
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.values import HRS, MessageType, Time, Vote

CHAIN = "cluster-1"
READY_SECONDS = 60.0


def vote(height: int) -> Vote:
    return Vote(MessageType.PREVOTE, height, 0, block_id(height, 0), Time(1_700_000_000))


async def test_guards_are_read_from_outside_and_one_put_back_is_noticed(tmp_path: Path) -> None:
    seen: list[Observation] = []
    async with SimulatedNode("tcp://127.0.0.1:0", CHAIN, witness=seen.append) as node:
        with CmkmsCluster(tmp_path, CHAIN, [node.address], replicas=1) as cluster:
            assert cluster.guard_files() == {"node-0": None}
            node.knows(await asyncio.to_thread(cluster.initialise))
            cluster.start_all()
            await asyncio.to_thread(cluster.wait_ready, READY_SECONDS)
            await node.sign_vote(vote(5))
            before = cluster.guard_files()["node-0"]
            await node.sign_vote(vote(6))
        guard = cluster.replica("node-0").guard_file
        mark = read_watermark(guard.read_bytes())
        assert mark is not None
        assert (mark.hrs, mark.chain_id, mark.member, mark.armed) == (HRS(6, 0, 2), CHAIN, "node-0", True)
        assert mark.sign_bytes == vote_sign_bytes(CHAIN, vote(6))
        assert cluster.check_guards(seen) == []

        assert before is not None
        guard.write_bytes(before)
        assert "0 of 1 guards stand there or above" in cluster.check_guards(seen)[0]
