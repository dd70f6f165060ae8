"""The configuration file: bounded, TOML, and without a key that means nothing.

Finds what the file gives for a setting, as text; what the text means is for others.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from cmkms.config.given import Given, Problems, cut, did_you_mean, toml_string
from cmkms.config.settings import (
    CHAIN_TABLE,
    CHAIN_TABLE_SETTINGS,
    FLAT_CHAIN_SETTINGS,
    HOME,
    NEVER_SIGNED,
    NODE_SETTINGS,
    Kind,
    Setting,
)
from cmkms.errors import ConfigError, OperatorError
from cmkms.home import Home, read_bounded

__all__ = ["ChainTable", "ConfigFile", "read_config_file"]

MAX_CONFIG_FILE_BYTES: Final = 256 * 1024
"""Room for a thousand chains; a file longer than that is some other file."""

_MAX_TOML_ERROR: Final = 200

_MAX_SHOWN_NUMBER: Final = 10**18
"""Larger than any number that a configuration has a use for; writing out a huge one takes Python long."""

_FORMS: Final = {
    Kind.TEXT: "a string, in quotes",
    Kind.LIST: "a string or an array of strings",
    Kind.SWITCH: "true or false, without quotes",
    Kind.NUMBER: "a number, without quotes",
}


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The configuration file, parsed as TOML; empty where there is none."""

    path: Path
    table: Mapping[str, object]

    def find(self, setting: Setting[Any]) -> Given | None:
        """Look a setting up at the top of the file."""
        return _find(self.table, setting, f"{self.path}: ", self.path.name)

    def chain_tables(self, problems: Problems) -> tuple[ChainTable, ...]:
        """Return the `[[chain]]` tables, in order."""
        found = self.table.get(CHAIN_TABLE, [])
        tables = cast("list[object]", found) if isinstance(found, list) else [found]
        if not all(isinstance(table, dict) for table in tables) or isinstance(found, dict):
            problems.add(f"{self.path}: {CHAIN_TABLE}: expected [[{CHAIN_TABLE}]] tables, one for each chain")
            return ()
        return tuple(
            ChainTable(self.path, number, cast("dict[str, object]", table)) for number, table in enumerate(tables, 1)
        )

    def check_keys(self, problems: Problems) -> None:
        """Note every key that means nothing here."""
        known = [*(setting.key for setting in (*NODE_SETTINGS, *FLAT_CHAIN_SETTINGS)), CHAIN_TABLE]
        for key in self.table:
            match key:
                case HOME.key:
                    problem = f"cannot stand in the file that lies in it; use {HOME.flag}"
                case NEVER_SIGNED.key:
                    problem = f"is said once, on the command line: {NEVER_SIGNED.flag} CHAIN"
                case _ if key in known:
                    continue
                case _:
                    problem = f"unknown key{did_you_mean(key, known)}"
            problems.add(f"{self.path}: {cut(key)}: {problem}")


@dataclass(frozen=True, slots=True)
class ChainTable:
    """One `[[chain]]` table; `number` counts from 1."""

    path: Path
    number: int
    table: Mapping[str, object]

    @property
    def label(self) -> str:
        """Where this is, to begin an error with."""
        return f"{self.path}: [[{CHAIN_TABLE}]] {self.number}"

    def find(self, setting: Setting[Any]) -> Given | None:
        """Look a setting up in this table."""
        return _find(self.table, setting, f"{self.label}: ", self.path.name)

    def check_keys(self, problems: Problems) -> None:
        """Note every key that means nothing in a chain's table."""
        known = [setting.key for setting in CHAIN_TABLE_SETTINGS]
        for key in self.table:
            if key in known:
                continue
            if any(key == setting.key for setting in NODE_SETTINGS):
                problem = f"belongs to the top of the file, before the first [[{CHAIN_TABLE}]]"
            else:
                problem = f"unknown key{did_you_mean(key, known)}"
            problems.add(f"{self.label}: {cut(key)}: {problem}")


def read_config_file(home: Home) -> ConfigFile:
    """Read the configuration file of a home. None at all is an empty one. Raises ConfigError."""
    path = home.config_file
    try:
        content = read_bounded(path, MAX_CONFIG_FILE_BYTES)
    except FileNotFoundError:
        return ConfigFile(path, {})
    except OperatorError as error:
        raise ConfigError(str(error)) from None
    try:
        return ConfigFile(path, tomllib.loads(content.decode("utf-8")))
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text, expected a TOML file") from None
    except (ValueError, RecursionError) as error:
        # tomllib.TOMLDecodeError says line and column.
        raise ConfigError(f"{path}: is not valid TOML: {cut(str(error), _MAX_TOML_ERROR)}") from None


def _find(table: Mapping[str, object], setting: Setting[Any], where: str, source: str) -> Given | None:
    if setting.key not in table:
        return None
    value = table[setting.key]
    label = where + setting.key
    texts = _texts(value, setting.kind)
    if texts is None:
        return Given((), source, label, fault=f" = {_show(value)}: expected {_FORMS[setting.kind]}")
    return Given(texts, source, label, quoted=setting.kind is not Kind.NUMBER)


def _texts(value: object, kind: Kind) -> tuple[str, ...] | None:
    """Bring a TOML value into the form of its setting; None if it has another one."""
    match kind, value:
        case ((Kind.TEXT | Kind.LIST), str()):
            return (value,)
        case Kind.LIST, list():
            items = cast("list[object]", value)
            texts = tuple(item for item in items if isinstance(item, str))
            return texts if len(texts) == len(items) else None
        case Kind.SWITCH, bool():
            return (str(value).lower(),)
        case Kind.NUMBER, int() | float() if not isinstance(value, bool):
            return (_show(value),)
        case _:
            return None


def _show(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return toml_string(cut(value))
        case int() if abs(value) > _MAX_SHOWN_NUMBER:
            return "a huge number"
        case int() | float():
            return str(value)
        case list():
            return "an array"
        case dict():
            return "a table"
        case _:
            return "a date or time"
