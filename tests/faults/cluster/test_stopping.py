"""SIGTERM ends a replica within two seconds, with exit code 0, in every state that it can be in; its node is let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.wire import PingReply, PingRequest, SignVoteRequest, VoteReply
from tests.faults.cluster.replicas import CHAIN, READY, STOPPED, eventually, make_cluster, vote
from tests.unit.validators.peers import Listener, Peer, PeerGoneError


class Stage:
    """Three replicas, each with a node of its own, so that a test can choose where to ask."""

    def __init__(self, cluster: CmkmsCluster, listeners: dict[str, Listener]) -> None:
        self.cluster = cluster
        self.listeners = listeners
        self.height = 10

    async def stop(self, member: str) -> None:
        """SIGTERM: it ends in time, in good order."""
        seconds = await asyncio.to_thread(self.cluster.terminate, member)
        assert self.cluster.replica(member).exit_code == 0, self.cluster.logs()
        assert seconds < STOPPED

    async def ask(self, member: str, *, waits: bool) -> Peer:
        """Have the node of this replica ask for a new height; it waits for the answer, or gets it."""
        peer = await self._meet(member)
        self.height += 1
        await peer.ask(SignVoteRequest(CHAIN, vote(self.height)))
        if waits:
            assert not await peer.has_answer(0.1)
        else:
            assert isinstance(await peer.answer(), VoteReply)
        return peer

    async def _meet(self, member: str) -> Peer:
        while True:
            with suppress(PeerGoneError):  # connections of processes that ended lie in the backlog before it
                return await self.listeners[member].meet()

    async def holder(self) -> str:
        return await asyncio.to_thread(self.cluster.wait_holder, READY)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        members = ("node-0", "node-1", "node-2")
        listeners = {member: stack.enter_context(Listener()) for member in members}
        own = {member: str(listener.where) for member, listener in listeners.items()}
        cluster = stack.enter_context(make_cluster(tmp_path_factory.mktemp("cluster"), own=own))
        yield Stage(cluster, listeners)


@pytest.fixture
async def stage(made: Stage) -> AsyncIterator[Stage]:
    """All three run and can sign. What a test stopped is started again for the next one."""
    made.cluster.start_all()
    await asyncio.to_thread(made.cluster.wait_ready, READY)
    yield made
    for member in made.cluster.alive:
        made.cluster.resume(member)


async def test_the_lease_holder(stage: Stage) -> None:
    await stage.stop(await stage.holder())


async def test_a_follower(stage: Stage) -> None:
    holder = await stage.holder()
    await stage.stop(stage.cluster.others(holder)[0])


async def test_one_that_has_no_majority(stage: Stage) -> None:
    last, *others = stage.cluster.members
    for member in others:
        stage.cluster.kill(member)
    peer = await stage.ask(last, waits=True)
    stopping = asyncio.create_task(stage.stop(last))
    assert await peer.gone()
    await stopping


async def test_a_lease_holder_with_a_request_that_waits_for_the_other_guards(stage: Stage) -> None:
    holder = await stage.holder()
    for member in stage.cluster.others(holder):
        stage.cluster.pause(member)
    peer = await stage.ask(holder, waits=True)
    stopping = asyncio.create_task(stage.stop(holder))
    assert await peer.gone()
    await stopping


async def test_a_follower_with_a_request_that_waits_for_the_lease_holder(stage: Stage) -> None:
    holder = await stage.holder()
    follower = stage.cluster.others(holder)[0]
    stage.cluster.pause(holder)
    peer = await stage.ask(follower, waits=True)
    stopping = asyncio.create_task(stage.stop(follower))
    assert await peer.gone()
    await stopping


async def test_one_whose_peers_do_not_read_any_more(stage: Stage) -> None:
    first, *others = stage.cluster.members
    await stage.ask(first, waits=False)
    for member in others:
        stage.cluster.pause(member)
    await asyncio.sleep(1.5)
    await stage.stop(first)


async def test_the_last_one_of_all(stage: Stage) -> None:
    for member in stage.cluster.members:
        await stage.stop(member)


async def test_one_that_waits_for_its_birth(tmp_path: Path) -> None:
    with Listener() as listener, make_cluster(tmp_path, str(listener.where)) as cluster:
        cluster.start("node-0")
        peer = await listener.meet()
        # Answered before birth: the process is up, and a node that starts now does not end by itself.
        await peer.ask(PingRequest())
        assert isinstance(await peer.answer(), PingReply)
        await peer.ask(SignVoteRequest(CHAIN, vote(10)))
        assert not await peer.has_answer(0.2)
        await Stage(cluster, {}).stop("node-0")


async def test_two_that_wait_for_the_third_to_be_born(tmp_path: Path) -> None:
    with Listener() as listener, make_cluster(tmp_path, str(listener.where)) as cluster:
        for member in ("node-0", "node-1"):
            cluster.start(member)
        await eventually(
            lambda: any(peer.connected for status in cluster.statuses().values() for peer in status.peers),
            cluster.logs,
        )
        for member in ("node-0", "node-1"):
            await Stage(cluster, {}).stop(member)
