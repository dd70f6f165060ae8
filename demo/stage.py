"""Sets the scene and clears it away: a temporary directory, a cmkms in it, and nothing left of either at the end."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cmkms.harness.signer_process import CmkmsProcess, SignerProcessError
from demo.story import Story, Tone

__all__ = ["Stage"]

_READY_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.02


class Stage:
    """A directory and the signer in it. As a context manager it leaves no process and no file behind."""

    def __init__(self, chain_id: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="cmkms-demo-"))
        self.chain_id = chain_id
        self.signer: CmkmsProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.signer is not None:
            self.signer.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def prepare_signer(self, address: str, story: Story, key_file: Path | None = None) -> bytes:
        """`cmkms init`, a key, `cmkms start`; returns the public key once the signer is healthy."""
        signer = CmkmsProcess(self.directory, self.chain_id, [address])
        pub_key = await asyncio.to_thread(signer.initialise, key_file)
        self.signer = signer
        story.tell("cmkms init")
        if key_file is None:
            story.tell("cmkms key generate")
        else:
            story.tell("the validator's key moved from the node's home into the signer's")
        signer.start()
        story.tell(f"cmkms start --never-signed {self.chain_id} --allow-unsafe")
        story.tell("  --never-signed: the key is new, as only its operator can know")
        story.tell("  --allow-unsafe: the guard lies in a temporary folder here")
        await self.wait_healthy(story)
        return pub_key

    async def wait_healthy(self, story: Story) -> None:
        """Wait until the signer answers; the story shows its process id."""
        signer = self.running
        deadline = time.monotonic() + _READY_SECONDS
        while not await asyncio.to_thread(signer.healthy):
            if not signer.alive or time.monotonic() > deadline:
                raise SignerProcessError(f"cmkms did not come up:\n{signer.log_tail()}")
            await asyncio.sleep(_POLL_SECONDS)
        story.signer = f"pid {signer.pid}"

    @property
    def running(self) -> CmkmsProcess:
        """The signer of this stage. Raises RuntimeError before `prepare_signer`."""
        if self.signer is None:
            raise RuntimeError("no signer on this stage yet")
        return self.signer

    def crash(self, story: Story, where: str) -> None:
        """`kill -9`, and start again at once as a supervisor would, without `--never-signed`."""
        signer = self.running
        signer.kill()
        story.last_before_crash = story.answered[-1]
        story.tell(f"kill -9 {signer.pid}, {where}", Tone.CRASH)
        story.signer = "killed"
        signer.start()
