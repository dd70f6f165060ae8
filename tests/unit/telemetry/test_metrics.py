from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cmkms.status import ChainStatus, ConnectionStatus, FuseStatus, GuardStatus, LastSigned, NodeStatus
from cmkms.telemetry.events import ConnectionEvent, SignEvent, SignKind, SignResult
from cmkms.telemetry.metrics import DOUBLE_SIGN_REASONS, OTHER, MeasuredChain, Metrics

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
)
STATUS = NodeStatus(
    "node-0", "1.0", 5.0, is_leader=True, leader_id="node-0", leader_addr="10.0.0.10:9430", chains=(CHAIN,)
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
        "process_open_fds",
    ):
        assert name in alerts
