"""docs/CONFIGURATION.md says of every setting what the program says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cmkms.config import Flags, load_config
from cmkms.config.settings import (
    CHAIN_TABLE_SETTINGS,
    FLAT_CHAIN_SETTINGS,
    HOME,
    NODE_SETTINGS,
    RAFT_ADDR,
    STATE,
    Setting,
)

PAGE = (Path(__file__).parents[3] / "docs" / "CONFIGURATION.md").read_text()

# Defaults that are worked out from other settings.
WORKED_OUT = {RAFT_ADDR.key: "its entry in `peer`", STATE.key: "`priv_validator_state.json` beside the key"}


def table(first_column: str) -> list[list[str]]:
    """The rows of the table with that heading, without heading and rule."""
    lines = iter(PAGE.splitlines())
    for line in lines:
        if line.startswith(f"| {first_column} |"):
            break
    next(lines)
    rows: list[list[str]] = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def default(setting: Setting[Any]) -> str:
    return WORKED_OUT.get(setting.key) or code(setting.default or "") or "must be given"


def test_the_table_of_settings_is_that_of_the_program() -> None:
    expected = [
        [
            "" if setting is HOME else code(setting.key),
            code(setting.flag),
            ", ".join(code(variable) for variable in setting.variables),
            default(setting),
            setting.description,
        ]
        for setting in (HOME, *NODE_SETTINGS, *FLAT_CHAIN_SETTINGS)
    ]
    assert table("key") == expected


def test_the_table_of_chain_tables_is_that_of_the_program() -> None:
    expected = [
        [code(one.key), default(one), code(flat.key)]
        for one, flat in zip(CHAIN_TABLE_SETTINGS, FLAT_CHAIN_SETTINGS, strict=True)
    ]
    assert table("key in a table") == expected


@pytest.mark.parametrize("number", range(3))
def test_the_examples_can_be_started_with(tmp_path: Path, number: int) -> None:
    blocks = re.findall(r"(?ms)^```toml\n(.*?)^```", PAGE)
    assert len(blocks) == 3
    assert tomllib.loads(blocks[number])
    (tmp_path / "config.toml").write_text(blocks[number])
    assert load_config(Flags(home=str(tmp_path)), {}).id == "node-0"


@pytest.mark.parametrize(
    "setting", [HOME, *NODE_SETTINGS, *FLAT_CHAIN_SETTINGS, *CHAIN_TABLE_SETTINGS], ids=lambda setting: setting.key
)
def test_examples_and_defaults_are_values(setting: Setting[Any]) -> None:
    setting.parse(setting.example)
    if setting.default is not None:
        setting.parse(setting.default)
