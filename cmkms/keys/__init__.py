"""Where private keys come from: files for now; encrypted files, secret stores and hardware later.

Owns every private key in the process. It must never print, log, pickle or put into an error any part of one, and never
overwrite a key file.
"""

from __future__ import annotations

from cmkms.keys.consensus import ConsensusKey
from cmkms.keys.ed25519 import Ed25519Key
from cmkms.keys.file import generate_key, genesis_pub_key, load_key_file, write_key_file
from cmkms.keys.identity import Identity, create_identity, load_identity

__all__ = [
    "ConsensusKey",
    "Ed25519Key",
    "Identity",
    "create_identity",
    "generate_key",
    "genesis_pub_key",
    "load_identity",
    "load_key_file",
    "write_key_file",
]
