"""A replica in which a bug was found ends at once: what may be wrong finishes nothing, hands nothing over."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from cmkms.config import HostPort, Peer
from cmkms.membership import Membership
from cmkms.node import _Replica
from cmkms.served import open_chains
from cmkms.signing import Waiter
from tests.patience import within
from tests.ports import free_port
from tests.unit.replica.homes import born_home
from tests.unit.replica.lone import IDS
from tests.unit.signing.messages import CHAIN, prevote

STARTS_WITHIN = within(10.0)


async def running(folder: Path) -> tuple[_Replica, Membership, asyncio.Task[int]]:
    """A whole replica whose peers are not there, with a node that waits for a signature."""
    addresses = [HostPort("127.0.0.1", free_port()) for _ in IDS]
    peers = tuple(Peer(name, address) for name, address in zip(IDS, addresses, strict=True))
    config = replace(born_home(folder).config, raft_addr=addresses[0], peers=peers)
    log = structlog.get_logger().bind()
    chains, refused = open_chains(config, frozenset(), log)
    replica = _Replica(config, chains, refused, log)
    serving = asyncio.create_task(replica.serve())
    async with asyncio.timeout(STARTS_WITHIN):
        await replica._http_tried.wait()
    member = replica._membership
    assert member is not None
    waiter = Waiter(prevote(), lambda _answer: pytest.fail("nobody has signed"))
    member.replica.chains[CHAIN].dispatch.submit(waiter)
    return replica, member, serving


def has_begun_to_leave(member: Membership) -> bool:
    return member.replica._placement._resigned or member.replica.chains[CHAIN].dispatch._closed


async def test_after_a_bug_nothing_is_finished(tmp_path: Path) -> None:
    replica, member, serving = await running(tmp_path)
    replica._fatal(RuntimeError("found by this test"))
    assert await serving == 1
    assert not has_begun_to_leave(member)


async def test_told_to_stop_it_leaves_in_good_order(tmp_path: Path) -> None:
    """So that the test above sees something that would be there."""
    replica, member, serving = await running(tmp_path)
    replica._end()
    assert await serving == 0
    assert has_begun_to_leave(member)
