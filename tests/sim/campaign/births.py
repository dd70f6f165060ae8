"""Faults of births: a home made anew in the midst of one, and births begun again beside what is left of the first.

And the operator, who does what the replicas say: a birth that can never be finished is begun anew.
"""

from __future__ import annotations

from functools import partial
from random import Random

from tests.sim.campaign.world import World
from tests.unit.signing.messages import CHAIN

__all__ = ["attend", "begin_a_birth_anew", "make_a_home_anew"]

ATTEND_SECONDS = 3.0
_WHAT_TO_DO = "cmkms cluster birth --restart"


def make_a_home_anew(world: World, random: Random) -> None:
    """Before anything is armed, one replica's home is lost, and with it what it may have bound to.

    Word of the binding may still be under way, and arm another guard: then this one is lost for good.
    """
    name = random.choice(world.names)
    stored = world.cluster.hosts[name].stored
    bound = stored is not None and stored.generation > 0
    if not _nothing_is_armed(world) or (bound and len(world.broken) >= world.most_broken):
        return
    if bound:
        world.broken.add(name)
    world.tell(name, "is killed amid the birth, and its home is made anew")
    _forget(world, name)
    world.soon(random, partial(world.start_again, name), 1.0)


def begin_a_birth_anew(world: World, random: Random) -> None:
    """All are stopped, and some or all guards set aside."""
    _begin_anew(world, [name for name in world.names if random.random() < 0.7], random)


def attend(world: World, random: Random) -> None:
    """The operator looks at the replicas until they are born."""
    running = world.cluster.running
    if world.cluster.born:
        return
    if len(running) == len(world.cluster.hosts) and any(_WHAT_TO_DO in one.chain.waiting_for for one in running):
        _begin_anew(world, world.names, random)
    world.cluster.events.later(ATTEND_SECONDS, partial(attend, world, random))


def _begin_anew(world: World, names: list[str], random: Random) -> None:
    for name in world.names:
        world.kill(name)
    if not _nothing_is_armed(world):
        names = []
    for name in world.names:
        if name in names:
            world.tell(name, "is stopped, and its birth is begun anew")
            _forget(world, name)
        world.soon(random, partial(world.start_again, name), 1.0)
    if names == world.names:
        world.broken.clear()


def _nothing_is_armed(world: World) -> bool:
    for host in world.cluster.hosts.values():
        stored = host.stored
        if (stored is not None and stored.armed) or host.home.born_marker(CHAIN).exists():
            return False
    return True


def _forget(world: World, name: str) -> None:
    host = world.cluster.hosts[name]
    world.kill(name)
    if host.disk.exists(host.site.path):
        host.disk.lose(host.site.path)
    host.site.founders_file.unlink(missing_ok=True)
