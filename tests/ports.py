"""Ports of the loopback for what a test will start there."""

from __future__ import annotations

import socket
from collections import deque
from typing import Final

from cmkms.harness.signer_process import reserved_port

__all__ = ["free_port"]

_reserved: Final[deque[socket.socket]] = deque()
_MOST: Final = 64
"""Ports that are kept at once: more than any test needs."""


def free_port() -> int:
    """Return a port of 127.0.0.1 at which nobody listens, and which is nobody else's for as long as a test lasts.

    A port that only was free a moment ago may be that of somebody's outgoing connection when it is needed.
    """
    sock = reserved_port()
    _reserved.append(sock)
    if len(_reserved) > _MOST:
        _reserved.popleft().close()
    port: int = sock.getsockname()[1]
    return port
