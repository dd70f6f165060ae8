"""What the rest of cmkms knows of a consensus key, wherever it is kept.

Must never offer the private part: a key signs, and says who it is.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["ConsensusKey"]


class ConsensusKey(Protocol):
    """The key whose signatures are the validator's votes. Signing decides nothing: the guard has, before."""

    @property
    def type_name(self) -> str:
        """The key type as privval names it on the wire: `ed25519`."""
        ...

    @property
    def pub_key(self) -> bytes:
        """The public key, raw: 32 bytes for Ed25519."""
        ...

    @property
    def address(self) -> str:
        """The validator's address: 40 upper-case hex digits (CometBFT crypto/ed25519/ed25519.go)."""
        ...

    def sign(self, sign_bytes: bytes) -> bytes:
        """Sign the length-prefixed canonical bytes of a vote or proposal: 64 bytes for Ed25519."""
        ...
