"""One replica: wires the parts together, starts them, and stops them. The only module that knows them all.

It decides nothing about signing. A bug found by any part ends the process: a supervisor starts it again, and the guard
remembers.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import structlog
import uvloop
from structlog.typing import FilteringBoundLogger

from cmkms import __version__
from cmkms.chains import LoadedChain, load_chain
from cmkms.config import NodeConfig, OnOutage
from cmkms.errors import CmkmsError, DiskError, OperatorError
from cmkms.guard.birth import OpenedGuard, Unborn, open_guard
from cmkms.guard.disk import PosixDisk
from cmkms.guard.filesystem import untrusted_file_system
from cmkms.guard.guard import Guard
from cmkms.guard.lock import HomeLock
from cmkms.guard.quorum import NoGuard, Quorum, SoleQuorum
from cmkms.guard.released import load_released, store_released
from cmkms.guard.state_file import SignState
from cmkms.hardening import harden_process
from cmkms.http.address import bind, hosts_for
from cmkms.keys.identity import load_identity
from cmkms.signing import REFUSE_AFTER_SECONDS, Signer
from cmkms.status import ChainStatus, GuardStatus, LastSigned, NodeStatus
from cmkms.systemd import notify
from cmkms.telemetry.events import ConnectionEvent, SignEvent
from cmkms.telemetry.journal import Journal
from cmkms.telemetry.logs import configure_logging
from cmkms.telemetry.metrics import MeasuredChain, Metrics
from cmkms.validators import Desk, Link, Observer, TroubleKind

if TYPE_CHECKING:
    from cmkms.http.server import HttpServer

__all__ = ["run"]

RELEASED_EVERY_SECONDS: Final = 1.0
"""How often the last released signature is written: off the signing path, and an old one costs nothing."""
UNBORN_REMINDER_SECONDS: Final = 60.0


def run(config: NodeConfig, never_signed: frozenset[str]) -> int:
    """Run this replica until SIGTERM or SIGINT; returns the exit code: 0 stopped as told, 1 a bug ended it.

    `never_signed` names the chains whose key has never signed, by the operator's word.
    Raises OperatorError for everything that the operator must put right before there is anything to run.
    """
    harden_process()
    configure_logging(config.log_level, config.log_format)
    log: FilteringBoundLogger = structlog.get_logger().bind()
    unknown = never_signed - {chain.id for chain in config.chains}
    if unknown:
        raise OperatorError(f"--never-signed {', '.join(sorted(unknown))}: no such chain in the configuration")
    lock = HomeLock(config.home, f"cmkms start --id {config.id}")
    try:
        _check_file_system(config, log)
        parts = _open_chains(config, never_signed, log)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_Replica(config, parts, log).serve())
    finally:
        lock.close()


@dataclass(slots=True)
class _Chain:
    """One chain of this replica. `guard` is None while unborn; `signer` and `links` come once the loop runs."""

    loaded: LoadedChain
    guard: Guard | None
    quorum: Quorum
    released: SignState | None
    links: list[Link] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    signer: Signer | None = None


def _check_file_system(config: NodeConfig, log: FilteringBoundLogger) -> None:
    why = untrusted_file_system(config.home.data_dir)
    if not why:
        return
    if not config.allow_unsafe:
        raise OperatorError(
            f"{config.home.data_dir} lies on {why}: after a power cut or a move, a guard there may have forgotten what "
            f"was signed. Use a local disk (ext4, xfs, btrfs, zfs), or --allow-unsafe for a test"
        )
    log.warning("unsafe file system for the guard, allowed by --allow-unsafe: never for a real validator", why=why)


def _open_chains(config: NodeConfig, never_signed: frozenset[str], log: FilteringBoundLogger) -> list[_Chain]:
    """Open every chain. A broken one never blocks the others, but with none left there is nothing to run."""
    chains: list[_Chain] = []
    broken: list[tuple[str, CmkmsError]] = []
    for chain in config.chains:
        try:
            chains.append(_open_chain(load_chain(config, chain), never_signed, log))
        except (OperatorError, DiskError) as error:
            broken.append((chain.id, error))
    if not chains:
        raise OperatorError("\n".join(str(error) for _, error in broken) or "no chain is configured")
    for chain_id, why in broken:
        log.error("this chain is not served", chain=chain_id, reason=str(why))
    return chains


def _open_chain(loaded: LoadedChain, never_signed: frozenset[str], log: FilteringBoundLogger) -> _Chain:
    chain_id = loaded.config.id
    opened = open_guard(loaded.site, PosixDisk(), never_signed=chain_id in never_signed)
    released = load_released(loaded.site)
    match opened:
        case Unborn(waiting_for=waiting_for):
            log.warning("not born yet: sign requests are held", chain=chain_id, waiting_for=waiting_for)
            return _Chain(loaded, None, NoGuard(waiting_for), released)
        case OpenedGuard(guard=guard, generation=generation, notes=notes):
            for note in notes:
                log.warning(note, chain=chain_id)
            _tell_guard(guard, chain_id, log)
            return _Chain(loaded, guard, SoleQuorum(guard, loaded.site.key_hash, generation), released)


def _tell_guard(guard: Guard, chain_id: str, log: FilteringBoundLogger) -> None:
    status = guard.status()
    at = f"{status.height}/{status.round}/{status.step}"
    if status.fuse is not None:
        log.critical(
            "the guard's fuse is blown: nothing is signed until `cmkms guard replace`",
            chain=chain_id,
            reason=status.fuse.reason,
            last_readable=at,
        )
        return
    log.info("guard armed", chain=chain_id, watermark=at, generation=status.generation, nonce=status.nonce[:8])


class _Replica:
    """The running replica, from `serve` to its return."""

    def __init__(self, config: NodeConfig, chains: list[_Chain], log: FilteringBoundLogger) -> None:
        self._config = config
        self._chains = chains
        self._log = log
        self._started = time.monotonic()
        self._stop = asyncio.Event()
        self._exit_code = 0
        self._metrics = Metrics(
            __version__,
            [MeasuredChain(one.id, tuple(str(addr) for addr in one.validator_addrs)) for one in config.chains],
            [kind.value for kind in TroubleKind],
        )
        self._journal = Journal(log, self._metrics)
        self._disk = PosixDisk()

    async def serve(self) -> int:
        """Serve until told to stop, or until a bug is found."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        listening = await bind(self._config.http_addr)
        tasks = self._start_links(loop)
        tasks += [asyncio.create_task(self._keep_released()), asyncio.create_task(self._remind_unborn())]
        for task in tasks:
            task.add_done_callback(self._task_ended)
        # A node that is starting waits 3 s for its signer, and FastAPI takes longer to import than all the rest: the
        # validators are dialled already, and the loop stays free for them.
        http = await asyncio.to_thread(_make_http, self.status, self._metrics, hosts_for(self._config.http_addr))
        address = await http.start(listening)
        # What lives from here on lives for good: the collector need not look at it while a vote waits.
        gc.collect()
        gc.freeze()
        self._log.info(
            "cmkms is up",
            id=self._config.id,
            version=__version__,
            http=str(address),
            chains=[one.loaded.config.id for one in self._chains],
        )
        notify("READY=1")
        await self._stop.wait()
        notify("STOPPING=1")
        await self._shut_down(tasks, http)
        return self._exit_code

    def _start_links(self, loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[None]]:
        identity = load_identity(self._config.home.identity_file)
        tasks: list[asyncio.Task[None]] = []
        for one in self._chains:
            chain = one.loaded.config
            one.signer = Signer(
                chain.id,
                one.loaded.key,
                one.quorum,
                loop.call_later,
                refuse_after=REFUSE_AFTER_SECONDS if chain.on_outage is OnOutage.REFUSE else None,
                released=one.released,
            )
            if one.guard is not None:
                self._watch_guard(one.guard, chain.id)
            observer = _Tally(self._journal, one.refusals, one.quorum)
            desk = Desk(chain.id, one.loaded.key, one.signer, observer, identity.seed, self._fatal)
            one.links = [Link(address, desk) for address in chain.validator_addrs]
            tasks += [asyncio.create_task(link.run(), name=str(link.status().address)) for link in one.links]
        return tasks

    def _watch_guard(self, guard: Guard, chain_id: str) -> None:
        guard.on_sync = lambda seconds: self._metrics.guard_fsync(chain_id, seconds)
        guard.on_fuse = lambda reason, disk_failed: self._fuse_blown(reason, guard, chain_id, disk_failed=disk_failed)

    def _fuse_blown(self, reason: str, first: Guard, chain_id: str, *, disk_failed: bool) -> None:
        """Tell it. A disk that failed one guard is trusted with none: the whole replica stops answering then."""
        self._log.critical("FUSE BLOWN: nothing is signed until `cmkms guard replace`", chain=chain_id, reason=reason)
        for one in self._chains if disk_failed else ():
            if one.guard is not None and one.guard is not first:
                one.guard.blow_fuse(f"the guard of {chain_id}, on the same disk, failed: {reason}")

    async def _keep_released(self) -> None:
        """Write what was released last, now and then; whoever repeats a request after a restart is answered by it."""
        while True:
            await asyncio.sleep(RELEASED_EVERY_SECONDS)
            for one in self._chains:
                await asyncio.to_thread(self._store_released, one)

    def _store_released(self, one: _Chain) -> None:
        released = one.signer.released if one.signer is not None else None
        if released is None or released is one.released:
            return
        try:
            store_released(one.loaded.site, self._disk, released)
        except DiskError as error:
            self._log.warning("the last released signature could not be written", reason=str(error))
        one.released = released

    async def _remind_unborn(self) -> None:
        while True:
            await asyncio.sleep(UNBORN_REMINDER_SECONDS)
            for one in self._chains:
                if one.quorum.waiting_for:
                    self._log.warning("still waiting", chain=one.loaded.config.id, waiting_for=one.quorum.waiting_for)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fatal(error)

    def _fatal(self, error: BaseException) -> None:
        """End the process because of a bug: the next life begins from what is on disk."""
        self._log.critical("a bug ends this process; please report it", exc_info=error)
        self._exit_code = 1
        self._stop.set()

    async def _shut_down(self, tasks: list[asyncio.Task[None]], http: HttpServer) -> None:
        self._log.info("stopping")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await http.stop()
        for one in self._chains:
            self._store_released(one)
            if one.guard is not None:
                one.guard.close()
        self._log.info("stopped")

    def status(self) -> NodeStatus:
        """Return what this replica is now. A replica alone is always its own leader."""
        return NodeStatus(
            id=self._config.id,
            version=__version__,
            uptime_seconds=time.monotonic() - self._started,
            is_leader=True,
            leader_id=self._config.id,
            leader_addr=str(self._config.raft_addr),
            chains=tuple(_chain_status(one) for one in self._chains),
        )


