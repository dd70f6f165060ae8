"""The signer's end of validator connections: real links, a real signer, a real guard; what they tell is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from cmkms.config import ValidatorAddress
from cmkms.signing import Dispatch, Signer
from cmkms.telemetry.events import ConnectionEvent, SignEvent
from cmkms.validators import Desk, Link, TroubleKind
from tests.sim.sole_replica import SoleReplica, new_home
from tests.unit.signing.delayed_quorum import DelayedQuorum
from tests.unit.signing.messages import CHAIN, KEY
from tests.unit.validators.peers import eventually

IDENTITY_SEED: Final = b"i" * 32


class Seat:
    """Everything a Link needs. `signs` and `changes` are what it told, in order; `bugs` what it called fatal."""

    def __init__(self, folder: Path) -> None:
        self.replica = SoleReplica(new_home(folder / "home"))
        self.quorum = DelayedQuorum()
        self.signs: list[SignEvent] = []
        self.changes: list[ConnectionEvent] = []
        self.bugs: list[BaseException] = []
        self.signer: Signer = self.replica.signer
        self.dispatch: Dispatch = self.replica.dispatch

    def hold(self) -> None:
        """From here on a quorum decides, when the test says so, and not the guard."""
        self.signer = Signer(CHAIN, KEY, self.quorum)
        self.dispatch = Dispatch(CHAIN, self.signer, self.replica.clock.later)

    def close(self) -> None:
        self.replica.guard.close()
        if self.bugs:
            raise self.bugs[0]

    @property
    def desk(self) -> Desk:
        return Desk(CHAIN, KEY, self.dispatch, self, IDENTITY_SEED, self.bugs.append)

    @asynccontextmanager
    async def dialling(self, *addresses: ValidatorAddress) -> AsyncGenerator[Link]:
        """Keep a link to each address for as long as the block lasts; gives the first."""
        desk = self.desk
        links = [Link(address, desk) for address in addresses]
        tasks = [asyncio.create_task(link.run()) for link in links]
        try:
            yield links[0]
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)
            await asyncio.sleep(0)

    # ------------------------------------------------------------------------------------------- what a link tells to

    def signed(self, event: SignEvent) -> None:
        self.signs.append(event)

    def connection(self, event: ConnectionEvent) -> None:
        self.changes.append(event)

    # -------------------------------------------------------------------------------------------------------- asking

    @property
    def troubles(self) -> list[str]:
        return [event.reason for event in self.changes if event.reason]

    async def trouble(self, kind: TroubleKind) -> ConnectionEvent:
        """Wait until this trouble was told."""
        return await self.told(lambda event: event.reason == kind.value)

    async def told(self, fits: Callable[[ConnectionEvent], bool]) -> ConnectionEvent:
        await eventually(lambda: any(map(fits, self.changes)))
        return next(filter(fits, self.changes))

    async def entered(self, state: str) -> ConnectionEvent:
        return await self.told(lambda event: event.state == state and not event.reason)

    async def sign_event(self) -> SignEvent:
        """Wait until a sign request has ended."""
        await eventually(lambda: self.signs)
        return self.signs[0]
