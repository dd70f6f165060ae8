"""Faults of the network between the replicas: cuts of every shape, flapping, delays, connections that are lost."""

from __future__ import annotations

from functools import partial
from random import Random

from tests.sim.campaign.world import World, shown
from tests.sim.cluster.links import Way

__all__ = [
    "cut_a_link",
    "cut_in_halves",
    "cut_one_way",
    "deafen",
    "flap",
    "isolate",
    "lose_connections",
    "slow_links",
    "swizzle",
]


def cut_one_way(world: World, random: Random) -> None:
    """One direction of one link."""
    one, other = random.sample(world.names, 2)
    world.cut(random, [(one, other)])


def cut_a_link(world: World, random: Random) -> None:
    """Both directions of one link."""
    one, other = random.sample(world.names, 2)
    world.cut(random, [(one, other), (other, one)])


def isolate(world: World, random: Random) -> None:
    """One replica from all others."""
    if name := world.some(random):
        world.cut(random, world.cluster.links.around(name))


def deafen(world: World, random: Random) -> None:
    """One replica hears nobody, or is heard by nobody."""
    hears = random.random() < 0.5
    if name := world.some(random):
        world.cut(random, [way for way in world.cluster.links.around(name) if way[hears] == name])


def cut_in_halves(world: World, random: Random) -> None:
    """Two groups that cannot speak to each other."""
    names = random.sample(world.names, len(world.names))
    size = random.randint(1, len(names) - 1)
    one, other = names[:size], names[size:]
    world.cut(random, [way for a in one for b in other for way in ((a, b), (b, a))], longest=6.0)


def swizzle(world: World, random: Random) -> None:
    """Links are cut one by one, and restored in another order."""
    pairs: list[list[Way]] = [[(one, other), (other, one)] for one, other in world.cluster.links.all_pairs()]
    cut, restored = random.sample(pairs, len(pairs)), random.sample(pairs, len(pairs))
    at = 0.0
    for ways in cut:
        at += random.uniform(0.05, 0.4)
        until = at + sum(random.uniform(0.05, 0.4) for _ in range(len(pairs) + restored.index(ways)))
        world.later(at, partial(_cut_for, world, ways, until - at))


def flap(world: World, random: Random) -> None:
    """One link, or all of one replica, comes and goes."""
    one, other = random.sample(world.names, 2)
    around = random.random() < 0.3
    ways: list[Way] = world.cluster.links.around(one) if around else [(one, other), (other, one)]
    at = 0.0
    for _ in range(random.randint(3, 8)):
        pause, lasts = random.uniform(0.1, 0.8), random.uniform(0.1, 0.9)
        world.later(at + pause, partial(_cut_for, world, ways, lasts))
        at += pause + lasts


def slow_links(world: World, random: Random) -> None:
    """Some ways take longer: by as much as another city, a bad line, or more than the silence that ends a session."""
    most = random.choice((0.03, 0.15, 0.6, 2.0))
    name = random.choice(world.names)
    ways = [way for way in world.cluster.links.around(name) if random.random() < 0.7]
    for way in ways:
        world.cluster.links.slow[way] = (random.uniform(0.0, most), most)
    if ways:
        world.tell("network", f"slows down by up to {most} s: {shown(ways)}")

    def restore() -> None:
        world.tell("network", "speeds up again: " + shown(ways))
        for way in ways:
            world.cluster.links.slow.pop(way, None)

    world.soon(random, restore, 4.0)


def lose_connections(world: World, random: Random) -> None:
    """Some connections break, several times, with the last of what was under way."""
    for _ in range(random.randint(1, 4)):
        pair = frozenset(random.sample(world.names, 2))
        world.soon(random, partial(_lose, world, pair), 1.0)


def _lose(world: World, pair: frozenset[str]) -> None:
    world.tell("network", "loses the connection " + " -- ".join(sorted(pair)))
    world.disturbed[pair] = world.now
    world.cluster.links.end(pair)


def _cut_for(world: World, ways: list[Way], seconds: float) -> None:
    world.tell("network", f"cuts {shown(ways)} for {seconds:.2f} s")
    world.later(seconds, world.cluster.links.block_for_now(ways))
