"""The faults whose cost docs/LIVENESS.md tells: what is done to whom, for how long, and how it is undone.

A case only harms and undoes; it measures nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cmkms.harness.node import SimulatedNode
from tests.faults.partitions.altered import FAILING, Dials
from tests.faults.partitions.faults import Stage

__all__ = ["CASES", "Case", "Struck"]

_SHORT: Final = 3.0
_PAST_A_READ: Final = 9.0
"""Past a node's own patience of 5 s, and what comes after it."""
_AN_HOUR: Final = 3600.0
_SMALL_DISK_BYTES: Final = 4 << 20


class Struck(Protocol):
    """What a case plays on."""

    @property
    def stage(self) -> Stage: ...
    @property
    def node(self) -> SimulatedNode: ...
    @property
    def dials(self) -> dict[str, Dials]: ...
    def begin(self) -> None: ...
    async def end(self) -> None: ...


Act = Callable[[Struck, str], Awaitable[None]]


async def _nothing(drill: Struck, victim: str) -> None:
    """What is mended by itself, or not at all."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault of `seconds`. `holder`: it meets the lease holder; `at_node`: the replica that the node speaks with.

    After a `final` one the cluster is of no further use. `disk_bytes`: homes lie on disks of this size.
    """

    name: str
    harm: Act
    undo: Act = _nothing
    holder: bool = True
    at_node: bool = False
    seconds: float = _SHORT
    final: bool = False
    disk_bytes: int = 0


async def _kill(drill: Struck, victim: str) -> None:
    await asyncio.to_thread(drill.stage.cluster.kill, victim)


async def _terminate(drill: Struck, victim: str) -> None:
    await asyncio.to_thread(drill.stage.cluster.terminate, victim)


async def _start(drill: Struck, victim: str) -> None:
    await asyncio.to_thread(drill.stage.cluster.start_all)


async def _freeze(drill: Struck, victim: str) -> None:
    drill.stage.cluster.pause(victim)


async def _thaw(drill: Struck, victim: str) -> None:
    drill.stage.cluster.resume(victim)


async def _mend(drill: Struck, victim: str) -> None:
    drill.stage.network.mend()


async def _cut_off(drill: Struck, victim: str) -> None:
    stage = drill.stage
    stage.network.cut_both([stage.address(victim)], stage.others(victim))


async def _cut_from_replicas(drill: Struck, victim: str) -> None:
    stage = drill.stage
    stage.network.cut_both([stage.address(victim)], stage.peers(victim))


async def _cut_from_holder(drill: Struck, victim: str) -> None:
    stage = drill.stage
    stage.network.cut_both([stage.address(victim)], [stage.address(await stage.holder())])


async def _cut_from_node(drill: Struck, victim: str) -> None:
    stage = drill.stage
    stage.network.cut_both([stage.address(victim)], stage.node_hosts())


async def _deaf(drill: Struck, victim: str) -> None:
    stage = drill.stage
    stage.network.cut(stage.peers(victim), [stage.address(victim)])


async def _mute(drill: Struck, victim: str) -> None:
    stage = drill.stage
    stage.network.cut([stage.address(victim)], stage.peers(victim))


async def _kill_two(drill: Struck, victim: str) -> None:
    for member in (victim, drill.stage.cluster.others(victim)[0]):
        await asyncio.to_thread(drill.stage.cluster.kill, member)


async def _kill_all(drill: Struck, victim: str) -> None:
    for member in drill.stage.cluster.members:
        await asyncio.to_thread(drill.stage.cluster.kill, member)


async def _cut_replicas(drill: Struck, victim: str) -> None:
    replicas = [drill.stage.address(member) for member in drill.stage.cluster.members]
    drill.stage.network.cut_both(replicas, replicas)


def _slow_disk(seconds: float) -> Act:
    async def turn(drill: Struck, victim: str) -> None:
        drill.dials[victim].turn(sync_seconds=seconds)

    return turn


def _clock(seconds: float) -> Act:
    async def turn(drill: Struck, victim: str) -> None:
        drill.dials[victim].turn(clock_seconds=seconds)

    return turn


