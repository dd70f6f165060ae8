"""Whose guard, and where: what a guard's files and messages are about. Names paths and checks signatures; no more."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    members: tuple[str, ...]
    """Ids of the configured replicas in their order, this one included."""
    max_block_rate: float = DEFAULT_MAX_BLOCK_RATE
    key_hash: bytes = field(init=False)
    """The hash by which the guard knows the key."""

    def __post_init__(self) -> None:
        """Hash the key once: it is told with every heartbeat."""
        object.__setattr__(self, "key_hash", key_hash(self.key_type, self.pub_key))

    @property
    def path(self) -> Path:
        """The guard's file."""
        return self.home.guard_file(self.chain_id)

    @property
    def founders_file(self) -> Path:
        """With whom the guard is bound to a birth, until the born marker says so."""
        return self.path.with_name("founders.json")

    @property
    def alone(self) -> bool:
        """Whether this replica is configured to be the only one."""
        return len(self.members) == 1

    @property
    def way_out(self) -> str:
        """What ends a guard's trouble. It names no height: what is kept here may be too old for one."""
        if not self.alone:
            home, chain = quote(str(self.home.path)), quote(self.chain_id)
            return (
                f"stop this replica, run `cmkms guard replace --home {home} {chain}` here, start it again, and run "
                f"`cmkms cluster change {chain}` on one that signs. Until then the others go on without this guard, as "
                f"long as they are a majority"
            )
        return (
            f"cmkms guard replace --home {quote(str(self.home.path))} {quote(self.chain_id)} --above HEIGHT, with a "
            f"HEIGHT above the newest block of the chain"
        )

    @property
    def start_over(self) -> str:
        """How a birth that was begun and not finished begins anew."""
        return (
            f"To begin the birth anew, stop every replica whose guard is not armed yet and run on each of them: "
            f"cmkms cluster birth --restart --home {quote(str(self.home.path))} {quote(self.chain_id)}"
        )

    def verify(self, sign_bytes: bytes, signature: bytes) -> bool:
        """Tell whether this site's key made `signature` (Ed25519, RFC 8032)."""
        try:
            VerifyKey(self.pub_key).verify(sign_bytes, signature)
        except (BadSignatureError, ValueError):
            return False
        return True