def _make_http(snapshot: Callable[[], NodeStatus], metrics: Metrics, hosts: tuple[str, ...]) -> HttpServer:
    from cmkms.http.app import create_app  # noqa: PLC0415 - see `serve`
    from cmkms.http.server import HttpServer  # noqa: PLC0415

    return HttpServer(create_app(snapshot, metrics, allowed_hosts=hosts))


class _Tally:
    """Counts refusals for the status, says why a held request was in vain, and passes everything on to the journal."""

    def __init__(self, journal: Observer, refusals: Counter[str], quorum: Quorum) -> None:
        self._journal = journal
        self._refusals = refusals
        self._quorum = quorum

    def signed(self, event: SignEvent) -> None:
        """See `Observer.signed`."""
        if event.result == "refused":
            self._refusals[event.reason] += 1
        elif event.result == "gone":
            event = replace(event, reason="outage", detail=self._quorum.waiting_for)
        self._journal.signed(event)

    def connection(self, event: ConnectionEvent) -> None:
        """See `Observer.connection`."""
        self._journal.connection(event)


def _chain_status(one: _Chain) -> ChainStatus:
    released = one.signer.released if one.signer is not None else one.released
    last = None
    if released is not None and released.sign_bytes is not None and released.signature is not None:
        hrs = released.hrs
        last = LastSigned(hrs.height, hrs.round, int(hrs.step), released.signature, released.sign_bytes)
    path = str(one.loaded.site.path)
    return ChainStatus(
        chain_id=one.loaded.config.id,
        address=one.loaded.key.address,
        pub_key_type=one.loaded.key.type_name,
        pub_key=one.loaded.key.pub_key,
        guard=GuardStatus("unborn", path) if one.guard is None else one.guard.status(),
        connections=tuple(link.status() for link in one.links),
        last_signed=last,
        refusals=tuple(sorted(one.refusals.items())),
        waiting_for=one.quorum.waiting_for,
    )
