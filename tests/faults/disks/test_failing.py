"""A disk that fails under a replica: an error makes it read-only, or its device is gone. Never a signature too many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cmkms.harness.wire import PingReply, PingRequest, decode_reply, encode_request
from tests.faults.disks.mounts import SmallExt4, mounted_ext4, needs_root
from tests.faults.disks.signer import Signer
from tests.patience import within

pytestmark = [pytest.mark.proof, needs_root, pytest.mark.timeout(300)]

STOPPED = within(2.0)
"""Seconds for a replica to end when it is told to."""
ERRORS = (1, 2)
"""Exit codes: what may pass, what its operator has to put right."""


@pytest.fixture
def disk() -> Iterator[SmallExt4]:
    with mounted_ext4() as disk:
        yield disk


@pytest.mark.parametrize("harm", ["read-only", "gone"])
async def test_under_a_signer_it_blows_the_fuse_and_the_rest_goes_on(disk: SmallExt4, harm: str) -> None:
    async with Signer(disk.home.parent) as signer:
        await signer.start()
        await signer.signs(10, 11, 12)
        damage(disk, harm)
        await signer.holds(13)
        line = await signer.logged("FUSE BLOWN: nothing is signed any more")
        assert str(disk.home) in line["reason"]
        assert ("Read-only" if harm == "read-only" else "Input/output error") in line["reason"]
        assert "cmkms guard replace" in line["way_out"]
        assert decode_reply(await signer.node.raw(encode_request(PingRequest()))) == PingReply()
        assert (await signer.node.pub_key()).reply.pub_key
        status = signer.process.status()
        assert status is not None
        assert [chain.guard_state for chain in status.chains] == ["fused"]
        assert signer.process.terminate() < STOPPED
        assert "Traceback" not in signer.process.log_file.read_text(encoding="utf-8")


@pytest.mark.parametrize("harm", ["read-only", "gone"])
async def test_mounted_again_what_was_signed_is_known(disk: SmallExt4, harm: str) -> None:
    """Its fuse could not be noted on that disk: the start that rewrites and syncs the record is what it rests on."""
    async with Signer(disk.home.parent) as signer:
        await signer.start()
        await signer.signs(10, 11, 12)
        damage(disk, harm)
        await signer.holds(13)
        signer.process.kill()
        disk.mount_again()
        await signer.start()
        await signer.refuses_another_block(12)
        await signer.signs(14)


async def test_read_only_at_a_start_is_refused_in_clear_words_and_costs_no_fuse(disk: SmallExt4) -> None:
    async with Signer(disk.home.parent) as signer:
        await signer.start()
        await signer.signs(10)
        signer.process.kill()
        disk.mount_again("ro")
        code, said = await signer.does_not_start()
        assert code in ERRORS
        assert str(disk.home) in said
        assert "read-only" in said.lower()
        assert "Traceback" not in said
        disk.mount_again("rw")
        await signer.start()
        await signer.refuses_another_block(10)
        await signer.signs(11)


async def test_gone_at_a_start_is_refused_in_clear_words(disk: SmallExt4) -> None:
    async with Signer(disk.home.parent) as signer:
        await signer.start()
        await signer.signs(10)
        signer.process.kill()
        disk.lose_its_device()
        code, said = await signer.does_not_start()
        assert code in ERRORS
        assert str(disk.home) in said
        assert "Traceback" not in said
        disk.mount_again()
        await signer.start()
        await signer.refuses_another_block(10)


def damage(disk: SmallExt4, harm: str) -> None:
    if harm == "read-only":
        disk.become_read_only()
    else:
        disk.lose_its_device()
