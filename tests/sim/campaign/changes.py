"""An operator replaces what is broken: a new guard in its place, by a change of generation, amid everything else.

Told in the words of `cmkms guard replace` and `cmkms cluster change`: what they ask of a replica is asked here.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

from cmkms.guard.change_file import change_path, joins_path
from cmkms.replica.changing import FORGET_SECONDS
from cmkms.replica.operating import operate
from tests.sim.campaign.world import World
from tests.sim.cluster.lives import Process
from tests.unit.signing.messages import CHAIN

__all__ = ["replace_a_guard"]

_TRIES = 12
_TRY_SECONDS = 1.5
PAUSE_SECONDS = 2 * FORGET_SECONDS
"""What a change may cost: one that nobody has begun is forgotten, and one that was begun goes on meanwhile."""


def replace_a_guard(world: World, random: Random) -> None:
    """One that is broken, or now and then a sound one."""
    broken = sorted(world.broken - world.replaced)
    name = random.choice(broken) if broken else world.some_to_break(random) if random.random() < 0.3 else ""
    if not name or not world.cluster.judge.signed:
        return
    world.replaced.add(name)
    world.kill(name)
    _give_up(world, name)
    world.tell(name, "is stopped, its guard is given up, and it starts with a new one")
    world.soon(random, partial(world.start_again, name), 1.0)
    world.later(_TRY_SECONDS, partial(_try, world, name, random, _TRIES))


def _give_up(world: World, name: str) -> None:
    """As `cmkms guard replace` leaves a home of several."""
    host = world.cluster.hosts[name]
    host.disk.full = False
    host.disk.write_error = host.disk.sync_error = None
    if host.disk.exists(host.site.path):
        host.disk.lose(host.site.path)
    joins_path(host.site).parent.mkdir(mode=0o700, exist_ok=True)
    joins_path(host.site).write_bytes(b"{}")
    home, site = host.home, host.site
    for path in (home.fuse_file(CHAIN), home.born_marker(CHAIN), site.founders_file, change_path(site)):
        path.unlink(missing_ok=True)
    world.images.pop(name, None)


def _try(world: World, name: str, random: Random, left: int) -> None:
    """Ask one replica to plan it and to begin; sometimes two are asked at once, by two operators."""
    if world.armed(name):
        world.tell(name, "its new guard answers")
        world.broken.discard(name)
        world.replaced.discard(name)
        return
    if left:
        asked = [one for one in world.cluster.running if world.armed(one.host.name) and not one.stopped]
        random.shuffle(asked)
        for process in asked[: random.choice((1, 1, 2))]:
            process.run(partial(_change, world, process))
        world.later(_TRY_SECONDS, partial(_try, world, name, random, left - 1))


def _change(world: World, process: Process) -> None:
    plan: dict[str, Any] = operate(process.replica, {"do": "plan", "chain": CHAIN})
    if plan["ok"]:
        begun = operate(process.replica, {"do": "change", "chain": CHAIN, "to_hash": plan["to_hash"]})
        world.excused_until = world.now + PAUSE_SECONDS
        told = f"to generation {plan['to']}" if begun["ok"] else f"in vain: {begun['why']}"
    else:
        told = f"in vain: {plan['why']}"
    world.tell(process.host.name, f"its operator asks for a change {told}")
