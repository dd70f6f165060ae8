"""Sets the scene and clears it away: a temporary directory, replicas of cmkms in it, and nothing left of either."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cmkms.harness.replica_status import ReplicaStatus
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import CmkmsProcess, SignerProcessError
from demo.story import Outage, ReplicaLine, ReplicaState, Story, Tone

__all__ = ["Stage"]

_READY_SECONDS: Final = 60.0
"""Three on a quiet machine; a busy one has its time."""

_POLL_SECONDS: Final = 0.02

_LOOK_SECONDS: Final = 0.2
"""How often the replicas are asked for their status: often enough to be called live, too seldom to slow them."""


class Stage:
    """A directory and the replicas in it. As a context manager it leaves no process and no file behind."""

    def __init__(self, chain_id: str, replicas: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="cmkms-demo-"))
        self.chain_id = chain_id
        self.replicas = replicas
        self._cluster: CmkmsCluster | None = None
        self._address = ""
        self._gone: dict[str, ReplicaState] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cluster is not None:
            self._cluster.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def cluster(self) -> CmkmsCluster:
        """The replicas. Raises RuntimeError before `prepare`."""
        if self._cluster is None:
            raise RuntimeError("no signer on this stage yet")
        return self._cluster

    @property
    def log_files(self) -> list[Path]:
        """Where the replicas write their logs."""
        return [self.cluster.replica(member).log_file for member in self.cluster.members]

    async def prepare(self, address: str, story: Story, key_file: Path | None = None) -> bytes:
        """Homes, a key, `cmkms start` for each replica; returns the public key once the cluster can sign."""
        cluster = CmkmsCluster(self.directory, self.chain_id, [address], replicas=self.replicas)
        self._cluster, self._address = cluster, address
        await asyncio.to_thread(cluster.make_homes)
        each = f"--peer ID=HOST:PORT ..., for each of {', '.join(cluster.members)}" if self.replicas > 1 else "--alone"
        story.tell(f"cmkms init {each}")
        pub_key = await asyncio.to_thread(cluster.give_key, key_file)
        if key_file is None:
            story.tell("cmkms key generate" + ("; every replica gets a copy" if self.replicas > 1 else ""))
        else:
            story.tell("the validator's key moved from the node's home to the signer")
        begun = time.monotonic()
        cluster.start_all()
        peers = " --peer ID=HOST:PORT ..." if self.replicas > 1 else ""
        story.tell(f"cmkms start --never-signed {self.chain_id} --allow-unsafe{peers}")
        story.tell("  --never-signed: the key is new, as only its operator can know")
        story.tell("  --allow-unsafe: the guards lie in a temporary folder here")
        await self.wait_ready()
        await self.look(story)
        born = "guards born together" if self.replicas > 1 else "guard born"
        story.tell(f"ready after {time.monotonic() - begun:.1f} s: {self.replicas} {born}", Tone.GOOD)
        return pub_key

    async def wait_ready(self) -> None:
        """Wait until every replica that runs sees the others and can sign. Raises SignerProcessError."""
        living, deadline = self.cluster.alive, time.monotonic() + _READY_SECONDS
        # Looked at from here, one look in a thread at a time: a thread that waits would outlive an interrupt.
        while not await asyncio.to_thread(self.cluster.ready):
            if self.cluster.alive != living or time.monotonic() > deadline:
                raise SignerProcessError(f"the replicas do not come up:\n{self.cluster.logs()}")
            await asyncio.sleep(_POLL_SECONDS)

    async def watch(self, story: Story) -> None:
        """Keep the story's lines about the replicas true, until cancelled."""
        while True:
            await self.look(story)
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self, story: Story) -> None:
        """Ask every replica how it is, and tell of a new holder of the lease."""
        before = story.holder
        cluster = self.cluster
        statuses = await asyncio.to_thread(cluster.statuses)
        holder = max((one for one in statuses.values() if one.is_leader), key=lambda one: one.term, default=None)
        story.replicas = tuple(
            self._line(cluster.replica(member), statuses.get(member), holder) for member in cluster.members
        )
        if self.replicas > 1 and holder is not None and holder.id != before:
            story.tell(f"{holder.id} holds the lease (term {holder.term})")

    def crash(self, story: Story, member: str, where: str, *, resumes_at: int = 0) -> None:
        """`kill -9` to one replica. An answer at height `resumes_at` or above proves that the others go on."""
        replica = self.cluster.replica(member)
        pid, title = replica.pid, self._title(story, member)
        replica.kill()
        self._gone[member] = ReplicaState.KILLED
        story.tell(f"kill -9 {pid}: {title}, {where}", Tone.CRASH)
        story.outages.append(Outage(f"kill -9 of {title}", resumes_at, over=True))

    async def stop(self, story: Story, member: str) -> None:
        """SIGTERM to one replica, and wait for its end."""
        replica = self.cluster.replica(member)
        title = self._title(story, member)
        story.tell(f"SIGTERM {replica.pid}: {title}", Tone.CRASH)
        outage = Outage(f"SIGTERM to {title}")
        story.outages.append(outage)
        self._gone[member] = ReplicaState.STOPPED
        took = await asyncio.to_thread(replica.terminate)
        outage.over = True
        if replica.exit_code:
            story.broken.append(f"{member} ended with exit code {replica.exit_code} after SIGTERM")
        story.tell(f"{member} ended by itself after {took * 1e3:.0f} ms, exit code {replica.exit_code}")

    async def restart(self, story: Story, member: str) -> None:
        """Start one replica again if it does not run, as a supervisor would, and wait until it is back."""
        self._gone.pop(member, None)
        begun = time.monotonic()
        if not self.cluster.replica(member).alive:
            self.cluster.start(member)
        await self.wait_ready()
        story.tell(f"{member} started again, back at work after {time.monotonic() - begun:.1f} s")

    async def served_by(self) -> str | None:
        """Which replica the node is connected to."""
        return await asyncio.to_thread(self.cluster.connected_to, self._address)

    async def holder(self) -> str:
        """Who holds the lease; waits until somebody does."""
        while (holder := await asyncio.to_thread(self.cluster.holder)) is None:  # noqa: ASYNC110 - others' state
            await asyncio.sleep(_POLL_SECONDS)
        return holder

    def _line(self, replica: CmkmsProcess, status: ReplicaStatus | None, holder: ReplicaStatus | None) -> ReplicaLine:
        if not replica.alive or status is None:
            state = self._gone.get(replica.id, ReplicaState.STARTING)
            return ReplicaLine(replica.id, state)
        return ReplicaLine(
            replica.id,
            ReplicaState.UP,
            replica.pid,
            holds_lease=holder is not None and holder.id == replica.id,
            serves=status.serves(self._address),
            watermark=str(status.chains[0].watermark) if status.chains else "",
        )

    def _title(self, story: Story, member: str) -> str:
        """A replica's name, and whether it holds the lease and serves the node, as last seen."""
        if self.replicas == 1:
            return "the signer"
        line = next((line for line in story.replicas if line.id == member), None)
        roles = ["lease"] if line and line.holds_lease else []
        roles += ["node"] if line and line.serves else []
        return f"{member} ({', '.join(roles)})" if roles else member
