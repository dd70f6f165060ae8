"""How single values are written: durations, addresses, peers, names.

Pure: text in, value out. Each parser raises ValueError with the second half of a sentence that says what was expected;
who wrote the value, and where, is for the caller to say.
"""

from __future__ import annotations

import ipaddress
import math
import re
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeVar

from cmkms.config.model import HostPort, LogFormat, LogLevel, OnOutage, Peer, Scheme, ValidatorAddress

__all__ = [
    "parse_block_rate",
    "parse_chain_id",
    "parse_host_port",
    "parse_listen_addr",
    "parse_log_format",
    "parse_log_level",
    "parse_on_outage",
    "parse_path",
    "parse_peer",
    "parse_replica_id",
    "parse_switch",
    "parse_ttl",
    "parse_validator_addr",
]

MAX_CHAIN_ID_BYTES: Final = 50
"""CometBFT types/genesis.go, MaxChainIDLen."""

MAX_UNIX_PATH_BYTES: Final = 107
"""unix(7): sun_path has 108 bytes, the last is a NUL."""

MIN_TTL_SECONDS: Final = Decimal("0.05")
"""A lease shorter than the heartbeat of 40 ms could never be held."""

MAX_TTL_SECONDS: Final = Decimal(600)
"""A lease is what a cluster waits for after its holder's death: ten minutes are a slip of the pen."""

MAX_BLOCK_RATE: Final = 1000
"""A block a millisecond: beyond what any chain makes, a ceiling on heights would be none."""

_MAX_HOST_LENGTH: Final = 253
"""RFC 1035, section 2.3.4: 255 bytes on the wire."""

_MAX_PORT: Final = 65535

_REPLICA_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")
_PIN: Final = re.compile(r"[0-9A-Fa-f]{64}")
_NODE_ID: Final = re.compile(r"[0-9A-Fa-f]{40}")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_HOST_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*\.?")
"""RFC 1123, and the underscore, which container networks use in names."""

_DURATION_PART: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(ns|us|µs|μs|ms|s|m|h)")
"""Go time.ParseDuration: both the micro sign and the Greek letter are microseconds."""

_SECONDS: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}

_SWITCHED_ON: Final = frozenset({"true", "1", "yes", "on"})
_SWITCHED_OFF: Final = frozenset({"false", "0", "no", "off"})

_Choice = TypeVar("_Choice", bound=StrEnum)


def parse_ttl(text: str) -> float:
    """Parse a duration as Go writes it (`400ms`, `1s`, `1m30s`) into seconds, within what a lease can be."""
    total, end = Decimal(0), 0
    while part := _DURATION_PART.match(text, end):
        total += Decimal(part[1]) * _SECONDS[part[2]]
        end = part.end()
    if end == 0 or end != len(text):
        raise ValueError('expected a duration such as "400ms", "1s" or "1m30s"')
    if not MIN_TTL_SECONDS <= total <= MAX_TTL_SECONDS:
        raise ValueError("expected a duration from 50ms to 10m")
    return float(total)


def parse_replica_id(text: str) -> str:
    """Parse the name of a replica."""
    if not _REPLICA_ID.fullmatch(text):
        raise ValueError('expected 1 to 32 letters, digits, dots, underscores or hyphens, such as "node-0"')
    return text


def parse_chain_id(text: str) -> str:
    """Parse a chain id: what the node's genesis file says under `chain_id`."""
    if not text or not text.isprintable() or text != text.strip():
        raise ValueError('expected the chain_id of the genesis file, such as "testnet-1"')
    if (size := len(text.encode())) > MAX_CHAIN_ID_BYTES:
        raise ValueError(f"expected a chain id of at most {MAX_CHAIN_ID_BYTES} bytes, this one has {size}")
    return text


def parse_host_port(text: str) -> HostPort:
    """Parse an address that others connect to: `10.0.0.10:9430`, `[::1]:9430`, `node-0.example.org:9430`."""
    host, port = _split_host_port(text)
    if not host:
        raise ValueError('expected "host:port", with a host')
    if port == 0:
        raise ValueError('expected "host:port", with a port from 1 to 65535')
    return HostPort(host, port)


def parse_listen_addr(text: str) -> HostPort:
    """Parse an address to listen on: as `parse_host_port`, and `:8080` for all interfaces; port 0 is any free one."""
    return HostPort(*_split_host_port(text))


