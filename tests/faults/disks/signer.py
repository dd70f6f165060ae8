"""A replica alone whose home lies on a file system of the test's own, and the node that it signs for."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

from cmkms.harness.endpoint import NodeTimings
from cmkms.harness.errors import NodeSideError, RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_process import CmkmsProcess
from tests.faults.disks.homes import CHAIN, vote

__all__ = ["PATIENCE", "Signer"]

PATIENCE: Final = 60.0
"""Seconds, on a machine that has other work."""
_TIMINGS: Final = NodeTimings(accept=1.0, read_write=2.0, ping=10.0, retry_pause=0.05)


@dataclass
class Signer:
    """Its home is `folder / "home"`, which has to be there. As a context it is made, and ended."""

    folder: Path
    oracle: Oracle = field(default_factory=lambda: Oracle([CHAIN]))

    async def __aenter__(self) -> Self:
        self.node = SimulatedNode(f"unix://{self.folder / 'node'}", CHAIN, timings=_TIMINGS, witness=self.oracle)
        self.process = CmkmsProcess(self.folder, CHAIN, [self.node.address])
        self.node.knows(await asyncio.to_thread(self.process.initialise))
        await self.node.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        await self.node.stop()
        assert self.oracle.violations == []

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process.start()
        await asyncio.to_thread(self.process.wait_healthy, PATIENCE)

    async def signs(self, *heights: int) -> None:
        """Have it sign these heights."""
        for height in heights:
            async with asyncio.timeout(PATIENCE):
                await self.node.sign_vote(vote(height))

    async def refuses_another_block(self, height: int) -> None:
        """Ask for a height that was signed with another block."""
        with pytest.raises(RemoteSignerError, match="conflicting data"):
            async with asyncio.timeout(PATIENCE):
                await self.node.sign_vote(vote(height, block=7))

    async def holds(self, height: int, seconds: float = 2.5) -> None:
        """Ask for a height, and get no answer."""
        with pytest.raises((NodeSideError, TimeoutError)) as gone:
            async with asyncio.timeout(seconds):
                await self.node.sign_vote(vote(height))
        assert not isinstance(gone.value, RemoteSignerError)

    def events(self, *words: str) -> list[dict[str, Any]]:
        """The lines of its log that hold all these words."""
        lines = self.process.log_file.read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in events if all(word in json.dumps(event) for word in words)]

    async def logged(self, *words: str) -> dict[str, Any]:
        """Wait for such a line."""
        async with asyncio.timeout(PATIENCE):
            while not (found := self.events(*words)):  # noqa: ASYNC110 - a log sets no event
                await asyncio.sleep(0.02)
        return found[0]

    async def does_not_start(self) -> tuple[int, str]:
        """Start it, and wait for its end; returns the exit code and what it said."""
        before = self.process.log_file.stat().st_size if self.process.log_file.exists() else 0
        self.process.start()
        async with asyncio.timeout(PATIENCE):
            while (code := self.process.exit_code) is None:  # noqa: ASYNC110 - a process sets no event
                await asyncio.sleep(0.02)
        return code, self.process.log_file.read_bytes()[before:].decode()
