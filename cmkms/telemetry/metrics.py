"""What a replica counts and measures, in Prometheus' text form. The table for operators is docs/METRICS.md.

Label values come from the configuration and from fixed lists, never from the wire: no peer can make this grow. What
mirrors state (heights, connections, fuse) is read from one snapshot at each scrape, so it cannot go stale.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from cmkms.status import ChainStatus, NodeStatus, PeerStatus
from cmkms.telemetry.events import ConnectionEvent, SignEvent, SignKind, SignResult

__all__ = [
    "CONNECTION_REASONS",
    "CONTENT_TYPE",
    "DOUBLE_SIGN_REASONS",
    "OTHER",
    "ForwardResult",
    "MeasuredChain",
    "Metrics",
]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

OTHER: Final = "(other)"
"""The label of everything that no configuration and no list knows, such as a chain id made up by a peer."""

DOUBLE_SIGN_REASONS: Final = ("conflict", "regression", "sealed", "held")
"""Refusals by the watermark: a signature would have contradicted, or gone back behind, one that may be out."""

CONNECTION_REASONS: Final = (
    "refused",
    "closed",
    "timeout",
    "handshake_timeout",
    "wrong_id",
    "permission",
    "unreachable",
    "unresolved",
    "protocol",
)
"""Why a validator connection ended or was not made, if the caller of `Metrics` names no list of its own."""

ForwardResult = Literal["signed", "refused", "not_holder", "lost"]
"""What came back for a request that was sent on to the lease holder: a signature, a refusal, word that the one it was
sent to does not hold the lease, or nothing in time."""

_SIGN_BUCKETS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
"""Seconds. From below one fdatasync (0.1 ms) to a node's patience: CometBFT gives up a request after 5 s."""

_FSYNC_BUCKETS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds. NVMe takes 0.1 ms, a disk of a loaded cloud machine up to 0.1 s; above that blocks are missed."""


@dataclass(frozen=True, slots=True)
class MeasuredChain:
    """One configured chain and its validators' addresses: the label values that may exist."""

    chain_id: str
    addresses: tuple[str, ...]


