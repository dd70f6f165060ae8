"""What a replica says of itself at `GET /status`, read the way a monitoring script would: JSON in, plain values out.

A second reading of the body, by hand: the signer's own models are not used. It must not fill in what is not there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from cmkms.harness.values import HRS

__all__ = ["ChainReport", "ConnectionReport", "PeerReport", "ReplicaStatus", "parse_status"]

_Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """One validator address, and how far the replica has come with it: dialling, waiting, handshaking, connected."""

    address: str
    state: str
    requests: int


@dataclass(frozen=True, slots=True)
class ChainReport:
    """One chain: its guard's state, sequence and watermark, its node connections, what it waits for."""

    chain_id: str
    guard_state: str
    sequence: int
    watermark: HRS
    connections: tuple[ConnectionReport, ...]
    waiting_for: str
    can_sign: bool


@dataclass(frozen=True, slots=True)
class PeerReport:
    """Another replica as this one sees it."""

    id: str
    connected: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica at one moment. `holder` is who it believes to hold the lease, empty if nobody.

    `last_signed` is the place of the last signature that it knows of, whoever released it.
    """

    id: str
    is_leader: bool
    holder: str
    term: int
    can_sign: bool
    last_signed: HRS | None
    chains: tuple[ChainReport, ...]
    peers: tuple[PeerReport, ...]

    def serves(self, address: str) -> bool:
        """Whether the node at this address speaks with this replica now."""
        return any(
            connection.address == address and connection.state == "connected"
            for chain in self.chains
            for connection in chain.connections
        )

    @property
    def waiting_for(self) -> str:
        """What keeps its chains from signing, in its own words."""
        return "; ".join(chain.waiting_for for chain in self.chains if chain.waiting_for)


def parse_status(body: bytes) -> ReplicaStatus:
    """Read a body of `GET /status`. Raises ValueError where something is missing or of another kind."""
    try:
        status = cast("_Object", json.loads(body))
        return ReplicaStatus(
            id=str(status["id"]),
            is_leader=bool(status["is_leader"]),
            holder=str(status.get("leader_id", "")),
            term=int(status["term"]),
            can_sign=bool(status["can_sign"]),
            last_signed=_place(status["last_sign_state"]) if "last_sign_state" in status else None,
            chains=tuple(_chain(chain) for chain in status["chains"]),
            peers=tuple(PeerReport(peer["id"], bool(peer["connected"]), peer["detail"]) for peer in status["peers"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no status of a replica: {error!r} in {body[:200]!r}") from error


def _chain(chain: _Object) -> ChainReport:
    guard = cast("_Object", chain["guard"])
    return ChainReport(
        chain_id=str(chain["chain_id"]),
        guard_state=str(guard["state"]),
        sequence=int(guard["sequence"]),
        watermark=_place(guard),
        connections=tuple(
            ConnectionReport(str(one["address"]), str(one["state"]), int(one["requests"]))
            for one in chain["connections"]
        ),
        waiting_for=str(chain["waiting_for"]),
        can_sign=bool(chain["can_sign"]),
    )


def _place(entry: _Object) -> HRS:
    return HRS(int(entry["height"]), int(entry["round"]), int(entry["step"]))
