"""Asks the replica that runs with a home, by its control socket. Bounded in size and time."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from cmkms.control.address import short_name
from cmkms.control.lines import Fields, encode_line, parse_line
from cmkms.errors import OperatorError, UnavailableError

__all__ = ["control"]

TIMEOUT_SECONDS: Final = 5.0
"""A replica answers within milliseconds, unless its disk hangs."""
MAX_ANSWER_BYTES: Final = 1024 * 1024
_CHUNK: Final = 65536


def control(path: Path, request: Fields) -> Fields:
    """Ask, and return the answer. Raises UnavailableError where no replica answers, OperatorError where it refuses."""
    try:
        fields = parse_line(_exchange(path, encode_line(request)))
    except (FileNotFoundError, ConnectionRefusedError):
        raise UnavailableError(
            f"no replica runs with this home ({path} does not answer): start it, or give the home of one that runs"
        ) from None
    except PermissionError:
        raise OperatorError(
            f"{path} is not for user {os.geteuid()}: run this as the user who runs the replica"
        ) from None
    except TimeoutError:
        raise UnavailableError(
            f"{path}: the replica did not answer within {TIMEOUT_SECONDS:g} s: does its disk hang? Its log says more; "
            f"whatever was asked may still be done"
        ) from None
    except OSError as error:
        raise UnavailableError(
            f"{path}: the replica could not be asked: {error.strerror or error}. See its log, and ask again"
        ) from error
    if fields is None:
        raise UnavailableError(
            f"{path}: what answers is no cmkms of this release: use the cmkms that the replica was started with"
        )
    if fields.get("ok") is not True:
        raise OperatorError(str(fields.get("why", "the replica refuses, and does not say why")))
    return fields


def _exchange(path: Path, line: bytes) -> bytes:
    with short_name(path) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT_SECONDS)
        sock.connect(name)
        sock.sendall(line)
        return _read(sock)


def _read(sock: socket.socket) -> bytes:
    data = b""
    while len(data) <= MAX_ANSWER_BYTES:
        more = sock.recv(_CHUNK)
        if not more:
            break
        data += more
    return data
