"""Calls one peer: a session with it, a look at who answers there, or just whether anybody does."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, TypeVar, cast

from cmkms.errors import PeerError
from cmkms.peers.links import PeerLink
from cmkms.peers.session import Session
from cmkms.peers.sockets import dial, is_loopback
from cmkms.peers.tls import Credentials, proven_key

__all__ = ["call", "dial_trouble", "is_listening", "learn"]

HANDSHAKE_SECONDS: Final = 3.0
"""For TLS, once somebody has answered."""
_LATER_THAN_OURS: Final = 60.0
_SHUTDOWN_SECONDS: Final = 0.2


async def call(link: PeerLink, credentials: Credentials, session: Callable[[], Session]) -> Session:
    """Dial a peer whose key is known, and return the session that begins.

    Raises OSError (ssl.SSLError among them) where there is none.
    """
    if link.key is None:
        raise PeerError("its identity is not known yet")
    if link.trust is None:
        link.trust = credentials.dialling(link.key)
    trust = link.trust
    sock = await dial(await link.lookup.get(), link.peer.addr.port)
    return await _shake_hands(sock, trust, session)


async def learn(link: PeerLink, credentials: Credentials) -> bytes:
    """Return the public key of whoever answers at a peer's address, which must be this machine's own.

    Raises PeerError where the address is another machine's, or what answers is no replica; OSError where nobody does.
    """
    hosts = await link.lookup.get()
    for host in hosts:
        if not is_loopback(host):
            raise PeerError(
                f"{link.peer.addr} is on another machine, so it needs a pin: "
                f"write --peer {link.peer}#PIN, with the PIN that `cmkms identity show` prints there"
            )
    sock = await dial(hosts, link.peer.addr.port)
    asked = await _shake_hands(sock, credentials.asking_who(), _Asked)
    try:
        return asked.key()
    finally:
        asked.close()


async def is_listening(link: PeerLink) -> bool | None:
    """Whether somebody listens at a peer's port; None where that cannot be told."""
    try:
        sock = await dial(link.lookup.known, link.peer.addr.port)
    except ConnectionRefusedError:
        return False
    except OSError:
        return None
    sock.close()
    return True


def dial_trouble(error: OSError | UnicodeError, link: PeerLink) -> str:
    """Say what a failed dial ran into, and what to look at."""
    address = link.peer.addr
    match error:
        case ssl.SSLCertVerificationError():
            if not link.pinned:
                return f"whoever answers at {address} is not who was learned as {link.id}: looking again"
            return (
                f"whoever answers at {address} does not have the identity pinned for {link.id} ({link.peer.pin}); "
                f"`cmkms identity show` on {link.id} prints the right one"
            )
        case ssl.SSLError():
            return f"what answers at {address} is no replica of this release: {error.reason or error}"
        case TimeoutError():
            return f"no answer from {address}: the host is down, or a firewall is in between"
        case ConnectionRefusedError():
            return f"the host answers, but nobody listens at {address}"
        case ConnectionError():
            return f"{address} closed the connection amid the TLS handshake"
        case UnicodeError():
            return f"{address.host} is no host name"
        case socket.gaierror():
            return f"the name {address.host} does not resolve: {error.strerror}"
        case _:
            return f"{address} cannot be reached: {error.strerror or error}"


class _Asked(asyncio.Protocol):
    """Takes a look at the other side's certificate, and says nothing."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def key(self) -> bytes:
        if self._transport is None:
            raise PeerError("the connection ended at once")
        return proven_key(self._transport.get_extra_info("ssl_object"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


_Made = TypeVar("_Made", bound=asyncio.Protocol)


async def _shake_hands(sock: socket.socket, context: ssl.SSLContext, make: Callable[[], _Made]) -> _Made:
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            _, made = await asyncio.get_running_loop().create_connection(
                make,
                sock=sock,
                ssl=context,
                server_hostname="",
                # Ours comes first: the loop's ends in an error that cannot be told from others.
                ssl_handshake_timeout=_LATER_THAN_OURS,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
    except BaseException:
        sock.close()
        raise
    return made
