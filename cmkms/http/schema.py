"""The body of `GET /status`, as pydantic models, and how a snapshot becomes one.

The first four keys are those of the Go CometKMS, in its order and encodings (pkg/api/server.go, pkg/fsm/
last_sign_state.go): a key it leaves out (nobody leads, nothing signed yet) is left out here, too. What follows is ours.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from cmkms.status import (
    ChainStatus,
    ConnectionStatus,
    FuseStatus,
    GuardStatus,
    LastSigned,
    LeaseStatus,
    NodeStatus,
    PeerGuardStatus,
    PeerStatus,
)

__all__ = [
    "ChainBody",
    "ConnectionBody",
    "ErrorBody",
    "FuseBody",
    "GuardBody",
    "LastSignStateBody",
    "LeaseBody",
    "NodeFuseBody",
    "PeerBody",
    "PeerGuardBody",
    "PubKeyBody",
    "StatusBody",
    "status_body",
    "status_json",
]


_EARLIEST = -62_135_596_800.0
_LATEST = 253_402_300_799.0
"""The years 1 to 9999, in Unix seconds. A time from a damaged file may be any number, and is shown at their end."""


class _Body(BaseModel):
    """Numbers are numbers: what reads a status must not be given one that is none, nor take it from anybody."""

    model_config = ConfigDict(allow_inf_nan=False)


class ErrorBody(_Body):
    """What every error answers."""

    error: str


class LastSignStateBody(_Body):
    """The last released sign-state, encoded as the Go CometKMS and CometBFT's state file do."""

    height: int
    round: int
    step: int = Field(description="1 proposal, 2 prevote, 3 precommit")
    signature: str | None = Field(default=None, description="base64; left out if empty")
    signbytes: str | None = Field(default=None, description="upper-case hex, length prefix included; left out if empty")


class PubKeyBody(_Body):
    """The public half of a consensus key."""

    type: str
    value: str = Field(description="base64")


class FuseBody(_Body):
    """Why a guard answers nothing any more."""

    reason: str
    since: str = Field(description="RFC 3339, UTC")


class NodeFuseBody(FuseBody):
    """The first tripped fuse of this replica."""

    chain_id: str


class GuardBody(_Body):
    """One guard's durable watermark."""

    state: str = Field(description="armed, bound, unborn, fused or refused")
    path: str
    generation: int
    members: list[str] = Field(description="ids of the replicas of its generation; empty while it is of none")
    nonce: str
    sequence: int
    height: int
    round: int
    step: int
    sealed: bool
    max_height: int | None
    fuse: FuseBody | None


class ConnectionBody(_Body):
    """One validator address."""

    address: str
    state: str = Field(description="dialling, waiting, handshaking or connected")
    since: str = Field(description="RFC 3339, UTC")
    detail: str
    remote_id: str
    requests: int


class ChainBody(_Body):
    """One chain."""

    chain_id: str
    address: str = Field(description="the validator's address: 40 upper-case hex digits")
    pub_key: PubKeyBody
    guard: GuardBody
    connections: list[ConnectionBody]
    last_signed: LastSignStateBody | None
    refusals: dict[str, int] = Field(description="refused requests by reason")
    waiting_for: str = Field(description="what keeps this chain from signing; empty if nothing does")
    can_sign: bool = Field(description="whether the cluster would sign now, as far as this replica can see")


class LeaseBody(_Body):
    """Who signs now."""

    holder: str
    epoch: int = Field(description="the term in which the lease was taken")
    remaining_seconds: float = Field(description="at the holder what is left of it; elsewhere how long it is believed")


class PeerGuardBody(_Body):
    """Another replica's guard, by its own word."""

    chain_id: str
    state: str = Field(description="as of our guards")
    generation: int
    sequence: int
    height: int
    round: int
    step: int
    reason: str = Field(description="why it is fused or refused; else empty")


class PeerBody(_Body):
    """Another replica."""

    id: str
    address: str
    connected: bool
    since: str | None = Field(description="RFC 3339, UTC; null if it was never connected")
    last_seen_seconds: float | None = Field(description="age of its last message; null if there never was one")
    detail: str = Field(description="why it is not connected, or what differs in its configuration")
    release: str
    guards: list[PeerGuardBody]


class StatusBody(_Body):
    """The whole replica, and what it knows of the cluster."""

    is_leader: bool
    leader_addr: str | None = Field(default=None, description="left out while nobody holds the lease")
    leader_id: str | None = Field(default=None, description="left out while nobody holds the lease")
    last_sign_state: LastSignStateBody | None = Field(
        default=None, description="of the first configured chain; left out before its first signature"
    )
    id: str
    version: str
    uptime_seconds: float
    can_sign: bool = Field(description="whether the cluster would sign now for every chain, as far as this one can see")
    term: int
    lease: LeaseBody | None = Field(description="null while nobody is known to hold it")
    fuse: NodeFuseBody | None
    peers: list[PeerBody] = Field(description="the other replicas")
    chains: list[ChainBody]

    def obstacles(self) -> list[str]:
        """Say, for people, what keeps the cluster from signing; empty if nothing does."""
        if self.can_sign:
            return []
        if not self.chains:
            return ["no chain is configured"]
        found = [] if self.lease else ["nobody holds the lease: no majority is connected, or an election is under way"]
        return found + [_obstacle(chain) for chain in self.chains if not chain.can_sign]


