"""How the harness reads `/status`: what it takes from a body, and that it takes nothing for granted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cmkms.harness.replica_status import ChainReport, ConnectionReport, PeerReport, ReplicaStatus, parse_status
from cmkms.harness.values import HRS

BODY: dict[str, Any] = {
    "is_leader": False,
    "leader_addr": "127.0.0.1:9431",
    "leader_id": "node-1",
    "last_sign_state": {"height": 7, "round": 0, "step": 3, "signature": "AA=="},
    "id": "node-0",
    "version": "0.1.0",
    "can_sign": True,
    "term": 4,
    "peers": [
        {"id": "node-1", "connected": True, "detail": ""},
        {"id": "node-2", "connected": False, "detail": "refused"},
    ],
    "chains": [
        {
            "chain_id": "chain-1",
            "guard": {"state": "armed", "sequence": 12, "height": 7, "round": 0, "step": 2},
            "connections": [{"address": "tcp://127.0.0.1:26659", "state": "waiting", "requests": 0}],
            "waiting_for": "",
            "can_sign": True,
        }
    ],
}


def test_a_body_is_read() -> None:
    assert parse_status(json.dumps(BODY).encode()) == ReplicaStatus(
        id="node-0",
        is_leader=False,
        holder="node-1",
        term=4,
        can_sign=True,
        last_signed=HRS(7, 0, 3),
        chains=(
            ChainReport(
                chain_id="chain-1",
                guard_state="armed",
                sequence=12,
                watermark=HRS(7, 0, 2),
                connections=(ConnectionReport("tcp://127.0.0.1:26659", "waiting", 0),),
                waiting_for="",
                can_sign=True,
            ),
        ),
        peers=(
            PeerReport("node-1", connected=True, detail=""),
            PeerReport("node-2", connected=False, detail="refused"),
        ),
    )


def test_nobody_leads_and_nothing_was_signed_where_the_keys_are_left_out() -> None:
    body = {key: value for key, value in BODY.items() if key not in {"leader_id", "leader_addr", "last_sign_state"}}
    status = parse_status(json.dumps(body).encode())

    assert (status.holder, status.last_signed) == ("", None)


@pytest.mark.parametrize(("state", "serves"), [("connected", True), ("waiting", False)])
def test_a_node_is_served_by_who_is_connected_not_by_who_waits_in_its_backlog(state: str, *, serves: bool) -> None:
    connection = {"address": "tcp://127.0.0.1:26659", "state": state, "requests": 3}
    body = {**BODY, "chains": [{**BODY["chains"][0], "connections": [connection]}]}
    status = parse_status(json.dumps(body).encode())

    assert status.serves("tcp://127.0.0.1:26659") is serves
    assert not status.serves("tcp://127.0.0.1:26660")


@pytest.mark.parametrize("missing", ["is_leader", "term", "can_sign", "peers", "chains", "id"])
def test_a_body_without_what_every_replica_tells_is_none(missing: str) -> None:
    body = {key: value for key, value in BODY.items() if key != missing}

    with pytest.raises(ValueError, match=missing):
        parse_status(json.dumps(body).encode())


@pytest.mark.parametrize("body", [b"", b"ok", b"[]", b"{}", b'{"id": "node-0", "is_leader": true, "chains": 7}'])
def test_what_is_no_status_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"status|JSON|Expecting"):
        parse_status(body)
