"""Every crash of a birth of several, exhaustively: die at any step of binding and arming, and of the starts after it.

A death is a kill or a power cut that keeps any of the unsynced sectors. Nothing but the process and the power fails, so
the guard must come back without a fuse, bound to nothing or to the one birth that it was asked to bind to, and armed
only where its born marker was written before.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cmkms.guard.decide import Accepted, Conflict, Refused
from cmkms.guard.file import GuardFile
from cmkms.guard.fuse import Fuse
from cmkms.guard.generation import NO_GENERATION, Member, first_generation
from cmkms.guard.guard import Guard
from cmkms.guard.hrs import NEVER
from cmkms.guard.record import GuardRecord
from tests.sim.guard.disk import Killed, SimulatedDisk
from tests.sim.guard.lives import GUARD
from tests.sim.guard.test_every_crash import ends
from tests.unit.guard.world import CHAIN, CLOCKS, IDENTITY, KEY_HASH, NONCE, NOW, hrs, precommit, request

MARKER = Path("/simulated/born.json")
STORED = precommit(50)
OTHERS = (Member("node-1", bytes(32), b"1" * 16), Member("node-2", b"2" * 32, b"2" * 16))
MEMBERS = (Member("node-0", IDENTITY, NONCE), *OTHERS)
GENERATION = first_generation(CHAIN, KEY_HASH, *MEMBERS)
UNBOUND = GuardRecord(
    CHAIN, "node-0", KEY_HASH, NONCE, NO_GENERATION, 0, armed=False, hrs=NEVER, sign_bytes=None, accepted_at=0
)
STEPS = 40
"""More disk operations than a start with a bind and an arm has."""


def born_disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    GuardFile.create(disk, GUARD, UNBOUND)
    return disk


def start(disk: SimulatedDisk) -> Guard:
    guard = Guard(GUARD, GuardFile.open(disk, GUARD), Fuse(disk, Path("/simulated/fuse.json")), CLOCKS)
    guard.write_marker = lambda record, _previous, members: disk.create(MARKER, repr((record.nonce, members)).encode())
    return guard


def be_born(disk: SimulatedDisk) -> Guard:
    """Start, and do what is still to be done."""
    guard = start(disk)
    assert guard.record is not None
    if guard.record.generation == NO_GENERATION:
        guard.bind(GENERATION, MEMBERS, hrs(50, 0, 3), STORED, NOW)
    guard.arm(MEMBERS)
    return guard


def deaths(disk: SimulatedDisk, work: Callable[[SimulatedDisk], object]) -> Iterator[SimulatedDisk]:
    """Every disk that is left where `work` dies at one of its operations."""
    seen: set[tuple[bytes, bytes, bool]] = set()
    for step in range(1, STEPS):
        dying = copy.deepcopy(disk)
        dying.kill_at = dying.operations + step
        try:
            work(dying)
        except Killed:
            for end in ends(dying):
                medium = end.media[GUARD]
                content = bytes(medium.cache), bytes(medium.platter), end.exists(MARKER)
                if content not in seen:
                    seen.add(content)
                    yield end
        else:
            return
    pytest.fail("the work never ended")


def is_one_birth_or_none(disk: SimulatedDisk) -> None:
    guard = start(disk)
    record = guard.record
    assert record is not None
    assert guard.blown == ""
    if record.generation == NO_GENERATION:
        assert (record.armed, record.hrs, disk.exists(MARKER)) == (False, NEVER, False)
    else:
        assert (record.generation, record.hrs, record.sign_bytes) == (GENERATION, hrs(50, 0, 3), STORED)
        assert disk.exists(MARKER) or not record.armed
    answer = guard.accept(request(precommit(50, number=2), GENERATION))
    assert answer == Conflict(STORED) if record.armed else isinstance(answer, Refused)
    guard.close()


@pytest.mark.parametrize("crashes", [1, 2])
def test_however_often_a_birth_dies_it_is_one_birth_or_none_and_can_be_finished(crashes: int) -> None:
    disks = [born_disk()]
    for _ in range(crashes):
        disks = [left for disk in disks for left in deaths(disk, be_born)]
    assert len(disks) > 10
    for disk in disks:
        is_one_birth_or_none(copy.deepcopy(disk))
        guard = be_born(disk)
        disk.cut_power()
        guard = start(disk)
        assert guard.record is not None
        assert guard.record.armed
        assert guard.accept(request(precommit(51), GENERATION)) == Accepted(advances=True)
