from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import nacl.signing
import pytest

from cmkms.http.app import create_app
from cmkms.http.schema import StatusBody
from cmkms.status import (
    ChainStatus,
    FuseStatus,
    GuardStatus,
    LastSigned,
    NodeStatus,
    PeerGuardStatus,
    PeerStatus,
)
from cmkms.telemetry.events import SignEvent

if TYPE_CHECKING:
    from .conftest import Served

PATHS = ["/healthz", "/livez", "/readyz", "/status", "/metrics"]


async def test_healthz_answers_as_the_go_comet_kms_does(served: Served) -> None:
    answer = await served.client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_status_begins_as_that_of_the_go_comet_kms(served: Served) -> None:
    answer = await served.client.get("/status")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    signature = base64.b64encode(b"\xff" * 64).decode()
    assert answer.text.startswith(
        '{"is_leader":true,"leader_addr":"127.0.0.1:21401","leader_id":"n1","last_sign_state":'
        f'{{"height":20,"round":0,"step":3,"signature":"{signature}","signbytes":"6E0802AB"}},'
    )


async def test_status_tells_the_replica_and_its_chains(served: Served) -> None:
    body = (await served.client.get("/status")).json()
    assert (body["id"], body["version"], body["uptime_seconds"], body["fuse"]) == ("n1", "1.0", 12.346, None)
    [chain] = body["chains"]
    assert chain == {
        "chain_id": "testnet-1",
        "address": "AB" * 20,
        "pub_key": {"type": "ed25519", "value": base64.b64encode(bytes(range(32))).decode()},
        "guard": {
            "state": "armed",
            "path": "data/testnet-1/guard",
            "generation": 1,
            "members": ["n1", "n2", "n3"],
            "nonce": "c0ffee",
            "sequence": 61,
            "height": 20,
            "round": 0,
            "step": 3,
            "sealed": False,
            "max_height": None,
            "fuse": None,
        },
        "connections": [
            {
                "address": "tcp://10.0.0.1:26659",
                "state": "connected",
                "since": "2023-11-14T22:13:20.250Z",
                "detail": "",
                "remote_id": "cd" * 20,
                "requests": 61,
            }
        ],
        "last_signed": body["last_sign_state"],
        "refusals": {"conflict": 1, "regression": 2},
        "waiting_for": "",
        "can_sign": True,
    }


async def test_status_tells_who_holds_the_lease(served: Served) -> None:
    body = (await served.client.get("/status")).json()
    assert body["lease"] == {"holder": "n1", "epoch": 7, "remaining_seconds": 0.312}
    assert (body["term"], body["can_sign"]) == (7, True)


async def test_while_nobody_holds_the_lease_it_is_null(served: Served) -> None:
    served.status = replace(served.status, lease=None)
    assert (await served.client.get("/status")).json()["lease"] is None


async def test_status_tells_what_is_known_of_the_other_replicas(served: Served) -> None:
    guard = PeerGuardStatus("testnet-1", "fused", 1, 60, 20, 0, 2, "fdatasync failed")
    peers = (
        PeerStatus(
            "n2",
            "10.0.0.2:9430",
            connected=True,
            since=1_700_000_000.0,
            last_seen_seconds=0.04321,
            release="1.0",
            guards=(guard,),
        ),
        PeerStatus("n3", "10.0.0.3:9430", connected=False, since=0.0, detail="connection refused"),
    )
    served.status = replace(served.status, peers=peers)
    assert (await served.client.get("/status")).json()["peers"] == [
        {
            "id": "n2",
            "address": "10.0.0.2:9430",
            "connected": True,
            "since": "2023-11-14T22:13:20.000Z",
            "last_seen_seconds": 0.043,
            "detail": "",
            "release": "1.0",
            "guards": [
                {
                    "chain_id": "testnet-1",
                    "state": "fused",
                    "generation": 1,
                    "sequence": 60,
                    "height": 20,
                    "round": 0,
                    "step": 2,
                    "reason": "fdatasync failed",
                }
            ],
        },
        {
            "id": "n3",
            "address": "10.0.0.3:9430",
            "connected": False,
            "since": None,
            "last_seen_seconds": None,
            "detail": "connection refused",
            "release": "",
            "guards": [],
        },
    ]


