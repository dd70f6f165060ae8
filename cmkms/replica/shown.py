"""What a replica of several shows of the others: one status value for each, made on demand. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cmkms.guard.claims import GuardClaim, state_name
from cmkms.peers.observation import PeerLinkStatus
from cmkms.replica.neighbours import Neighbours
from cmkms.status import PeerGuardStatus, PeerStatus

__all__ = ["peer_statuses"]


def peer_statuses(links: Iterable[PeerLinkStatus], neighbours: Neighbours) -> tuple[PeerStatus, ...]:
    """Join what the link knows of each peer with what the peer says of its guards."""
    return tuple(_peer(link, neighbours) for link in links)


def _peer(link: PeerLinkStatus, neighbours: Neighbours) -> PeerStatus:
    neighbour = neighbours.get(link.id)
    differences = neighbour.differences if neighbour is not None else ()
    guards = neighbour.guards.values() if neighbour is not None else ()
    return PeerStatus(
        id=link.id,
        address=link.address,
        connected=link.connected,
        since=link.since,
        last_seen_seconds=link.last_seen,
        detail=link.detail or "; ".join(differences),
        release=link.release,
        guards=tuple(_guard(claim) for claim in guards),
    )


def _guard(claim: GuardClaim) -> PeerGuardStatus:
    hrs = claim.hrs
    return PeerGuardStatus(
        chain_id=claim.chain_id,
        state=state_name(claim.phase, claim.generation),
        generation=claim.generation.number,
        sequence=claim.sequence,
        height=hrs.height,
        round=hrs.round,
        step=int(hrs.step),
        reason=claim.reason,
    )
