"""A file system that fills up: a guard has its room since its birth, so that signing goes on; all else only warns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disks.mounts import fill, mounted_tmpfs, needs_root
from tests.faults.disks.signer import Signer

pytestmark = [pytest.mark.proof, needs_root, pytest.mark.timeout(300)]

MAY_PASS = 1
"""The exit code for what may be over when it is tried again."""
TINY_KIB = 256


@pytest.fixture
def home() -> Iterator[Path]:
    with mounted_tmpfs(TINY_KIB) as home:
        yield home


def test_full_means_that_not_one_byte_more_fits(home: Path) -> None:
    fill(home / "filler")
    with pytest.raises(OSError, match="No space"):
        (home / "one").write_bytes(b"x")


async def test_it_fills_while_it_signs_and_only_the_notes_are_missing(home: Path) -> None:
    async with Signer(home.parent) as signer:
        await signer.start()
        await signer.signs(10)
        fill(home / "filler")
        await signer.signs(*range(11, 16))
        line = await signer.logged("the last released signature could not be written", "No space")
        assert line["level"] == "warning"
        await signer.signs(16)
        assert not signer.events("FUSE")


async def test_on_a_full_one_a_killed_signer_starts_again_and_knows_what_it_signed(home: Path) -> None:
    async with Signer(home.parent) as signer:
        await signer.start()
        await signer.signs(10)
        fill(home / "filler")
        for height in (11, 12, 13):
            await signer.signs(height)
            signer.process.kill()
            await signer.start()
            await signer.refuses_another_block(height)
        assert not signer.events("FUSE")


async def test_a_birth_on_a_full_one_says_so_and_is_done_when_there_is_room(home: Path) -> None:
    async with Signer(home.parent) as signer:
        fill(home / "filler")
        code, said = await signer.does_not_start()
        assert code == MAY_PASS
        assert str(home) in said
        assert "No space left on device" in said
        assert "Traceback" not in said
        (home / "filler").unlink()
        # The word that this key never signed was not taken yet: it is said again.
        signer.process.start(never_signed=True)
        await signer.signs(10)
        await signer.refuses_another_block(10)


async def test_room_that_comes_and_goes_costs_nothing(home: Path) -> None:
    async with Signer(home.parent) as signer:
        await signer.start()
        for height in range(10, 16):
            await signer.signs(height)
            if height % 2:
                (home / "filler").unlink()
            else:
                fill(home / "filler")
            await asyncio.sleep(0.3)
        await signer.refuses_another_block(15)
