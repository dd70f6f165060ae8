"""CometBFT's JSON form of Ed25519 keys: `{"type": "tendermint/PrivKeyEd25519", "value": "<base64>"}`.

Turns file content into a seed or refuses it with the reason. It must never guess which of several private-key forms
a value is in (each loads as *some* key, and the wrong one is another validator), and never put a value into an error.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from pathlib import Path
from typing import Final, cast

from nacl.signing import SigningKey

from cmkms.errors import SecretFileError
from cmkms.keys.ed25519 import SEED_BYTES

__all__ = [
    "MAX_KEY_FILE_BYTES",
    "PRIV_KEY_TYPE",
    "PUB_KEY_TYPE",
    "decode_private_key",
    "decode_public_key",
    "parse_key_document",
]

PRIV_KEY_TYPE: Final = "tendermint/PrivKeyEd25519"
PUB_KEY_TYPE: Final = "tendermint/PubKeyEd25519"

MAX_KEY_FILE_BYTES: Final = 16 * 1024
"""An Ed25519 file has 345 bytes; the longest key of CometBFT (ML-DSA-65) about 8 KiB, to be refused by its name."""

_GO_PRIVATE_BYTES: Final = 64
_YUBIHSM_EXPORT_BYTES: Final = 96
_TYPE_NAME: Final = re.compile(r"[a-z]{1,12}/(?:Priv|Pub)Key[A-Za-z0-9_]{1,16}")
"""A type name goes into an error. What does not look like one may be the key itself, put into the wrong field."""

_OTHER_KEY_TYPES: Final = ("secp256k1eth", "secp256k1", "sr25519", "bls12_381", "mldsa65")
"""Types that some CometBFT release knows, as they appear in the type names (lower case)."""

_HEX_KEY: Final = re.compile(rb"(?:[0-9A-Fa-f]{64}){1,2}")
"""32 or 64 bytes."""

_RESTORE: Final = "it was damaged or edited: restore the file from its backup, as it was made"

_BARE_FORMS: Final = {
    32: "a bare base64 32-byte seed (the form of tmkms' softsign and identity files)",
    64: "a bare base64 64-byte key (the form of cosmos/kms, or an expanded key of tmkms)",
    96: "a bare base64 96-byte key (an export of a YubiHSM)",
}


def parse_key_document(content: bytes, path: Path, expected: str) -> dict[str, object]:
    """Parse the JSON object of a key file. `expected` names the file's form, for the error.

    A field given twice is refused: Go and Python do not agree on all such files. Raises SecretFileError.
    """
    if not content.lstrip()[:1] == b"{":
        raise SecretFileError(f"{path}: is {_describe_bare(content)}, expected {expected}")
    try:
        document: object = json.loads(content.decode("utf-8"), object_pairs_hook=_without_repetition)
    except _RepeatedFieldError:
        raise SecretFileError(f"{path}: has a field twice, expected {expected}") from None
    except (ValueError, RecursionError):
        # The decoder's own error carries the whole text.
        raise SecretFileError(f"{path}: is not valid JSON, expected {expected}; is the file whole?") from None
    # What starts with a brace and parses is an object.
    return cast("dict[str, object]", document)


class _RepeatedFieldError(Exception):
    """A JSON object names a field twice."""


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _RepeatedFieldError
    return fields


def _describe_bare(content: bytes) -> str:
    """Say what a file that is no JSON object looks like. Its name says nothing: softsign keys are named .json, too."""
    text = content.strip()
    if not text:
        return "empty"
    decoded = _decode_base64(text.decode("latin-1"))
    if decoded is not None and len(decoded) in _BARE_FORMS:
        return _BARE_FORMS[len(decoded)]
    if _HEX_KEY.fullmatch(text):
        return "a private key in hex"
    if len(content) in {SEED_BYTES, _GO_PRIVATE_BYTES}:
        return f"{len(content)} raw bytes"
    return "not a JSON object"


def decode_private_key(entry: object, path: Path) -> bytes:
    """Take the seed (32 bytes) out of a `priv_key` entry.

    The value must be Go's 64 bytes, seed and public key, and the second half must belong to the first: an expanded key
    (scalar and prefix) has the same length, and read as a seed is a *different* key. Raises SecretFileError.
    """
    value = _typed_value(entry, "priv_key", PRIV_KEY_TYPE, path)
    if len(value) == SEED_BYTES:
        reason = "is a 32-byte seed alone, expected 64 bytes: the seed, then its public key"
        raise SecretFileError(f"{path}: priv_key.value {reason}")
    if len(value) == _YUBIHSM_EXPORT_BYTES:
        raise SecretFileError(f"{path}: priv_key.value is a 96-byte YubiHSM export, which is not in this release")
    if len(value) != _GO_PRIVATE_BYTES:
        raise SecretFileError(
            f"{path}: priv_key.value has {len(value)} bytes, expected {_GO_PRIVATE_BYTES}; {_RESTORE}"
        )
    seed, public_half = value[:SEED_BYTES], value[SEED_BYTES:]
    if bytes(SigningKey(seed).verify_key) != public_half:
        reason = "is not a seed followed by its public key: it is an expanded key (scalar and prefix), or damaged"
        raise SecretFileError(f"{path}: priv_key.value {reason}; loading it would make another validator of it")
    return seed


def decode_public_key(entry: object, path: Path) -> bytes:
    """Take the public key (32 bytes) out of a `pub_key` entry. Raises SecretFileError."""
    value = _typed_value(entry, "pub_key", PUB_KEY_TYPE, path)
    if len(value) != SEED_BYTES:
        raise SecretFileError(f"{path}: pub_key.value has {len(value)} bytes, expected {SEED_BYTES}; {_RESTORE}")
    return value


def _typed_value(entry: object, field: str, type_name: str, path: Path) -> bytes:
    match entry:
        case {"type": str() as found, "value": str() as encoded}:
            pass
        case _:
            form = f'{{"type": "{type_name}", "value": "<base64>"}}'
            raise SecretFileError(f"{path}: {field} is missing or is not {form}")
    if found != type_name:
        raise SecretFileError(f"{path}: {field}.type is {_describe_type(found)}, expected {type_name}")
    value = _decode_base64(encoded)
    if value is None:
        raise SecretFileError(f"{path}: {field}.value is not base64; {_RESTORE}")
    return value


def _describe_type(found: str) -> str:
    shown = f"'{found}'" if _TYPE_NAME.fullmatch(found) else "no type of a key"
    plain = found.lower().replace("ml_dsa_65", "mldsa65")
    if any(other in plain for other in _OTHER_KEY_TYPES):
        return f"{shown}, which is not in this release"
    return shown


def _decode_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
