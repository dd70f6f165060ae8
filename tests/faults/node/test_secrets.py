"""No log line, at any level, holds a private key in any spelling."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from cmkms.harness.chain import ChainPlan, run_chain
from cmkms.harness.node import SimulatedNode
from tests.faults.node.process import CHAIN, KEY, SEED, Replica


def spellings(secret: bytes) -> set[str]:
    """How a secret could be written down; without the padding of base64, which depends on what follows."""
    return {
        secret.hex(),
        secret.hex().upper(),
        base64.b64encode(secret).decode().rstrip("="),
        base64.urlsafe_b64encode(secret).decode().rstrip("="),
        repr(secret)[2:-1],
    }


def identity_seed(replica: Replica) -> bytes:
    document = json.loads((replica.home / "priv" / "identity_key.json").read_text(encoding="utf-8"))
    return base64.b64decode(document["priv_key"]["value"])[:32]


def first_chars(secret: bytes) -> set[str]:
    """Enough of each spelling to be no accident: the last character of a base64 text depends on what follows."""
    return {spelling[:40] for spelling in spellings(secret)}


@pytest.mark.parametrize("log_format", ["json", pytest.param("plain", marks=pytest.mark.slow)])
async def test_a_log_at_debug_level_holds_no_key(replica: Replica, node: SimulatedNode, log_format: str) -> None:
    replica.spawn("--log-format", log_format, "--log-level", "debug", never_signed=True)
    async for _ in run_chain(node, ChainPlan(heights=3)):
        pass
    await replica.logged("signed")
    await replica.stop()
    for secret in (SEED, KEY.expose_secret(), identity_seed(replica)):
        assert not [one for one in first_chars(secret) if one in replica.log]
    assert CHAIN in replica.log


async def test_an_error_about_a_key_file_holds_none_of_it(replica: Replica) -> None:
    broken = replica.key_file(CHAIN)
    text = broken.read_text(encoding="utf-8")
    broken.write_text(text.replace(base64.b64encode(KEY.pub_key).decode(), base64.b64encode(bytes(32)).decode()))
    replica.spawn(never_signed=True)
    assert await replica.ended() == 2
    assert not [one for one in first_chars(SEED) if one in replica.log]
    assert str(Path("priv") / CHAIN) in replica.log
