"""The journal: one line for each answered sign request, few lines for a validator that cannot be reached.

Runs on the event loop, right after a reply was written: it must stay within microseconds, and it never raises because
of a line that could not be written.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from cmkms.telemetry.events import ConnectionEvent, SignEvent
from cmkms.telemetry.metrics import Metrics
from cmkms.telemetry.repetition import ConnectionLines, Line, Repeats

__all__ = ["Journal"]

_ALARMS = frozenset({"conflict", "ceiling"})
"""Refusals to wake somebody for: a double sign that was asked for, a height that would use up the key."""

_HASH_PREFIX_BYTES = 4
"""As much of a block hash as block explorers and CometBFT's own logs show at a glance: 8 hex digits."""

_MAX_DETAIL_CHARS = 500
"""A detail may quote the other side. The longest of our own has about 200."""


class Journal:
    """Writes what happened to the log and counts it in the metrics."""

    def __init__(
        self,
        logger: FilteringBoundLogger,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        """Bind the logger once: a lazy one would be assembled anew at each line.

        Args:
            logger: From structlog.get_logger(), after `configure_logging`.
            metrics: Where events are counted.
            clock: Seconds that never go back, for "every 30 s".
            unix_clock: Unix seconds, shown in "since".
        """
        self._logger: FilteringBoundLogger = logger.bind()
        self._metrics = metrics
        self._clock = clock
        self._unix_clock = unix_clock
        self._lines: dict[tuple[str, str, bool], ConnectionLines] = {}
        self._repeats: dict[tuple[str, str], Repeats] = {}

    def signed(self, event: SignEvent) -> None:
        """One sign request was answered, or its node hung up."""
        self._metrics.sign_request(event)
        times = 1 if event.result == "signed" else self._told(event)
        if not times:
            return
        if event.result != "refused":
            write = self._logger.info
        elif event.reason in _ALARMS:
            write = self._logger.error
        else:
            write = self._logger.warning
        why: dict[str, object] = {"reason": event.reason} if event.reason else {}
        if times > 1:
            why["times"] = times
        if event.result != "signed" and (held_back := self._repeats_of(event).take_held_back()):
            why["held_back"] = held_back
        if event.detail:
            why["detail"] = event.detail[:_MAX_DETAIL_CHARS]
        write(
            event.result,
            chain=event.chain_id,
            type=event.kind,
            hrs=f"{event.height}/{event.round}/{event.step}",
            height=event.height,
            round=event.round,
            step=event.step,
            block=event.block_hash[:_HASH_PREFIX_BYTES].hex().upper() or "nil",
            ms=three_digits(event.seconds * 1000),
            who=event.who,
            **why,
        )

    def _repeats_of(self, event: SignEvent) -> Repeats:
        return self._repeats.setdefault((event.chain_id, event.who), Repeats())

    def _told(self, event: SignEvent) -> int:
        """Return how often this came in a row; 0 keeps it untold, so that one broken node cannot fill the disk."""
        key = (event.result, event.reason, event.step, event.height, event.round, event.block_hash)
        return self._repeats_of(event).tell(key, self._clock())

    def connection(self, event: ConnectionEvent) -> None:
        """A validator connection changed. Repeated trouble is written at most every 30 s, with its count."""
        self._metrics.connection(event)
        fields: dict[str, object] = {"chain": event.chain_id, "addr": event.address}
        if event.remote_id:
            fields["remote_id"] = event.remote_id
        if event.detail:
            fields["detail"] = event.detail[:_MAX_DETAIL_CHARS]
        if event.reason:
            self._trouble(event, fields)
        elif event.state == "connected":
            self._connected(event, fields)
        else:
            self._logger.debug("validator connection", state=event.state, **fields)

    def _trouble(self, event: ConnectionEvent, fields: dict[str, object]) -> None:
        line = self._lines_of(event).trouble(event.reason, self._clock(), self._unix_clock())
        if line is None:
            return
        text = f"validator connection: {event.reason}"
        if line.times > 1:
            text += f" {line.times} times since {_utc(line)}"
        self._logger.warning(text, reason=event.reason, times=line.times, **fields)

    def _connected(self, event: ConnectionEvent, fields: dict[str, object]) -> None:
        line = self._lines_of(event).connected(self._unix_clock())
        if line is None:
            return
        text = "validator connected"
        if line.times:
            text += f" (in trouble since {_utc(line)})"
        self._logger.info(text, **fields)

    def _lines_of(self, event: ConnectionEvent) -> ConnectionLines:
        # Addresses come from the configuration, so this holds two entries for each: trouble that ended a connection (or
        # kept it from being made), and trouble on one that goes on, such as a request that cannot be decoded.
        goes_on = bool(event.reason) and event.state == "connected"
        return self._lines.setdefault((event.chain_id, event.address, goes_on), ConnectionLines())


def three_digits(value: float) -> float:
    """`value` rounded to three significant digits: 0.412, 12.3, 5010.0."""
    return float(f"{value:.3g}")


def _utc(line: Line) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(line.since_unix))
