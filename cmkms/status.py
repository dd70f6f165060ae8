"""What a replica tells about itself: one immutable snapshot, read by HTTP, metrics and the console.

Pure values, made by `node.py` on demand; nothing here reaches back into the running parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "ChainStatus",
    "ConnectionStatus",
    "FuseStatus",
    "GuardStatus",
    "LastSigned",
    "LeaseStatus",
    "NodeStatus",
    "PeerGuardStatus",
    "PeerStatus",
]


@dataclass(frozen=True, slots=True)
class LastSigned:
    """The last released sign-state. `sign_bytes` include the length prefix."""

    height: int
    round: int
    step: int
    signature: bytes
    sign_bytes: bytes


@dataclass(frozen=True, slots=True)
class FuseStatus:
    """Why a guard answers nothing any more, and since when (Unix seconds)."""

    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """One guard's durable watermark. `state` is one of: armed, bound, unborn, fused, refused.

    `members` are the ids of its generation, in order; empty while it is not bound to one.
    """

    state: str
    path: str
    generation: int = 0
    nonce: str = ""
    sequence: int = 0
    height: int = 0
    round: int = 0
    step: int = 0
    sealed: bool = False
    max_height: int | None = None
    fuse: FuseStatus | None = None
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """One validator address. `state` is one of: dialling, waiting (in the node's backlog), handshaking, connected."""

    address: str
    state: str
    since: float
    detail: str = ""
    remote_id: str = ""
    requests: int = 0


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """One chain: its key, guard, connections, what was signed last and what was refused, by reason."""

    chain_id: str
    address: str
    pub_key_type: str
    pub_key: bytes
    guard: GuardStatus
    connections: tuple[ConnectionStatus, ...] = ()
    last_signed: LastSigned | None = None
    refusals: tuple[tuple[str, int], ...] = ()
    waiting_for: str = ""
    can_sign: bool = False
    """Whether, as far as this replica can see, the cluster would sign for this chain now."""


@dataclass(frozen=True, slots=True)
class LeaseStatus:
    """Who signs now. `epoch` is the term in which the lease was taken; `remaining_seconds` counts down between acks.

    On the holder it is what is left of its lease; elsewhere, how long the holder's word is believed.
    """

    holder: str
    epoch: int
    remaining_seconds: float


@dataclass(frozen=True, slots=True)
class PeerGuardStatus:
    """Another replica's guard of one chain, by its own word. `state` as in `GuardStatus`; `reason`: if unsound."""

    chain_id: str
    state: str
    generation: int
    sequence: int
    height: int
    round: int
    step: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """Another replica. `last_seen_seconds` is the age of its last message, None if there never was one.

    `detail` says why it is not connected, or what of its configuration differs from ours.
    """

    id: str
    address: str
    connected: bool
    since: float
    last_seen_seconds: float | None = None
    detail: str = ""
    release: str = ""
    guards: tuple[PeerGuardStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The whole replica. `leader_id` and `leader_addr` are empty while nobody is known to hold the lease."""

    id: str
    version: str
    uptime_seconds: float
    is_leader: bool
    leader_id: str
    leader_addr: str
    chains: tuple[ChainStatus, ...] = field(default_factory=tuple)
    term: int = 0
    lease: LeaseStatus | None = None
    peers: tuple[PeerStatus, ...] = ()

    @property
    def fused(self) -> bool:
        """Whether any guard of this replica has tripped its fuse."""
        return any(chain.guard.fuse is not None for chain in self.chains)

    @property
    def can_sign(self) -> bool:
        """Whether the cluster would sign now for every chain, as far as this replica can see."""
        return bool(self.chains) and all(chain.can_sign for chain in self.chains)
