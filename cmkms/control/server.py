"""The control socket of a running replica: one request and one answer, a line of JSON each, for the home's owner only.

Bounded in size, time and number. What is asked is somebody else's business (`replica/operating.py`); a request that
cannot be read is answered with what is wrong with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cmkms.control.address import short_name
from cmkms.control.lines import Fields, encode_line, parse_line

__all__ = ["MAX_LINE_BYTES", "ControlServer"]

MAX_LINE_BYTES: Final = 64 * 1024
"""A plan of five members has 2 KiB."""
EXCHANGE_SECONDS: Final = 5.0
"""A command asks at once and reads at once."""
MAX_CONNECTIONS: Final = 8
BACKLOG: Final = 8
_UCRED: Final = struct.Struct("iII")
"""struct ucred of unix(7): pid, uid, gid."""


class ControlServer:
    """Listens from `start` to `stop`."""

    def __init__(self, path: Path, answer: Callable[[Fields], Fields], fatal: Callable[[BaseException], None]) -> None:
        """`answer` returns at once; an error in it is a bug and goes to `fatal`."""
        self._path = path
        self._answer = answer
        self._fatal = fatal
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self) -> None:
        """Listen. The home is locked: whatever lies at the path is left over. Raises OSError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(sock, self._path)
            sock.listen(BACKLOG)
            sock.setblocking(False)  # noqa: FBT003 - the socket's own interface
            self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=MAX_LINE_BYTES)
        except BaseException:
            sock.close()
            raise

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS and _is_owner(writer.get_extra_info("socket")):
                async with asyncio.timeout(EXCHANGE_SECONDS):
                    await self._exchange(reader, writer)
        except (OSError, TimeoutError, ValueError):
            return
        except Exception as error:  # noqa: BLE001 - the loop would only log it
            self._fatal(error)
        finally:
            self._open -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = parse_line(await reader.readline())
        wrong: Fields = {"ok": False, "why": "expected one JSON object on one line"}
        writer.write(encode_line(wrong if request is None else self._answer(request)))
        await writer.drain()


def _bind(sock: socket.socket, path: Path) -> None:
    with short_name(path) as name:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        sock.bind(name)
        path.chmod(0o600)


def _is_owner(sock: socket.socket) -> bool:
    """Whether the other side runs as the user who owns this process, or as root."""
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return uid in {0, os.geteuid()}
