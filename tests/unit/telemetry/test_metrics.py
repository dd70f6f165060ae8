from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

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
from cmkms.telemetry.events import ConnectionEvent, SignEvent, SignKind, SignResult
from cmkms.telemetry.metrics import DOUBLE_SIGN_REASONS, OTHER, ForwardResult, MeasuredChain, Metrics

ADDRESS = "tcp://10.0.0.1:26659"
DOCUMENT = Path(__file__).parents[3] / "docs" / "METRICS.md"

CHAIN = ChainStatus(
    chain_id="testnet-1",
    address="AB" * 20,
    pub_key_type="ed25519",
    pub_key=bytes(32),
    guard=GuardStatus("armed", "data/testnet-1/guard"),
    connections=(ConnectionStatus(ADDRESS, "connected", 0.0), ConnectionStatus("unix:///x", "waiting", 0.0)),
    last_signed=LastSigned(77, 2, 3, bytes(64), b"bytes"),
    can_sign=True,
)
PEER = PeerStatus(
    "node-1",
    "10.0.0.11:9430",
    connected=True,
    since=1.0,
    last_seen_seconds=0.02,
    guards=(PeerGuardStatus("testnet-1", "armed", 1, 400, 76, 0, 3),),
)
STATUS = NodeStatus(
    "node-0",
    "1.0",
    5.0,
    is_leader=True,
    leader_id="node-0",
    leader_addr="10.0.0.10:9430",
    chains=(CHAIN,),
    term=9,
    lease=LeaseStatus("node-0", 9, 0.25),
    peers=(PEER, PeerStatus("node-2", "10.0.0.12:9430", connected=False, since=0.0)),
)

SIGNED = SignEvent("testnet-1", "prevote", 5, 0, 2, bytes(32), ADDRESS, "signed", seconds=0.0004)


def metrics() -> Metrics:
    return Metrics("1.0", [MeasuredChain("testnet-1", (ADDRESS, "unix:///x"))])


