"""The table of settings: what each is called as flag, variable and key, how it is read, what it means.

The command line, the environment, the configuration file, its sample and `config show` are all driven by this table, so
that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Generic, TypeVar

from cmkms.config import syntax
from cmkms.config.given import toml_string

__all__ = [
    "ALLOW_UNSAFE",
    "CHAIN_ID",
    "CHAIN_TABLE",
    "CHAIN_TABLE_SETTINGS",
    "DEFAULT_TTL",
    "ENV_PREFIXES",
    "FLAT_CHAIN_SETTINGS",
    "HOME",
    "HTTP_ADDR",
    "ID",
    "KEY",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "MAX_BLOCK_RATE",
    "NEVER_SIGNED",
    "NODE_SETTINGS",
    "ON_OUTAGE",
    "PEER",
    "RAFT_ADDR",
    "STATE",
    "TABLE_ID",
    "TABLE_VALIDATOR_ADDR",
    "VALIDATOR_ADDR",
    "Kind",
    "Setting",
    "show_toml",
]

Value = TypeVar("Value")

ENV_PREFIXES: Final = ("CMKMS_", "COMETKMS_")
"""The first wins. The second is that of the Go CometKMS."""

CHAIN_TABLE: Final = "chain"
"""The array of tables that holds several chains."""


class Kind(Enum):
    """What form a setting has in the layers that carry it."""

    TEXT = auto()
    LIST = auto()
    SWITCH = auto()
    NUMBER = auto()


@dataclass(frozen=True, slots=True)
class Setting(Generic[Value]):
    """One setting. `parse` reads one item of text; `default` is text, too, and None means that there is none."""

    key: str
    kind: Kind
    parse: Callable[[str], Value]
    description: str
    example: str
    default: str | None = None
    file_only: bool = False

    @property
    def flag(self) -> str:
        """The command-line flag, or an empty string."""
        return "" if self.file_only else "--" + self.key.replace("_", "-")

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables, the one that wins first."""
        return () if self.file_only else tuple(prefix + self.key.upper() for prefix in ENV_PREFIXES)


HOME: Final = Setting(
    "home",
    Kind.TEXT,
    syntax.parse_path,
    "The directory that holds everything of this replica: configuration, keys, guard.",
    "/var/lib/cmkms",
    default="~/.cmkms",
)

NEVER_SIGNED: Final = Setting(
    "never_signed",
    Kind.LIST,
    syntax.parse_chain_id,
    "The operator's word, given once, that the key of this chain has never signed anything, anywhere.",
    "testnet-1",
)
"""A flag and nothing else: standing in a file, it would give a lost guard back its innocence at each start."""

ID: Final = Setting(
    "id",
    Kind.TEXT,
    syntax.parse_replica_id,
    "The name of this replica within its cluster.",
    "node-0",
)
RAFT_ADDR: Final = Setting(
    "raft_addr",
    Kind.TEXT,
    syntax.parse_listen_addr,
    "Where this replica listens for the others: at its own entry in `peer` if not given; `:9430` is all interfaces.",
    "10.0.0.10:9430",
)
HTTP_ADDR: Final = Setting(
    "http_addr",
    Kind.TEXT,
    syntax.parse_listen_addr,
    "Where health, status and metrics are served, to anyone who can connect. `:8080` means all interfaces.",
    ":8080",
    default="127.0.0.1:8080",
)
DEFAULT_TTL: Final = Setting(
    "default_ttl",
    Kind.TEXT,
    syntax.parse_ttl,
    "How long the replica that signs may go on without hearing from a majority. The same for all replicas.",
    "1s",
    default="400ms",
)
PEER: Final = Setting(
    "peer",
    Kind.LIST,
    syntax.parse_peer,
    "All members of the cluster, this replica included, each as its `cmkms identity show` prints it: "
    "`id=host:port#PIN`. The same list everywhere. Exactly this one: it is the only signer.",
    "node-0=10.0.0.10:9430",
)
LOG_LEVEL: Final = Setting(
    "log_level",
    Kind.TEXT,
    syntax.parse_log_level,
    "The least important lines that are written: `debug`, `info`, `warning` or `error`.",
    "debug",
    default="info",
)
LOG_FORMAT: Final = Setting(
    "log_format",
    Kind.TEXT,
    syntax.parse_log_format,
    "`console`, `plain` (the same without colours), `json`, or `auto`: console on a terminal, JSON elsewhere.",
    "json",
    default="auto",
)
ALLOW_UNSAFE: Final = Setting(
    "allow_unsafe",
    Kind.SWITCH,
    syntax.parse_switch,
    "Accept what can lose the guard's memory, such as a file system that is not a local disk. For tests only.",
    "true",
    default="false",
)

