"""Which faults strike a seed, and when: drawn before anything runs, so that leaving some out leaves the rest as it was.

Each seed draws its own few kinds and its own pace: a cluster under everything at once never gets far enough to be
broken in a subtle way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.sim.campaign import births, changes, disks, machines, networks, nodes
from tests.sim.campaign.world import World

__all__ = ["ALL_KINDS", "BIRTH_SECONDS", "CONFLICTS", "FAULTS", "Blow", "Plan", "plan_of", "replicas_of", "strike"]

Fault = Callable[[World, Random], None]

FAULTS: Final[dict[str, tuple[int, Fault]]] = {
    "kill": (6, machines.kill),
    "kill-all": (1, machines.kill_all),
    "kill-in-write": (3, machines.kill_in_a_write),
    "stop": (4, machines.stop),
    "freeze": (2, machines.freeze),
    "leave": (2, machines.leave),
    "power": (3, machines.cut_power),
    "power-all": (1, machines.cut_all_power),
    "term": (1, machines.forget_the_term),
    "clock": (1, machines.turn_a_clock),
    "drift": (1, machines.let_a_clock_drift),
    "one-way": (3, networks.cut_one_way),
    "cut": (3, networks.cut_a_link),
    "isolate": (3, networks.isolate),
    "deaf": (2, networks.deafen),
    "halves": (2, networks.cut_in_halves),
    "swizzle": (2, networks.swizzle),
    "flap": (2, networks.flap),
    "slow-link": (3, networks.slow_links),
    "lose": (3, networks.lose_connections),
    "slow-disk": (2, disks.slow_a_disk),
    "write-back": (1, disks.write_back),
    "enospc": (1, disks.fill_a_disk),
    "eio": (1, disks.break_a_disk),
    "rot": (2, disks.rot_a_copy),
    "rot-slot": (1, disks.rot_a_slot),
    "lost-guard": (1, disks.lose_a_guard),
    "lost-home": (1, disks.lose_a_home),
    "image": (2, disks.keep_an_image),
    "roll-back": (2, disks.roll_back),
    "replace": (3, changes.replace_a_guard),
    "node-cut": (3, nodes.cut_a_node_off),
    "node-hasty": (2, nodes.make_a_node_hasty),
    "node-reconnect": (2, nodes.reconnect_a_node),
}
"""By the names that `WITHOUT` takes: how often one strikes beside the others, and what it does."""

BIRTHS: Final[dict[str, tuple[int, Fault]]] = {
    "birth-home": (1, births.make_a_home_anew),
    "birth-again": (1, births.begin_a_birth_anew),
    "birth-kill": (2, machines.kill_in_a_write),
    "birth-cut": (2, networks.cut_a_link),
}
"""What strikes while the guards are being born."""

CONFLICTS: Final = "conflicts"
"""The nodes of one validator ask for different things at one place, replay, lag behind."""

ALL_KINDS: Final = frozenset({*FAULTS, *BIRTHS, CONFLICTS})

BIRTH_SECONDS: Final = 3.0
"""From the first start on, before any other fault strikes."""
_KEPT: Final = 0.55
"""Of all kinds, the part that a seed draws."""


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault: when it strikes, what it is, and the seed of its own chances."""

    at: float
    kind: str
    seed: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What befalls one seed. `strange`: how often each node asks for what no sane one would."""

    blows: tuple[Blow, ...]
    strange: tuple[float, ...]
    paces: tuple[float, ...]


def replicas_of(seed: int) -> int:
    """Every fourth cluster is one of five."""
    return 5 if seed % 4 == 3 else 3


def plan_of(seed: int, seconds: float, without: Collection[str]) -> Plan:
    """Draw everything, then leave out what is switched off."""
    random = Random(f"plan of {seed}")
    kinds = [kind for kind in FAULTS if random.random() < _KEPT] or ["kill"]
    weights = [FAULTS[kind][0] for kind in kinds]
    pace = random.choice((0.3, 0.7, 1.0, 1.6))
    nodes_of = 1 + random.choice((0, 1, 1, 2))
    strange = tuple(random.choice((0.0, 0.1, 0.3, 0.6)) for _ in range(nodes_of))
    paces = tuple(random.choice((0.1, 0.2, 0.4)) for _ in range(nodes_of))
    blows: list[Blow] = []
    if random.random() < 0.4:
        births_of = random.choices(list(BIRTHS), [weight for weight, _ in BIRTHS.values()], k=random.randint(1, 5))
        blows += [
            Blow(random.uniform(0.1, BIRTH_SECONDS), kind, f"{seed} birth {i}") for i, kind in enumerate(births_of)
        ]
    at, number = BIRTH_SECONDS, 0
    while (at := at + random.expovariate(pace)) < BIRTH_SECONDS + seconds:
        blows.append(Blow(at, random.choices(kinds, weights)[0], f"{seed} {number}"))
        number += 1
    return Plan(
        tuple(sorted((blow for blow in blows if blow.kind not in without), key=lambda blow: blow.at)),
        (0.0,) * nodes_of if CONFLICTS in without else strange,
        paces,
    )


def strike(world: World, blow: Blow) -> None:
    """Let it strike, unless nothing is to strike just now."""
    if world.on and world.now >= world.quiet_until:
        world.struck[blow.kind] += 1
        _, fault = (FAULTS | BIRTHS)[blow.kind]
        fault(world, Random(blow.seed))
