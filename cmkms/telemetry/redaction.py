"""Keeps secrets out of log lines: a last net, for what should never have been logged.

Values under a telling name are replaced, raw bytes are shown as a few hex digits. It cannot know a secret that is
written as plain text under a harmless name; the code that logs must not do that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, cast

from structlog.typing import EventDict, WrappedLogger

__all__ = ["REDACTED", "redact"]

REDACTED: Final = "[redacted]"

_TELLING = ("private", "secret", "seed", "priv_key", "privkey", "passw", "passphrase", "mnemonic", "token")

_SHOWN_BYTES = 4
"""Of a value of bytes this much is shown: enough to tell two hashes apart, useless as a piece of a 32-byte key."""

_MAX_DEPTH = 4
"""Nested deeper than this, a value is not for a log line; it also ends a structure that holds itself."""

_PLAIN: Final = frozenset((str, int, float, bool, type(None)))
"""Types that need no look inside."""


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Structlog processor: the same event without secrets."""
    # Hot path: a line with nothing to hide, as nearly all are, is only looked through.
    suspects = [key for key, value in event_dict.items() if type(value) not in _PLAIN or _is_telling(key)]
    for key in suspects:
        event_dict[key] = REDACTED if _is_telling(key) else _harmless(event_dict[key], 0)
    return event_dict


@lru_cache(maxsize=1024)
def _is_telling(key: str) -> bool:
    lowered = key.lower()
    return any(part in lowered for part in _TELLING)


def _harmless(value: object, depth: int) -> object:
    if isinstance(value, bytes | bytearray):
        return _short_hex(bytes(value))
    if isinstance(value, memoryview):
        return "[memory]"
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        return value
    if depth >= _MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {
            str(key): REDACTED if _is_telling(str(key)) else _harmless(item, depth + 1)
            for key, item in cast("Mapping[object, object]", value).items()
        }
    return [_harmless(item, depth + 1) for item in cast("Iterable[object]", value)]


def _short_hex(value: bytes) -> str:
    shown = value[:_SHOWN_BYTES].hex().upper()
    return shown if len(value) <= _SHOWN_BYTES else f"{shown}... ({len(value)} bytes)"
