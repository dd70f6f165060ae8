"""What befalls the network in one cycle: who is cut off from whom, in which direction, and for how long at a time.

Each fault says whether a majority can still work for the nodes, and how long it may then take until it does. A fault
only harms; that everything is whole again afterwards is the campaign's part.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from cmkms.harness.node import SimulatedNode
from tests.faults.partitions.distant import DistantCluster
from tests.faults.partitions.namespaces import Host
from tests.faults.partitions.wire import FOUL, Network

__all__ = ["FAULTS", "RECOVERY_SECONDS", "Fault", "Stage"]

LEASE_SECONDS: Final = 0.4
"""`default_ttl`; every other time of the cluster follows from it."""
SILENT_LINK_SECONDS: Final = 1.25
"""A link on which nothing comes is given up after a second, looked at four times a second."""
DIAL_SECONDS: Final = 1.0 + 0.15
"""Then it is dialled anew: one attempt, and the pause before it."""
TAKEOVER_SECONDS: Final = 2 * 1.75 * LEASE_SECONDS + 0.1
"""Silence until the last follower stands, once more if the votes were split, and the round trips."""
SENT_ON_SECONDS: Final = 0.3 + 0.1 + 0.4
"""A replica that is cut off hangs up on its node, which asks the next one; the longest pause before a redial."""
NODE_READ_SECONDS: Final = 5.0
"""A node's own patience with the signer that it is connected to, as with one that does not end its handshake."""

_FIVE: Final = 5
_ARRANGED_SECONDS: Final = 5.0
_REDIALLED_SECONDS: Final = 0.2
"""A replica that was hung up on dials again within 0.4 s; others wait in the backlog."""

AMONG_REPLICAS_SECONDS: Final = max(TAKEOVER_SECONDS, SILENT_LINK_SECONDS) + SENT_ON_SECONDS
"""Until a signature comes when replicas are cut off from each other, and nodes reach all of them. An election, and a
link that has to be noticed as dead before a way round it is taken, run side by side."""
RECOVERY_SECONDS: Final = DIAL_SECONDS + TAKEOVER_SECONDS + SENT_ON_SECONDS + 2 * NODE_READ_SECONDS
"""Until a signature comes after everything has been mended: the nodes may be waiting for an answer that was lost, and
then for a handshake on a connection of their backlog that died."""


