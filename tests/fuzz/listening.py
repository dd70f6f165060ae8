"""Whoever listens where a replica should: takes one call, reads what is asked, and says what it is given to say."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator

__all__ = ["saying"]

_PATIENCE_SECONDS = 5
_REQUEST_BYTES = 4096


@contextlib.contextmanager
def saying(data: bytes, listener: socket.socket) -> Generator[None]:
    """Answer one call with `data` as long as this lasts, from another thread. The listener is closed at the end."""
    with listener:
        listener.listen()
        listener.settimeout(_PATIENCE_SECONDS)

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(_REQUEST_BYTES)
                    connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join()
