"""Where the HTTP server listens: binds the socket of `http_addr`, so that a failure names the address.

The socket is bound here and not by uvicorn, which would end the whole process when a port is taken.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Final

from cmkms.config import HostPort
from cmkms.errors import OperatorError

__all__ = ["bind", "hosts_for"]

BACKLOG: Final = 32
"""Connections that wait to be accepted; the loop accepts within milliseconds."""

_LOCALHOST: Final = "localhost"

_ADVICE: Final = {
    errno.EADDRINUSE: "another process listens there (see `ss -ltnp`); stop it, or choose another address",
    errno.EACCES: "ports below 1024 need a privilege that a signer should not have; choose a higher port",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address; use one it has, or `:PORT` for all of them",
}


def hosts_for(address: HostPort) -> tuple[str, ...]:
    """Host names that requests may name when listening on `address`: those of loopback there, any (empty) elsewhere.

    Keeps a web page in the operator's browser from reading a signer on loopback by DNS rebinding.
    """
    if address.is_loopback:
        return (_LOCALHOST, "127.0.0.1", "::1", address.host)
    return ()


async def bind(address: HostPort) -> socket.socket:
    """Bind and listen; IPv4 and IPv6 at once where the address means all interfaces and the kernel has both.

    Raises:
        OperatorError: the address cannot be had; says why and what to do.
    """
    try:
        if address.host in {"", "::"}:
            return _bind_all(address)
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, sockaddr = found[0]
        return _listen(family, sockaddr)
    except socket.gaierror as error:
        reason = f"the name cannot be resolved ({error.strerror}); write an IP address, or `:PORT` for all interfaces"
    except OSError as error:
        reason = _ADVICE.get(error.errno or 0, f"{error.strerror}; choose another address")
    raise OperatorError(f"http_addr {address}: cannot listen: {reason} (--http-addr, or http_addr in config.toml)")


def _bind_all(address: HostPort) -> socket.socket:
    try:
        return _listen(socket.AF_INET6, ("::", address.port), dual_stack=True)
    except OSError as error:
        # A kernel without IPv6 has no such family, or has it without a single address.
        if address.host or error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            raise
        return _listen(socket.AF_INET, ("0.0.0.0", address.port))  # noqa: S104 - asked for by `:PORT`


def _listen(family: int, sockaddr: tuple[object, ...], *, dual_stack: bool = False) -> socket.socket:
    # The protocol is named since asyncio switches Nagle's delay off only where it is: 44 ms a request otherwise.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dual_stack))
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
        sock.settimeout(0)
    except BaseException:
        sock.close()
        raise
    return sock
