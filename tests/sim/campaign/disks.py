"""Faults of disks and of guard files: slow, full, failing, rotten, lost, rolled back.

What a disk loses for good is bounded: `World.some_to_break` never gives away a majority.
"""

from __future__ import annotations

import errno
import os
from functools import partial
from random import Random

from cmkms.guard.claims import GuardPhase
from cmkms.harness.guard_files import read_watermark
from tests.sim.campaign.world import World
from tests.unit.signing.messages import CHAIN

__all__ = [
    "break_a_disk",
    "fill_a_disk",
    "keep_an_image",
    "lose_a_guard",
    "lose_a_home",
    "roll_back",
    "rot_a_copy",
    "rot_a_slot",
    "slow_a_disk",
    "write_back",
]

_BLOCK, _SLOT, _RECORD = 4096, 8192, 512
QUICK_SYNC = (0.00005, 0.0005)
"""What a sync of a sound disk takes (s), at least and at most."""
FOUND_SECONDS = 3.0
"""Within which a rolled back guard is found, its replica started and all links up: a redial, a hello, a word back."""


def slow_a_disk(world: World, random: Random) -> None:
    """Its syncs take long: the replica stands still meanwhile, and what it sends leaves after them."""
    host = world.cluster.hosts[random.choice(world.names)]
    most = random.choice((0.005, 0.05, 0.3, 1.5))
    host.sync_seconds = (most / 4, most)
    world.tell(host.name, f"its disk takes up to {most} s")

    def restore() -> None:
        world.tell(host.name, "its disk is quick again")
        host.sync_seconds = QUICK_SYNC

    world.soon(random, restore, 4.0)


def write_back(world: World, random: Random) -> None:
    """The kernel writes dirty sectors in its own time, amid everything else."""
    for name in world.names:
        world.cluster.hosts[name].disk.write_back(lambda: random.random() < 0.5, pages=random.random() < 0.5)


def fill_a_disk(world: World, random: Random) -> None:
    """ENOSPC in the middle of a write; the fuse's own marker may not find room either."""
    before, full = random.randint(0, _SLOT), random.random() < 0.5
    if name := world.some_to_break(random):
        disk = world.cluster.hosts[name].disk
        disk.write_error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        disk.written_before_error = before
        disk.full = full
        world.tell(name, f"its disk is full after {before} bytes" + (", for the fuse's marker too" if full else ""))


def break_a_disk(world: World, random: Random) -> None:
    """EIO on fsync: the cache turns clean, and the platter is as it may be."""
    if name := world.some_to_break(random):
        disk = world.cluster.hosts[name].disk
        disk.sync_error = OSError(errno.EIO, os.strerror(errno.EIO))
        disk.flushed_before_error = lambda: random.random() < 0.5
        world.tell(name, "the next sync of its disk fails")


def rot_a_copy(world: World, random: Random) -> None:
    """One copy of one slot rots while the replica is down: it is mended from the other."""
    name, block, offset = world.some(random), random.randrange(4), random.randrange(_RECORD)
    if name and world.armed(name):
        world.kill(name)
        _rot(world, name, block * _BLOCK + offset)
        world.tell(name, f"is killed, and byte {offset} of block {block} of its guard rots")
        world.soon(random, partial(_start_with, world, name, GuardPhase.ARMED))


def rot_a_slot(world: World, random: Random) -> None:
    """Both copies of one slot rot: the other slot must not be taken for the newest."""
    slot, offsets = random.randrange(2), (random.randrange(_RECORD), random.randrange(_RECORD))
    name = world.some_to_break(random)
    if name:
        world.kill(name)
        for copy, offset in enumerate(offsets):
            _rot(world, name, slot * _SLOT + copy * _BLOCK + offset)
        world.tell(name, f"is killed, and both copies of slot {slot} of its guard rot")
        world.soon(random, partial(_start_with, world, name, GuardPhase.FUSED))