@dataclass(slots=True)
class Stage:
    """What a fault plays on: replicas, the network between their hosts, and the nodes of the validator."""

    cluster: DistantCluster
    network: Network
    hosts: dict[str, Host]
    nodes: tuple[SimulatedNode, ...]
    rng: random.Random

    def address(self, member: str) -> str:
        """The address of a replica's host."""
        return self.hosts[member].addresses[0]

    def addresses(self) -> tuple[str, ...]:
        """Those of all hosts and nodes."""
        return (*map(self.address, self.cluster.members), *self.node_hosts())

    def node_hosts(self) -> tuple[str, ...]:
        """The addresses of the nodes' hosts."""
        return tuple(address.removeprefix("tcp://").partition(":")[0] for address in self._node_addresses())

    def peers(self, member: str) -> tuple[str, ...]:
        """The addresses of the other replicas."""
        return tuple(map(self.address, self.cluster.others(member)))

    def others(self, member: str) -> tuple[str, ...]:
        """The addresses of everybody else."""
        return tuple(address for address in self.addresses() if address != self.address(member))

    async def holder(self) -> str:
        """Who holds the lease; anybody, where nobody does for long."""
        return await asyncio.to_thread(self.cluster.holder) or self.rng.choice(self.cluster.members)

    async def server(self) -> str:
        """A replica that one of the nodes is connected to; anybody, where that is none."""
        node = self.rng.choice(self._node_addresses())
        return await asyncio.to_thread(self.cluster.connected_to, node) or self.rng.choice(self.cluster.members)

    async def holder_apart(self) -> str:
        """Who holds the lease, once the first node is connected to it and the others are not.

        Where that does not come about in time, the fault falls as it falls.
        """
        ends = time.monotonic() + _ARRANGED_SECONDS
        holder = await self.holder()
        while time.monotonic() < ends:
            holder = await self.holder()
            serving = [
                await asyncio.to_thread(self.cluster.connected_to, address) for address in self._node_addresses()
            ]
            wrong = [
                node
                for number, (node, server) in enumerate(zip(self.nodes, serving, strict=True))
                if (server == holder) is not (number == 0)
            ]
            if not wrong:
                break
            for node in wrong:
                await node.endpoint.hang_up()
            await asyncio.sleep(_REDIALLED_SECONDS)
        return holder

    def _node_addresses(self) -> tuple[str, ...]:
        return tuple(node.address for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of harm. `hosts` says how many of so many replicas the nodes lose with it: each costs them a time-out.

    None promises nothing while it lasts.
    """

    name: str
    harm: Callable[[Stage, float], Awaitable[None]]
    hosts: Callable[[int], int | None]

    def budget(self, replicas: int) -> float | None:
        """Seconds within which a signature has to come, on a machine that has nothing else to do."""
        hosts = self.hosts(replicas)
        return None if hosts is None else AMONG_REPLICAS_SECONDS + NODE_READ_SECONDS * hosts


def _nothing_promised(_replicas: int) -> int | None:
    return None


def _no_host(_replicas: int) -> int:
    return 0


def _one_host(_replicas: int) -> int:
    return 1


def _spare(replicas: int) -> int:
    """As many as can be missed."""
    return (replicas - 1) // 2


def _none_of_five(replicas: int) -> int | None:
    """Of five in a ring, each reaches two others, and so a majority; of three in one, nobody reaches anybody."""
    return 0 if replicas >= _FIVE else None


async def _leader(stage: Stage, seconds: float) -> None:
    """The lease holder's host is off the network."""
    leader = await stage.holder()
    stage.network.cut_both([stage.address(leader)], stage.others(leader))
    await asyncio.sleep(seconds)


async def _leader_among_replicas(stage: Stage, seconds: float) -> None:
    """The lease holder reaches the nodes, but no replica. One node is connected to it, the other one is not."""
    leader = await stage.holder_apart()
    stage.network.cut_both([stage.address(leader)], stage.peers(leader))
    await asyncio.sleep(seconds)


async def _leader_deaf(stage: Stage, seconds: float) -> None:
    """The lease holder is heard by the other replicas, and hears none of them."""
    leader = await stage.holder()
    stage.network.cut(stage.peers(leader), [stage.address(leader)])
    await asyncio.sleep(seconds)


async def _leader_mute(stage: Stage, seconds: float) -> None:
    """The lease holder hears the other replicas, and is not heard."""
    leader = await stage.holder()
    stage.network.cut([stage.address(leader)], stage.peers(leader))
    await asyncio.sleep(seconds)


async def _minority(stage: Stage, seconds: float) -> None:
    """As many hosts as can be missed are off the network, none of them the lease holder's."""
    followers = list(stage.cluster.others(await stage.holder()))
    for member in stage.rng.sample(followers, _spare(len(stage.cluster.members))):
        stage.network.cut_both([stage.address(member)], stage.others(member))
    await asyncio.sleep(seconds)


async def _ring(stage: Stage, seconds: float) -> None:
    """Each replica does not hear one neighbour. With three no link works; with five each has a majority of its own."""
    addresses = [stage.address(member) for member in stage.cluster.members]
    for address, neighbour in zip(addresses, [*addresses[1:], addresses[0]], strict=True):
        stage.network.cut([address], [neighbour])
    await asyncio.sleep(seconds)


async def _partial(stage: Stage, seconds: float) -> None:
    """The lease holder and a replica with a node do not reach each other; both reach the others."""
    leader, server = await stage.holder(), await stage.server()
    if leader == server:
        server = stage.rng.choice(stage.cluster.others(leader))
    stage.network.cut_both([stage.address(leader)], [stage.address(server)])
    await asyncio.sleep(seconds)


async def _flapping(stage: Stage, seconds: float) -> None:
    """A replica's host, mostly the lease holder's, goes off the network and comes back every 0.3 to 1 s."""
    member = await stage.holder() if stage.rng.random() < 2 / 3 else stage.rng.choice(stage.cluster.members)
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        stage.network.cut_both([stage.address(member)], stage.others(member))
        await asyncio.sleep(min(left, stage.rng.uniform(0.3, 1.0)))
        stage.network.mend()
        await asyncio.sleep(min(max(0.0, ends - time.monotonic()), stage.rng.uniform(0.3, 1.0)))


async def _weather(stage: Stage, seconds: float) -> None:
    """Every packet comes late, some twice, some not at all, and many out of order."""
    stage.network.weather = FOUL
    await asyncio.sleep(seconds)


async def _server(stage: Stage, seconds: float) -> None:
    """A replica's link loses everything while it holds a node's connection."""
    server = await stage.server()
    stage.network.cut_both([stage.address(server)], stage.others(server))
    await asyncio.sleep(seconds)


async def _unplugged(stage: Stage, seconds: float) -> None:
    """The plug of the lease holder's host is pulled: its own kernel knows, and says so."""
    leader = stage.hosts[await stage.holder()]
    await asyncio.to_thread(leader.plug, up=False)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(leader.plug, up=True)


async def _all(stage: Stage, seconds: float) -> None:
    """Nobody reaches anybody."""
    stage.network.cut_both(stage.addresses(), stage.addresses())
    await asyncio.sleep(seconds)


async def _no_majority(stage: Stage, seconds: float) -> None:
    """No replica reaches another one; all reach the nodes."""
    replicas = [stage.address(member) for member in stage.cluster.members]
    stage.network.cut_both(replicas, replicas)
    await asyncio.sleep(seconds)


FAULTS: Final = {
    fault.name: fault
    for fault in (
        Fault("leader", _leader, _one_host),
        Fault("leader-among-replicas", _leader_among_replicas, _no_host),
        Fault("leader-deaf", _leader_deaf, _no_host),
        Fault("leader-mute", _leader_mute, _no_host),
        Fault("minority", _minority, _spare),
        Fault("ring", _ring, _none_of_five),
        Fault("partial", _partial, _no_host),
        Fault("flapping", _flapping, _one_host),
        Fault("weather", _weather, _nothing_promised),
        Fault("server", _server, _one_host),
        Fault("unplugged", _unplugged, _one_host),
        Fault("all", _all, _nothing_promised),
        Fault("no-majority", _no_majority, _nothing_promised),
    )
}
