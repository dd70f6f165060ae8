"""One replica, alone or of several: wires the parts, starts them, and stops them. The only module that knows them all.

It decides nothing about signing. A bug found by any part ends the process: a supervisor starts it again, and the guard
remembers.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog
import uvloop
from structlog.typing import FilteringBoundLogger

from cmkms import __version__
from cmkms.config import NodeConfig, check_own_pin
from cmkms.control.server import ControlServer
from cmkms.errors import DiskError, OperatorError
from cmkms.guard.disk import PosixDisk
from cmkms.guard.guard import Guard
from cmkms.guard.lock import HomeLock
from cmkms.guard.released import store_released
from cmkms.hardening import harden_process
from cmkms.home import check_private_dir, make_private_dir
from cmkms.http.address import bind, hosts_for
from cmkms.keys.identity import load_identity
from cmkms.membership import Membership
from cmkms.replica.operating import operate
from cmkms.replica.ports import ChainPlan
from cmkms.served import (
    FUSE_BLOWN,
    NOT_SERVED,
    OpenedChain,
    ServedChain,
    Tally,
    chain_status,
    check_file_systems,
    open_chains,
    patience_of,
    place_of,
    serve_alone,
    serve_together,
)
from cmkms.status import ChainStatus, NodeStatus
from cmkms.systemd import notify
from cmkms.telemetry.journal import Journal
from cmkms.telemetry.logs import configure_logging
from cmkms.telemetry.metrics import MeasuredChain, Metrics
from cmkms.telemetry.unhandled import log_unraisable, loop_exception_handler
from cmkms.validators import Desk, Link, TroubleKind

if TYPE_CHECKING:
    from cmkms.http.server import HttpServer

__all__ = ["run"]

RELEASED_EVERY_SECONDS: Final = 1.0
"""How often the last released signature is written: off the signing path, and an old one costs nothing."""
REMINDER_SECONDS: Final = 60.0
HTTP_RETRY_SECONDS: Final = 5.0
"""At boot an interface may come up after us; a port may be another's for a while."""


def run(config: NodeConfig, never_signed: frozenset[str]) -> int:
    """Run this replica until SIGTERM or SIGINT; returns the exit code: 0 stopped as told, 1 a bug ended it.

    `never_signed` names the chains whose key has never signed, by the operator's word.
    Raises OperatorError for what the operator must put right before there is anything to run, and UnavailableError or
    DiskError for what may pass.
    """
    harden_process()
    configure_logging(config.log_level, config.log_format)
    log: FilteringBoundLogger = structlog.get_logger().bind()
    log_unraisable(log)
    unknown = never_signed - {chain.id for chain in config.chains}
    if unknown:
        raise OperatorError(f"--never-signed {', '.join(sorted(unknown))}: no such chain in the configuration")
    for directory in (config.home.path, config.home.priv_dir):
        check_private_dir(directory)
    # A home from a backup has none. What was in it is lost, and the born markers say so.
    make_private_dir(config.home.data_dir)
    check_private_dir(config.home.data_dir)
    check_own_pin(config)
    for warning in config.warnings:
        log.warning(warning)
    lock = HomeLock(config.home, f"cmkms start --id {config.id}")
    try:
        check_file_systems(config, log)
        chains, refused = open_chains(config, never_signed, log)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_Replica(config, chains, refused, log).serve())
    finally:
        lock.close()


