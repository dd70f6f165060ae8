"""A bug that nobody waits for, in a running replica: it is told, and the process ends; the next one signs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from cmkms.harness.chain import block_id
from cmkms.harness.node import SimulatedNode
from cmkms.harness.values import MessageType, Time, Vote
from tests.faults.node.process import Replica

PLANTED: Final = """
import asyncio, json
from cmkms import node
from cmkms.peers.frames import with_length

async def remind(self):
    asyncio.get_running_loop().call_later(0.2, {call})
    await asyncio.Future()

node._Replica._remind = remind
"""
"""Python runs a `sitecustomize` of its path first."""


def plant(replica: Replica, folder: Path, call: str) -> None:
    """The event loop of this replica's next process calls something that fails."""
    (folder / "sitecustomize.py").write_text(PLANTED.format(call=call))
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    replica.environment["PYTHONPATH"] = path


@pytest.mark.parametrize("level", ["debug", "error"])
async def test_an_error_of_ours_in_a_callback_ends_the_process(
    replica: Replica, node: SimulatedNode, tmp_path: Path, level: str
) -> None:
    replica.log_level = level
    replica.configure()
    plant(replica, tmp_path, "with_length, None")
    replica.spawn(never_signed=True)
    assert await replica.ended() == 1
    [line] = replica.events("a bug ends this process; please report it")
    assert (line["level"], "TypeError" in line["exception"]) == ("critical", True)
    assert [said for said in replica.log.splitlines() if not said.startswith("{")] == []
    replica.environment.clear()
    replica.spawn()
    vote = Vote(MessageType.PREVOTE, 10, 0, block_id(10, 0), Time(1_700_000_000), bytes(20))
    assert (await node.sign_vote(vote)).reply.vote.signature


async def test_an_error_of_a_library_in_a_callback_is_told_and_signing_goes_on(
    replica: Replica, node: SimulatedNode, tmp_path: Path
) -> None:
    plant(replica, tmp_path, "json.loads, ''")
    await replica.start(never_signed=True)
    await replica.logged("an error in a library")
    vote = Vote(MessageType.PREVOTE, 10, 0, block_id(10, 0), Time(1_700_000_000), bytes(20))
    assert (await node.sign_vote(vote)).reply.vote.signature
    assert [said for said in replica.log.splitlines() if not said.startswith("{")] == []
