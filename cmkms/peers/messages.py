"""What goes over the peer link: one message a frame. Pure values; their bytes are `codec.py`'s business.

The guard's and the signer's own messages (`guard/rpc.py`, `signing/forwarding.py`) travel as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from cmkms.guard.change import Change
from cmkms.guard.claims import GuardClaim
from cmkms.guard.rpc import Accept, Answered, Peek, Peeked
from cmkms.signing.forwarding import Forward, Forwarded

__all__ = ["Blow", "Declined", "Frame", "Goodbye", "Hello", "HelloMember", "Message", "Propose", "Raft", "Status"]


@dataclass(frozen=True, slots=True)
class HelloMember:
    """One line of the sender's peer list. `pin` is empty where it has none; addresses are nobody else's business."""

    id: str
    pin: str


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of each side. `boot` are 16 random bytes of this process; `ttl_ms` its default_ttl."""

    oldest_version: int
    newest_version: int
    release: str
    member_id: str
    boot: bytes
    ttl_ms: int
    members: tuple[HelloMember, ...]
    guards: tuple[GuardClaim, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """A heartbeat: every 100 ms, and at once when something in it changed.

    `holder` is the replica that the sender knows to hold the lease now (itself included), in `term`; empty if none.
    `hears` are the members that the sender is connected to. `nodes` counts the node connections in use at the sender.
    `able` are the chains for which the sender reaches a majority of guards that answer.
    """

    term: int
    holder: str
    hears: tuple[str, ...]
    nodes: int
    able: tuple[str, ...]
    guards: tuple[GuardClaim, ...]


@dataclass(frozen=True, slots=True)
class Raft:
    """A message of the election and the replicated view, in `cluster/codec.py`'s own form."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Blow:
    """The receiver's guard went backwards, or the receiver has a twin: its fuse must blow.

    `nonce` and `sequence` are the highest that the sender has seen of that guard; for a twin `chain_id` is empty, and
    `nonce` the superseded boot nonce that spoke again.
    """

    chain_id: str
    nonce: bytes
    sequence: int


@dataclass(frozen=True, slots=True)
class Propose:
    """A change of generation that the sender has agreed to, or has begun."""

    change: Change


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The sender stops in good order: its end is no failure."""


@dataclass(frozen=True, slots=True)
class Declined:
    """The sender ends the session because of what the hello says. `reason`: for people, at most 500 bytes.

    Read by the peer link itself, never handed on.
    """

    reason: str


Message = Hello | Status | Raft | Blow | Propose | Goodbye | Accept | Answered | Peek | Peeked | Forward | Forwarded

Frame = Message | Declined
