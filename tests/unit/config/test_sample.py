"""The configuration file that `init` writes: complete, commented, and read back as what was given."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmkms.config import Flags, check_flags, load_config, render_sample
from cmkms.config.given import toml_string
from cmkms.config.settings import FLAT_CHAIN_SETTINGS, NODE_SETTINGS, Setting
from cmkms.errors import ConfigError

REPOSITORY = Path(__file__).parents[3]

# What configs/config.toml is made for: one replica of several, whose list is yet to be put in.
SHOWN = Flags(raft_addr="10.0.0.10:9430", chain_id="testnet-1", validator_addr=("tcp://10.0.0.20:26659",))


def test_the_file_in_the_repository_is_the_one_that_init_writes() -> None:
    assert (REPOSITORY / "configs" / "config.toml").read_text() == render_sample(SHOWN)


def test_with_a_list_of_members_it_can_be_started_with(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(render_sample(SHOWN))
    peers = tuple(f"node-{n}=10.0.0.1{n}:9430#{n:064x}" for n in range(3))
    config = load_config(Flags(home=str(tmp_path), peer=peers), {})
    assert (str(config.raft_addr), config.chains[0].id, config.warnings) == ("10.0.0.10:9430", "testnet-1", ())
    with pytest.raises(ConfigError, match=r"^peer is missing, and no replica takes itself for the only signer"):
        load_config(Flags(home=str(tmp_path)), {})


@pytest.mark.parametrize("setting", [*NODE_SETTINGS, *FLAT_CHAIN_SETTINGS], ids=lambda setting: setting.key)
def test_it_names_every_key_once_with_its_default(setting: Setting[Any]) -> None:
    text, _ = render_sample(Flags()).split("# A signer of several chains")
    (value,) = re.findall(rf"(?m)^(?:# )?{setting.key} = (.*)$", text)
    if setting.default is not None:
        assert value.strip('"') == setting.default


def test_what_is_commented_out_is_right_when_it_is_not() -> None:
    text = re.sub(r"(?m)^# ((?:\w+) = )", r"\1", render_sample(Flags()).split("# A signer of several")[0])
    assert set(tomllib.loads(text)) == {setting.key for setting in (*NODE_SETTINGS, *FLAT_CHAIN_SETTINGS)}


def test_the_example_of_several_chains_can_be_started_with(tmp_path: Path) -> None:
    text = render_sample(Flags())
    head, tail = text.split("# A signer of several chains")
    tables = "\n".join(line.removeprefix("# ") for line in tail.splitlines()[1:] if line != "#")
    (tmp_path / "config.toml").write_text(head + tables)
    config = load_config(Flags(home=str(tmp_path), peer=("node-0=10.0.0.10:9430",)), {})
    assert [chain.id for chain in config.chains] == ["testnet-1", "testnet-2"]


def test_everything_that_is_given_is_written(tmp_path: Path) -> None:
    given_flags = Flags(
        id="a",
        raft_addr="h:1",
        peer=("a=h:1",),
        http_addr=":2",
        default_ttl="1s",
        validator_addr=("tcp://h:3", "unix:///s"),
        chain_id='c"\\d',
        log_level="debug",
        log_format="json",
        allow_unsafe=True,
    )
    (tmp_path / "config.toml").write_text(render_sample(given_flags))
    config = load_config(Flags(home=str(tmp_path)), {})
    assert (config.id, str(config.raft_addr), str(config.http_addr), config.default_ttl_seconds) == (
        "a",
        "h:1",
        ":2",
        1,
    )
    assert (config.log_level, config.log_format, config.allow_unsafe) == ("debug", "json", True)
    assert (config.chains[0].id, len(config.chains[0].validator_addrs)) == ('c"\\d', 2)


@given(st.text())
def test_any_text_is_written_as_toml_reads_it(text: str) -> None:
    assert tomllib.loads(f"key = {toml_string(text)}") == {"key": text}


def test_what_is_given_is_checked_before(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 problems") as caught:
        check_flags(Flags(id="no de", raft_addr="9430", validator_addr=("x",)))
    assert '--raft-addr "9430": expected "host:port"' in str(caught.value)


def test_what_is_not_given_is_not_missed() -> None:
    check_flags(Flags())


def test_members_are_written_a_line_each(tmp_path: Path) -> None:
    peers = tuple(f"n{n}=10.0.0.1{n}:9430#{n:064x}" for n in range(3))
    text = render_sample(Flags(id="n1", peer=peers, chain_id="c", validator_addr=("unix:///s",)))
    assert "peer = [\n" + "".join(f'    "{peer}",\n' for peer in peers) + "]\n" in text
    (tmp_path / "config.toml").write_text(text)
    config = load_config(Flags(home=str(tmp_path)), {})
    assert [str(peer) for peer in config.peers] == list(peers)
    assert str(config.raft_addr) == "10.0.0.11:9430"


@given(st.lists(st.text(), min_size=2, max_size=9))
def test_any_list_is_written_as_toml_reads_it(texts: list[str]) -> None:
    assert tomllib.loads(render_sample(Flags(validator_addr=tuple(texts))))["validator_addr"] == texts


def test_members_are_checked_before_their_pins_are_known() -> None:
    check_flags(Flags(id="a", peer=("a=10.0.0.1:1", "b=10.0.0.2:1")))
    with pytest.raises(ConfigError, match="--peer: names b, but not this replica, whose id is a"):
        check_flags(Flags(id="a", peer=("b=10.0.0.2:1",)))


def test_with_members_given_one_may_listen_on_all_interfaces() -> None:
    check_flags(Flags(id="a", raft_addr=":9430", peer=("a=10.0.0.1:1", "b=10.0.0.2:1")))
