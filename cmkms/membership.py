"""This replica's membership in its cluster, on the event loop: the peer link, the clocks, and the way out.

Drives one `Replica` and hands it what peers send. It must never let anything but the guards decide what is signed, and
never keep a stop waiting for longer than its own bounds.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from cmkms import __version__
from cmkms.cluster.terms import FileTermStore
from cmkms.cluster.timing import Timing
from cmkms.config import NodeConfig
from cmkms.keys.identity import Identity
from cmkms.peers.journal import PeerJournal
from cmkms.peers.messages import HelloMember, Message
from cmkms.peers.network import PeerNetwork
from cmkms.replica.chain import ReplicaObserver
from cmkms.replica.member import BEAT_SECONDS, Replica
from cmkms.replica.ports import ChainPlan, Ports, Who
from cmkms.replica.shown import peer_statuses
from cmkms.status import LeaseStatus, PeerStatus

__all__ = ["Membership"]

_BOOT_BYTES: Final = 16
FINISH_SECONDS: Final = 0.3
"""How long a replica that stops waits for what is under way; a due signature takes a millisecond."""
HAND_OVER_SECONDS: Final = 0.5
"""How long it waits for another replica to hold the lease: one election round, and the view that it must have first."""
_POLL_SECONDS: Final = 0.002


def boottime() -> float:
    """Seconds since the machine started, sleep included: what leases are measured by."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Membership:
    """One replica of several, from `start` to `stop`."""

    def __init__(
        self,
        config: NodeConfig,
        identity: Identity,
        plans: tuple[ChainPlan, ...],
        log: FilteringBoundLogger,
        observer: ReplicaObserver,
        fatal: Callable[[BaseException], None],
        nodes: Callable[[], int],
    ) -> None:
        """`nodes` counts the node connections in use; `fatal` ends the process."""
        self._config = config
        self._fatal = fatal
        self._loop = asyncio.get_running_loop()
        self._timing = Timing.of(config.default_ttl_seconds)
        self._timers: list[asyncio.TimerHandle] = []
        boot = os.urandom(_BOOT_BYTES)
        who = Who(
            config.id,
            hashlib.sha256(identity.public_key).digest(),
            tuple(HelloMember(peer.id, peer.pin or "") for peer in config.peers),
            config.default_ttl_seconds,
            boot,
            __version__,
        )
        ports = Ports(
            send=self._send,
            soon=self._soon,
            timer=self.later,
            clock=boottime,
            terms=FileTermStore(config.home.data_dir / "@term", lambda why: log.warning("election file", trouble=why)),
            random=random.SystemRandom(),
            log=log,
            observer=observer,
            nodes=nodes,
        )
        self.replica: Final = Replica(who, ports, plans)
        self._network = PeerNetwork(
            config.id,
            identity,
            config.peers,
            config.raft_addr,
            boot,
            self.replica,
            PeerJournal(log),
            fatal,
        )

    async def start(self) -> None:
        """Listen for the others and begin to dial them. Raises OperatorError, UnavailableError."""
        await self._network.start()
        self._repeat(self._timing.tick, self.replica.tick)
        self._repeat(BEAT_SECONDS, self.replica.beat)

    async def leave(self) -> None:
        """Finish what is under way and hand the lease over. What still waits then is answered by the new holder."""
        replica = self.replica
        replica.close()
        await _until(lambda: not replica.busy, FINISH_SECONDS)
        if replica.resign():
            await _until(lambda: replica.neighbours.holder()[0] not in {"", self._config.id}, HAND_OVER_SECONDS)
        await _until(lambda: not any(chain.dispatch.waiting for chain in replica.chains.values()), FINISH_SECONDS)

    async def stop(self) -> None:
        """Say goodbye to the others and close the link."""
        for timer in self._timers:
            timer.cancel()
        await self._network.stop()

    def later(self, delay: float, callback: Callable[[], None], /) -> asyncio.TimerHandle:
        """Run `callback` later; a bug in it ends the process, where the loop would only log it."""
        return self._loop.call_later(delay, self._guarded, callback)

    # ------------------------------------------------------------------------------------------------------- telling

    @property
    def lease(self) -> LeaseStatus | None:
        """Who holds the lease, as far as is known here."""
        holder, epoch = self.replica.neighbours.holder()
        if not holder:
            return None
        known = self.replica.coordination.lease
        remaining = known.until - boottime() if known is not None and known.holder == holder else 0.0
        return LeaseStatus(holder, epoch, max(0.0, remaining))

    def peers(self) -> tuple[PeerStatus, ...]:
        """Return every other replica as it is known here."""
        return peer_statuses(self._network.statuses(), self.replica.neighbours)

    # -------------------------------------------------------------------------------------------------------- inside

    def _repeat(self, seconds: float, job: Callable[[], None]) -> None:
        """Run `job` every so often, without catching up on what was missed."""
        slot = len(self._timers)

        def run() -> None:
            job()
            self._timers[slot] = self.later(seconds, run)

        self._timers.append(self.later(seconds, run))

    def _send(self, member: str, message: Message) -> bool:
        return self._network.send(member, message)

    def _soon(self, callback: Callable[[], None]) -> asyncio.Handle:
        return self._loop.call_soon(self._guarded, callback)

    def _guarded(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - the loop would only log it, and a swallowed bug signs on
            self._fatal(error)


async def _until(done: Callable[[], bool], seconds: float) -> None:
    """Wait until something is so, but not for longer than this."""
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:  # noqa: ASYNC110 - many things may make it so; it is short
        await asyncio.sleep(_POLL_SECONDS)
