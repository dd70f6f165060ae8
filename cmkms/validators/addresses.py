"""The IP addresses of a validator's host name: the known ones at once, looked up anew beside the dialling.

A resolver may take 5 s before it asks its second server; a node waits 3 s. So no dial ever waits for a name that has
been resolved before.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Final

__all__ = ["Addresses"]

REFRESH_SECONDS: Final = 10.0
"""How old known addresses may be when they are used; a node that moves is followed within this time."""


class Addresses:
    """The addresses of one host, given by name or as an IP address."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._known: list[str] = [host] if _is_ip_address(host) else []
        self._fixed = bool(self._known)
        self._look_up_at = 0.0
        self._lookup: asyncio.Task[None] | None = None

    async def get(self) -> list[str]:
        """Return the addresses to dial, in order. Waits only while none was ever known.

        Raises OSError (socket.gaierror) or UnicodeError where the name does not resolve and never did.
        """
        if self._fixed:
            return self._known
        if self._lookup is None and asyncio.get_running_loop().time() >= self._look_up_at:
            self._lookup = asyncio.create_task(self._look_up())
        if not self._known and self._lookup is not None:
            # Shielded: a lookup cannot be called off, and its answer is of use to the next dial.
            await asyncio.shield(self._lookup)
        return self._known

    async def _look_up(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
            self._known = list(dict.fromkeys(str(one[4][0]) for one in found))
            self._look_up_at = loop.time() + REFRESH_SECONDS
        except (OSError, UnicodeError):
            if not self._known:
                raise
            # The last good answer stands until the resolver is back.
        finally:
            self._lookup = None


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
