"""The body of `GET /status`, as pydantic models, and how a snapshot becomes one.

The first four keys are those of the Go CometKMS, in its order and encodings (pkg/api/server.go, pkg/fsm/
last_sign_state.go): a key it leaves out (nobody leads, nothing signed yet) is left out here, too. What follows is ours.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from pydantic import BaseModel, Field

from cmkms.status import ChainStatus, ConnectionStatus, FuseStatus, GuardStatus, LastSigned, NodeStatus

__all__ = [
    "ChainBody",
    "ConnectionBody",
    "ErrorBody",
    "FuseBody",
    "GuardBody",
    "LastSignStateBody",
    "NodeFuseBody",
    "PubKeyBody",
    "StatusBody",
    "status_body",
    "status_json",
]


class ErrorBody(BaseModel):
    """What every error answers."""

    error: str


class LastSignStateBody(BaseModel):
    """The last released sign-state, encoded as the Go CometKMS and CometBFT's state file do."""

    height: int
    round: int
    step: int = Field(description="1 proposal, 2 prevote, 3 precommit")
    signature: str | None = Field(default=None, description="base64; left out if empty")
    signbytes: str | None = Field(default=None, description="upper-case hex, length prefix included; left out if empty")


class PubKeyBody(BaseModel):
    """The public half of a consensus key."""

    type: str
    value: str = Field(description="base64")


class FuseBody(BaseModel):
    """Why a guard answers nothing any more."""

    reason: str
    since: str = Field(description="RFC 3339, UTC")


class NodeFuseBody(FuseBody):
    """The first tripped fuse of this replica."""

    chain_id: str


class GuardBody(BaseModel):
    """One guard's durable watermark."""

    state: str = Field(description="armed, unborn, fused or refused")
    path: str
    generation: int
    nonce: str
    sequence: int
    height: int
    round: int
    step: int
    sealed: bool
    max_height: int | None
    fuse: FuseBody | None


class ConnectionBody(BaseModel):
    """One validator address."""

    address: str
    state: str = Field(description="dialling, waiting, handshaking or connected")
    since: str = Field(description="RFC 3339, UTC")
    detail: str
    remote_id: str
    requests: int


class ChainBody(BaseModel):
    """One chain."""

    chain_id: str
    address: str = Field(description="the validator's address: 40 upper-case hex digits")
    pub_key: PubKeyBody
    guard: GuardBody
    connections: list[ConnectionBody]
    last_signed: LastSignStateBody | None
    refusals: dict[str, int] = Field(description="refused requests by reason")
    waiting_for: str = Field(description="what keeps this chain from signing; empty if nothing does")


class StatusBody(BaseModel):
    """The whole replica."""

    is_leader: bool
    leader_addr: str | None = Field(default=None, description="left out while nobody holds the lease")
    leader_id: str | None = Field(default=None, description="left out while nobody holds the lease")
    last_sign_state: LastSignStateBody | None = Field(
        default=None, description="of the first configured chain; left out before its first signature"
    )
    id: str
    version: str
    uptime_seconds: float
    fuse: NodeFuseBody | None
    chains: list[ChainBody]


def status_json(status: NodeStatus) -> str:
    """The body of `GET /status`."""
    return status_body(status).model_dump_json(exclude_unset=True)


def status_body(status: NodeStatus) -> StatusBody:
    """`status` as a body. Keys that the Go CometKMS would leave out stay unset."""
    body = StatusBody(
        is_leader=status.is_leader,
        id=status.id,
        version=status.version,
        uptime_seconds=round(status.uptime_seconds, 3),
        fuse=_node_fuse(status),
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
    )


def _guard(guard: GuardStatus) -> GuardBody:
    return GuardBody(
        state=guard.state,
        path=guard.path,
        generation=guard.generation,
        nonce=guard.nonce,
        sequence=guard.sequence,
        height=guard.height,
        round=guard.round,
        step=guard.step,
        sealed=guard.sealed,
        max_height=guard.max_height,
        fuse=_fuse(guard.fuse) if guard.fuse else None,
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


def _rfc3339(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
