"""Takes connections from whoever calls, and sees each through its TLS handshake and hello, or out of the door.

Until then a caller is a stranger: it gets little time and one of few places, and the newest caller is never the one
that is turned away, so that places held in bad faith keep no replica out.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cmkms.peers.session import Session
from cmkms.peers.sockets import accept_options

__all__ = ["HANDSHAKE_SECONDS", "MAX_STRANGERS", "Door", "Listener"]

HANDSHAKE_SECONDS: Final = 3.0
"""From a connection's first moment to the end of its TLS handshake: 2 ms and two round trips, by a replica."""
MAX_STRANGERS: Final = 16
"""Callers that have not said hello yet; one more pushes out the oldest. A replica needs its place for milliseconds."""

_LATER_THAN_OURS: Final = 60.0
_SHUTDOWN_SECONDS: Final = 0.2
_EXHAUSTED_SECONDS: Final = 0.1
"""How long nobody is let in when the process has no descriptor left for a socket."""


@dataclass(frozen=True, slots=True)
class Door:
    """What the listener needs: a TLS context of the moment, a session for a caller, and whom to tell.

    `turned_away` gets the caller's IP address and why, with the TLS error if there was one.
    """

    context: Callable[[], ssl.SSLContext]
    session: Callable[[str], Session]
    turned_away: Callable[[str, str, ssl.SSLError | None], None]
    fatal: Callable[[BaseException], None]


@dataclass(slots=True)
class _Stranger:
    """A caller that has not said hello yet. `session` is there once TLS is done."""

    sock: socket.socket
    host: str
    session: Session | None = None


class Listener:
    """Serves one listening socket, which is its own from here on, until `close`."""

    def __init__(self, sock: socket.socket, door: Door) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._door = door
        self._strangers: dict[asyncio.Task[None], _Stranger] = {}
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock.fileno(), self._ready)

    @property
    def port(self) -> int:
        """The TCP port."""
        port: int = self._sock.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening at once, and drop everyone who has not said hello."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for task in list(self._strangers):
            task.cancel()

    def _ready(self) -> None:
        try:
            self._accept()
        except Exception as error:  # noqa: BLE001 - the event loop would swallow a bug
            self._door.fatal(error)

    def _accept(self) -> None:
        try:
            sock, address = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError:
            reader = self._sock.fileno()
            self._loop.remove_reader(reader)
            self._pause = self._loop.call_later(_EXHAUSTED_SECONDS, self._loop.add_reader, reader, self._ready)
            return
        if len(self._strangers) >= MAX_STRANGERS:
            self._push_out(next(iter(self._strangers)))
        stranger = _Stranger(sock, str(address[0]).removeprefix("::ffff:"))
        task = self._loop.create_task(self._let_in(stranger))
        self._strangers[task] = stranger
        task.add_done_callback(lambda done: self._left(done, stranger))

    def _push_out(self, oldest: asyncio.Task[None]) -> None:
        oldest.cancel()
        why = f"more than {MAX_STRANGERS} callers that do not say hello"
        self._door.turned_away(self._strangers.pop(oldest).host, why, None)

    async def _let_in(self, stranger: _Stranger) -> None:
        """See one caller through. Returns as soon as it is known, or gone."""
        try:
            accept_options(stranger.sock)
            stranger.session = await self._shake_hands(stranger)
            await stranger.session.settled
        except TimeoutError:
            self._door.turned_away(stranger.host, f"no TLS handshake within {HANDSHAKE_SECONDS:.0f} s", None)
        except ssl.SSLError as error:
            self._door.turned_away(stranger.host, "", error)
        except OSError:
            # It hung up: so do the peers that only look whether somebody listens here.
            pass

    async def _shake_hands(self, stranger: _Stranger) -> Session:
        # uvloop returns its own protocol where asyncio returns ours.
        session = self._door.session(stranger.host)
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await self._loop.connect_accepted_socket(
                lambda: session,
                stranger.sock,
                ssl=self._door.context(),
                # Ours comes first: the loop's ends in an error that cannot be told from others.
                ssl_handshake_timeout=_LATER_THAN_OURS,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        return session

    def _left(self, task: asyncio.Task[None], stranger: _Stranger) -> None:
        self._strangers.pop(task, None)
        if stranger.session is None:
            stranger.sock.close()
        elif task.cancelled() and not stranger.session.up:
            stranger.session.end("it did not say hello, and others want in")
        if not task.cancelled() and (error := task.exception()) is not None:
            self._door.fatal(error)
