"""What a home says of its own replica, finished or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmkms.config import Flags, NodeConfig, check_own_pin, find_http_addr, find_own_entry, load_config
from cmkms.errors import ConfigError
from cmkms.home import Home, make_private_dir
from cmkms.keys import create_identity


def config(home: Path, *peers: str) -> NodeConfig:
    return load_config(
        Flags(home=str(home), id="a", peer=peers, chain_id="c", validator_addr=("unix:///s",)), environ={}
    )


@pytest.fixture
def pin(tmp_path: Path) -> str:
    """The pin of the identity in the home."""
    home = Home(tmp_path)
    make_private_dir(home.priv_dir)
    return create_identity(home.identity_file).public_key.hex()


class TestItsPin:
    def test_its_own_is_right(self, tmp_path: Path, pin: str) -> None:
        check_own_pin(config(tmp_path, f"a=10.0.0.10:1#{pin}", f"b=10.0.0.11:1#{'ab' * 32}"))

    @pytest.mark.usefixtures("pin")
    def test_none_is_right_where_none_is_needed(self, tmp_path: Path) -> None:
        check_own_pin(config(tmp_path, "a=127.0.0.1:1", "b=127.0.0.1:2"))

    def test_another_is_refused_with_the_line_to_write(self, tmp_path: Path, pin: str) -> None:
        with pytest.raises(ConfigError) as caught:
            check_own_pin(config(tmp_path, f"a=10.0.0.10:1#{'cd' * 32}", f"b=10.0.0.11:1#{'ab' * 32}"))
        assert str(caught.value) == (
            f"{tmp_path}/priv/identity_key.json: peer pins a to {'cd' * 32}, but the identity in this home is {pin}; "
            f"put a=10.0.0.10:1#{pin} into the list of every replica, or restore the identity"
        )

    def test_that_of_another_replica_is_refused_by_its_name(self, tmp_path: Path, pin: str) -> None:
        with pytest.raises(ConfigError, match="this is the identity of b, but this replica is a; use b's home for b"):
            check_own_pin(config(tmp_path, f"a=10.0.0.10:1#{'cd' * 32}", f"b=10.0.0.11:1#{pin}"))

    def test_an_identity_that_cannot_be_read_is_for_others_to_report(self, tmp_path: Path) -> None:
        check_own_pin(config(tmp_path, f"a=10.0.0.10:1#{'cd' * 32}", f"b=10.0.0.11:1#{'ab' * 32}"))


class TestWhereItIsAsked:
    @pytest.mark.parametrize(
        ("configured", "asked"),
        [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("10.0.0.10:1", "10.0.0.10:1"),
            (":9000", "127.0.0.1:9000"),
            ("0.0.0.0:9000", "127.0.0.1:9000"),
            ("[::]:9000", "[::1]:9000"),
            ("kms-a:9000", "kms-a:9000"),
        ],
    )
    def test_every_interface_is_asked_by_way_of_loopback(self, tmp_path: Path, configured: str, asked: str) -> None:
        assert str(find_http_addr(Flags(home=str(tmp_path), http_addr=configured), {})) == asked

    def test_by_default_on_loopback(self, tmp_path: Path) -> None:
        assert str(find_http_addr(Flags(home=str(tmp_path)), {})) == "127.0.0.1:8080"


class TestItsEntry:
    def test_the_list_counts_more_than_where_it_listens(self, tmp_path: Path) -> None:
        environ = {"CMKMS_ID": "a", "CMKMS_PEER": "a=10.0.0.10:1,b=10.0.0.11:1", "CMKMS_RAFT_ADDR": "192.168.0.1:1"}
        entry = find_own_entry(Flags(home=str(tmp_path)), environ)
        assert (entry.id, str(entry.addr)) == ("a", "10.0.0.10:1")

    def test_without_a_list_it_is_reached_where_it_listens(self, tmp_path: Path) -> None:
        entry = find_own_entry(Flags(home=str(tmp_path)), {"CMKMS_ID": "a", "CMKMS_RAFT_ADDR": "192.168.0.1:1"})
        assert str(entry.addr) == "192.168.0.1:1"

    @pytest.mark.parametrize("listening", [":1", "0.0.0.0:1", "10.0.0.1:0"])
    def test_nobody_is_reached_at_every_interface_or_any_port(self, tmp_path: Path, listening: str) -> None:
        assert find_own_entry(Flags(home=str(tmp_path), raft_addr=listening), {}).addr is None
