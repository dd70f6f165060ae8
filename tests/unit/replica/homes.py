"""Homes of replicas whose guards were born with others and are lost: the marker is there, the guard's file is not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import structlog

from cmkms.config import ChainConfig, HostPort, LogFormat, LogLevel, NodeConfig, OnOutage, Peer
from cmkms.guard.born import BornMarker, render_marker
from cmkms.guard.generation import NO_GENERATION, Member, key_hash, next_generation
from cmkms.home import Home
from cmkms.keys import Ed25519Key
from cmkms.keys.file import write_key_file
from cmkms.keys.identity import create_identity
from cmkms.served import OpenedChain, open_chains
from tests.unit.replica.lone import IDS
from tests.unit.signing.messages import CHAIN, KEY

__all__ = ["Born", "born_home", "marker_of"]


@dataclass(frozen=True, slots=True)
class Born:
    """A home of node-0 whose guard was born with the others and is lost: its marker is there, its file is not."""

    config: NodeConfig
    marker: BornMarker

    @property
    def key_file(self) -> Path:
        return self.config.chains[0].key_file

    def mark(self, marker: BornMarker) -> None:
        path = self.config.home.born_marker(CHAIN)
        path.write_bytes(render_marker(marker, CHAIN))
        path.chmod(0o600)

    def open(self, config: NodeConfig | None = None) -> OpenedChain:
        log = structlog.get_logger().bind()
        (opened,), refused = open_chains(config or self.config, frozenset({CHAIN}), log)
        assert refused == []
        return opened


def marker_of(
    identity: bytes, *, key: Ed25519Key = KEY, chain_id: str = CHAIN, ids: tuple[str, ...] = IDS
) -> BornMarker:
    members = tuple(
        Member(name, identity if name == IDS[0] else hashlib.sha256(name.encode()).digest(), name.encode().ljust(16))
        for name in ids
    )
    key_hash_ = key_hash(key.type_name, key.pub_key)
    generation = next_generation(chain_id, key_hash_, NO_GENERATION, members)
    return BornMarker(generation, NO_GENERATION.hash, members)


def chain_config(home: Home, chain_id: str = CHAIN) -> ChainConfig:
    state_file = home.priv_dir / "priv_validator_state.json"
    return ChainConfig(chain_id, (), home.default_key_file, state_file, OnOutage.HOLD, 10.0)


def born_home(folder: Path) -> Born:
    home = Home(folder)
    for part in (home.path, home.data_dir, home.priv_dir, home.born_marker(CHAIN).parent):
        part.mkdir(mode=0o700, exist_ok=True)
        part.chmod(0o700)
    identity = create_identity(home.identity_file)
    write_key_file(home.default_key_file, KEY)
    config = NodeConfig(
        home=home,
        id=IDS[0],
        raft_addr=HostPort("127.0.0.1", 0),
        http_addr=HostPort("127.0.0.1", 0),
        default_ttl_seconds=0.4,
        peers=tuple(Peer(name, HostPort("127.0.0.1", 9_000 + at)) for at, name in enumerate(IDS)),
        chains=(chain_config(home),),
        log_level=LogLevel.INFO,
        log_format=LogFormat.PLAIN,
        allow_unsafe=True,
    )
    born = Born(config, marker_of(hashlib.sha256(identity.public_key).digest()))
    born.mark(born.marker)
    return born
