"""Real homes to damage: made by `cmkms init`, born and used by real processes, and put back as they were, file by file.

Owns a copy of every byte. A home that was damaged is never the next case's home.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cmkms.harness.chain import block_id
from cmkms.harness.guard_files import read_watermark
from cmkms.harness.node import SimulatedNode
from cmkms.harness.signbytes import vote_sign_bytes
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.values import MessageType, Time, Vote
from tests.faults.disks.opener import Question

__all__ = ["CHAIN", "CONFIG", "FUSE", "GUARD", "LAST", "RELEASED", "STATE", "SoundHome", "make_home", "vote"]

CHAIN: Final = "testnet-1"
LAST: Final = 12
"""The height of the last vote that was signed."""

CONFIG: Final = "config.toml"
GUARD: Final = f"data/{CHAIN}/guard"
RELEASED: Final = f"data/{CHAIN}/last_released.json"
FUSE: Final = f"data/{CHAIN}/fuse.json"
STATE: Final = "priv/priv_validator_state.json"

_READY: Final = 90.0
_RELEASED_IS_KEPT: Final = 1.5
"""Seconds: what was released last is written within one."""


@dataclass(frozen=True, slots=True)
class SoundHome:
    """A home as its replica left it: every file's bytes, by path inside the home, and what is asked of its guard.

    `older_guard` is the guard's file as it was before the last vote.
    """

    home: Path
    files: dict[str, bytes]
    question: Question
    older_guard: bytes

    def restore(self) -> None:
        """Put everything back that differs, and remove what is new."""
        for path in [one for one in self.home.rglob("*") if one.is_file()]:
            if str(path.relative_to(self.home)) not in self.files:
                path.unlink()
        for name, data in self.files.items():
            path = self.home / name
            if not path.exists() or path.read_bytes() != data:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                path.unlink(missing_ok=True)
                path.touch(0o600)
                path.write_bytes(data)

    def copy(self, to: Path) -> SoundHome:
        """Make the same home in another place, for another thread."""
        shutil.copytree(self.home, to)
        return replace(self, home=to)

    def changed(self, files: dict[str, bytes | None]) -> SoundHome:
        """Make another sound home of it: with these files instead, or without them."""
        kept = {name: data for name, data in (self.files | files).items() if data is not None}
        return replace(self, files=kept)


def vote(height: int, block: int = 0) -> Vote:
    """A prevote; `block` makes another block of it."""
    return Vote(MessageType.PREVOTE, height, 0, block_id(height, 0, block), Time(1_700_000_000), bytes(20))


async def make_home(folder: Path, replicas: int) -> SoundHome:
    """Make a cluster, let it sign, stop it in good order, and take the first replica's home."""
    async with SimulatedNode(f"unix://{folder / 'node'}", CHAIN) as node:
        with CmkmsCluster(folder, CHAIN, [node.address], replicas=replicas) as cluster:
            node.knows(await asyncio.to_thread(cluster.initialise))
            cluster.start_all()
            await asyncio.to_thread(cluster.wait_ready, _READY)
            for height in range(10, LAST):
                await node.sign_vote(vote(height))
            await asyncio.sleep(_RELEASED_IS_KEPT)
            home = cluster.replica("node-0").home
            older = (home / GUARD).read_bytes()
            await node.sign_vote(vote(LAST))
            await asyncio.sleep(_RELEASED_IS_KEPT)
            for member in cluster.members:
                await asyncio.to_thread(cluster.terminate, member)
    return _taken(home, older)


def _taken(home: Path, older: bytes) -> SoundHome:
    files = {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    mark = read_watermark(files[GUARD])
    last = vote_sign_bytes(CHAIN, vote(LAST))
    if mark is None or mark.sign_bytes != last:
        raise RuntimeError(f"the guard of {home} does not hold the last vote: {mark}")
    other = vote_sign_bytes(CHAIN, vote(LAST, block=7))
    return SoundHome(home, files, Question(CHAIN, last.hex(), other.hex()), older)
