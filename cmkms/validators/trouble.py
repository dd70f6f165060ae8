"""What can go wrong with a validator connection, told apart for whoever reads the log at night.

Each trouble has a fixed label, for metrics, and a sentence that says what to look at. Pure.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum

from cmkms.config import ValidatorAddress

__all__ = ["Trouble", "TroubleKind", "from_lost_connection", "from_os_error"]


class TroubleKind(Enum):
    """The label of a trouble."""

    REFUSED = "refused"
    ABSENT = "absent"
    PERMISSION = "permission"
    UNRESOLVED = "unresolved"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CLOSED_EARLY = "closed_early"
    CLOSED = "closed"
    RESET = "reset"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    WRONG_ID = "wrong_id"
    PROTOCOL = "protocol"
    SILENT = "silent"
    NOT_READING = "not_reading"
    CUT_OFF = "cut_off"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no connection any more, or none yet."""

    kind: TroubleKind
    detail: str


_SILENTLY_GONE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ENONET})


def from_os_error(error: OSError, address: ValidatorAddress) -> Trouble:
    """Name what a failed dial ran into."""
    unix = address.scheme == "unix"
    if isinstance(error, TimeoutError):
        return Trouble(TroubleKind.TIMEOUT, "no answer at all: wrong address, a firewall, or the host is down")
    if isinstance(error, ConnectionRefusedError):
        where = "the socket is there, but nobody listens" if unix else "the host answers, but nobody listens there"
        return Trouble(TroubleKind.REFUSED, f"{where}: is the node running, with priv_validator_laddr set?")
    if isinstance(error, FileNotFoundError):
        return Trouble(TroubleKind.ABSENT, "no such socket: is the node running, with this priv_validator_laddr?")
    if isinstance(error, PermissionError):
        why = f"may not connect to {address.path}: give this user write permission on the socket and its folders"
        return Trouble(TroubleKind.PERMISSION, why if unix else f"not permitted: {error.strerror}")
    if isinstance(error, ConnectionResetError):
        return Trouble(TroubleKind.RESET, "the connection was reset while it was being made")
    if error.errno in _SILENTLY_GONE:
        return Trouble(TroubleKind.UNREACHABLE, f"{error.strerror}: is the route, tunnel or interface up?")
    if type(error).__name__ == "gaierror":
        return Trouble(TroubleKind.UNRESOLVED, f"the name {address.host} does not resolve: {error.strerror}")
    return Trouble(TroubleKind.UNREACHABLE, error.strerror or str(error))


def from_lost_connection(error: Exception | None, *, spoke: bool) -> Trouble:
    """Name how an established connection ended. `spoke`: the node had sent at least a byte."""
    # A peer that closes without having read our first bytes resets the connection: to us that is the same.
    if error is not None and (spoke or not isinstance(error, ConnectionError)):
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Trouble(TroubleKind.RESET, f"the connection broke: {why}")
    if spoke:
        return Trouble(TroubleKind.CLOSED, "the node closed the connection")
    return Trouble(
        TroubleKind.CLOSED_EARLY,
        "accepted, then closed without a word: something in front of the node answers (a proxy, a published port), "
        "or the node stopped before our turn came",
    )
