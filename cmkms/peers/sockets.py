"""The sockets under the peer link: how they listen, how they dial, and what the kernel is told about them.

Everything here is bounded in time. A dial of a host by name never waits for a resolver that has answered before.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from typing import Final

from cmkms.config import HostPort
from cmkms.errors import CmkmsError, OperatorError, UnavailableError

__all__ = ["DIAL_SECONDS", "Lookup", "accept_options", "dial", "is_loopback", "listen"]

DIAL_SECONDS: Final = 1.0
"""A replica in reach answers within one round trip; the kernel repeats a lost SYN after 1 s."""
REFRESH_SECONDS: Final = 10.0
"""How old known addresses may be when they are used; a replica that moves is followed within this time."""
BACKLOG: Final = 64
"""Connections that wait to be accepted; the loop accepts within milliseconds."""

_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # Heartbeats find a dead peer sooner; these are for the kernel to let go of what was written to it.
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2_000),
)

_ADVICE: Final = {
    errno.EACCES: "ports below 1024 need a privilege that a signer should not have; choose a higher port",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address; use one it has, or `:PORT` for all of them",
}


def is_loopback(host: str) -> bool:
    """Whether this IP address is this machine's own."""
    return ipaddress.ip_address(host).is_loopback


# ----------------------------------------------------------------------------------------------------------- listening


async def listen(address: HostPort) -> socket.socket:
    """Bind and listen; IPv4 and IPv6 at once where the address means all interfaces and the kernel has both.

    Raises UnavailableError where another process has the address, OperatorError where nobody can have it.
    """
    try:
        if address.host in {"", "::"}:
            return _listen_everywhere(address)
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return _listen(found[0][0], found[0][4])
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(address, error) from None


def _cannot_listen(address: HostPort, error: OSError | UnicodeError) -> CmkmsError:
    text = f"raft_addr {address}: cannot listen for the other replicas: "
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return UnavailableError(text + "another process listens there (see `ss -ltnp`); stop it, or change the address")
    if isinstance(error, UnicodeError | socket.gaierror):
        return OperatorError(text + "the name cannot be resolved; write an IP address, or `:PORT` for all interfaces")
    return OperatorError(text + _ADVICE.get(error.errno or 0, f"{error.strerror}; choose another address"))


def _listen_everywhere(address: HostPort) -> socket.socket:
    try:
        return _listen(socket.AF_INET6, ("::", address.port), dual_stack=True)
    except OSError as error:
        # A kernel without IPv6 has no such family, or has it without a single address.
        if address.host or error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            raise
        return _listen(socket.AF_INET, ("0.0.0.0", address.port))  # noqa: S104 - asked for by `:PORT`


def _listen(family: int, address: tuple[object, ...], *, dual_stack: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dual_stack))
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.settimeout(0)
    except BaseException:
        sock.close()
        raise
    return sock


def accept_options(sock: socket.socket) -> None:
    """Tell the kernel how to treat a connection. Raises OSError if it is gone already."""
    sock.settimeout(0)
    for level, option, value in _OPTIONS:
        sock.setsockopt(level, option, value)


# ------------------------------------------------------------------------------------------------------------- dialling


class Lookup:
    """The IP addresses of one peer, given by name or as an IP address."""

    def __init__(self, host: str) -> None:
        self._host = host
        self.known: tuple[str, ...] = (host,) if _is_ip_address(host) else ()
        self._fixed = bool(self.known)
        self._due = 0.0
        self._task: asyncio.Task[None] | None = None
        self._failed: OSError | UnicodeError | None = None

    async def get(self) -> tuple[str, ...]:
        """Return the addresses to dial, in order. Waits only while none was ever known, and at most 1 s.

        Raises OSError (socket.gaierror, TimeoutError) or UnicodeError where the name does not resolve and never did.
        """
        if self._fixed:
            return self.known
        if self._task is None and asyncio.get_running_loop().time() >= self._due:
            self._task = asyncio.create_task(self._look_up())
        if not self.known and self._task is not None:
            # Shielded: a lookup cannot be called off, a second one beside it would only wait, too.
            async with asyncio.timeout(DIAL_SECONDS):
                await asyncio.shield(self._task)
        if not self.known:
            raise self._failed or TimeoutError
        return self.known

    async def _look_up(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
            self.known = tuple(dict.fromkeys(str(one[4][0]) for one in found))
            self._due = loop.time() + REFRESH_SECONDS
        except (OSError, UnicodeError) as error:
            # The last good answer, if there was one, stands until the resolver is back.
            self._failed = error
        finally:
            self._task = None


async def dial(hosts: tuple[str, ...], port: int) -> socket.socket:
    """Connect to the first of these addresses that answers.

    Raises ConnectionRefusedError where each one refuses, and OSError for another reason of one of them.
    """
    failed: OSError | None = None
    for host in hosts:
        try:
            return await _dial_one(host, port)
        except OSError as error:
            if failed is None or isinstance(failed, ConnectionRefusedError):
                failed = error
    raise failed or OSError(errno.EADDRNOTAVAIL, "it has no address")


async def _dial_one(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        accept_options(sock)
        async with asyncio.timeout(DIAL_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        _check_not_ourselves(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _check_not_ourselves(sock: socket.socket) -> None:
    # On one machine the kernel may choose the dialled port as our own: then nobody answers but this very socket.
    if sock.getsockname() == sock.getpeername():
        raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens there")


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