CHAIN_ID: Final = Setting(
    "chain_id",
    Kind.TEXT,
    syntax.parse_chain_id,
    "The chain to sign for: `chain_id` of its genesis file.",
    "testnet-1",
)
VALIDATOR_ADDR: Final = Setting(
    "validator_addr",
    Kind.LIST,
    syntax.parse_validator_addr,
    "Where the chain's nodes wait for their signer (`priv_validator_laddr`): `tcp://host:port`, "
    "`tcp://ID@host:port` with the node's id pinned, or `unix:///path`. A string or an array.",
    "tcp://10.0.0.20:26659",
)
KEY: Final = Setting(
    "key",
    Kind.TEXT,
    syntax.parse_path,
    "The consensus key, in CometBFT's own form. Relative paths begin at the home.",
    "priv/priv_validator_key.json",
    default="priv/priv_validator_key.json",
    file_only=True,
)
STATE: Final = Setting(
    "state",
    Kind.TEXT,
    syntax.parse_path,
    "What the key signed last elsewhere, in CometBFT's own form; read once. By default beside the key.",
    "priv/priv_validator_state.json",
    default="priv/priv_validator_state.json",
    file_only=True,
)
ON_OUTAGE: Final = Setting(
    "on_outage",
    Kind.TEXT,
    syntax.parse_on_outage,
    "While no majority can be reached: `hold` a request until it can be signed, or `refuse` it after 2.5 seconds.",
    "refuse",
    default="hold",
    file_only=True,
)
MAX_BLOCK_RATE: Final = Setting(
    "max_block_rate",
    Kind.NUMBER,
    syntax.parse_block_rate,
    "The most blocks a second that this chain can make: heights that run ahead of it are refused.",
    "20",
    default="100",
    file_only=True,
)

_Settings = tuple[Setting[Any], ...]

NODE_SETTINGS: Final[_Settings] = (
    ID,
    RAFT_ADDR,
    HTTP_ADDR,
    DEFAULT_TTL,
    PEER,
    LOG_LEVEL,
    LOG_FORMAT,
    ALLOW_UNSAFE,
)
"""What is said once for the replica."""

FLAT_CHAIN_SETTINGS: Final[_Settings] = (CHAIN_ID, VALIDATOR_ADDR, KEY, STATE, ON_OUTAGE, MAX_BLOCK_RATE)
"""What is said of the only chain, at the top of the file or by flags and variables."""

TABLE_ID: Final = Setting(
    "id", Kind.TEXT, syntax.parse_chain_id, CHAIN_ID.description, CHAIN_ID.example, file_only=True
)
TABLE_VALIDATOR_ADDR: Final = Setting(
    "validator_addr",
    Kind.LIST,
    syntax.parse_validator_addr,
    VALIDATOR_ADDR.description,
    VALIDATOR_ADDR.example,
    file_only=True,
)

CHAIN_TABLE_SETTINGS: Final[_Settings] = (
    TABLE_ID,
    TABLE_VALIDATOR_ADDR,
    KEY,
    STATE,
    ON_OUTAGE,
    MAX_BLOCK_RATE,
)
"""What is said of each chain in a `[[chain]]` table. In the same order as FLAT_CHAIN_SETTINGS."""


def show_toml(setting: Setting[Any], texts: tuple[str, ...]) -> str:
    """Write the items of a value as they stand behind `key =` in the file."""
    match setting.kind:
        case Kind.TEXT:
            return toml_string(texts[0])
        case Kind.LIST:
            return f"[{', '.join(toml_string(text) for text in texts)}]"
        case Kind.SWITCH | Kind.NUMBER:
            return texts[0]
