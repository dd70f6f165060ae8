"""How replicas are hit: at a named place, or at a random moment; the holder, a follower, two of three, all.

Each strike brings about what leads a replica to its place (the lease, a node's connection, an election, a start), waits
for the hit, and has whoever died started again while the next one is on its way. It judges nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from cmkms.harness.node import SimulatedNode
from tests.faults.kills.load import Load
from tests.faults.kills.places import PLACES, Action, Arming, Place, Way, places_of
from tests.faults.kills.replicas import KilledCluster

__all__ = ["ORDINARY", "Strikes", "serve_elsewhere"]

ORDINARY: Final = places_of(*(way for way in Way if way not in {Way.BORN, Way.CHANGED}))

_HIT_SECONDS: Final = 4.0
"""How long an armed place is waited for: signatures come every few milliseconds, what is kept every second, unless the
machine has other work."""
_HOLDER_SECONDS: Final = 5.0
_AFTER_SECONDS: Final = 0.3
"""A replica that died is started again within so much: by then the others may have elected, or not."""
_OFFSET_SECONDS: Final = 0.5
_STOPPED_SECONDS: Final = (0.05, 1.2)
_STOPPED: Final = 0.15
"""How often a replica stops at its place instead of dying there."""
_EVERYWHERE: Final = 0.2
"""How often a place is armed in all: whoever comes there next dies of the same."""
_LATER: Final = (1, 1, 1, 2, 3, 7)
_SWITCHES: Final = 10
_SWITCH_SECONDS: Final = 0.03
"""A node takes the next replica of its backlog when it asks again."""

_REPEATED: Final = {Way.HOLDER, Way.FOLLOWER, Way.CONNECTED, Way.FORWARDER, Way.FORWARDED_TO}
"""What is passed with every signature."""


class Strikes:
    """Strikes at the replicas of one cluster. `hits` counts kills at places, `harm` all that is done."""

    def __init__(self, cluster: KilledCluster, nodes: Sequence[SimulatedNode], load: Load, rng: random.Random) -> None:
        self._cluster = cluster
        self._nodes = nodes
        self._load = load
        self._rng = rng
        self._errands: set[asyncio.Task[None]] = set()
        self.hits: Counter[Place] = Counter()
        self.harm: Counter[str] = Counter()
        self.failures: list[str] = []
        """What no strike explains."""

    @property
    def kills(self) -> int:
        """How often a process was killed."""
        return self.harm["killed from outside"] + self.harm["killed at a place"]

    # ------------------------------------------------------------------------------------------------------- strikes

    async def anywhere(self) -> None:
        """Kill the holder, a follower, two or all, at random moments."""
        holder = await self._holder()
        everybody = list(self._cluster.members)
        self._rng.shuffle(everybody)
        kinds = {
            "holder": [holder or everybody[0]],
            "follower": [member for member in everybody if member != holder][:1],
            "majority": everybody[:2],
            "all": everybody,
        }
        kind, victims = self._rng.choice(list(kinds.items()))
        self.harm[f"random kills: {kind}"] += 1
        await asyncio.sleep(self._rng.uniform(0.0, _OFFSET_SECONDS))
        for member in victims:
            await self._kill(member)
            if self._rng.random() < 0.5:
                await asyncio.sleep(self._rng.uniform(0.0, 0.05))

    async def at(self, place: Place) -> bool:
        """Have a replica hit itself at this place; False if none came there in time."""
        way = PLACES[place]
        holder = await self._holder()
        if holder is None:
            return False
        if way in {Way.FORWARDER, Way.FORWARDED_TO} and not await serve_elsewhere(self._cluster, self._nodes, holder):
            return False
        victims = await self._victims(way, holder)
        action = Action.STOP if self._rng.random() < _STOPPED else Action.KILL
        arming = Arming(self._rng.choice(_LATER) if way in _REPEATED else 1, action)
        struck = self.harm["killed at a place"] + self.harm["stopped at a place"]
        for member in victims:
            self._cluster.replica(member).arm(place, arming)
        await self._lead_there(way, holder, victims)
        hit = await self._load.until(
            lambda: self._take_hits() or self.harm["killed at a place"] + self.harm["stopped at a place"] > struck,
            _HIT_SECONDS,
        )
        for member in victims:
            self._cluster.replica(member).control.disarm(place)
        self._take_hits()
        return hit

    async def settle(self) -> None:
        """Everything runs again."""
        self._cluster.disarm()
        while self._errands:
            await asyncio.wait(self._errands)
        self._take_hits()
        while self._errands:
            await asyncio.wait(self._errands)
        for member in self._cluster.members:
            self._cluster.resume(member)
            self._start(member)

    # ------------------------------------------------------------------------------------------------------- on the way

    async def _victims(self, way: Way, holder: str) -> list[str]:
        if way in _REPEATED and self._rng.random() < _EVERYWHERE:
            return list(self._cluster.members)
        match way:
            case Way.HOLDER | Way.FORWARDED_TO | Way.STOPPED:
                return [holder]
            case Way.FOLLOWER:
                return [self._rng.choice(self._cluster.others(holder))]
            case Way.CONNECTED:
                address = self._rng.choice(self._nodes).address
                return [await asyncio.to_thread(self._cluster.connected_to, address) or holder]
            case Way.FORWARDER | Way.VOTER | Way.ELECTED | Way.HEIR:
                return list(self._cluster.others(holder))
            case Way.KEEPER | Way.STARTED | Way.BORN | Way.CHANGED:
                return [self._rng.choice(self._cluster.members)]

    async def _lead_there(self, way: Way, holder: str, victims: list[str]) -> None:
        match way:
            case Way.VOTER | Way.ELECTED:
                await self._kill(holder)
            case Way.STARTED:
                for member in victims:
                    await self._kill(member)
            case Way.STOPPED | Way.HEIR:
                self.harm["SIGTERM"] += 1
                self._errand(self._stop(holder))
            case _:
                pass

    async def _holder(self) -> str | None:
        deadline = asyncio.get_running_loop().time() + _HOLDER_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            holder = await asyncio.to_thread(self._cluster.holder)
            if holder is not None and self._cluster.replica(holder).alive:
                return holder
            self._take_hits()
            await asyncio.sleep(0.01)
        return None

    # ------------------------------------------------------------------------------------------------------- deaths

    async def _kill(self, member: str) -> None:
        if self._cluster.replica(member).alive:
            self.harm["killed from outside"] += 1
            await asyncio.to_thread(self._cluster.kill, member)
        self._errand(self._revive(member))

    async def _stop(self, member: str) -> None:
        """SIGTERM; what ends is started again."""
        await asyncio.to_thread(self._cluster.terminate, member)
        await self._revive(member)

    async def _revive(self, member: str) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, _AFTER_SECONDS))
        self._take_hits()
        self._start(member)

    def _start(self, member: str) -> None:
        replica = self._cluster.replica(member)
        if replica.alive:
            return
        if replica.ended_by_itself:
            self.failures.append(f"{member} ended by itself, with {replica.exit_code}\n{replica.log_tail()}")
        replica.start()

    async def _resume(self, member: str) -> None:
        await asyncio.sleep(self._rng.uniform(*_STOPPED_SECONDS))
        self._cluster.resume(member)

    def _take_hits(self) -> bool:
        """Count what hit itself, and see that it lives again. Never true: only a condition's first half."""
        for replica in self._cluster.replicas:
            for hit in replica.new_hits():
                if hit.action is Action.KILL:
                    self.hits[hit.place] += 1
                    self.harm["killed at a place"] += 1
                    self._errand(self._revive_dead(replica.id))
                else:
                    self.harm["stopped at a place"] += 1
                    self._errand(self._resume(replica.id))
        return False

    async def _revive_dead(self, member: str) -> None:
        """Its last words may be read before it is dead."""
        replica = self._cluster.replica(member)
        await self._load.until(lambda: not replica.alive, _HIT_SECONDS)
        await self._revive(member)

    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(f"the campaign itself failed: {error!r}")


async def serve_elsewhere(cluster: KilledCluster, nodes: Sequence[SimulatedNode], holder: str) -> bool:
    """Have one of these nodes served by another replica than the lease holder; False if it does not come about."""
    for turn in range(_SWITCHES):
        node = nodes[turn % len(nodes)]
        server = await asyncio.to_thread(cluster.connected_to, node.address)
        if server not in {None, holder}:
            return True
        if server is not None:
            await node.endpoint.hang_up()
        await asyncio.sleep(_SWITCH_SECONDS)
    return False
