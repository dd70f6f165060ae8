"""The real file, cut at every length and damaged at every byte: it starts right, or it does not start."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from cmkms.guard.birth import GuardSite, OpenedGuard, open_guard
from cmkms.guard.decide import Conflict, Refused
from cmkms.guard.disk import PosixDisk
from cmkms.guard.file import BLOCK_BYTES, FILE_BYTES, survey
from cmkms.guard.generation import NO_GENERATION, GenerationId
from cmkms.guard.record import RECORD_BYTES, GuardRecord, encode_record
from tests.faults.guard.test_birth_of_several import MEMBERS, bind
from tests.faults.guard.test_birth_of_several import unarmed as before_birth
from tests.unit.guard.world import CLOCKS, hrs, make_site, precommit, record, request

DISK = PosixDisk()
STORED = precommit(52)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> GuardSite:
    """A guard that has signed heights 50, 51 and 52."""
    site = make_site(tmp_path_factory.mktemp("home"))
    opened = open_guard(site, DISK, never_signed=True, clocks=CLOCKS)
    assert isinstance(opened, OpenedGuard)
    for height in (50, 51, 52):
        opened.guard.accept(request(precommit(height), opened.generation))
    opened.guard.close()
    return site


@pytest.fixture(scope="module")
def sound(home: GuardSite) -> bytes:
    return home.path.read_bytes()


@pytest.fixture(scope="module")
def newest(sound: bytes) -> GuardRecord:
    found = survey(sound)
    assert found.highest is not None
    assert (found.rot, found.damage) == ("", ())
    assert found.highest.sign_bytes == STORED
    return found.highest


def judge(data: bytes, newest: GuardRecord) -> str:
    """Survey a file that was damaged: either it is called rotten, or its newest record is the newest there was."""
    found = survey(data)
    if found.rot or found.highest is None:
        assert found.rot
        return "rotten"
    assert found.highest == newest
    return "damaged" if found.damage else "sound"


def test_at_no_length_but_its_own_is_it_trusted(sound: bytes, newest: GuardRecord) -> None:
    for length in range(FILE_BYTES):
        assert judge(sound[:length], newest) == "rotten"
    for longer in (1, 512, FILE_BYTES):
        assert judge(sound + bytes(longer), newest) == "rotten"


def test_any_one_damaged_byte_costs_one_copy_at_most(sound: bytes, newest: GuardRecord) -> None:
    generator = random.Random(1)
    for offset in range(FILE_BYTES):
        data = bytearray(sound)
        data[offset] ^= 1 << generator.randrange(8)
        in_a_record = offset % BLOCK_BYTES < RECORD_BYTES
        assert judge(bytes(data), newest) == ("damaged" if in_a_record else "sound")


def test_any_one_sector_lost_costs_one_copy_at_most(sound: bytes, newest: GuardRecord) -> None:
    for start in range(0, FILE_BYTES, 512):
        for lost in (bytes(512), b"\xff" * 512, random.Random(start).randbytes(512)):
            data = sound[:start] + lost + sound[start + 512 :]
            assert judge(data, newest) == ("sound" if start % BLOCK_BYTES else "damaged")


def test_one_copy_of_each_slot_is_enough(sound: bytes, newest: GuardRecord) -> None:
    for first in (0, 1):
        for second in (2, 3):
            data = bytearray(sound)
            for block in (first, second):
                data[block * BLOCK_BYTES + 40] ^= 1
            assert judge(bytes(data), newest) == "damaged"


@pytest.mark.parametrize("slot", [0, 1])
def test_a_slot_gone_in_both_copies_is_rot_whichever_it_is(sound: bytes, newest: GuardRecord, slot: int) -> None:
    data = bytearray(sound)
    for block in (2 * slot, 2 * slot + 1):
        data[block * BLOCK_BYTES + 40] ^= 1
    assert judge(bytes(data), newest) == "rotten"


def test_blocks_in_any_other_order_are_never_read_as_an_older_state(sound: bytes, newest: GuardRecord) -> None:
    blocks = [sound[start : start + BLOCK_BYTES] for start in range(0, FILE_BYTES, BLOCK_BYTES)]
    for order in product(range(4), repeat=4):
        judge(b"".join(blocks[index] for index in order), newest)


def test_two_slots_of_different_times_are_rot(
    sound: bytes, newest: GuardRecord, home: GuardSite, tmp_path: Path
) -> None:
    older = make_site(tmp_path)
    opened = open_guard(older, DISK, never_signed=True, clocks=CLOCKS)
    assert isinstance(opened, OpenedGuard)
    opened.guard.close()
    other = older.path.read_bytes()
    half = FILE_BYTES // 2
    assert judge(sound[:half] + other[half:], newest) == "rotten"
    assert judge(other[:half] + sound[half:], newest) == "rotten"


@pytest.mark.parametrize("seed", range(40))
def test_a_start_on_a_damaged_file_holds_its_word_or_blows_the_fuse(
    home: GuardSite, sound: bytes, seed: int, tmp_path: Path
) -> None:
    generator = random.Random(seed)
    data = bytearray(sound)
    for _ in range(generator.randrange(1, 4)):
        data[generator.randrange(4) * BLOCK_BYTES + generator.randrange(RECORD_BYTES)] ^= 1 << generator.randrange(8)
    if seed % 5 == 0:
        del data[generator.randrange(FILE_BYTES) :]
    home.path.write_bytes(data)
    home.home.fuse_file(home.chain_id).unlink(missing_ok=True)
    healthy = not survey(bytes(data)).rot
    for _ in range(2):
        opened = open_guard(home, DISK, clocks=CLOCKS)
        assert isinstance(opened, OpenedGuard)
        try:
            verdict = opened.guard.accept(request(precommit(52, number=2), opened.generation))
            assert verdict == Conflict(STORED) if healthy else isinstance(verdict, Refused)
            assert (opened.guard.fuse.blown is None) is healthy
        finally:
            opened.guard.close()
    if healthy:
        mended = survey(home.path.read_bytes())
        assert (mended.damage, mended.rot) == ((), "")
    else:
        assert home.path.read_bytes() == bytes(data), "what is left is evidence, and is not touched"


class TestBeforeBirth:
    """A file that is bound to nothing, or bound and not armed: what it is bound to is never read as less."""

    def unarmed(self, path: Path, *, bound: bool) -> bytes:
        site = make_site(path, members=MEMBERS)
        with before_birth(site) as opened:
            if bound:
                bind(opened.guard, hrs(52, 0, 3), STORED)
        return site.path.read_bytes()

    def newest_of(self, data: bytes) -> GuardRecord:
        found = survey(data)
        assert found.highest is not None
        assert (found.rot, found.damage, found.highest.armed) == ("", (), False)
        return found.highest

    @pytest.mark.parametrize("bound", [False, True])
    def test_any_one_damaged_byte_costs_one_copy_at_most(self, tmp_path: Path, bound: bool) -> None:
        sound = self.unarmed(tmp_path, bound=bound)
        newest = self.newest_of(sound)
        for offset in range(FILE_BYTES):
            data = bytearray(sound)
            data[offset] ^= 1 << offset % 8
            assert judge(bytes(data), newest) == ("damaged" if offset % BLOCK_BYTES < RECORD_BYTES else "sound")

    @pytest.mark.parametrize("bound", [False, True])
    @pytest.mark.parametrize("slot", [0, 1])
    def test_a_slot_gone_in_both_copies_is_rot(self, tmp_path: Path, bound: bool, slot: int) -> None:
        sound = self.unarmed(tmp_path, bound=bound)
        data = bytearray(sound)
        data[slot * FILE_BYTES // 2 : (slot + 1) * FILE_BYTES // 2] = bytes(FILE_BYTES // 2)
        assert judge(bytes(data), self.newest_of(sound)) == "rotten"

    def test_two_births_in_one_file_are_rot(self) -> None:
        first, second = (GenerationId(1, bytes([number]) * 32) for number in (1, 2))
        bound = replace(record(hrs(52, 0, 3), STORED), armed=False, generation=first)
        for after in (
            replace(bound, sequence=5, generation=second),
            replace(bound, sequence=5, generation=NO_GENERATION),
            replace(bound, sequence=5, generation=NO_GENERATION, armed=True),
        ):
            assert survey(slots(bound, after)).rot

    def test_a_binding_and_an_arming_in_one_step_are_rot(self) -> None:
        unbound = replace(record(hrs(0)), armed=False, generation=NO_GENERATION)
        assert survey(slots(unbound, replace(record(hrs(0)), sequence=5))).rot
        assert survey(slots(unbound, replace(unbound, sequence=5, armed=True))).rot
        assert not survey(slots(unbound, replace(record(hrs(0)), sequence=5, armed=False))).rot


def slots(even: GuardRecord, odd: GuardRecord) -> bytes:
    return b"".join((encode_record(one) + bytes(BLOCK_BYTES - RECORD_BYTES)) * 2 for one in (even, odd))
