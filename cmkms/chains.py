"""Loads what belongs to one configured chain: its consensus key, and where and whose its guard is.

Shared by the running replica (`node.py`) and the offline commands (`cli/`), so that both speak of the same guard.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from cmkms.config import ChainConfig, NodeConfig
from cmkms.errors import SecretFileError
from cmkms.guard.birth import GuardSite
from cmkms.keys.consensus import ConsensusKey
from cmkms.keys.file import load_key_file
from cmkms.keys.identity import load_identity

__all__ = ["LoadedChain", "load_chain"]


@dataclass(frozen=True, slots=True)
class LoadedChain:
    """A chain's key and its guard's place."""

    config: ChainConfig
    key: ConsensusKey
    site: GuardSite


def load_chain(config: NodeConfig, chain: ChainConfig) -> LoadedChain:
    """Load a chain's key and this replica's identity. Raises SecretFileError, OperatorError."""
    if not os.path.lexists(chain.key_file):
        raise SecretFileError(
            f"{chain.key_file}: no such file; the configuration has the key of chain {chain.id} there. Put it there "
            f"(mode 0600), or correct the configuration"
        )
    key = load_key_file(chain.key_file)
    identity = load_identity(config.home.identity_file)
    site = GuardSite(
        home=config.home,
        chain_id=chain.id,
        member_id=config.id,
        # Members are told apart by the hash of their public identity key, which a certificate pin can carry as well.
        identity=hashlib.sha256(identity.public_key).digest(),
        key_type=key.type_name,
        pub_key=key.pub_key,
        state_file=chain.state_file,
        members=tuple(peer.id for peer in config.peers),
        max_block_rate=chain.max_block_rate,
    )
    return LoadedChain(chain, key, site)
