"""The log lines about peers: few, since a dial is repeated ten times a second and a port scanner never tires.

Each change of a connection is a line; the same trouble again is told now and then with its count, and so are strangers.
It must never raise because of a line that could not be written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from cmkms.peers.observation import LinkState
from cmkms.telemetry.repetition import ConnectionLines, Line

__all__ = ["PeerJournal"]

STRANGER_SECONDS: Final = 60.0
"""The same complaint about strangers is told this often, with its count: it costs nothing but lines."""
MAX_KINDS: Final = 16
"""Complaints that are told apart. Their texts carry TLS errors, of which there are hundreds; the rest is one kind."""
MAX_DETAIL_CHARS: Final = 500
"""A detail may quote the other side."""

_OTHER: Final = "other"


class PeerJournal:
    """A `PeerObserver` that writes to the log."""

    def __init__(
        self,
        logger: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        """Bind the logger once. `clock`: seconds that never go back; `unix_clock`: Unix seconds, shown in "since"."""
        self._logger: FilteringBoundLogger = logger.bind()
        self._clock = clock
        self._unix_clock = unix_clock
        self._lines: dict[str, ConnectionLines] = {}
        self._strangers: dict[str, _Strangers] = {}

    def connection(self, member: str, state: str, detail: str) -> None:
        """The connection to a member changed, or trouble with it goes on."""
        lines = self._lines.setdefault(member, ConnectionLines())
        if state == LinkState.CONNECTED:
            line = lines.connected(self._unix_clock())
            if line is not None:
                text = "peer connected"
                if line.times:
                    text += f" (in trouble since {_utc(line)})"
                self._logger.info(text, peer=member, addr=detail)
            return
        # Told apart by its text, too: a peer that declines for another reason than before is news.
        line = lines.trouble(f"{state} {detail}", self._clock(), self._unix_clock())
        if line is None:
            return
        text = f"peer {state}"
        if line.times > 1:
            text += f" {line.times} times since {_utc(line)}"
        write = self._logger.warning
        if state in {LinkState.REFUSED, LinkState.TWIN}:
            write = self._logger.error
        elif state == LinkState.LEFT:
            write = self._logger.info
        write(text, peer=member, times=line.times, detail=detail[:MAX_DETAIL_CHARS])

    def stranger(self, address: str, why: str) -> None:
        """Somebody who is no member called: the first time at once, then once a minute for each kind of complaint."""
        kind = why if why in self._strangers or len(self._strangers) < MAX_KINDS else _OTHER
        times = self._strangers.setdefault(kind, _Strangers()).count(self._clock())
        if times:
            self._logger.warning(
                "a stranger at the peer address", addr=address, times=times, why=why[:MAX_DETAIL_CHARS]
            )


class _Strangers:
    """How often strangers were complained about in one way, and when it was told."""

    __slots__ = ("_told_at", "_untold")

    def __init__(self) -> None:
        self._untold = 0
        self._told_at = float("-inf")

    def count(self, now: float) -> int:
        """Count one more; return how many are to be told now, or 0."""
        self._untold += 1
        if now - self._told_at < STRANGER_SECONDS:
            return 0
        times, self._untold, self._told_at = self._untold, 0, now
        return times


def _utc(line: Line) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(line.since_unix))
