"""A call that is given up amid its handshake, at any moment: its socket is closed, and its number free for others."""

from __future__ import annotations

import asyncio

import pytest

from cmkms.peers.dialling import call
from cmkms.peers.links import PeerLink
from cmkms.peers.network import PeerNetwork
from cmkms.peers.session import Session
from cmkms.peers.tls import Credentials
from tests.unit.peers.replica import Replica, cluster, eventually, open_sockets, running

TURNS = range(0, 40, 3)
"""Turns of the event loop until it is given up; a whole handshake takes some twenty."""
CALLS = 5


def caller(one: Replica, other: Replica) -> tuple[PeerNetwork, PeerLink]:
    network = PeerNetwork(one.me, one.identity, one.peers, one.address, one.boot, one, one, one.bugs.append)
    return network, PeerLink(next(peer for peer in one.peers if peer.id == other.me), dials=True)


@pytest.mark.parametrize("turns", TURNS)
async def test_its_socket_is_closed(turns: int) -> None:
    one, two = cluster()
    network, link = caller(one, two)
    credentials = Credentials(one.identity)

    async def calls() -> Session:
        return await call(link, credentials, lambda: Session(network, "two", dialled=True))

    async with running(two):
        before = open_sockets()
        given_up = [asyncio.create_task(calls()) for _ in range(CALLS)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        # Whoever comes next is given the numbers that have become free.
        for _ in range(CALLS):
            (await calls()).end("seen")
        for session in await asyncio.gather(*given_up, return_exceptions=True):
            if isinstance(session, Session):
                session.end("done before it was given up")
        await eventually(lambda: open_sockets() <= before)
    assert one.bugs == []
