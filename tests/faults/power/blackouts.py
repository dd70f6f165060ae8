"""Replicas whose homes lose power while they sign, and what is asked of them first when it comes back.

Makes a cluster of real processes, each home on a drive of its own, and a simulated node that asks as fast as it is
answered. Counts what it did and saw; what was answered is judged by the oracle, what is on the drives by reading them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cmkms.harness.chain import block_id
from cmkms.harness.endpoint import NodeTimings
from cmkms.harness.errors import NodeSideError, RemoteSignerError
from cmkms.harness.guard_files import Watermark, read_watermark
from cmkms.harness.node import SimulatedNode
from cmkms.harness.values import HRS, MessageType, Proposal, Time, Vote
from tests.faults.power.drive import Drive
from tests.faults.power.nursery import Nursery, Nursling, NurslingCluster
from tests.faults.power.witness import Message, Witness, another_block, sign

__all__ = ["CHAIN", "PATIENCE", "Answered", "Blackouts", "How", "Tally"]

CHAIN: Final = "testnet-1"
TIMINGS: Final = NodeTimings(accept=1.0, read_write=2.0, ping=10.0, retry_pause=0.02)
"""A node's own are longer: a campaign of a thousand cuts has no time for them, and they change no answer."""

PATIENCE: Final = 120.0
"""Seconds for a cluster to sign again on a machine that has other work."""
_LONGEST_LOAD: Final = 0.25
_BEFORE_THE_KILL: Final = 0.02
"""Seconds: how long a replica may go on after its drive has gone, at most."""
_STEPS: Final = (MessageType.PROPOSAL, MessageType.PREVOTE, MessageType.PRECOMMIT)


class How(Enum):
    """What the processes do at the moment the power goes."""

    RUNNING = "running"
    FROZEN = "frozen"
    KILLED = "killed just before"


class Answered(Enum):
    """What came of a question."""

    SIGNED = "signed"
    REFUSED = "refused"
    HELD = "held"


@dataclass(slots=True)
class Tally:
    """What a campaign did and saw. `in_flight_lost` are requests that were under way and left no trace on any drive."""

    cuts: int = 0
    signatures: int = 0
    refused: int = 0
    held: int = 0
    in_flight: int = 0
    in_flight_lost: int = 0
    unsynced_lost: int = 0
    fuses_blown: int = 0
    violations: list[str] = field(default_factory=list[str])