class Metrics:
    """All metrics of one replica, in a registry of its own."""

    def __init__(
        self,
        version: str,
        chains: Iterable[MeasuredChain],
        connection_reasons: Iterable[str] = CONNECTION_REASONS,
    ) -> None:
        """Make every series that may ever exist of the counters of requests, at zero.

        Args:
            version: Of cmkms.
            chains: As configured.
            connection_reasons: Labels that `ConnectionEvent.reason` may have; any other is counted as `(other)`.
        """
        # Process-wide in prometheus_client: without it each counter comes with a second, useless `_created` series.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._chains = tuple(chains)
        self._connection_reasons = frozenset(connection_reasons)
        self._leader = ""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        build = Gauge("cmkms_build_info", "What runs here; always 1.", ["version", "python"], registry=self._registry)
        build.labels(version, platform.python_version()).set(1)
        self._make_requests()
        self._make_guard()
        self._make_connections()
        self._make_cluster()

    def sign_request(self, event: SignEvent) -> None:
        """Count one sign request and, if it was answered by a signature, how long it took."""
        chain_id = self._known(event.chain_id)
        self._requests[chain_id, event.kind, event.result].inc()
        if event.result in {"signed", "replayed"}:
            self._sign_seconds[event.kind].observe(event.seconds)
        elif event.result == "refused" and event.reason in DOUBLE_SIGN_REASONS:
            self._prevented[chain_id, event.reason].inc()

    def connection(self, event: ConnectionEvent) -> None:
        """Count one end, or failed attempt, of a validator connection. Trouble that it survived is none."""
        if event.reason and event.state != "connected":
            chain_id, address = event.chain_id, event.address
            if (chain_id, address) not in self._addresses:
                chain_id = address = OTHER
            reason = event.reason if event.reason in self._connection_reasons else OTHER
            self._reconnects.labels(chain_id, address, reason).inc()

    def guard_fsync(self, chain_id: str, seconds: float) -> None:
        """Measure one write of a guard's watermark, from the call to the data being on disk."""
        self._fsync_seconds[self._known(chain_id)].observe(seconds)

    def quorum(self, chain_id: str, seconds: float) -> None:
        """Measure one majority, at the lease holder: from the bytes being sent to all guards to enough having them."""
        self._quorum_seconds[self._known(chain_id)].observe(seconds)

    def forwarded(self, chain_id: str, result: ForwardResult) -> None:
        """Count one answer, or its absence, to a request that this replica sent on to the lease holder."""
        self._forwarded[self._known(chain_id), result].inc()

    def leader(self, replica_id: str) -> None:
        """Take note of who is known to hold the lease now; nobody (empty) is no change until somebody else does."""
        if replica_id and replica_id != self._leader:
            self._leader = replica_id
            self._leader_changes.inc()

    def _known(self, chain_id: str) -> str:
        return chain_id if chain_id in self._fsync_seconds else OTHER

    def families(self, status: NodeStatus) -> Iterator[Metric]:
        """Every metric with its present value, for `status`."""
        yield from self._registry.collect()
        yield from _mirrored(status)

    def expose(self, status: NodeStatus) -> bytes:
        """The page that Prometheus scrapes, of type `CONTENT_TYPE`."""
        return generate_latest(_Scrape(self, status))

    # Children are bound once, here: looking one up by its labels takes longer than counting.

    def _make_requests(self) -> None:
        chain_ids = (*(chain.chain_id for chain in self._chains), OTHER)
        kinds: tuple[SignKind, ...] = get_args(SignKind)
        results: tuple[SignResult, ...] = get_args(SignResult)
        requests = Counter(
            "cmkms_sign_requests_total",
            "Sign requests by how they ended.",
            ["chain_id", "type", "result"],
            registry=self._registry,
        )
        self._requests = {
            (chain_id, kind, result): requests.labels(chain_id, kind, result)
            for chain_id in chain_ids
            for kind in kinds
            for result in results
        }
        seconds = Histogram(
            "cmkms_sign_duration_seconds",
            "From a sign request to its signature, replayed ones included.",
            ["type"],
            buckets=_SIGN_BUCKETS,
            registry=self._registry,
        )
        self._sign_seconds = {kind: seconds.labels(kind) for kind in kinds}
        prevented = Counter(
            "cmkms_double_sign_prevented_total",
            "Sign requests that the watermark refused.",
            ["chain_id", "reason"],
            registry=self._registry,
        )
        self._prevented = {
            (chain_id, reason): prevented.labels(chain_id, reason)
            for chain_id in chain_ids
            for reason in DOUBLE_SIGN_REASONS
        }

    def _make_guard(self) -> None:
        fsync = Histogram(
            "cmkms_guard_fsync_seconds",
            "One durable write of a guard's watermark.",
            ["chain_id"],
            buckets=_FSYNC_BUCKETS,
            registry=self._registry,
        )
        self._fsync_seconds = {chain.chain_id: fsync.labels(chain.chain_id) for chain in self._chains}
        self._fsync_seconds[OTHER] = fsync.labels(OTHER)

    def _make_connections(self) -> None:
        self._addresses = {(chain.chain_id, address) for chain in self._chains for address in chain.addresses}
        self._reconnects = Counter(
            "cmkms_privval_reconnects_total",
            "Validator connections that ended or were not made.",
            ["chain_id", "addr", "reason"],
            registry=self._registry,
        )

    def _make_cluster(self) -> None:
        chain_ids = (*(chain.chain_id for chain in self._chains), OTHER)
        results: tuple[ForwardResult, ...] = get_args(ForwardResult)
        forwarded = Counter(
            "cmkms_forwarded_total",
            "Sign requests sent on to the lease holder, by what came back.",
            ["chain_id", "result"],
            registry=self._registry,
        )
        self._forwarded = {
            (chain_id, result): forwarded.labels(chain_id, result) for chain_id in chain_ids for result in results
        }
        quorum = Histogram(
            "cmkms_quorum_seconds",
            "From bytes being sent to all guards to a majority having accepted them, at the lease holder.",
            ["chain_id"],
            buckets=_SIGN_BUCKETS,
            registry=self._registry,
        )
        self._quorum_seconds = {chain_id: quorum.labels(chain_id) for chain_id in chain_ids}
        self._leader_changes = Counter(
            "cmkms_raft_leader_changes_total",
            "How often another replica than before was seen to hold the lease.",
            registry=self._registry,
        )


