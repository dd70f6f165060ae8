"""What the peer link tells: to the status page, and to whoever writes the log. Plain values and a protocol."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["LinkState", "PeerLinkStatus", "PeerObserver"]


class LinkState(StrEnum):
    """What became of the connection to one member."""

    CONNECTED = "connected"
    ENDED = "ended"
    """There was a session, and it is over."""
    LEFT = "left"
    """There was a session, and one side stops in good order."""
    UNREACHABLE = "unreachable"
    """A dial did not get through, or nobody answered it as a replica does."""
    REFUSED = "refused"
    """The two replicas do not agree on what their hellos say."""
    TWIN = "twin"
    """Two processes with this member's identity are alive at once."""


@dataclass(frozen=True, slots=True)
class PeerLinkStatus:
    """The connection to one other member.

    `since`: Unix seconds of the last change. `last_seen`: age of what was received last, in seconds, None if nothing
    ever was. `detail`: why there is no connection; empty while there is one. `release`: what it runs, once known.
    """

    id: str
    address: str
    connected: bool
    since: float
    last_seen: float | None
    detail: str
    release: str


class PeerObserver(Protocol):
    """Is told what happens, after it has happened. Dials are repeated ten times a second: folding is its business."""

    def connection(self, member: str, state: str, detail: str) -> None:
        """The connection to a member changed, or trouble with it goes on. `state` is a `LinkState`."""
        ...

    def stranger(self, address: str, why: str) -> None:
        """Somebody who is no member, or proves nothing, called from this IP address."""
        ...
