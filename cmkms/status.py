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
    "NodeStatus",
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
    """One guard's durable watermark. `state` is one of: armed, unborn, fused, refused."""

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


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The whole replica. `leader_id` and `leader_addr` are empty while nobody holds the lease."""

    id: str
    version: str
    uptime_seconds: float
    is_leader: bool
    leader_id: str
    leader_addr: str
    chains: tuple[ChainStatus, ...] = field(default_factory=tuple)

    @property
    def fused(self) -> bool:
        """Whether any guard of this replica has tripped its fuse."""
        return any(chain.guard.fuse is not None for chain in self.chains)