class _Replica:
    """The running replica, from `serve` to its return."""

    def __init__(
        self, config: NodeConfig, opened: list[OpenedChain], refused: list[ChainStatus], log: FilteringBoundLogger
    ) -> None:
        self._config = config
        self._opened = opened
        self._chains: list[ServedChain] = []
        self._membership: Membership | None = None
        self._identity = load_identity(config.home.identity_file)
        self._refused = refused
        self._log = log
        self._started = time.monotonic()
        self._stop = asyncio.Event()
        self._http_tried = asyncio.Event()
        self._http_state = ""
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
        loop.set_exception_handler(loop_exception_handler(self._log, self._fatal))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        await self._join()
        tasks = self._start_links()
        jobs = (self._keep_released(), self._remind(), self._serve_http(), self._serve_control())
        tasks += [asyncio.create_task(job) for job in jobs]
        for task in tasks:
            task.add_done_callback(self._task_ended)
        await self._http_tried.wait()
        # What lives from here on lives for good: the collector need not look at it while a vote waits.
        gc.collect()
        gc.freeze()
        self._log.info(
            "cmkms is up",
            id=self._config.id,
            version=__version__,
            http=self._http_state,
            chains=", ".join(one.loaded.config.id for one in self._chains),
        )
        notify("READY=1")
        await self._stop.wait()
        notify("STOPPING=1")
        await self._shut_down(tasks)
        return self._exit_code

    async def _serve_http(self) -> None:
        """Serve status and metrics, as soon as their address can be had. Signing never waits for it.

        A node that is starting waits 3 s for its signer, and FastAPI takes longer to import than all the rest: by now
        the validators are being dialled, and the loop stays free for them.
        """
        hosts = hosts_for(self._config.http_addr)
        try:
            http = await asyncio.to_thread(_make_http, self.status, self._metrics, hosts)
            listening = await self._bind_http()
            self._http_state = str(await http.start(listening))
        finally:
            self._http_tried.set()
        try:
            await asyncio.Future[None]()
        finally:
            await http.stop()

    async def _serve_control(self) -> None:
        """Take the operator's commands, where there are any to take. Signing never waits for it."""
        member = self._membership
        if member is None:
            return
        server = ControlServer(
            self._config.home.control_socket, lambda request: operate(member.replica, request), self._fatal
        )
        try:
            await server.start()
        except OSError as error:
            reason = f"{self._config.home.control_socket}: {error.strerror or error}"
            self._log.error("no commands are taken: `cmkms cluster change` does not work here", reason=reason)
            return
        try:
            await asyncio.Future[None]()
        finally:
            await server.stop()

    async def _bind_http(self) -> socket.socket:
        while True:
            try:
                return await bind(self._config.http_addr)
            except OperatorError as error:
                self._http_state = "not served"
                self._log.error("no status, no metrics: trying again every few seconds", reason=str(error))
                self._http_tried.set()
            await asyncio.sleep(HTTP_RETRY_SECONDS)

    async def _join(self) -> None:
        """Serve every chain: alone, or as one of several replicas, which are dialled from here on."""
        if len(self._config.peers) == 1:
            self._chains = [serve_alone(chain, self._later) for chain in self._opened]
            return
        plans = tuple(ChainPlan(place_of(chain), patience_of(chain)) for chain in self._opened)
        member = Membership(self._config, self._identity, plans, self._log, self._metrics, self._fatal, self._nodes)
        chains = member.replica.chains
        self._chains = [serve_together(chain, chains[chain.loaded.config.id]) for chain in self._opened]
        self._membership = member
        await member.start()

    def _start_links(self) -> list[asyncio.Task[None]]:
        tasks: list[asyncio.Task[None]] = []
        for one in self._chains:
            chain = one.loaded.config
            if one.guard is not None:
                self._watch_guard(one.guard, chain.id)
            observer = Tally(self._journal, one.refusals, one.waiting_for)
            desk = Desk(chain.id, one.loaded.key, one.dispatch, observer, self._identity.seed, self._fatal)
            one.links = [Link(address, desk) for address in chain.validator_addrs]
            tasks += [asyncio.create_task(link.run(), name=str(link.status().address)) for link in one.links]
        return tasks

    def _nodes(self) -> int:
        """Return how many nodes are served at this moment."""
        return sum(link.status().state == "connected" for one in self._chains for link in one.links)

    def _watch_guard(self, guard: Guard, chain_id: str) -> None:
        guard.on_sync = lambda seconds: self._metrics.guard_fsync(chain_id, seconds)
        guard.on_fuse = lambda reason, disk_failed: self._fuse_blown(reason, guard, chain_id, disk_failed=disk_failed)

    def _fuse_blown(self, reason: str, first: Guard, chain_id: str, *, disk_failed: bool) -> None:
        """Tell it. A disk that failed one guard is trusted with none: the whole replica stops answering then."""
        site = self._chains[0].loaded.site
        self._log.critical(FUSE_BLOWN[site.alone], chain=chain_id, reason=reason, way_out=site.way_out)
        for one in self._chains if disk_failed else ():
            if one.guard is not None and one.guard is not first:
                one.guard.blow_fuse(f"the guard of {chain_id}, on the same disk, failed: {reason}")
        if self._membership is not None:
            self._membership.replica.fuse_blown()

    async def _keep_released(self) -> None:
        """Write what was released last, now and then; whoever repeats a request after a restart is answered by it."""
        while True:
            await asyncio.sleep(RELEASED_EVERY_SECONDS)
            for one in self._chains:
                await asyncio.to_thread(self._store_released, one)

    def _store_released(self, one: ServedChain) -> None:
        released = one.signer.released
        if released is None or released is one.stored:
            return
        try:
            store_released(one.loaded.site, self._disk, released)
        except DiskError as error:
            self._log.warning("the last released signature could not be written", reason=str(error))
        one.stored = released

    async def _remind(self) -> None:
        """Say again what keeps a chain from signing: a line of last week is not seen."""
        while True:
            await asyncio.sleep(REMINDER_SECONDS)
            for one in self._chains:
                if waiting_for := one.waiting_for():
                    self._log.warning("still waiting", chain=one.loaded.config.id, waiting_for=waiting_for)
            for chain in self._refused:
                self._log.error(NOT_SERVED, chain=chain.chain_id, reason=chain.waiting_for)

    def _later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run `callback` later; a bug in it ends the process, where the loop would only log it."""

        def run() -> None:
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - see above
                self._fatal(error)

        return asyncio.get_running_loop().call_later(delay, run)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fatal(error)

    def _fatal(self, error: BaseException) -> None:
        """End the process because of a bug: the next life begins from what is on disk."""
        self._log.critical("a bug ends this process; please report it", exc_info=error)
        self._exit_code = 1
        self._end()

    def _end(self) -> None:
        self._stop.set()
        # Nobody waits for an HTTP address whose name takes its time to resolve.
        self._http_tried.set()

    async def _shut_down(self, tasks: list[asyncio.Task[None]]) -> None:
        self._log.info("stopping")
        if self._membership is not None and not self._exit_code:
            # A bug ends everything at once: nothing is finished by parts that may be wrong.
            await self._membership.leave()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._membership is not None:
            await self._membership.stop()
        for one in self._chains:
            self._store_released(one)
            if one.guard is not None:
                one.guard.close()
        self._log.info("stopped")

    def _statuses(self) -> list[ChainStatus]:
        """Return every configured chain's status, in the order of the configuration."""
        shown = {one.loaded.config.id: chain_status(one) for one in self._chains}
        shown |= {chain.chain_id: chain for chain in self._refused}
        return [shown[chain.id] for chain in self._config.chains]

    def status(self) -> NodeStatus:
        """Return what this replica is now, and what it knows of the others. A replica alone is its own leader."""
        config, member = self._config, self._membership
        alone = NodeStatus(
            id=config.id,
            version=__version__,
            uptime_seconds=time.monotonic() - self._started,
            is_leader=True,
            leader_id=config.id,
            leader_addr=str(config.own_peer.addr),
            chains=tuple(self._statuses()),
        )
        if member is None:
            return alone
        lease = member.lease
        holder = lease.holder if lease is not None else ""
        return replace(
            alone,
            is_leader=member.replica.coordination.holds,
            leader_id=holder,
            leader_addr=next((str(peer.addr) for peer in config.peers if peer.id == holder), ""),
            term=member.replica.coordination.term,
            lease=lease,
            peers=member.peers(),
        )


def _make_http(snapshot: Callable[[], NodeStatus], metrics: Metrics, hosts: tuple[str, ...]) -> HttpServer:
    from cmkms.http.app import create_app  # noqa: PLC0415 - see `serve`
    from cmkms.http.server import HttpServer  # noqa: PLC0415

    return HttpServer(create_app(snapshot, metrics, allowed_hosts=hosts))
