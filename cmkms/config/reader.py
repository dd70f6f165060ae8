"""Reads settings out of their layers: from text to values, with every problem noted and every origin remembered.

What is wrong never stops it, so that one look finds all; what it could not read is None, and always reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cmkms.config.given import Given, Problems
from cmkms.config.settings import Setting, show_toml

__all__ = ["EffectiveValue", "Reader"]

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """One value in force, as TOML, and where it came from: a flag, a variable, the file's name, `default`, `peer`."""

    key: str
    value: str
    source: str


class _Layers(Protocol):
    def find(self, setting: Setting[Any], /) -> Given | None: ...


class Reader:
    """Reads one set of settings: those of the replica and its only chain, or those of one `[[chain]]` table."""

    def __init__(self, layers: _Layers, file: Path, problems: Problems, *, table: str = "") -> None:
        """Read from `layers`. `file` is where to write what is missing, `table` the label of a `[[chain]]` table."""
        self.problems = problems
        self.file = file
        self.values: list[EffectiveValue] = []
        self._layers = layers
        self._table = table

    def given(self, setting: Setting[Any]) -> Given | None:
        """Return what was given, unread; None if nothing was."""
        return self._layers.find(setting)

    def one(self, setting: Setting[_Value]) -> _Value | None:
        """Read a setting that has one value, or its default."""
        given = self.given(setting)
        if given is None and setting.default is not None:
            given = Given((setting.default,), "default", setting.key)
        if given is None:
            self.missing(setting)
            return None
        values = self._read(setting, given)
        return values[0] if values else None

    def many(self, setting: Setting[_Value]) -> tuple[_Value, ...] | None:
        """Read a list. An empty one is as good as none."""
        given = self.given(setting)
        if given is None or not (given.texts or given.fault):
            self.missing(setting)
            return None
        return self._read(setting, given)

    def missing(self, setting: Setting[Any]) -> None:
        """Report that a setting was not given, with the line to write."""
        line = f"{setting.key} = {show_toml(setting, (setting.example,))}"
        name = f"{self._table}: {setting.key}" if self._table else setting.key
        flag = f", or give {setting.flag} {setting.example}" if setting.flag else ""
        self.problems.add(f"{name} is missing; write {line} into {self.file}{flag}")

    def note(self, key: str, value: str, source: str) -> None:
        """Remember a value in force."""
        self.values.append(EffectiveValue(key, value, source))

    def _read(self, setting: Setting[_Value], given: Given) -> tuple[_Value, ...] | None:
        if given.fault:
            self.problems.add(given.label + given.fault)
            return None
        self.note(setting.key, show_toml(setting, given.texts), given.source)
        values: list[_Value] = []
        for text in given.texts:
            try:
                values.append(setting.parse(text))
            except ValueError as error:
                self.problems.add(f"{given.describe(text)}: {error}")
        return tuple(values) if len(values) == len(given.texts) else None
