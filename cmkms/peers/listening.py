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


class Listener:
    """Serves one listening socket, which is its own from here on, until `close`."""

    def __init__(self, sock: socket.socket, door: Door) -> None:
        self._sock = sock
        self._door = door
        self._strangers: dict[asyncio.Task[None], str] = {}
        self._accepting = asyncio.create_task(self._accept(), name="peers: accept")
        self._accepting.add_done_callback(self._failed)

    @property
    def port(self) -> int:
        """The TCP port."""
        port: int = self._sock.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening at once, and drop everyone who has not said hello."""
        self._accepting.cancel()
        self._sock.close()
        for task in list(self._strangers):
            task.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(self._sock)
            except ConnectionError:
                continue
            except OSError:
                await asyncio.sleep(_EXHAUSTED_SECONDS)
                continue
            if len(self._strangers) >= MAX_STRANGERS:
                self._push_out(next(iter(self._strangers)))
            host = str(address[0]).removeprefix("::ffff:")
            task = asyncio.create_task(self._let_in(sock, host))
            self._strangers[task] = host
            task.add_done_callback(self._done)

    def _push_out(self, oldest: asyncio.Task[None]) -> None:
        host = self._strangers.pop(oldest)
        oldest.cancel()
        self._door.turned_away(host, f"more than {MAX_STRANGERS} callers that do not say hello", None)

    async def _let_in(self, sock: socket.socket, host: str) -> None:
        """See one caller through. Leaves as soon as it is known, or gone."""
        session: Session | None = None
        try:
            accept_options(sock)
            session = await self._shake_hands(sock, host)
            await session.settled
        except TimeoutError:
            self._door.turned_away(host, f"no TLS handshake within {HANDSHAKE_SECONDS:.0f} s", None)
        except ssl.SSLError as error:
            self._door.turned_away(host, "", error)
        except OSError:
            # It hung up: so do the peers that only look whether somebody listens here.
            pass
        except asyncio.CancelledError:
            if session is not None:
                session.end("it did not say hello, and others want in")
            raise
        finally:
            if session is None:
                sock.close()

    async def _shake_hands(self, sock: socket.socket, host: str) -> Session:
        # uvloop returns its own protocol where asyncio returns ours.
        session = self._door.session(host)
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: session,
                sock,
                ssl=self._door.context(),
                # Ours comes first: the loop's ends in an error that cannot be told from others.
                ssl_handshake_timeout=_LATER_THAN_OURS,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        return session

    def _done(self, task: asyncio.Task[None]) -> None:
        self._strangers.pop(task, None)
        self._failed(task)

    def _failed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._door.fatal(error)
