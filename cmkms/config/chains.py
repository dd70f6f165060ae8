"""The chains of a configuration: the flat form, which is one, or `[[chain]]` tables, which are any number.

Must never let two chains share a state file, which each would take for its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cmkms.config import settings
from cmkms.config.file import ChainTable, ConfigFile, read_config_file
from cmkms.config.given import Problems, toml_string
from cmkms.config.layers import Flags, Layers, find_home
from cmkms.config.model import ChainConfig, HostPort, Scheme, ValidatorAddress
from cmkms.config.reader import Reader
from cmkms.config.settings import CHAIN_TABLE, Setting
from cmkms.errors import ConfigError
from cmkms.home import Home

__all__ = ["locate_key_file", "read_chains"]

_STATE_FILE_NAME: Final = "priv_validator_state.json"
"""What CometBFT calls it; by default it is looked for beside the key."""


@dataclass(frozen=True, slots=True)
class _Form:
    """Which settings give a chain its id and addresses: `chain_id` at the top of the file is `id` in a table."""

    id: Setting[str]
    validator_addr: Setting[ValidatorAddress]


_FLAT: Final = _Form(settings.CHAIN_ID, settings.VALIDATOR_ADDR)
_TABLE: Final = _Form(settings.TABLE_ID, settings.TABLE_VALIDATOR_ADDR)


def read_chains(reader: Reader, home: Home, file: ConfigFile) -> tuple[ChainConfig, ...]:
    """Read all chains, in whichever form they are given, and hold them against each other.

    `reader` reads the flat form. Returns those chains that could be read; what is wrong with others was reported.
    """
    tables = file.chain_tables(reader.problems)
    if not tables:
        chain = _read_chain(reader, _FLAT, home)
        return () if chain is None else (chain,)
    _refuse_both_forms(reader)
    chains = [_read_table(table, reader, home) for table in tables]
    found = tuple(chain for chain in chains if chain is not None)
    _check_apart(found, reader.problems)
    return found


def _read_table(table: ChainTable, top: Reader, home: Home) -> ChainConfig | None:
    table.check_keys(top.problems)
    reader = Reader(table, table.path, top.problems, table=table.label)
    chain = _read_chain(reader, _TABLE, home)
    for value in reader.values:
        top.note(f"{CHAIN_TABLE} {table.number} {value.key}", value.value, value.source)
    return chain


def _read_chain(reader: Reader, form: _Form, home: Home) -> ChainConfig | None:
    chain_id = reader.one(form.id)
    addrs = reader.many(form.validator_addr)
    _refuse_repeated(addrs or (), reader)
    key = reader.one(settings.KEY)
    state_file = _read_state_file(reader, home, key)
    on_outage = reader.one(settings.ON_OUTAGE)
    rate = reader.one(settings.MAX_BLOCK_RATE)
    if chain_id is None or addrs is None or key is None or state_file is None or on_outage is None or rate is None:
        return None
    return ChainConfig(chain_id, addrs, _within(home, key), state_file, on_outage, rate)


def _refuse_repeated(addrs: tuple[ValidatorAddress, ...], reader: Reader) -> None:
    """A node serves one connection of a signer: a second one to it would wait for ever."""
    seen: set[str] = set()
    for addr in addrs:
        if _without_pin(addr) in seen:
            reader.problems.add(f"validator_addr names {addr} twice; expected each node once")
        seen.add(_without_pin(addr))


def _read_state_file(reader: Reader, home: Home, key: str | None) -> Path | None:
    if reader.given(settings.STATE) is None and key is not None:
        beside = Path(key).with_name(_STATE_FILE_NAME)
        reader.note(settings.STATE.key, toml_string(str(beside)), "default")
        return _within(home, str(beside))
    state = reader.one(settings.STATE)
    return None if state is None else _within(home, state)


def _within(home: Home, path: str) -> Path:
    return Path(os.path.normpath(home.path / path))


def _refuse_both_forms(reader: Reader) -> None:
    for setting in settings.FLAT_CHAIN_SETTINGS:
        given = reader.given(setting)
        if given is not None:
            message = f"cannot stand beside the [[{CHAIN_TABLE}]] tables in {reader.file}, which say it for each chain"
            reader.problems.add(f"{given.label}: {message}; use one form or the other")


def _check_apart(chains: tuple[ChainConfig, ...], problems: Problems) -> None:
    """Report what two chains must not share."""
    ids: set[str] = set()
    owners: dict[str, str] = {}
    for chain in chains:
        name = toml_string(chain.id)
        if chain.id in ids:
            problems.add(f"two [[{CHAIN_TABLE}]] tables are of chain {name}; expected one for each")
            continue
        ids.add(chain.id)
        # Two paths may lead to one file.
        other = owners.setdefault(f"file {os.path.realpath(chain.state_file)}", name)
        if other != name:
            message = f"chains {other} and {name} share the state file {chain.state_file}"
            problems.add(f"{message}; give each a key and a state of its own")
        for addr in chain.validator_addrs:
            other = owners.setdefault(_without_pin(addr), name)
            if other != name:
                problems.add(f"chains {other} and {name} share the validator {addr}; a node signs for one chain")


def _without_pin(addr: ValidatorAddress) -> str:
    return str(addr) if addr.scheme is Scheme.UNIX else str(HostPort(addr.host, addr.port))


def locate_key_file(flags: Flags, environ: Mapping[str, str]) -> Path:
    """Find where a key lies or is to lie, even while the rest of the configuration is not written yet.

    Of several chains, the one that `flags.chain_id` names. Raises ConfigError.
    """
    home, _ = find_home(flags, environ)
    file = read_config_file(home)
    problems = Problems()
    reader = Reader(Layers(flags, environ, file), file.path, problems)
    tables = file.chain_tables(problems)
    if tables:
        table = _pick(tables, flags.chain_id, file.path)
        reader = Reader(table, file.path, problems, table=table.label)
    key = reader.one(settings.KEY)
    problems.raise_if_any()
    return _within(home, key or "")


def _pick(tables: tuple[ChainTable, ...], chain_id: str | None, path: Path) -> ChainTable:
    if chain_id is None and len(tables) == 1:
        return tables[0]
    ids = [given.texts[0] if (given := table.find(settings.TABLE_ID)) and given.texts else "" for table in tables]
    if chain_id is None or ids.count(chain_id) != 1:
        wanted = "say which chain" if chain_id is None else f"no chain {toml_string(chain_id)} in {path}"
        raise ConfigError(f"{wanted}: {settings.CHAIN_ID.flag} with one of {', '.join(ids)}")
    return tables[ids.index(chain_id)]