class Blackouts:
    """One cluster under cuts of power. `lying` are replicas whose drives only say that they flush."""

    def __init__(
        self, folder: Path, replicas: int, seed: int, *, lying: Sequence[str] = (), nothing_survives: bool = False
    ) -> None:
        """With `nothing_survives` a cut takes all that was not flushed, where else chance lets some of it through."""
        self.tally = Tally()
        self._nothing_survives = nothing_survives
        self.witness = Witness(CHAIN)
        self.rng = random.Random(seed)
        self._address = f"unix://{folder / 'node'}"
        self.node = self._new_node()
        self.cluster = NurslingCluster(folder, CHAIN, [self.node.address], replicas=replicas)
        self.members = self.cluster.members
        self.drives = {
            member: Drive(folder / f"drive-{member}", folder / member / "home", lies=member in lying)
            for member in self.members
        }
        self._nursery = Nursery()
        for member in self.members:
            replica = self.cluster.replica(member)
            if isinstance(replica, Nursling):
                replica.nursery = self._nursery
        self._pool = ThreadPoolExecutor(max(2, replicas))
        self._pub_key = b""
        self._asked = HRS(9, 0, 0)

    async def __aenter__(self) -> Self:
        try:
            self._pub_key = await asyncio.to_thread(self.cluster.initialise)
            await self.attach()
            self.cluster.start_all()
            await self.sign_next()
            for drive in self.drives.values():
                drive.settle()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the replicas."""
        await self.node.stop()
        self.cluster.close()
        self._nursery.close()
        self._pool.shutdown()

    # --------------------------------------------------------------------------------------------------- the node

    async def attach(self) -> None:
        """A node starts: the connections of the one before are gone."""
        await self.node.stop()
        self.node = self._new_node()
        self.node.knows(self._pub_key)
        await self.node.start()

    async def sign_on(self) -> None:
        """Ask for one step after the other, as fast as they are answered. Ends by being cancelled."""
        height = self._asked.height
        while True:
            height += 1
            for kind in _STEPS:
                message = _message(kind, height, self.rng)
                self._asked = message.hrs
                with suppress(NodeSideError):
                    await sign(self.node, message)

    async def sign_next(self) -> None:
        """Ask for a height that was never asked for. Raises TimeoutError with the logs if it is not signed in time."""
        message = _message(MessageType.PREVOTE, self._asked.height + 1, self.rng)
        self._asked = message.hrs
        if await self.ask(message) is not Answered.SIGNED:
            raise TimeoutError(f"{message.hrs} is not signed within {PATIENCE:g} s\n{self.cluster.logs()}")

    async def ask(self, message: Message, seconds: float = PATIENCE) -> Answered:
        """Ask for one message, for as long as this."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        await sign(self.node, message)
                    except RemoteSignerError:
                        return Answered.REFUSED
                    except NodeSideError:
                        continue
                    return Answered.SIGNED
        except TimeoutError:
            return Answered.HELD

    def _new_node(self) -> SimulatedNode:
        return SimulatedNode(self._address, CHAIN, timings=TIMINGS, witness=self.witness)

    # ---------------------------------------------------------------------------------------------------- the power

    async def cut_under_load(self, victims: Sequence[str], *, after: float = 0.0) -> None:
        """Have them sign, and take the power of these replicas away in the middle of it. The node ends as well.

        They sign for `after` seconds at least.
        """
        load = asyncio.create_task(self.sign_on())
        before = self.witness.highest
        async with asyncio.timeout(PATIENCE):
            while self.witness.highest == before:  # noqa: ASYNC110 - an answer sets no event
                await asyncio.sleep(0.005)
        await asyncio.sleep(after + self.rng.uniform(0.0, _LONGEST_LOAD))
        await self.cut(victims)
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        await self.node.stop()
        self.tally.in_flight += self._asked > self.witness.highest

    async def cut(self, victims: Sequence[str]) -> None:
        """Take the power of these replicas away, all at once."""
        how = self.rng.choice(list(How))
        seeds = [self.rng.random() for _ in victims]
        await self._each(victims, lambda victim: self._cut(victim, seeds[victims.index(victim)], how))
        self.tally.cuts += 1

    async def restore(self, victims: Sequence[str]) -> None:
        """Power comes back: mount, look at what is there, start."""
        await self._each(victims, lambda victim: self.drives[victim].restore())
        self._look_at_the_drives()
        for victim in victims:
            self.cluster.start(victim)

    def watermark(self, member: str) -> Watermark | None:
        """What a guard's file holds, as everybody on that machine can read it."""
        path = self.drives[member].home / "data" / CHAIN / "guard"
        return read_watermark(path.read_bytes()) if path.exists() else None

    def knows_all(self, member: str) -> bool:
        """Whether a guard's file stands at or above all that was released."""
        mark = self.watermark(member)
        return mark is not None and mark.hrs >= self.witness.highest

    def fuse_is_blown(self, member: str) -> bool:
        """Whether the marker of a blown fuse lies in a home."""
        return (self.drives[member].home / "data" / CHAIN / "fuse.json").exists()

    def result(self) -> Tally:
        """The tally, with what the judge says."""
        oracle = self.witness.oracle
        return replace(
            self.tally,
            signatures=oracle.signed,
            unsynced_lost=sum(drive.unsynced_lost for drive in self.drives.values()),
            violations=[*self.tally.violations, *map(str, oracle.violations)],
        )

    async def ask_first(self) -> None:
        """The first question after a cut: the highest that was ever released, with another block."""
        released = self.witness.released
        if released is None:
            raise RuntimeError("nothing was released yet")
        answered = await self.ask(another_block(released, self.tally.cuts))
        self.count(answered)
        # And what was released is answered for, or refused because more was accepted: the judge compares.
        await self.ask(released, 5.0)

    def count(self, answered: Answered) -> None:
        """Count the answer to a first question; the judge has seen one that is signed."""
        self.tally.refused += answered is Answered.REFUSED
        self.tally.held += answered is Answered.HELD

    def _cut(self, victim: str, seed: float, how: How) -> None:
        rng, replica = random.Random(seed), self.cluster.replica(victim)
        match how:
            case How.FROZEN:
                replica.pause()
            case How.KILLED:
                replica.kill()
            case How.RUNNING:
                pass
        # One that lies forgets all: of the last write alone nobody else may have heard.
        drive = self.drives[victim]
        drive.cut(None if drive.lies or self._nothing_survives else rng)
        if how is How.RUNNING:
            time.sleep(rng.uniform(0.0, _BEFORE_THE_KILL))
        replica.kill()

    def _look_at_the_drives(self) -> None:
        """A majority of the guards holds all that was released; no cut of power alone blows a fuse."""
        marks = [mark.hrs if (mark := self.watermark(member)) else HRS(0, 0, 0) for member in self.members]
        highest = self.witness.highest
        if sum(mark >= highest for mark in marks) <= len(marks) // 2:
            self.tally.violations.append(f"{highest} was released, the guards' files hold {', '.join(map(str, marks))}")
        if self._asked > highest:
            self.tally.in_flight_lost += all(mark < self._asked for mark in marks)
        self.tally.fuses_blown += sum(map(self.fuse_is_blown, self.members))

    async def _each(self, victims: Sequence[str], work: Callable[[str], None]) -> None:
        """Do it to all of them at the same time, each in a thread."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._pool, work, victim) for victim in victims))


def _message(kind: MessageType, height: int, rng: random.Random) -> Message:
    block, moment = block_id(height, 0), Time.now().later(rng.randrange(1_000_000))
    if kind is MessageType.PROPOSAL:
        return Proposal(height, 0, block_id=block, time=moment)
    extension = b"extension" if kind is MessageType.PRECOMMIT else b""
    return Vote(kind, height, 0, block, moment, bytes(20), extension=extension)
