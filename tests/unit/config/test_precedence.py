"""Flags beat CMKMS_* beats COMETKMS_* beats the file beats the default: every setting, every set of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest

from cmkms.config import Flags, NodeConfig, load_config, resolve_config
from cmkms.config.settings import FLAT_CHAIN_SETTINGS, NODE_SETTINGS, show_toml

LAYERS = ("flag", "CMKMS", "COMETKMS", "file")
"""From the strongest to the weakest."""

SUBSETS = list(chain.from_iterable(combinations(LAYERS, size) for size in range(len(LAYERS) + 1)))


@dataclass(frozen=True)
class Case:
    """One setting: a value for each layer, and how it is seen in the result. `default` None: it must be given."""

    values: tuple[str, str, str, str]
    seen: Callable[[NodeConfig], str]
    default: str | None = None


CASES = {
    "id": Case(("a", "b", "c", "d"), lambda config: config.id),
    "raft_addr": Case(("h:1", "0.0.0.0:1", "[::]:1", ":1"), lambda config: str(config.raft_addr), "h:1"),
    "http_addr": Case(("h:1", "h:2", "h:3", ":4"), lambda config: str(config.http_addr), "127.0.0.1:8080"),
    "default_ttl": Case(("1s", "2s", "3s", "4s"), lambda config: f"{config.default_ttl_seconds:.0f}s", "0s"),
    "peer": Case(("n=h:1", "n=h:2", "n=h:3", "n=h:4"), lambda config: str(config.peers[0])),
    "chain_id": Case(("a", "b", "c", "d"), lambda config: config.chains[0].id),
    "validator_addr": Case(
        ("tcp://h:1", "tcp://h:2", "unix:///3", "tcp://h:4"), lambda config: str(config.chains[0].validator_addrs[0])
    ),
    "log_level": Case(("debug", "warning", "error", "info"), lambda config: config.log_level, "info"),
    "log_format": Case(("json", "plain", "console", "auto"), lambda config: config.log_format, "auto"),
    "allow_unsafe": Case(("true", "false", "true", "false"), lambda config: str(config.allow_unsafe).lower(), "false"),
}

# What must be given, so that everything but the setting looked at is in order.
REST: dict[str, Any] = {"id": "n", "peer": ("n=h:1",), "chain_id": "c", "validator_addr": ("tcp://h:1",)}


def as_flag(key: str, text: str) -> Any:
    match key:
        case "peer" | "validator_addr":
            return (text,)
        case "allow_unsafe":
            return text == "true"
        case _:
            return text


def given(tmp_path: Path, key: str, layers: dict[str, str]) -> tuple[Flags, dict[str, str]]:
    """Give `key` its value in each of `layers`, and everything else that is needed as flags."""
    flags: dict[str, Any] = REST | {"home": str(tmp_path)}
    flags.pop(key, None)
    if key == "id":
        # The list of peers has to name whichever replica wins.
        flags["peer"] = (f"{next(iter(layers.values()), 'n')}=h:1",)
    if "flag" in layers:
        flags[key] = as_flag(key, layers["flag"])
    environ = {f"{layer}_{key.upper()}": layers[layer] for layer in ("CMKMS", "COMETKMS") if layer in layers}
    if "file" in layers:
        setting = next(one for one in (*NODE_SETTINGS, *FLAT_CHAIN_SETTINGS) if one.key == key)
        (tmp_path / "config.toml").write_text(f"{key} = {show_toml(setting, (layers['file'],))}\n")
    return Flags(**flags), environ


def test_the_cases_are_all_settings_that_every_layer_has() -> None:
    assert set(CASES) == {setting.key for setting in (*NODE_SETTINGS, *FLAT_CHAIN_SETTINGS) if not setting.file_only}


@pytest.mark.parametrize(
    ("key", "subset"),
    [(key, subset) for key, case in CASES.items() for subset in SUBSETS if subset or case.default is not None],
)
def test_the_strongest_layer_wins(tmp_path: Path, key: str, subset: tuple[str, ...]) -> None:
    case = CASES[key]
    layers = {layer: case.values[LAYERS.index(layer)] for layer in subset}
    flags, environ = given(tmp_path, key, layers)
    expected = layers[subset[0]] if layers else case.default
    assert case.seen(load_config(flags, environ)) == expected


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("key", CASES)
def test_the_origin_of_a_value_is_known(tmp_path: Path, key: str, layer: str) -> None:
    layers = {layer: CASES[key].values[LAYERS.index(layer)]}
    values = {value.key: value for value in resolve_config(*given(tmp_path, key, layers)).values}
    flag = "--" + key.replace("_", "-")
    variable = f"{layer}_{key.upper()}"
    assert values[key].source == {"flag": flag, "file": "config.toml"}.get(layer, variable)


def test_a_switch_may_be_turned_off_above_a_layer_that_turns_it_on(tmp_path: Path) -> None:
    flags, environ = given(tmp_path, "allow_unsafe", {"CMKMS": "true", "file": "true"})
    assert load_config(flags, environ).allow_unsafe
    off = Flags(home=str(tmp_path), allow_unsafe=False, **REST)
    assert not load_config(off, environ).allow_unsafe
    assert {value.key: value.source for value in resolve_config(off, environ).values}[
        "allow_unsafe"
    ] == "--no-allow-unsafe"


@pytest.mark.parametrize("key", CASES)
def test_an_empty_variable_counts_as_not_set(tmp_path: Path, key: str) -> None:
    case = CASES[key]
    flags, environ = given(tmp_path, key, {"COMETKMS": case.values[2]})
    environ[f"CMKMS_{key.upper()}"] = ""
    assert case.seen(load_config(flags, environ)) == case.values[2]


@pytest.mark.parametrize("key", ["peer", "validator_addr"])
def test_a_list_is_replaced_and_not_joined(tmp_path: Path, key: str) -> None:
    case = CASES[key]
    flags, environ = given(tmp_path, key, {"flag": case.values[0], "file": case.values[3]})
    config = load_config(flags, environ)
    assert (len(config.peers), len(config.chains[0].validator_addrs)) == (1, 1)


class TestHome:
    def test_the_flag_beats_both_variables(self, tmp_path: Path) -> None:
        environ = {"CMKMS_HOME": "/b", "COMETKMS_HOME": "/c"}
        assert load_config(Flags(home=str(tmp_path), **REST), environ).home.path == tmp_path

    def test_the_own_variable_beats_the_other(self, tmp_path: Path) -> None:
        environ = {"CMKMS_HOME": str(tmp_path), "COMETKMS_HOME": "/c"}
        assert load_config(Flags(**REST), environ).home.path == tmp_path

    def test_the_other_variable_beats_the_default(self, tmp_path: Path) -> None:
        assert load_config(Flags(**REST), {"COMETKMS_HOME": str(tmp_path)}).home.path == tmp_path

    def test_the_default_is_in_the_users_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert load_config(Flags(**REST), {}).home.path == tmp_path / ".cmkms"

    def test_a_relative_home_is_made_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert load_config(Flags(home="h", **REST), {}).home.path == tmp_path / "h"
