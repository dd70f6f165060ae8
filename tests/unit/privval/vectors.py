"""CometBFT's own bytes (tests/data/privval/vectors.toml), and the values that they stand for."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from cmkms.privval import BlockID, PartSetHeader, Timestamp

__all__ = [
    "BLOCK",
    "CHAIN_ID",
    "HANDSHAKE",
    "HKDF",
    "MERLIN_CHALLENGE",
    "MESSAGES",
    "PUBLIC_KEY",
    "SIGNATURE",
    "SIGN_BYTES",
    "TIME",
]


def _read() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "data" / "privval" / "vectors.toml"
    return tomllib.loads(path.read_text())


def _from_hex(table: dict[str, str]) -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in table.items()}


_all = _read()
_common = _from_hex(_all["common"])

MESSAGES: dict[str, bytes] = _from_hex(_all["messages"])
SIGN_BYTES: dict[str, bytes] = _from_hex(_all["sign_bytes"])
SIGNATURE: dict[str, bytes] = _from_hex(_all["signature"])
HANDSHAKE: dict[str, bytes] = _from_hex(_all["handshake"])
HKDF: list[dict[str, Any]] = _all["hkdf"]
MERLIN_CHALLENGE = bytes.fromhex(_all["merlin"]["challenge"])
PUBLIC_KEY = _common["public_key"]

CHAIN_ID = "test_chain_id"
BLOCK = BlockID(_common["block_hash"], PartSetHeader(1_000_000, _common["parts_hash"]))
TIME = Timestamp(1_570_983_284, 0)  # 2019-10-13T16:14:44Z
