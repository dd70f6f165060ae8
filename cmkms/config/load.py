"""From flags, environment and file to one checked configuration, or to everything that is wrong with them.

Must never let a value through that was not understood, nor guess: what is missing is named with the line to write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from cmkms.config import settings
from cmkms.config.chains import read_chains
from cmkms.config.file import read_config_file
from cmkms.config.given import Given, Problems, toml_string
from cmkms.config.layers import Flags, Layers, check_variables, find_home
from cmkms.config.model import HostPort, NodeConfig, Peer
from cmkms.config.reader import EffectiveValue, Reader
from cmkms.errors import BrokenInvariantError, ConfigError

__all__ = ["ResolvedConfig", "load_config", "resolve_config"]

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class ResolvedConfig:
    """A configuration, and where each of its values came from."""

    config: NodeConfig
    values: tuple[EffectiveValue, ...]


def load_config(flags: Flags, environ: Mapping[str, str]) -> NodeConfig:
    """Read the configuration. Raises ConfigError, which names all problems at once."""
    return resolve_config(flags, environ).config


def resolve_config(flags: Flags, environ: Mapping[str, str]) -> ResolvedConfig:
    """Read the configuration and where each value came from. Raises ConfigError, which names all problems at once."""
    home, home_source = find_home(flags, environ)
    file = read_config_file(home)
    problems = Problems()
    file.check_keys(problems)
    check_variables(environ, problems)
    reader = Reader(Layers(flags, environ, file), file.path, problems)
    reader.note("home", toml_string(str(home.path)), home_source)
    replica_id = reader.one(settings.ID)
    peers = _read_peers(reader, replica_id)
    raft_addr = _read_raft_addr(reader, replica_id, peers)
    http_addr, ttl = reader.one(settings.HTTP_ADDR), reader.one(settings.DEFAULT_TTL)
    log_level, log_format = reader.one(settings.LOG_LEVEL), reader.one(settings.LOG_FORMAT)
    unsafe = reader.one(settings.ALLOW_UNSAFE)
    chains = read_chains(reader, home, file)
    problems.raise_if_any()
    config = NodeConfig(
        home=home,
        id=_checked(replica_id),
        raft_addr=_checked(raft_addr),
        http_addr=_checked(http_addr),
        default_ttl_seconds=_checked(ttl),
        peers=_checked(peers),
        chains=chains,
        log_level=_checked(log_level),
        log_format=_checked(log_format),
        allow_unsafe=_checked(unsafe),
    )
    _refuse_clusters(config)
    return ResolvedConfig(config, tuple(reader.values))


def _checked(value: _Value | None) -> _Value:
    """Narrow a value: had it been missing or malformed, a problem would have been raised."""
    if value is None:
        raise BrokenInvariantError("a configuration value is missing, and no problem was reported for it")
    return value


def _refuse_clusters(config: NodeConfig) -> None:
    """Refuse what is right but not built yet; only after all else was checked."""
    if len(config.peers) > 1:
        message = f"peer names {len(config.peers)} replicas; signing with several comes with the next release"
        raise ConfigError(f"{message}, this one signs alone: let peer name {config.id} only")


def _read_peers(reader: Reader, replica_id: str | None) -> tuple[Peer, ...] | None:
    given = reader.given(settings.PEER)
    if given is None or not (given.texts or given.fault):
        _report_no_peers(reader, replica_id)
        return None
    peers = reader.many(settings.PEER)
    if peers is None:
        return None
    for name in _repeated([peer.id for peer in peers]):
        reader.problems.add(f"{given.label}: names {name} twice; expected each replica once")
    for addr in _repeated([str(peer.addr) for peer in peers]):
        reader.problems.add(f"{given.label}: names {addr} twice; expected another address for each replica")
    if replica_id is not None and all(peer.id != replica_id for peer in peers):
        names = ", ".join(peer.id for peer in peers)
        message = f"{given.label}: names {names}, but not this replica, whose id is {replica_id}"
        reader.problems.add(f"{message}; expected all members, this one included")
    return peers


def _report_no_peers(reader: Reader, replica_id: str | None) -> None:
    """Refuse to assume that this is the only signer: three machines that each assumed it would be three signers."""
    raft_addr = reader.given(settings.RAFT_ADDR)
    addr = raft_addr.texts[0] if raft_addr and raft_addr.texts else "127.0.0.1:9430"
    reader.missing(
        settings.PEER,
        because="a replica must be told who else signs, or else that it signs alone; for that",
        example=f"{replica_id or 'node-0'}={addr}",
    )


def _repeated(values: list[str]) -> list[str]:
    return sorted({value for value in values if values.count(value) > 1})


def _read_raft_addr(reader: Reader, replica_id: str | None, peers: tuple[Peer, ...] | None) -> HostPort | None:
    own = next((peer.addr for peer in peers or () if peer.id == replica_id), None)
    given = reader.given(settings.RAFT_ADDR)
    if given is None and own is not None:
        reader.note(settings.RAFT_ADDR.key, toml_string(str(own)), settings.PEER.key)
        return own
    if given is None:
        # It follows from the peers, whose trouble was reported.
        return None
    raft_addr = reader.one(settings.RAFT_ADDR)
    if raft_addr is not None and own is not None and not _agree(raft_addr, own):
        _report_disagreement(reader, given, own)
    return raft_addr


def _report_disagreement(reader: Reader, given: Given, own: HostPort) -> None:
    message = f"{given.describe(given.texts[0])}: but peer says that this replica is at {own}"
    reader.problems.add(f"{message}; expected the same address in both")


def _agree(listening: HostPort, reached: HostPort) -> bool:
    """Say whether others reach, at one address, who listens at the other."""
    return listening.port == reached.port and (listening.is_every_interface or listening.host == reached.host)
