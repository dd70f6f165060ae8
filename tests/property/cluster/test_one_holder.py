"""Whatever is cut, killed and restarted: never two holders at one instant, and one again once all is well.

That holds under equal clocks and is no part of safety; two holders would only waste each other's votes. The world
checks after each event that nobody holds beside another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmkms.cluster.view import View
from tests.unit.cluster.world import NAMES, World, released

RECOVERY = 1.5
"""Seconds after everything is well again: a silence, and an attempt or two."""


@dataclass(frozen=True)
class Happening:
    """Something befalls `one` (and `other`), then `seconds` go by."""

    what: str
    one: str
    other: str
    seconds: float


WHATS = ("silence", "deafen", "isolate", "kill", "die with the machine", "say goodbye", "restart", "heal", "unlink")


def happenings(count: int) -> st.SearchStrategy[list[Happening]]:
    names = st.sampled_from(NAMES[:count])
    seconds = st.sampled_from((0.0, 0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 1.0))
    whats = st.sampled_from((*WHATS, "hand over", "release"))
    return st.lists(st.builds(Happening, whats, names, names, seconds), max_size=25)


def befall(world: World, happening: Happening, height: int) -> None:
    one, other = happening.one, happening.other
    alive = world.members[one].coordination is not None
    acts: dict[str, Callable[[], object]] = {
        "silence": lambda: world.silence(one, other),
        "deafen": lambda: world.silence(one, other, both=False),
        "isolate": lambda: world.isolate(one),
        "kill": lambda: world.kill(one),
        "die with the machine": lambda: world.kill(one, refuses=False),
        "say goodbye": lambda: world.kill(one, goodbye=True),
        "heal": world.heal,
        "unlink": lambda: world.unlink(one, other),
        "hand over": lambda: world[one].hand_over(None),
        "release": lambda: world[one].release(View({"chain": released(height)})),
    }
    if happening.what == "restart":
        if not alive:
            world.restart(one)
    elif alive and (one != other or happening.what not in {"silence", "deafen", "unlink"}):
        acts[happening.what]()


def live_through(world: World, what_happens: list[Happening]) -> None:
    world.boot()
    for height, happening in enumerate(what_happens, 1):
        befall(world, happening, height)
        world.run(happening.seconds)


def make_well(world: World) -> None:
    world.lost = 0.0
    world.heal()
    for name, member in world.members.items():
        if member.coordination is None:
            world.restart(name)
    assert world.run_until(lambda: world.holder is not None, RECOVERY) < RECOVERY


@pytest.mark.parametrize("count", [3, 5])
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), seed=st.integers(0, 2**16), delay=st.sampled_from((0.0001, 0.001, 0.01)))
def test_never_two_holders_and_one_in_the_end(count: int, data: st.DataObject, seed: int, delay: float) -> None:
    world = World(count, seed=seed, delay=delay)
    live_through(world, data.draw(happenings(count)))
    make_well(world)
    holder = world.holder
    world.run(2)
    assert world.holder == holder
    assert {lease.holder for name in world.members if (lease := world[name].lease)} == {holder}
    assert len({world[name].view.encode() for name in world.members}) == 1
    assert not any(member.refused_data for member in world.members.values())


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(what_happens=happenings(3), seed=st.integers(0, 2**16), lost=st.sampled_from((0.01, 0.1, 0.3)))
def test_nor_where_messages_are_lost_without_a_word(what_happens: list[Happening], seed: int, lost: float) -> None:
    """More than the peer link would ever do to them."""
    world = World(3, seed=seed)
    world.lost = lost
    live_through(world, what_happens)
    make_well(world)
