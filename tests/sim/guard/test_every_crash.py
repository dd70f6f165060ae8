"""Every crash, exhaustively: die at any step of an acceptance, then of the start after it, and the one after that.

A death is a kill (the page cache stays) or a power cut (of the unsynced sectors, any may be on the platter). Nothing
fails but the process and the power, so besides never signing twice, the guard must always come back.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import product

import pytest

from cmkms.guard.decide import Accepted
from tests.sim.guard.disk import SECTOR_BYTES, SimulatedDisk
from tests.sim.guard.lives import GUARD, Lives
from tests.unit.guard.world import precommit, prevote

ONE, TWO = precommit(5, number=1), precommit(5, number=2)
STEPS_OF_ONE_WRITE = 5
STEPS_OF_ONE_START = 12


def ends(disk: SimulatedDisk) -> Iterator[SimulatedDisk]:
    """Every disk that can be left when the process ends now."""
    killed = copy.deepcopy(disk)
    killed.kill()
    yield killed
    # The rest of a slot is zeros before and after: only the sectors whose content changes tell two outcomes apart.
    medium = disk.media[GUARD]
    changed = [one for one in sorted(medium.dirty) if differs(disk, one)]
    for kept in product((False, True), repeat=len(changed)):
        cut = copy.deepcopy(disk)
        cut.media[GUARD].flush([sector for sector, keep in zip(changed, kept, strict=True) if keep])
        cut.cut_power()
        yield cut


def differs(disk: SimulatedDisk, sector: int) -> bool:
    span = slice(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
    return disk.media[GUARD].cache[span] != disk.media[GUARD].platter[span]


def lives_on(before: Lives, disk: SimulatedDisk) -> Lives:
    after = copy.copy(before)
    after.disk, after.guard, after.accepted = copy.deepcopy(disk), None, dict(before.accepted)
    return after


def distinct(before: Lives, disks: Iterator[SimulatedDisk]) -> Iterator[Lives]:
    seen: set[tuple[bytes, bytes]] = set()
    for disk in disks:
        medium = disk.media[GUARD]
        content = bytes(medium.cache), bytes(medium.platter)
        if content not in seen:
            seen.add(content)
            yield lives_on(before, disk)


def crashed_starts(before: Lives) -> Iterator[Lives]:
    """Every state after a start that did not live to answer."""

    def disks() -> Iterator[SimulatedDisk]:
        for step in range(1, STEPS_OF_ONE_START + 1):
            after = lives_on(before, before.disk)
            after.disk.kill_at = after.disk.operations + step
            # `start` has taken the kill's effect on locks; what the power does is still open.
            after.start()
            yield from ends(after.disk)

    yield from distinct(before, disks())


def crashed_acceptances() -> Iterator[Lives]:
    for step in range(1, STEPS_OF_ONE_WRITE + 1):
        first = Lives()
        assert first.ask(prevote(5)) == Accepted(advances=True)
        first.disk.kill_at = first.disk.operations + step
        assert first.ask(ONE) is None
        yield from distinct(first, ends(first.disk))


def comes_back_and_keeps_its_word(one: Lives) -> None:
    one.start()
    assert not one.fused, "nothing failed, and yet the fuse is blown"
    one.ask(ONE)
    one.cut_power()
    one.start()
    assert not one.fused
    one.ask(TWO)
    one.ask(ONE)
    assert len([at for at in one.accepted if at.height == 5 and at.step == 3]) == 1


@pytest.mark.parametrize("crashes", [0, 1, 2])
def test_however_often_a_start_dies_the_guard_comes_back_and_never_signs_twice(crashes: int) -> None:
    states = list(crashed_acceptances())
    for _ in range(crashes):
        states = [after for before in states for after in crashed_starts(before)]
    assert len(states) >= 5
    for one in states:
        comes_back_and_keeps_its_word(one)