def lose_a_guard(world: World, random: Random) -> None:
    """The guard's file is gone: by its marker the next start knows that it was lost."""
    if name := world.some_to_break(random):
        host = world.cluster.hosts[name]
        world.kill(name)
        if host.disk.exists(host.site.path):
            host.disk.lose(host.site.path)
        world.tell(name, "is killed, and its guard is deleted")
        world.soon(random, partial(_start_with, world, name, GuardPhase.REFUSED, GuardPhase.FUSED))


def lose_a_home(world: World, random: Random) -> None:
    """Everything is gone: an empty home in the place of a member."""
    if name := world.some_to_break(random):
        host = world.cluster.hosts[name]
        world.kill(name)
        if host.disk.exists(host.site.path):
            host.disk.lose(host.site.path)
        home = host.home
        for path in (
            home.born_marker(CHAIN),
            host.site.founders_file,
            home.released_file(CHAIN),
            home.fuse_file(CHAIN),
        ):
            path.unlink(missing_ok=True)
        world.tell(name, "is killed, and its home is made anew")
        world.soon(random, partial(_start_with, world, name, GuardPhase.UNBOUND))


def keep_an_image(world: World, random: Random) -> None:
    """Somebody takes a snapshot."""
    name = random.choice(world.names)
    if world.armed(name) and name not in world.broken:
        image = world.cluster.image(name)
        found = read_watermark(image)
        if found is not None:
            world.images[name] = (found.sequence, image)
            world.tell(name, f"an image of its guard is kept, at {found.hrs}")


def roll_back(world: World, random: Random) -> None:
    """... and puts it back. Only where all others are there and have seen more: then it is found, each time."""
    images = sorted(name for name in world.images if name not in world.broken)
    name = random.choice(images) if images else ""
    if not name or len(world.broken) >= world.most_broken or not _others_know_better(world, name):
        return
    sequence, image = world.images[name]
    world.broken.add(name)
    world.quiet_until = world.now + FOUND_SECONDS + 0.5
    world.kill(name)
    world.cluster.roll_back(name, image)
    world.tell(name, f"is killed, and its guard is put back to an image, record {sequence}")
    world.later(0.5, partial(world.start_again, name))
    world.later(0.5 + FOUND_SECONDS, partial(_must_be_found, world, name))


def _others_know_better(world: World, name: str) -> bool:
    links, (sequence, _) = world.cluster.links, world.images[name]
    if links.cut or links.slow or not world.armed(name):
        return False
    for other in world.cluster.others_than(name):
        process = world.cluster.hosts[other].process
        if process is None or process.stopped or process.host.sync_seconds != QUICK_SYNC or process.host.disk.kill_at:
            return False
        seen = [one[0] for one in process.replica._watch._seen.get((name, CHAIN), {}).values()]
        if max(seen, default=0) < sequence + 3:
            return False
    return True


def _must_be_found(world: World, name: str) -> None:
    """By the others, who blow its fuse; or by its own start, where the image is of a generation that it left."""
    process = world.process_of(name)
    if process is not None and process.chain.phase not in {GuardPhase.FUSED, GuardPhase.REFUSED}:
        world.cluster.judge.condemn(f"nobody has noticed that the guard of {name} was rolled back")


def _start_with(world: World, name: str, *phases: GuardPhase) -> None:
    """Start it, and hold it to what its start must find, unless somebody has replaced its guard meanwhile."""
    if world.process_of(name) is not None or name in world.replaced:
        return
    world.start_again(name)
    process = world.process_of(name)
    if process is not None and process.chain.phase not in phases and name not in _fused(world):
        wanted = " or ".join(phase.name for phase in phases)
        world.cluster.judge.condemn(f"{name} starts as {process.chain.phase.name}, not as {wanted}")


def _fused(world: World) -> set[str]:
    return {name for name in world.names if world.cluster.hosts[name].home.fuse_file(CHAIN).exists()}


def _rot(world: World, name: str, offset: int) -> None:
    host = world.cluster.hosts[name]
    if host.disk.exists(host.site.path):
        host.disk.rot(host.site.path, offset)
