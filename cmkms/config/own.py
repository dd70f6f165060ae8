"""What a home says of its own replica, even while the rest of its configuration is not finished yet.

For commands that are used before a replica can start, or beside one that runs: they must not fail because of a setting
that they have no use for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cmkms.config import settings
from cmkms.config.file import read_config_file
from cmkms.config.given import Problems
from cmkms.config.layers import Flags, Layers, find_home
from cmkms.config.model import HostPort, NodeConfig, Peer
from cmkms.config.reader import Reader
from cmkms.errors import ConfigError, OperatorError
from cmkms.home import Home
from cmkms.keys.identity import Identity, load_identity

__all__ = ["OwnEntry", "check_own_pin", "find_http_addr", "find_own_entry", "foreign_pin"]

_LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class OwnEntry:
    """How this replica would be listed. What is not configured yet is None."""

    home: Home
    id: str | None
    addr: HostPort | None


def find_own_entry(flags: Flags, environ: Mapping[str, str]) -> OwnEntry:
    """Find this replica's name and the address where others reach it: as flagged, as listed, or where it listens.

    Raises ConfigError for what is malformed.
    """
    home, _ = find_home(flags, environ)
    file = read_config_file(home)
    reader = Reader(Layers(flags, environ, file), file.path, Problems())
    replica_id = reader.one(settings.ID) if reader.given(settings.ID) else None
    listening = reader.one(settings.RAFT_ADDR) if reader.given(settings.RAFT_ADDR) else None
    reader.problems.raise_if_any()
    listed = _listed_addr(reader, replica_id)
    reachable = listening if listening and listening.port and not listening.is_every_interface else None
    addr = (reachable or listed) if flags.raft_addr else (listed or reachable)
    return OwnEntry(home, replica_id, addr)


def _listed_addr(reader: Reader, replica_id: str | None) -> HostPort | None:
    """Find the address in this replica's own entry. Entries that are not finished yet, such as without a pin, pass."""
    given = reader.given(settings.PEER)
    for text in given.texts if given else ():
        with contextlib.suppress(ValueError):
            peer = settings.PEER.parse(text.partition("#")[0])
            if peer.id == replica_id:
                return peer.addr
    return None


def find_http_addr(flags: Flags, environ: Mapping[str, str]) -> HostPort:
    """Find where this replica's status is asked for: at its `http_addr`, by way of loopback if that is every interface.

    Raises ConfigError.
    """
    home, _ = find_home(flags, environ)
    file = read_config_file(home)
    reader = Reader(Layers(flags, environ, file), file.path, Problems())
    addr = reader.one(settings.HTTP_ADDR)
    reader.problems.raise_if_any()
    if addr is None or addr.port == 0:
        raise ConfigError(f"http_addr {addr}: port 0 is any free one; say which with {settings.HTTP_ADDR.flag}")
    if addr.is_every_interface:
        return HostPort("::1" if addr.host == "::" else _LOOPBACK, addr.port)
    return addr


def check_own_pin(config: NodeConfig) -> None:
    """Hold this replica's own pin, if its entry has one, against the identity in its home.

    An identity that cannot be read is for its user to report. Raises ConfigError.
    """
    try:
        identity = load_identity(config.home.identity_file)
    except OperatorError:
        return
    fault = foreign_pin(config.peers, config.own_peer, identity)
    if fault:
        raise ConfigError(f"{config.home.identity_file}: {fault}")


def foreign_pin(peers: tuple[Peer, ...], own: Peer, identity: Identity) -> str:
    """Say what is wrong if `own`, one of `peers`, is not pinned to this identity; empty if nothing is."""
    pin = identity.public_key.hex()
    other = next((peer.id for peer in peers if peer.pin == pin and peer.id != own.id), None)
    if other is not None:
        message = f"this is the identity of {other}, but this replica is {own.id}"
        return f"{message}; use {other}'s home for {other} only: each replica has an identity of its own"
    if own.pin in {None, pin}:
        return ""
    message = f"peer pins {own.id} to {own.pin}, but the identity in this home is {pin}"
    return f"{message}; put {Peer(own.id, own.addr, pin)} into the list of every replica, or restore the identity"
