"""Whose guard, and where: what a guard's files and messages are about. Names paths and checks signatures; no more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from cmkms.guard.ceiling import DEFAULT_MAX_BLOCK_RATE
from cmkms.guard.generation import key_hash
from cmkms.home import Home

__all__ = ["GuardSite"]


@dataclass(frozen=True, slots=True)
class GuardSite:
    """Whose guard, and where: one chain and key at one replica."""

    home: Home
    chain_id: str
    member_id: str
    identity: bytes
    key_type: str
    pub_key: bytes
    state_file: Path
    max_block_rate: float = DEFAULT_MAX_BLOCK_RATE

    @property
    def key_hash(self) -> bytes:
        """The hash by which the guard knows the key."""
        return key_hash(self.key_type, self.pub_key)

    @property
    def path(self) -> Path:
        """The guard's file."""
        return self.home.guard_file(self.chain_id)

    @property
    def way_out(self) -> str:
        """The command that ends a guard's trouble. It names no height: what is kept here may be too old for one."""
        return (
            f"cmkms guard replace --home {quote(str(self.home.path))} {quote(self.chain_id)} --above HEIGHT, with a "
            f"HEIGHT above the newest block of the chain"
        )

    def verify(self, sign_bytes: bytes, signature: bytes) -> bool:
        """Tell whether this site's key made `signature` (Ed25519, RFC 8032)."""
        try:
            VerifyKey(self.pub_key).verify(sign_bytes, signature)
        except (BadSignatureError, ValueError):
            return False
        return True