class _Scrape:
    """What generate_latest asks for its families: those of one snapshot."""

    def __init__(self, metrics: Metrics, status: NodeStatus) -> None:
        self._metrics = metrics
        self._status = status

    def collect(self) -> Iterable[Metric]:
        return self._metrics.families(self._status)


def _mirrored(status: NodeStatus) -> Iterator[Metric]:
    chains = status.chains
    yield _per_chain(
        "cmkms_last_signed_height",
        "Height of the last released signature; 0 before the first.",
        {chain.chain_id: chain.last_signed.height if chain.last_signed else 0 for chain in chains},
    )
    yield _per_chain(
        "cmkms_last_signed_round",
        "Round of the last released signature.",
        {chain.chain_id: chain.last_signed.round if chain.last_signed else 0 for chain in chains},
    )
    yield _per_chain(
        "cmkms_last_signed_step",
        "Step of it: 1 proposal, 2 prevote, 3 precommit; 0 before the first.",
        {chain.chain_id: chain.last_signed.step if chain.last_signed else 0 for chain in chains},
    )
    yield _per_chain(
        "cmkms_guard_armed",
        "1 while the guard can answer; 0 while it is unborn, refused or its fuse is tripped.",
        {chain.chain_id: int(chain.guard.state == "armed") for chain in chains},
    )
    yield _per_chain(
        "cmkms_fuse_tripped",
        "1 while the guard answers nothing because its fuse tripped.",
        {chain.chain_id: int(chain.guard.fuse is not None) for chain in chains},
    )
    yield _per_chain(
        "cmkms_can_sign",
        "1 while the cluster would sign for this chain, as far as this replica can see.",
        {chain.chain_id: int(chain.can_sign) for chain in chains},
    )
    yield _connected(chains)
    yield from _cluster(status)
    yield from _peer_guards(status)


def _per_chain(name: str, documentation: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=["chain_id"])
    for chain_id, value in values.items():
        family.add_metric([chain_id], value)
    return family


def _connected(chains: Iterable[ChainStatus]) -> Metric:
    family = GaugeMetricFamily(
        "cmkms_privval_connected",
        "1 while the validator at this address is served, 0 while it is dialled or lets us wait.",
        labels=["chain_id", "addr"],
    )
    for chain in chains:
        for connection in chain.connections:
            family.add_metric([chain.chain_id, connection.address], int(connection.state == "connected"))
    return family


def _cluster(status: NodeStatus) -> Iterator[Metric]:
    peers = status.peers
    remaining = status.lease.remaining_seconds if status.lease else 0.0
    yield _single("cmkms_raft_is_leader", "1 while this replica holds the lease: it signs.", status.is_leader)
    yield _single("cmkms_raft_has_leader", "1 while somebody is known to hold the lease.", bool(status.leader_id))
    yield _single("cmkms_raft_term", "Term of the election; grows with every attempt to elect.", status.term)
    yield _single(
        "cmkms_raft_peers_connected",
        "Other replicas that this one is connected to.",
        sum(peer.connected for peer in peers),
    )
    yield _single("cmkms_lease_remaining_seconds", "What is left of the lease; 0 while nobody holds it.", remaining)
    connected = GaugeMetricFamily("cmkms_peer_connected", "1 while connected to this replica.", labels=["peer"])
    for peer in peers:
        connected.add_metric([peer.id], int(peer.connected))
    yield connected


def _peer_guards(status: NodeStatus) -> Iterator[Metric]:
    """Other replicas' guards. What a peer says of a chain that is not configured here has no label here."""
    labels = ["peer", "chain_id"]
    armed = GaugeMetricFamily(
        "cmkms_peer_guard_armed", "1 while that replica is connected and its guard can answer.", labels=labels
    )
    height = GaugeMetricFamily(
        "cmkms_peer_guard_height", "Height of that replica's guard, by its last word; 0 if not known.", labels=labels
    )
    for peer in status.peers:
        for chain in status.chains:
            state, at = _guard_of(peer, chain.chain_id)
            armed.add_metric([peer.id, chain.chain_id], int(peer.connected and state == "armed"))
            height.add_metric([peer.id, chain.chain_id], at)
    yield armed
    yield height


def _guard_of(peer: PeerStatus, chain_id: str) -> tuple[str, int]:
    found = next((guard for guard in peer.guards if guard.chain_id == chain_id), None)
    return ("", 0) if found is None else (found.state, found.height)


def _single(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=float(value))
