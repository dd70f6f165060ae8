"""The model's case "alone again", on real files: others may join a guard that has left. Its home begins nothing alone.

The words of an operator who says how far a key has signed do not help: the others sign on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cmkms.guard.birth import GuardSite, OpenedGuard, open_guard
from cmkms.guard.change import Change
from cmkms.guard.disk import PosixDisk
from cmkms.guard.floor import GuardRefusedError
from cmkms.guard.generation import NO_GENERATION, Member
from cmkms.guard.replacement import plan_replacement
from tests.unit.guard.world import CLOCKS, make_site

DISK = PosixDisk()
OTHERS = ("node-1", "node-2")


def moved(tmp_path: Path) -> GuardSite:
    """A guard that signed alone has left for a generation of three; then its process ended."""
    alone = make_site(tmp_path)
    one = open_guard(alone, DISK, never_signed=True, clocks=CLOCKS)
    assert isinstance(one, OpenedGuard)
    (mine,) = one.guard.members
    new = tuple(Member(name, bytes([number]) * 32, bytes([number]) * 16) for number, name in enumerate(OTHERS, 1))
    try:
        one.guard.move(
            Change(alone.chain_id, alone.key_hash, one.generation.number, NO_GENERATION.hash, (mine,), (mine, *new))
        )
    finally:
        one.guard.close()
    return replace(alone, members=(alone.member_id, *OTHERS))


def test_a_lost_guard_that_had_left_is_not_replaced_by_one_that_signs_alone(tmp_path: Path) -> None:
    site = moved(tmp_path)
    site.path.unlink()
    with pytest.raises(GuardRefusedError, match=r"has left its generation|signs alone"):
        plan_replacement(site, 100)


def test_nor_is_one_whose_record_can_still_be_read(tmp_path: Path) -> None:
    site = moved(tmp_path)
    with pytest.raises(GuardRefusedError, match=r"has left its generation|signs alone"):
        plan_replacement(site, 100)


def test_nor_where_the_peer_list_was_shortened(tmp_path: Path) -> None:
    site = moved(tmp_path)
    with pytest.raises(GuardRefusedError, match=r"has left its generation|signs alone"):
        plan_replacement(replace(site, members=(site.member_id,)), 100)
