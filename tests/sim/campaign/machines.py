"""Faults of machines and processes: killed, stopped, frozen, told to stop, without power, with wrong clocks."""

from __future__ import annotations

from functools import partial
from random import Random

from cmkms.cluster.terms import MemoryTermStore
from tests.sim.campaign.world import World

__all__ = [
    "cut_all_power",
    "cut_power",
    "forget_the_term",
    "freeze",
    "kill",
    "kill_all",
    "kill_in_a_write",
    "leave",
    "let_a_clock_drift",
    "stop",
    "turn_a_clock",
]


def kill(world: World, random: Random) -> None:
    """kill -9."""
    if name := world.some(random):
        world.tell(name, "is killed")
        world.kill(name)
        world.soon(random, partial(world.start_again, name))


def kill_all(world: World, random: Random) -> None:
    """All at once, back one by one."""
    world.tell("all", "are killed")
    for name in world.names:
        world.kill(name)
        world.soon(random, partial(world.start_again, name))


def kill_in_a_write(world: World, random: Random) -> None:
    """At one of the next operations of its disk; half of the time the power goes, too."""
    operation, cut = random.randint(1, 12), random.random() < 0.5
    if not (name := world.some(random)):
        return
    disk = world.cluster.hosts[name].disk
    disk.kill_at = disk.operations + operation
    world.tell(name, f"is to die at disk operation {operation} from now")

    def again() -> None:
        disk.kill_at = 0
        if world.cluster.hosts[name].process is None:
            if cut:
                world.tell(name, "its power fails")
                world.cluster.cut_power(name, chance=lambda: random.random() < 0.5)
            world.start_again(name)

    world.soon(random, again)


def stop(world: World, random: Random) -> None:
    """SIGSTOP; when it goes on, what waited for it comes in any order that an event loop may see."""
    _stop(world, random, clock_stands=False)


def freeze(world: World, random: Random) -> None:
    """A virtual machine that is paused and does not notice: its clocks stood still."""
    _stop(world, random, clock_stands=True)


def _stop(world: World, random: Random, *, clock_stands: bool) -> None:
    name = world.some(random)
    process = world.cluster.hosts[name].process if name else None
    if process is None or process.stopped:
        return
    process.stopped = True
    stopped_at = world.now
    world.clocks_lie |= clock_stands
    world.tell(name, "is frozen" if clock_stands else "is stopped")

    def resume() -> None:
        if process.alive and process.stopped:
            if clock_stands:
                process.host.lose_time(world.now - stopped_at)
            world.tell(name, "goes on")
            process.resume(random)

    world.soon(random, resume, random.choice((0.3, 1.0, 2.5, 6.0)))


def leave(world: World, random: Random) -> None:
    """SIGTERM: it finishes, hands over, says goodbye."""
    if name := world.some(random):
        world.tell(name, "is told to stop")
        world.cluster.begin_to_leave(name)
        world.soon(random, partial(world.start_again, name), longest=5.0, least=1.2)


def cut_power(world: World, random: Random) -> None:
    """Of one machine: what was not synced is lost, sector by sector, or not."""
    if name := world.some(random):
        world.tell(name, "its power fails")
        world.cluster.cut_power(name, chance=lambda: random.random() < 0.5)
        world.soon(random, partial(world.start_again, name))


def cut_all_power(world: World, random: Random) -> None:
    """Of all machines at once."""
    world.tell("all", "their power fails")
    world.cluster.cut_power(*world.cluster.hosts, chance=lambda: random.random() < 0.5)
    for name in world.names:
        world.soon(random, partial(world.start_again, name))


def forget_the_term(world: World, random: Random) -> None:
    """Killed, and its term and vote are lost: that is said to cost time only."""
    if name := world.some(random):
        world.tell(name, "is killed, and its term is lost")
        world.clocks_lie = True
        world.kill(name)
        world.cluster.hosts[name].terms = MemoryTermStore()
        world.soon(random, partial(world.start_again, name))


def turn_a_clock(world: World, random: Random) -> None:
    """The wall clock only: nothing turns CLOCK_BOOTTIME."""
    name, by = random.choice(world.names), random.choice((-86_400.0 * 365, -86_400.0, -5.0, 5.0, 86_400.0))
    world.tell(name, f"its wall clock jumps by {by:.0f} s")
    world.cluster.hosts[name].wall_jump += by


def let_a_clock_drift(world: World, random: Random) -> None:
    """Up to two per cent off: far worse than any quartz, within what lease and elections leave between them."""
    name, rate = random.choice(world.names), random.uniform(0.98, 1.02)
    world.tell(name, f"its clocks run at {rate:.3f}")
    world.clocks_lie = True
    world.cluster.hosts[name].turn_rate(rate)
