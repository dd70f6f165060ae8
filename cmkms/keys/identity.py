"""The connection identity: the key a replica proves to have on validator connections, in node_key.json form.

It says who is calling and signs no vote. A guard is born with it, though (docs/adr/0008), so it belongs in the backup.
It must never be the consensus key.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from nacl.signing import SigningKey
from nacl.utils import random as random_bytes

from cmkms.errors import OperatorError
from cmkms.home import create_durably, read_secret
from cmkms.keys.amino_json import MAX_KEY_FILE_BYTES, PRIV_KEY_TYPE, decode_private_key, parse_key_document
from cmkms.keys.ed25519 import ADDRESS_BYTES, SEED_BYTES

__all__ = ["Identity", "create_identity", "load_identity"]

_EXPECTED: Final = "CometBFT's node_key.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """An Ed25519 key pair that authenticates connections. `node_id`: 40 lower-case hex digits (CometBFT p2p/key.go)."""

    seed: bytes = field(repr=False)
    public_key: bytes
    node_id: str

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """Derive the rest from the private key: `seed`, 32 bytes."""
        public_key = bytes(SigningKey(seed).verify_key)
        return cls(seed, public_key, hashlib.sha256(public_key).digest()[:ADDRESS_BYTES].hex())

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: a private key must not end up on a disk or a wire by accident."""
        raise TypeError("a private key is not pickled or copied")


def load_identity(path: Path) -> Identity:
    """Load the connection identity. Raises SecretFileError."""
    document = parse_key_document(read_secret(path, MAX_KEY_FILE_BYTES), path, _EXPECTED)
    return Identity.from_seed(decode_private_key(document.get("priv_key"), path))


def create_identity(path: Path) -> Identity:
    """Make a new connection identity and write it, mode 0600. Raises OperatorError if anything is there."""
    identity = Identity.from_seed(random_bytes(SEED_BYTES))
    secret = base64.b64encode(identity.seed + identity.public_key).decode("ascii")
    document = {"priv_key": {"type": PRIV_KEY_TYPE, "value": secret}}
    try:
        create_durably(path, json.dumps(document, separators=(",", ":")).encode("ascii"))
    except FileExistsError:
        raise OperatorError(f"{path}: is there already, and an identity is never overwritten") from None
    return identity
