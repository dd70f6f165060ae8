"""What this replica knows of one other member: its key, its session, the lives it has had, how it was last.

Values and their rules; nothing here dials, sends or waits.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from typing import Final

from cmkms.config import Peer
from cmkms.peers.observation import PeerLinkStatus
from cmkms.peers.session import Session
from cmkms.peers.sockets import Lookup

__all__ = ["PeerLink"]

MAX_SUPERSEDED: Final = 64
"""Boot nonces of a member's earlier lives. A twin speaks within a second of being superseded, not after 64 restarts."""


class PeerLink:
    """One other member. `key` is its identity's public key: the pin, or what was learned; None before that."""

    def __init__(self, peer: Peer, *, dials: bool) -> None:
        self.peer = peer
        self.dials = dials
        self.lookup = Lookup(peer.addr.host)
        self.key = bytes.fromhex(peer.pin) if peer.pin else None
        self.trust: ssl.SSLContext | None = None
        """For dialling it: made once for a key, since that takes a millisecond."""
        self.doubted = asyncio.Event()
        """Set while the key has to be learned, or learned anew. Never set for a pinned one."""
        if self.key is None:
            self.doubted.set()
        self.session: Session | None = None
        self.detail = "never connected"
        self._since = time.time()
        self._heard_at: float | None = None
        self._release = ""
        self._boot = b""
        self._superseded: deque[bytes] = deque(maxlen=MAX_SUPERSEDED)

    @property
    def id(self) -> str:
        """The member's id."""
        return self.peer.id

    @property
    def pinned(self) -> bool:
        """Whether the operator has named its key."""
        return self.peer.pin is not None

    def doubt(self) -> None:
        """Somebody was refused who may be this member with a new identity: look who answers there."""
        if not self.pinned and self.session is None:
            self.doubted.set()

    def learned(self, key: bytes) -> None:
        """Trust whoever has this key from now on."""
        self.key = key
        self.trust = None

    def is_superseded(self, boot: bytes) -> bool:
        """Whether this is a life of the member that another one has followed."""
        return boot in self._superseded

    def connected(self, session: Session, boot: bytes, release: str) -> None:
        """Take a new session, of this life of the member."""
        if self._boot not in {b"", boot}:
            self._superseded.append(self._boot)
        self._boot = boot
        self._release = release
        self.session = session
        self.detail = ""
        self._since = time.time()

    def disconnected(self, why: str) -> None:
        """The session is over."""
        if self.session is not None:
            self._heard_at = self.session.heard_at
        self.session = None
        self.detail = why
        self._since = time.time()

    def status(self, now: float) -> PeerLinkStatus:
        """Return it for people; `now` is the loop's time."""
        heard_at = self._heard_at if self.session is None else self.session.heard_at
        return PeerLinkStatus(
            id=self.id,
            address=str(self.peer.addr),
            connected=self.session is not None,
            since=self._since,
            last_seen=None if heard_at is None else max(0.0, now - heard_at),
            detail=self.detail,
            release=self._release,
        )