def _obstacle(chain: ChainBody) -> str:
    if chain.guard.fuse is not None:
        why = f"the fuse of this replica's guard is blown: {chain.guard.fuse.reason}"
    else:
        why = chain.waiting_for or "no majority of guards would answer now"
    return f"{chain.chain_id}: {why}"


def status_json(status: NodeStatus) -> str:
    """The body of `GET /status`."""
    return status_body(status).model_dump_json(exclude_unset=True)


def status_body(status: NodeStatus) -> StatusBody:
    """`status` as a body. Keys that the Go CometKMS would leave out stay unset."""
    body = StatusBody(
        is_leader=status.is_leader,
        id=status.id,
        version=status.version,
        uptime_seconds=_milliseconds(status.uptime_seconds),
        can_sign=status.can_sign,
        term=status.term,
        lease=_lease(status.lease) if status.lease else None,
        fuse=_node_fuse(status),
        peers=[_peer(peer) for peer in status.peers],
        chains=[_chain(chain) for chain in status.chains],
    )
    if status.leader_addr:
        body.leader_addr = status.leader_addr
    if status.leader_id:
        body.leader_id = status.leader_id
    if status.chains and status.chains[0].last_signed:
        body.last_sign_state = _last_signed(status.chains[0].last_signed)
    return body


def _node_fuse(status: NodeStatus) -> NodeFuseBody | None:
    for chain in status.chains:
        if chain.guard.fuse is not None:
            fuse = chain.guard.fuse
            return NodeFuseBody(chain_id=chain.chain_id, reason=fuse.reason, since=_rfc3339(fuse.since))
    return None


def _chain(chain: ChainStatus) -> ChainBody:
    return ChainBody(
        chain_id=chain.chain_id,
        address=chain.address,
        pub_key=PubKeyBody(type=chain.pub_key_type, value=_base64(chain.pub_key)),
        guard=_guard(chain.guard),
        connections=[_connection(connection) for connection in chain.connections],
        last_signed=_last_signed(chain.last_signed) if chain.last_signed else None,
        refusals=dict(chain.refusals),
        waiting_for=chain.waiting_for,
        can_sign=chain.can_sign,
    )


def _guard(guard: GuardStatus) -> GuardBody:
    return GuardBody(
        state=guard.state,
        path=guard.path,
        generation=guard.generation,
        members=list(guard.members),
        nonce=guard.nonce,
        sequence=guard.sequence,
        height=guard.height,
        round=guard.round,
        step=guard.step,
        sealed=guard.sealed,
        max_height=guard.max_height,
        fuse=_fuse(guard.fuse) if guard.fuse else None,
    )


def _lease(lease: LeaseStatus) -> LeaseBody:
    remaining = _milliseconds(lease.remaining_seconds)
    return LeaseBody(holder=lease.holder, epoch=lease.epoch, remaining_seconds=remaining)


def _peer(peer: PeerStatus) -> PeerBody:
    return PeerBody(
        id=peer.id,
        address=peer.address,
        connected=peer.connected,
        since=_rfc3339(peer.since) if peer.since else None,
        last_seen_seconds=None if peer.last_seen_seconds is None else _milliseconds(peer.last_seen_seconds),
        detail=peer.detail,
        release=peer.release,
        guards=[_peer_guard(guard) for guard in peer.guards],
    )


def _peer_guard(guard: PeerGuardStatus) -> PeerGuardBody:
    return PeerGuardBody(
        chain_id=guard.chain_id,
        state=guard.state,
        generation=guard.generation,
        sequence=guard.sequence,
        height=guard.height,
        round=guard.round,
        step=guard.step,
        reason=guard.reason,
    )


def _fuse(fuse: FuseStatus) -> FuseBody:
    return FuseBody(reason=fuse.reason, since=_rfc3339(fuse.since))


def _connection(connection: ConnectionStatus) -> ConnectionBody:
    return ConnectionBody(
        address=connection.address,
        state=connection.state,
        since=_rfc3339(connection.since),
        detail=connection.detail,
        remote_id=connection.remote_id,
        requests=connection.requests,
    )


def _last_signed(last: LastSigned) -> LastSignStateBody:
    body = LastSignStateBody(height=last.height, round=last.round, step=last.step)
    if last.signature:
        body.signature = _base64(last.signature)
    if last.sign_bytes:
        body.signbytes = last.sign_bytes.hex().upper()
    return body


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _milliseconds(seconds: float) -> float:
    return round(seconds, 3)


def _rfc3339(unix: float) -> str:
    within = min(max(unix, _EARLIEST), _LATEST)
    return datetime.fromtimestamp(within, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
