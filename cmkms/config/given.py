"""A value as somebody gave it, and the list of what is wrong with a configuration.

Knows nothing of what values mean: only how to show them, and where they stood.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cmkms.errors import ConfigError

__all__ = ["Given", "Problems", "cut", "did_you_mean", "toml_string"]

_MAX_SHOWN: Final = 80
"""A malformed value is shown in the error, and cut there."""

_MAX_PROBLEMS: Final = 50
"""A file that is wrong all over is not the better understood for the fifty-first line."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was given: its items as text, and where.

    `source` is its origin in a word, `label` names it in an error, `joiner` stands there between name and value. A
    value of a form that its setting cannot have (a number for a name) has no items but a `fault`, which says so.
    Numbers are not `quoted`.
    """

    texts: tuple[str, ...]
    source: str
    label: str
    joiner: str = " = "
    fault: str = ""
    quoted: bool = True

    def describe(self, text: str) -> str:
        """Name the value and show one item of it."""
        return f"{self.label}{self.joiner}{toml_string(cut(text)) if self.quoted else cut(text)}"


class Problems:
    """Collects everything that is wrong, so that it is reported, and mended, at once."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, problem: str) -> None:
        """Note one problem: a sentence without its full stop."""
        self._found.append(problem)

    def raise_if_any(self) -> None:
        """Raise ConfigError with all that was found."""
        if not self._found:
            return
        if len(self._found) == 1:
            raise ConfigError(self._found[0])
        lines = [f"  - {problem}" for problem in self._found[:_MAX_PROBLEMS]]
        if len(self._found) > _MAX_PROBLEMS:
            lines.append(f"  - and {len(self._found) - _MAX_PROBLEMS} more")
        raise ConfigError("\n".join([f"the configuration has {len(self._found)} problems", *lines]))


def toml_string(text: str) -> str:
    """Write text as TOML does, in double quotes and on one line."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def cut(text: str, limit: int = _MAX_SHOWN) -> str:
    """Shorten what a file or a user wrote to what an error has room for."""
    return text if len(text) <= limit else text[:limit] + "…"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Continue a sentence about an unknown name with the nearest known one, or else with all of them."""
    names = list(known)
    near = difflib.get_close_matches(name.lower().replace("-", "_"), names, 1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(names)}"
