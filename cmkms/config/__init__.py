"""What a replica is told: by flags, by environment variables, by config.toml.

Owns the table of settings, how values are written, which layer wins, and every refusal. It must never let an unknown
key or a malformed value pass, and reports all that is wrong at once.
"""

from __future__ import annotations

from cmkms.config.chains import locate_key_file
from cmkms.config.layers import Flags, find_home
from cmkms.config.load import ResolvedConfig, load_config, resolve_config
from cmkms.config.model import (
    ChainConfig,
    HostPort,
    LogFormat,
    LogLevel,
    NodeConfig,
    OnOutage,
    Peer,
    Scheme,
    ValidatorAddress,
)
from cmkms.config.own import OwnEntry, check_own_pin, find_http_addr, find_own_entry, foreign_pin
from cmkms.config.reader import EffectiveValue
from cmkms.config.sample import check_flags, listed_alone, render_sample

__all__ = [
    "ChainConfig",
    "EffectiveValue",
    "Flags",
    "HostPort",
    "LogFormat",
    "LogLevel",
    "NodeConfig",
    "OnOutage",
    "OwnEntry",
    "Peer",
    "ResolvedConfig",
    "Scheme",
    "ValidatorAddress",
    "check_flags",
    "check_own_pin",
    "find_home",
    "find_http_addr",
    "find_own_entry",
    "foreign_pin",
    "listed_alone",
    "load_config",
    "locate_key_file",
    "render_sample",
    "resolve_config",
]