def _split_host_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > _MAX_PORT:
        raise ValueError('expected "host:port", with a port up to 65535')
    if host.startswith("[") and host.endswith("]"):
        return _parse_ipv6(host[1:-1]), int(port)
    if ":" in host:
        raise ValueError('expected "host:port", with an IPv6 address in brackets: "[::1]:9430"')
    return _parse_host(host), int(port)


def _parse_ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError('expected an IPv6 address between the brackets, such as "[::1]:9430"') from None


def _parse_host(text: str) -> str:
    if not text:
        return ""
    if text.replace(".", "").isdecimal():
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise ValueError('expected an IPv4 address of four numbers, such as "10.0.0.10:9430"') from None
    if len(text) > _MAX_HOST_LENGTH or not _HOST_NAME.fullmatch(text):
        raise ValueError('expected "host:port", with an IP address or a host name')
    return text


def parse_peer(text: str) -> Peer:
    """Parse a member of the cluster: `node-0=10.0.0.10:9430`, with `#` and its public identity key in hex if pinned."""
    name, equals, rest = text.partition("=")
    if not equals:
        raise ValueError('expected "id=host:port" or "id=host:port#PIN", such as "node-0=10.0.0.10:9430"')
    addr, sharp, pin = rest.partition("#")
    if sharp and not _PIN.fullmatch(pin):
        raise ValueError("expected 64 hex digits after the #: the pin, which `cmkms identity show` prints")
    return Peer(parse_replica_id(name), parse_host_port(addr), pin.lower() if sharp else None)


def parse_validator_addr(text: str) -> ValidatorAddress:
    """Parse where a node waits for its signer: `tcp://host:port`, `tcp://ID@host:port` or `unix:///path`."""
    scheme, separator, rest = text.partition("://")
    match scheme if separator else "":
        case "tcp":
            return _parse_tcp(rest)
        case "unix":
            return _parse_unix(rest)
        case "noise":
            raise ValueError("noise:// comes with a later release; expected tcp:// or unix://")
        case _:
            raise ValueError('expected "tcp://host:port", "tcp://ID@host:port" or "unix:///path"')


def _parse_tcp(rest: str) -> ValidatorAddress:
    node_id, at, addr = rest.rpartition("@")
    if at and not _NODE_ID.fullmatch(node_id):
        raise ValueError("expected 40 hex digits before the @: the node's id")
    where = parse_host_port(addr)
    return ValidatorAddress(Scheme.TCP, where.host, where.port, node_id=node_id.lower() if at else None)


def _parse_unix(path: str) -> ValidatorAddress:
    if not path.startswith("/") or not path.isprintable():
        raise ValueError('expected the absolute path of a socket: "unix:///run/node/privval.sock", with three slashes')
    if len(path.encode()) > MAX_UNIX_PATH_BYTES:
        raise ValueError(f"expected a path of at most {MAX_UNIX_PATH_BYTES} bytes: a socket cannot have a longer one")
    return ValidatorAddress(Scheme.UNIX, path=path)


def parse_path(text: str) -> str:
    """Parse the path of a file, absolute or relative to the home."""
    if not text or not text.isprintable():
        raise ValueError("expected a path, absolute or relative to the home")
    return text


def parse_log_level(text: str) -> LogLevel:
    """Parse a level; `warn` is `warning`."""
    return LogLevel.WARNING if text == "warn" else _parse_choice(text, LogLevel)


def parse_log_format(text: str) -> LogFormat:
    """Parse a format; `plain` is the Go CometKMS' word."""
    return _parse_choice(text, LogFormat)


def parse_on_outage(text: str) -> OnOutage:
    """Parse what a request gets in an outage."""
    return _parse_choice(text, OnOutage)


def _parse_choice(text: str, choices: type[_Choice]) -> _Choice:
    try:
        return choices(text)
    except ValueError:
        names = [f'"{choice}"' for choice in choices]
        raise ValueError(f"expected {', '.join(names[:-1])} or {names[-1]}") from None


def parse_block_rate(text: str) -> float:
    """Parse a number of blocks a second."""
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= MAX_BLOCK_RATE:
        raise ValueError(f"expected a number of blocks a second, above 0 and at most {MAX_BLOCK_RATE}")
    return rate


def parse_switch(text: str) -> bool:
    """Parse a yes or no from an environment variable."""
    if text.lower() in _SWITCHED_ON | _SWITCHED_OFF:
        return text.lower() in _SWITCHED_ON
    raise ValueError('expected "true" or "false"')
