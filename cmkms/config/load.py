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
from cmkms.config.given import Problems, toml_string
from cmkms.config.layers import Flags, Layers, check_variables, find_home
from cmkms.config.model import NodeConfig
from cmkms.config.peers import read_peers, read_raft_addr
from cmkms.config.reader import EffectiveValue, Reader
from cmkms.errors import BrokenInvariantError

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
    peers = read_peers(reader, replica_id)
    raft_addr = read_raft_addr(reader, replica_id, peers)
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
    return ResolvedConfig(config, tuple(reader.values))


def _checked(value: _Value | None) -> _Value:
    """Narrow a value: had it been missing or malformed, a problem would have been raised."""
    if value is None:
        raise BrokenInvariantError("a configuration value is missing, and no problem was reported for it")
    return value
