"""Runs the application by uvicorn inside the loop that signs, and keeps HTTP clients from costing that loop anything.

It takes no signals, never ends the process, and bounds everything a client can hold: connections, header sizes, and
the time from a connection's first byte to its answer's last.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Generator
from typing import Any, Final, cast

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from cmkms.config import HostPort
from cmkms.http.address import BACKLOG

__all__ = ["EXCHANGE_SECONDS", "MAX_CONNECTIONS", "HttpServer"]

MAX_CONNECTIONS: Final = 32
"""A Prometheus, a load balancer's probe and a few people with curl. One more pushes out the oldest, so that a flood of
idle connections can neither eat the file descriptors a signer needs nor make `/healthz` (and so a restart) fail."""

EXCHANGE_SECONDS: Final = 10.0
"""From a connection's start, or its last answer, to its next answer, read by the client. Prometheus too waits 10 s."""

KEEP_ALIVE_SECONDS: Final = 5
"""An idle connection is closed after this; less than EXCHANGE_SECONDS, which closes it less politely."""

MAX_HEADER_BYTES: Final = 16 * 1024
"""Request line and headers together. A browser with many cookies sends about 8 KiB."""

_STOP_GRACE_SECONDS: Final = 0.25
"""Answers take microseconds; what is not read by then is cut off, since a stop must not wait for a client."""

_STOP_HARD_SECONDS: Final = 0.2
_STOP_STEP_SECONDS: Final = 0.01

_HEADERS: Final = [("cache-control", "no-store"), ("x-content-type-options", "nosniff")]


class HttpServer:
    """Serves one application on one listening socket, from `start` to `stop`, in the running loop."""

    def __init__(self, app: ASGIApp) -> None:
        """Take the application; nothing is served yet."""
        self._app = app
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, sock: socket.socket) -> HostPort:
        """Serve on a socket that listens (`address.bind`), which is the server's from here on; returns its address."""
        host, port = sock.getsockname()[:2]
        server = _Server(_config(self._app))
        task = asyncio.create_task(server.serve(sockets=[sock]), name="http")
        ready = asyncio.create_task(server.ready.wait())
        try:
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        except BaseException:
            task.cancel()
            sock.close()
            raise
        finally:
            ready.cancel()
        task.add_done_callback(_report_end)
        self._server, self._task = server, task
        return HostPort(host, port)

    async def stop(self) -> None:
        """Stop listening and end every connection: within 0.5 s, whatever the clients do. Does nothing if stopped."""
        server, task = self._server, self._task
        if server is None or task is None:
            return
        self._server = self._task = None
        server.request_stop()
        await asyncio.wait({task}, timeout=_STOP_GRACE_SECONDS)
        server.cut_off()
        await asyncio.wait({task}, timeout=_STOP_HARD_SECONDS)
        task.cancel()
        await asyncio.wait({task})


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_BoundedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        headers=_HEADERS,
        backlog=BACKLOG,
        # Not uvicorn's limit_concurrency: it would answer /healthz, too, with 503 in a flood, and so have a healthy
        # signer restarted. _BoundedProtocol bounds connections, Pacing bounds work.
        limit_concurrency=None,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )


def _report_end(task: asyncio.Task[None]) -> None:
    """Say it if serving ended by an error. The signer goes on: HTTP is not what it is there for."""
    if not task.cancelled() and (error := task.exception()) is not None:
        structlog.get_logger().error("http server ended", error=str(error), exc_info=error)


class _Server(uvicorn.Server):
    """Uvicorn without signals, without ten wake-ups a second, and with an end that cannot be delayed."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        # SIGTERM is the node's: it hands over first.
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        # uvicorn wakes every 0.1 s to look at flags; here an event is waited for, and once a second the Date is set.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), timeout=1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's name
        # Replaces uvicorn's, which sleeps 0.1 s at a time. Closing a server closes its socket.
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        state = self.server_state
        while (state.connections or state.tasks) and not self.force_exit:  # noqa: ASYNC110 - plain sets have no event
            await asyncio.sleep(_STOP_STEP_SECONDS)

    def request_stop(self) -> None:
        """End idle connections, let answers under way finish."""
        self.should_exit = True
        self._stop.set()

    def cut_off(self) -> None:
        """Wait for nothing any more."""
        self.force_exit = True
        for connection in list(self.server_state.connections):
            cast("asyncio.WriteTransport", connection.transport).abort()


class _BoundedProtocol(H11Protocol):
    """One connection that ends in bounded time, and makes room for newer ones."""

    _numbers = itertools.count()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.number = next(self._numbers)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as H11Protocol does
        super().connection_made(transport)
        self._set_deadline()
        connections = cast("set[_BoundedProtocol]", self.connections)
        if len(connections) > MAX_CONNECTIONS:
            oldest = min(connections, key=lambda connection: connection.number)
            connections.discard(oldest)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._set_deadline()
        super().on_response_complete()

    def _set_deadline(self) -> None:
        # uvicorn has a timer for idle connections only; a request sent byte by byte, or an answer never read, has none.
        self._clear_deadline()
        self._deadline = self.loop.call_later(EXCHANGE_SECONDS, self.transport.abort)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