async def test_who_does_not_hold_the_lease_still_tells_who_does_and_what_was_signed(served: Served) -> None:
    served.status = replace(served.status, is_leader=False, leader_id="n2", leader_addr="10.0.0.2:9430")
    body = (await served.client.get("/status")).json()
    assert (body["is_leader"], body["leader_id"], body["leader_addr"]) == (False, "n2", "10.0.0.2:9430")
    assert body["last_sign_state"]["height"] == 20


class TestReadiness:
    async def test_a_cluster_that_can_sign_is_ready(self, served: Served) -> None:
        answer = await served.client.get("/readyz")
        assert (answer.status_code, answer.text) == (200, "ok")

    async def test_one_that_cannot_is_not_and_says_why(self, served: Served) -> None:
        chain = replace(served.status.chains[0], can_sign=False, waiting_for="node-2 (never seen)")
        served.status = replace(served.status, lease=None, chains=(chain,))
        answer = await served.client.get("/readyz")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text.splitlines() == [
            "nobody holds the lease: no majority is connected, or an election is under way",
            "testnet-1: node-2 (never seen)",
        ]

    async def test_a_blown_fuse_is_the_reason(self, served: Served) -> None:
        chain = served.status.chains[0]
        guard = replace(chain.guard, state="fused", fuse=FuseStatus("fdatasync failed: EIO", 1.0))
        served.status = replace(served.status, chains=(replace(chain, can_sign=False, guard=guard),))
        text = (await served.client.get("/readyz")).text
        assert text == "testnet-1: the fuse of this replica's guard is blown: fdatasync failed: EIO"

    async def test_a_replica_without_chains_is_not_ready(self, served: Served) -> None:
        served.status = replace(served.status, chains=())
        assert (await served.client.get("/readyz")).status_code == 503

    async def test_it_is_no_reason_to_restart(self, served: Served) -> None:
        served.status = replace(served.status, chains=(), lease=None)
        assert (await served.client.get("/livez")).status_code == 200
        assert (await served.client.get("/healthz")).status_code == 200


async def test_what_is_empty_is_left_out_as_the_go_comet_kms_does(served: Served) -> None:
    chain = replace(served.status.chains[0], last_signed=None)
    served.status = replace(served.status, is_leader=False, leader_id="", leader_addr="", chains=(chain,))
    body = (await served.client.get("/status")).json()
    assert body["is_leader"] is False
    assert not {"leader_id", "leader_addr", "last_sign_state"} & set(body)
    assert body["chains"][0]["last_signed"] is None


async def test_a_state_without_signature_has_its_numbers_only(served: Served) -> None:
    chain = replace(served.status.chains[0], last_signed=LastSigned(7, 0, 2, b"", b""))
    served.status = replace(served.status, chains=(chain,))
    assert (await served.client.get("/status")).json()["last_sign_state"] == {"height": 7, "round": 0, "step": 2}


async def test_the_last_sign_state_is_that_of_the_first_configured_chain(served: Served) -> None:
    first = served.status.chains[0]
    second = replace(first, chain_id="other-1", last_signed=LastSigned(9000, 0, 3, b"", b""))
    served.status = replace(served.status, chains=(first, second))
    body = (await served.client.get("/status")).json()
    assert body["last_sign_state"]["height"] == 20
    assert [chain["last_signed"]["height"] for chain in body["chains"]] == [20, 9000]


async def test_the_greatest_height_is_a_json_number_without_loss(served: Served) -> None:
    chain = replace(served.status.chains[0], last_signed=LastSigned(2**63 - 1, 0, 3, b"", b""))
    served.status = replace(served.status, chains=(chain,))
    assert '"height":9223372036854775807' in (await served.client.get("/status")).text


async def test_a_replica_without_chains_has_a_status(served: Served) -> None:
    served.status = replace(served.status, chains=())
    assert (await served.client.get("/status")).json()["chains"] == []


async def test_a_tripped_fuse_is_told_at_the_top_and_at_its_guard(served: Served) -> None:
    chain = served.status.chains[0]
    guard = replace(chain.guard, state="fused", fuse=FuseStatus("fdatasync failed: EIO", 1_700_000_000.0))
    served.status = replace(served.status, chains=(replace(chain, guard=guard),))
    body = (await served.client.get("/status")).json()
    why = {"reason": "fdatasync failed: EIO", "since": "2023-11-14T22:13:20.000Z"}
    assert body["fuse"] == {**why, "chain_id": "testnet-1"}
    assert body["chains"][0]["guard"]["fuse"] == why


