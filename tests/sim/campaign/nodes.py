"""Faults between the node and its signers: connections that break or swallow what is said, and a hasty node."""

from __future__ import annotations

from random import Random

from tests.sim.campaign.world import World
from tests.sim.cluster.sentries import READ_SECONDS

__all__ = ["cut_a_node_off", "make_a_node_hasty", "reconnect_a_node"]


def cut_a_node_off(world: World, random: Random) -> None:
    """One node's connection to one replica: refused at once, or silent until the node's patience ends."""
    sentry, name = random.choice(world.cluster.sentries), random.choice(world.names)
    silent = random.random() < 0.5
    sentry.unreachable.add(name)
    world.tell(sentry.name, f"is cut off from {name}" + (", and does not know" if silent else ""))
    if sentry.connected == name and not silent:
        sentry.reconnect()

    def restore() -> None:
        world.tell(sentry.name, f"reaches {name} again")
        sentry.unreachable.discard(name)

    world.soon(random, restore)


def make_a_node_hasty(world: World, random: Random) -> None:
    """It hangs up long before the 5 s are over, and asks the next replica the same: two answers race."""
    sentry = random.choice(world.cluster.sentries)
    sentry.patience = random.choice((0.02, 0.1, 0.5))
    world.tell(sentry.name, f"hangs up after {sentry.patience} s")

    def restore() -> None:
        sentry.patience = READ_SECONDS

    world.soon(random, restore)


def reconnect_a_node(world: World, random: Random) -> None:
    """Its connection breaks; it takes the next."""
    sentry = random.choice(world.cluster.sentries)
    world.tell(sentry.name, "its connection breaks")
    sentry.reconnect()