def sample(page: bytes, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def series(page: bytes) -> int:
    return sum(len(family.samples) for family in text_string_to_metric_families(page.decode()))


def test_a_signature_is_counted_by_chain_type_and_result() -> None:
    counted = metrics()
    counted.sign_request(SIGNED)
    page = counted.expose(STATUS)
    assert sample(page, "cmkms_sign_requests_total", chain_id="testnet-1", type="prevote", result="signed") == 1
    assert sample(page, "cmkms_sign_requests_total", chain_id="testnet-1", type="precommit", result="signed") == 0


def test_the_time_of_a_signature_falls_into_its_bucket() -> None:
    counted = metrics()
    counted.sign_request(SIGNED)
    page = counted.expose(STATUS)
    assert sample(page, "cmkms_sign_duration_seconds_bucket", type="prevote", le="0.00025") == 0
    assert sample(page, "cmkms_sign_duration_seconds_bucket", type="prevote", le="0.0005") == 1
    assert sample(page, "cmkms_sign_duration_seconds_sum", type="prevote") == pytest.approx(0.0004)


def test_a_refusal_is_no_duration() -> None:
    counted = metrics()
    counted.sign_request(replace(SIGNED, result="refused", reason="policy"))
    assert sample(counted.expose(STATUS), "cmkms_sign_duration_seconds_count", type="prevote") == 0


@pytest.mark.parametrize("reason", DOUBLE_SIGN_REASONS)
def test_a_refusal_by_the_watermark_is_a_prevented_double_sign(reason: str) -> None:
    counted = metrics()
    counted.sign_request(replace(SIGNED, result="refused", reason=reason))
    page = counted.expose(STATUS)
    assert sample(page, "cmkms_double_sign_prevented_total", chain_id="testnet-1", reason=reason) == 1
    assert sample(page, "cmkms_sign_requests_total", chain_id="testnet-1", type="prevote", result="refused") == 1


def test_a_refusal_by_policy_is_no_prevented_double_sign() -> None:
    counted = metrics()
    counted.sign_request(replace(SIGNED, result="refused", reason="policy"))
    assert b'cmkms_double_sign_prevented_total{chain_id="testnet-1",reason="policy"}' not in counted.expose(STATUS)


def test_chain_ids_made_up_by_a_peer_share_one_label() -> None:
    counted = metrics()
    before = series(counted.expose(STATUS))
    for n in range(100):
        counted.sign_request(replace(SIGNED, chain_id=f"made-up-{n}", result="refused", reason="conflict"))
    page = counted.expose(STATUS)
    assert series(page) == before
    assert sample(page, "cmkms_sign_requests_total", chain_id=OTHER, type="prevote", result="refused") == 100


def test_every_ending_of_every_type_can_be_counted() -> None:
    counted = metrics()
    for kind in get_args(SignKind):
        for result in get_args(SignResult):
            counted.sign_request(replace(SIGNED, kind=kind, result=result))
    page = counted.expose(STATUS)
    assert sample(page, "cmkms_sign_requests_total", chain_id="testnet-1", type="proposal", result="gone") == 1


def test_ends_of_connections_are_counted_by_reason() -> None:
    counted = metrics()
    counted.connection(ConnectionEvent("testnet-1", ADDRESS, "dialling", "refused"))
    counted.connection(ConnectionEvent("testnet-1", ADDRESS, "connected"))
    page = counted.expose(STATUS)
    assert sample(page, "cmkms_privval_reconnects_total", addr=ADDRESS, reason="refused") == 1


def test_trouble_that_a_connection_survives_is_no_reconnect() -> None:
    counted = metrics()
    counted.connection(ConnectionEvent("testnet-1", ADDRESS, "connected", "undecodable"))
    assert b"cmkms_privval_reconnects_total{" not in counted.expose(STATUS)


def test_reasons_and_addresses_that_nobody_announced_share_one_label() -> None:
    counted = metrics()
    for n in range(100):
        counted.connection(ConnectionEvent("testnet-1", f"tcp://made-up:{n}", "dialling", f"errno {n}"))
    page = counted.expose(STATUS)
    assert sample(page, "cmkms_privval_reconnects_total", chain_id=OTHER, addr=OTHER, reason=OTHER) == 100


def test_reasons_of_connections_may_be_announced() -> None:
    counted = Metrics("1.0", [MeasuredChain("testnet-1", (ADDRESS,))], connection_reasons=["moonphase"])
    counted.connection(ConnectionEvent("testnet-1", ADDRESS, "dialling", "moonphase"))
    assert sample(counted.expose(STATUS), "cmkms_privval_reconnects_total", reason="moonphase") == 1


def test_writes_of_a_guard_are_measured() -> None:
    counted = metrics()
    counted.guard_fsync("testnet-1", 0.00009)
    page = counted.expose(STATUS)
    assert sample(page, "cmkms_guard_fsync_seconds_bucket", chain_id="testnet-1", le="0.0001") == 1


def test_what_mirrors_state_comes_from_the_snapshot_at_hand() -> None:
    counted = metrics()
    page = counted.expose(STATUS)
    assert sample(page, "cmkms_last_signed_height", chain_id="testnet-1") == 77
    assert sample(page, "cmkms_last_signed_round", chain_id="testnet-1") == 2
    assert sample(page, "cmkms_last_signed_step", chain_id="testnet-1") == 3
    assert sample(page, "cmkms_privval_connected", addr=ADDRESS) == 1
    assert sample(page, "cmkms_privval_connected", addr="unix:///x") == 0
    assert sample(page, "cmkms_fuse_tripped", chain_id="testnet-1") == 0

    guard = replace(CHAIN.guard, state="fused", fuse=FuseStatus("a write failed", 1.0))
    page = counted.expose(replace(STATUS, chains=(replace(CHAIN, last_signed=None, guard=guard, connections=()),)))
    assert sample(page, "cmkms_last_signed_height", chain_id="testnet-1") == 0
    assert sample(page, "cmkms_fuse_tripped", chain_id="testnet-1") == 1
    assert b"cmkms_privval_connected{" not in page


def test_the_cluster_is_told_as_the_snapshot_has_it() -> None:
    page = metrics().expose(STATUS)
    assert sample(page, "cmkms_raft_is_leader") == 1
    assert sample(page, "cmkms_raft_has_leader") == 1
    assert sample(page, "cmkms_raft_term") == 9
    assert sample(page, "cmkms_raft_peers_connected") == 1
    assert sample(page, "cmkms_lease_remaining_seconds") == 0.25
    assert sample(page, "cmkms_peer_connected", peer="node-1") == 1
    assert sample(page, "cmkms_peer_connected", peer="node-2") == 0
    assert sample(page, "cmkms_can_sign", chain_id="testnet-1") == 1


def test_without_a_lease_nothing_is_left_of_it() -> None:
    chain = replace(CHAIN, can_sign=False)
    page = metrics().expose(replace(STATUS, is_leader=False, leader_id="", lease=None, chains=(chain,)))
    assert sample(page, "cmkms_raft_is_leader") == 0
    assert sample(page, "cmkms_raft_has_leader") == 0
    assert sample(page, "cmkms_lease_remaining_seconds") == 0
    assert sample(page, "cmkms_can_sign", chain_id="testnet-1") == 0


def test_guards_of_other_replicas_are_told_by_their_word() -> None:
    page = metrics().expose(STATUS)
    assert sample(page, "cmkms_peer_guard_armed", peer="node-1", chain_id="testnet-1") == 1
    assert sample(page, "cmkms_peer_guard_height", peer="node-1", chain_id="testnet-1") == 76
    assert sample(page, "cmkms_peer_guard_armed", peer="node-2", chain_id="testnet-1") == 0
    assert sample(page, "cmkms_peer_guard_height", peer="node-2", chain_id="testnet-1") == 0


@pytest.mark.parametrize("state", ["unborn", "bound", "fused", "refused"])
def test_a_guard_of_another_replica_that_answers_nothing_is_not_armed(state: str) -> None:
    peer = replace(PEER, guards=(replace(PEER.guards[0], state=state),))
    page = metrics().expose(replace(STATUS, peers=(peer,)))
    assert sample(page, "cmkms_peer_guard_armed", peer="node-1") == 0


def test_a_guard_that_cannot_be_reached_is_not_armed_whatever_it_last_said() -> None:
    page = metrics().expose(replace(STATUS, peers=(replace(PEER, connected=False),)))
    assert sample(page, "cmkms_peer_guard_armed", peer="node-1") == 0
    assert sample(page, "cmkms_peer_guard_height", peer="node-1") == 76


def test_chains_that_a_peer_makes_up_have_no_series() -> None:
    guards = tuple(PeerGuardStatus(f"made-up-{n}", "armed", 1, 1, 1, 0, 1) for n in range(100))
    before = series(metrics().expose(STATUS))
    assert series(metrics().expose(replace(STATUS, peers=(replace(PEER, guards=guards), STATUS.peers[1])))) == before


def test_a_change_of_the_lease_holder_is_counted_once() -> None:
    counted = metrics()
    for holder in ("node-0", "node-0", "", "node-0", "node-1", "", "node-0"):
        counted.leader(holder)
    assert sample(counted.expose(STATUS), "cmkms_raft_leader_changes_total") == 3


def test_forwarded_requests_are_counted_by_what_came_back() -> None:
    counted = metrics()
    for result in get_args(ForwardResult):
        counted.forwarded("testnet-1", result)
    counted.forwarded("made-up", "refused")
    page = counted.expose(STATUS)
    for result in get_args(ForwardResult):
        assert sample(page, "cmkms_forwarded_total", chain_id="testnet-1", result=result) == 1
    assert sample(page, "cmkms_forwarded_total", chain_id=OTHER, result="refused") == 1


def test_the_time_to_a_majority_is_measured() -> None:
    counted = metrics()
    counted.quorum("testnet-1", 0.0004)
    page = counted.expose(STATUS)
    assert sample(page, "cmkms_quorum_seconds_bucket", chain_id="testnet-1", le="0.00025") == 0
    assert sample(page, "cmkms_quorum_seconds_bucket", chain_id="testnet-1", le="0.0005") == 1


def test_the_version_is_told() -> None:
    assert sample(metrics().expose(STATUS), "cmkms_build_info", version="1.0") == 1


def test_two_replicas_in_one_process_count_apart() -> None:
    one, other = metrics(), metrics()
    one.sign_request(SIGNED)
    assert sample(other.expose(STATUS), "cmkms_sign_duration_seconds_count", type="prevote") == 0


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name of each metric in the tables of METRICS.md, with its kind and labels."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) >= 3:
            labels = () if cells[2] == "none" else tuple(sorted(label.strip(" `") for label in cells[2].split(",")))
            found[cells[0].strip("`")] = (cells[1], labels)
    return found


def test_the_document_lists_every_metric_with_its_kind_and_labels_and_no_other() -> None:
    counted = metrics()
    counted.connection(ConnectionEvent("testnet-1", ADDRESS, "dialling", "refused"))
    existing = {}
    for family in counted.families(STATUS):
        name = family.name + ("_total" if family.type == "counter" else "")
        existing[name] = (family.type, tuple(sorted(set(family.samples[0].labels) - {"le"})))
    assert documented() == existing


def test_the_document_has_an_alert_for_every_metric_of_trouble() -> None:
    alerts = DOCUMENT.read_text().partition("## Alerts")[2]
    for name in (
        "cmkms_double_sign_prevented_total",
        "cmkms_fuse_tripped",
        "cmkms_privval_connected",
        "cmkms_privval_reconnects_total",
        "cmkms_last_signed_height",
        "cmkms_sign_requests_total",
        "cmkms_sign_duration_seconds",
        "cmkms_guard_fsync_seconds",
        "cmkms_build_info",
        "cmkms_can_sign",
        "cmkms_raft_has_leader",
        "cmkms_raft_leader_changes_total",
        "cmkms_peer_connected",
        "cmkms_peer_guard_armed",
        "cmkms_peer_guard_height",
        "cmkms_quorum_seconds",
        "process_open_fds",
    ):
        assert name in alerts
