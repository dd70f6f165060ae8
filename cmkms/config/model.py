"""What a configuration says once it is checked: plain values, made by `load` and read by everyone.

Must hold nothing that was not checked, and nothing secret: keys are named by their files.
"""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cmkms.home import Home

__all__ = [
    "ChainConfig",
    "HostPort",
    "LogFormat",
    "LogLevel",
    "NodeConfig",
    "OnOutage",
    "Peer",
    "Scheme",
    "ValidatorAddress",
]


class OnOutage(StrEnum):
    """What a sign request gets while no quorum can be reached: it waits, or an error after 2.5 s."""

    HOLD = "hold"
    REFUSE = "refuse"


class LogLevel(StrEnum):
    """The least important lines that are still written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How log lines look. `AUTO`: `CONSOLE` on a terminal, `JSON` elsewhere. `PLAIN`: `CONSOLE` without colours."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"
    PLAIN = "plain"


class Scheme(StrEnum):
    """How a validator is reached: TCP with CometBFT's SecretConnection, or a Unix socket in plain."""

    TCP = "tcp"
    UNIX = "unix"


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP address. `host` is a name or an IP address without brackets; empty means all interfaces, for listening."""

    host: str
    port: int

    @property
    def is_every_interface(self) -> bool:
        """Whether listening here is listening on all interfaces."""
        return self.host in {"", "0.0.0.0", "::"}  # noqa: S104  # recognised, not bound

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect here: an address of loopback, or the name `localhost`."""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"

    def reached_at(self, other: HostPort) -> bool:
        """Whether whoever listens here may be reached at `other`. Which address a name has is not asked."""
        if self.port != other.port:
            return False
        return self.is_every_interface or self.host == other.host or not (self._is_numeric and other._is_numeric)

    @property
    def _is_numeric(self) -> bool:
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(self.host)
            return True
        return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Peer:
    """One member of the cluster. `pin` is its public identity key, 64 lower-case hex digits, or None."""

    id: str
    addr: HostPort
    pin: str | None = None

    def __str__(self) -> str:
        return f"{self.id}={self.addr}" + (f"#{self.pin}" if self.pin else "")


@dataclass(frozen=True, slots=True)
class ValidatorAddress:
    """Where a node listens for its signer (`priv_validator_laddr`).

    TCP has `host` and `port`, and a `node_id` (40 lower-case hex digits) if the node's identity is pinned; Unix has
    `path`.
    """

    scheme: Scheme
    host: str = ""
    port: int = 0
    path: str = ""
    node_id: str | None = None

    def __str__(self) -> str:
        if self.scheme is Scheme.UNIX:
            return f"unix://{self.path}"
        return "tcp://" + (f"{self.node_id}@" if self.node_id else "") + str(HostPort(self.host, self.port))


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """One chain that this replica signs for. `max_block_rate` is in blocks per second (the guard's height ceiling)."""

    id: str
    validator_addrs: tuple[ValidatorAddress, ...]
    key_file: Path
    state_file: Path
    on_outage: OnOutage
    max_block_rate: float


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Everything one replica is told.

    `peers` holds this replica, too, at the address where the others reach it; `raft_addr` is where it listens for them.
    """

    home: Home
    id: str
    raft_addr: HostPort
    http_addr: HostPort
    default_ttl_seconds: float
    peers: tuple[Peer, ...]
    chains: tuple[ChainConfig, ...]
    log_level: LogLevel
    log_format: LogFormat
    allow_unsafe: bool

    @property
    def own_peer(self) -> Peer:
        """This replica's own entry in `peers`."""
        return next(peer for peer in self.peers if peer.id == self.id)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What can be run with and is still seldom meant: sentences without their full stop."""
        found: list[str] = []
        count = len(self.peers)
        spare = (count - 1) // 2
        if count > 1 and spare == 0:
            found.append(f"{count} replicas are less available than one: both must be up to sign; use one, or three")
        elif count % 2 == 0:
            message = f"{count} replicas go on without {spare}, just as {count - 1} do"
            found.append(f"{message}; use {count - 1}, or {count + 1}, which go on without {spare + 1}")
        own = self.own_peer.addr
        if count > 1 and not self.raft_addr.reached_at(own):
            message = f"this replica listens at {self.raft_addr} (raft_addr), but the others look for it at {own}"
            found.append(f"{message} (peer): right only if something, such as NAT, leads from there to here")
        return tuple(found)