async def test_the_status_fits_its_published_schema(served: Served) -> None:
    text = (await served.client.get("/status")).text
    assert StatusBody.model_validate_json(text, strict=True).chains[0].guard.sequence == 61


async def test_metrics_are_prometheus_text(served: Served) -> None:
    served.metrics.sign_request(SignEvent("testnet-1", "prevote", 5, 0, 2, b"", "x", "signed"))
    answer = await served.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'cmkms_sign_requests_total{chain_id="testnet-1",result="signed",type="prevote"} 1.0\n' in answer.text
    assert 'cmkms_last_signed_height{chain_id="testnet-1"} 20.0\n' in answer.text


@pytest.mark.parametrize("path", PATHS)
async def test_head_answers_the_headers_of_get_without_a_body(served: Served, path: str) -> None:
    got, head = await served.client.get(path), await served.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
async def test_every_other_method_is_refused(served: Served, path: str, method: str) -> None:
    answer = await served.client.request(method, path, content=b"" if method == "TRACE" else b'{"is_leader": false}')
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert "use GET or HEAD" in answer.json()["error"]


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/redoc", "/openapi.json", "/healthz/", "/status/", "/STATUS", "/%2e%2e/etc/passwd", "//status"],
)
async def test_no_other_path_exists(served: Served, path: str) -> None:
    answer = await served.client.get(f"http://{served.address}{path}")
    assert answer.status_code == 404
    assert answer.json() == {"error": "no such path; there are /healthz, /livez, /readyz, /status and /metrics"}


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
async def test_no_answer_names_its_server_or_may_be_cached(served: Served, path: str) -> None:
    headers = (await served.client.get(path)).headers
    assert "server" not in headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_failing_snapshot_is_an_error_that_tells_nothing_of_the_inside(served: Served) -> None:
    served.status = replace(served.status, chains=(object(),))  # type: ignore[arg-type]
    answer = await served.client.get("/status")
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error; see the log of this replica"}
    assert (await served.client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost:8080", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ],
)
async def test_only_allowed_hosts_are_answered(served: Served, host: str, code: int) -> None:
    app = create_app(served.snapshot, served.metrics, allowed_hosts=["localhost", "127.0.0.1", "::1"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        answer = await client.get("http://127.0.0.1/status", headers={"host": host})
    assert answer.status_code == code


def encodings(secret: bytes) -> list[str]:
    return [
        secret.hex(),
        base64.b64encode(secret).decode().rstrip("="),
        base64.urlsafe_b64encode(secret).decode().rstrip("="),
        base64.b32encode(secret).decode().rstrip("="),
        base64.b85encode(secret).decode(),
        str(list(secret))[1:-1],
        json.dumps(secret.decode("latin-1"))[1:-1],
        repr(secret)[2:-1],
    ]


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
async def test_no_encoding_of_the_private_key_is_in_any_answer(served: Served, path: str) -> None:
    key = nacl.signing.SigningKey(bytes(range(100, 132)))
    public = bytes(key.verify_key)
    sign_bytes = b"\x6e\x08\x02" + bytes(40)
    chain = ChainStatus(
        chain_id="testnet-1",
        address="AB" * 20,
        pub_key_type="ed25519",
        pub_key=public,
        guard=GuardStatus("armed", "data/testnet-1/guard"),
        last_signed=LastSigned(20, 0, 3, key.sign(sign_bytes).signature, sign_bytes),
        can_sign=True,
    )
    served.status = replace(served.status, chains=(chain,))
    text = (await served.client.get(path)).text
    if path == "/status":
        assert base64.b64encode(public).decode() in text
    seed = bytes(key)
    for shown in [*encodings(seed), *encodings(seed[:16]), *encodings(seed + public)]:
        assert shown.lower() not in text.lower()


async def test_asking_changes_nothing(served: Served) -> None:
    seen: list[NodeStatus] = []

    def snapshot() -> NodeStatus:
        seen.append(served.status)
        return served.status

    app = create_app(snapshot, served.metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        first = [(await client.get(path)).text for path in PATHS[:4]]
        for method in ("POST", "PUT", "DELETE"):
            for path in PATHS:
                await client.request(method, path, content=b"x")
        assert [(await client.get(path)).text for path in PATHS[:4]] == first
    assert len(seen) == 4  # one snapshot for each /readyz and /status, none for what is refused