def _clocks(seconds: float) -> Act:
    async def turn(drill: Struck, victim: str) -> None:
        for dials in drill.dials.values():
            dials.turn(clock_seconds=seconds)

    return turn


async def _right_dials(drill: Struck, victim: str) -> None:
    for dials in drill.dials.values():
        dials.turn()


async def _fill_disk(drill: Struck, victim: str) -> None:
    await asyncio.to_thread(_fill, Path(drill.stage.cluster.replica(victim).home))


def _fill(folder: Path) -> None:
    """Write until nothing more fits, to the last byte."""
    with (folder / "filler").open("wb", buffering=0) as filler:
        for size in (65536, 4096, 1):
            try:
                while filler.write(bytes(size)):
                    pass
            except OSError:
                continue


async def _make_room(drill: Struck, victim: str) -> None:
    (Path(drill.stage.cluster.replica(victim).home) / "filler").unlink()


async def _stop_node(drill: Struck, victim: str) -> None:
    await drill.end()
    await drill.node.stop()


async def _start_node(drill: Struck, victim: str) -> None:
    await drill.node.start()
    await drill.node.boot()
    drill.begin()


def _cases() -> Iterable[Case]:
    yield Case("holder-killed", _kill, _start)
    yield Case("holder-killed-at-node", _kill, _start, at_node=True)
    yield Case("follower-killed", _kill, _start, holder=False)
    yield Case("follower-killed-at-node", _kill, _start, holder=False, at_node=True)
    yield Case("holder-stopped", _terminate, _start)
    yield Case("holder-stopped-at-node", _terminate, _start, at_node=True)
    yield Case("holder-frozen", _freeze, _thaw)
    yield Case("holder-frozen-at-node", _freeze, _thaw, at_node=True, seconds=_PAST_A_READ)
    yield Case("holder-cut-off", _cut_off, _mend)
    yield Case("holder-cut-off-at-node", _cut_off, _mend, at_node=True, seconds=_PAST_A_READ)
    yield Case("holder-cut-from-replicas", _cut_from_replicas, _mend)
    yield Case("holder-cut-from-replicas-at-node", _cut_from_replicas, _mend, at_node=True)
    yield Case("holder-deaf", _deaf, _mend)
    yield Case("holder-mute", _mute, _mend)
    yield Case("follower-cut-off", _cut_off, _mend, holder=False)
    yield Case("follower-cut-off-at-node", _cut_off, _mend, holder=False, at_node=True, seconds=_PAST_A_READ)
    yield Case("node-cut-from-its-replica", _cut_from_node, _mend, at_node=True, seconds=_PAST_A_READ)
    yield Case("holder-and-nodes-replica-apart", _cut_from_holder, _mend, holder=False, at_node=True)
    yield Case("two-killed", _kill_two, _start)
    yield Case("all-killed", _kill_all, _start, seconds=1.0)
    yield Case("replicas-all-apart", _cut_replicas, _mend)
    yield Case("holder-slow-disk-50ms", _slow_disk(0.05), _right_dials)
    yield Case("follower-slow-disk-50ms", _slow_disk(0.05), _right_dials, holder=False)
    yield Case("holder-disk-hangs-3s", _slow_disk(3.0), _right_dials, seconds=5.0)
    yield Case("follower-disk-hangs-3s", _slow_disk(3.0), _right_dials, holder=False, seconds=5.0)
    yield Case("holder-full-disk", _fill_disk, _make_room, disk_bytes=_SMALL_DISK_BYTES)
    yield Case("holder-fused", _slow_disk(FAILING), _right_dials, final=True)
    yield Case("follower-fused", _slow_disk(FAILING), _right_dials, holder=False, final=True)
    yield Case("holder-clock-an-hour-ahead", _clock(_AN_HOUR), _right_dials)
    yield Case("all-clocks-an-hour-back", _clocks(-_AN_HOUR), _right_dials)
    yield Case("node-restarts", _stop_node, _start_node, at_node=True, seconds=1.0)


CASES: Final = tuple(_cases())
