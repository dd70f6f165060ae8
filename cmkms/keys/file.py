"""Consensus keys in `priv_validator_key.json`, CometBFT's own form (privval/file.go, FilePVKey).

Must never overwrite a key, load one that others could have read, or believe a public key over the private one.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Final

from nacl.utils import random as random_bytes

from cmkms.errors import OperatorError, SecretFileError
from cmkms.home import create_durably, read_secret
from cmkms.keys.amino_json import (
    MAX_KEY_FILE_BYTES,
    PRIV_KEY_TYPE,
    PUB_KEY_TYPE,
    decode_private_key,
    decode_public_key,
    parse_key_document,
)
from cmkms.keys.ed25519 import SEED_BYTES, Ed25519Key

__all__ = ["generate_key", "genesis_pub_key", "load_key_file", "write_key_file"]

_EXPECTED: Final = "CometBFT's priv_validator_key.json"

_ADDRESS: Final = re.compile(r"[0-9A-Fa-f]{0,40}")
"""What a file says for an address is shown in the error. What does not look like one may be the key itself."""


def load_key_file(path: Path) -> Ed25519Key:
    """Load a consensus key. The private key is the truth; a public key or address beside it must agree with it.

    Raises SecretFileError: bad mode or owner, another form, another key type, fields that contradict each other.
    """
    document = parse_key_document(read_secret(path, MAX_KEY_FILE_BYTES), path, _EXPECTED)
    key = Ed25519Key(decode_private_key(document.get("priv_key"), path))
    if "pub_key" in document:
        stated = decode_public_key(document["pub_key"], path)
        if stated != key.pub_key:
            raise SecretFileError(_disagreement(path, "pub_key", stated.hex(), key.pub_key.hex()))
    if "address" in document:
        address = document["address"]
        if not isinstance(address, str) or address.upper() != key.address:
            said = address if isinstance(address, str) and _ADDRESS.fullmatch(address) else "no address at all"
            raise SecretFileError(_disagreement(path, "address", said, key.address))
    return key


def _disagreement(path: Path, field: str, stated: str, derived: str) -> str:
    message = f"{path}: {field} says {stated}, but the private key in the same file belongs to {derived}"
    return f"{message}; two keys were mixed up: restore the file as the node had it"


def write_key_file(path: Path, key: Ed25519Key) -> None:
    """Write a consensus key just as CometBFT does, mode 0600. Raises OperatorError if anything is there."""
    document = {
        "address": key.address,
        "pub_key": genesis_pub_key(key.pub_key),
        "priv_key": {"type": PRIV_KEY_TYPE, "value": base64.b64encode(key.expose_secret()).decode("ascii")},
    }
    try:
        create_durably(path, json.dumps(document, indent=2).encode("ascii"))
    except FileExistsError:
        message = f"{path}: is there already, and a key is never overwritten"
        raise OperatorError(f"{message}; move it away yourself if it is to be replaced") from None


def genesis_pub_key(pub_key: bytes) -> dict[str, str]:
    """Give a public key in the form that the `validators` of a genesis file have."""
    return {"type": PUB_KEY_TYPE, "value": base64.b64encode(pub_key).decode("ascii")}


def generate_key() -> Ed25519Key:
    """Make a new consensus key from the kernel's random source. A chain knows nothing of it until it is registered."""
    return Ed25519Key(random_bytes(SEED_BYTES))
