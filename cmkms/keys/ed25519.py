"""An Ed25519 consensus key in memory.

Must never show its private part: not in its repr, not to pickle or copy. Python cannot wipe what it frees, so the key
lives as long as the process does and is not handed around.
"""

from __future__ import annotations

import hashlib
from typing import Final, NoReturn

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

__all__ = ["ADDRESS_BYTES", "SEED_BYTES", "Ed25519Key"]

SEED_BYTES: Final = 32
"""RFC 8032, section 5.1.5: the private key is 32 bytes; everything else is derived from it."""

SIGNATURE_BYTES: Final = 64

ADDRESS_BYTES: Final = 20
"""CometBFT crypto/tmhash: an address is the first 20 bytes of the SHA-256 of the public key."""


class Ed25519Key:
    """Signs with one Ed25519 private key (RFC 8032: the same bytes always give the same signature)."""

    __slots__ = ("_secret", "address", "pub_key", "type_name")

    def __init__(self, seed: bytes) -> None:
        """Take the private key: `seed`, 32 bytes."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"an Ed25519 seed is {SEED_BYTES} bytes long, not {len(seed)}")
        self.type_name: Final = "ed25519"
        public, secret = crypto_sign_seed_keypair(seed)
        self.pub_key: Final[bytes] = public
        self._secret: Final[bytes] = secret
        self.address: Final[str] = hashlib.sha256(self.pub_key).digest()[:ADDRESS_BYTES].hex().upper()

    def sign(self, sign_bytes: bytes) -> bytes:
        """Sign `sign_bytes`: 64 bytes. Takes about 16 us."""
        # The binding itself: SigningKey.sign wraps the same call and copies the message, for half the time again.
        return crypto_sign(sign_bytes, self._secret)[:SIGNATURE_BYTES]

    def expose_secret(self) -> bytes:
        """Return the private key itself, 64 bytes, seed and public key as Go has it. Only for writing a key file."""
        return self._secret

    def __repr__(self) -> str:
        """Name the key by its address; never show the private part."""
        return f"Ed25519Key(address={self.address})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: a private key must not end up on a disk or a wire by accident."""
        raise TypeError("a private key is not pickled or copied")
