"""`cmkms init`: a home, made once, with nothing overwritten and no key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cmkms.config import Flags, load_config
from cmkms.keys import load_identity
from tests.unit.cli.conftest import CHAIN, Operator


def tree(directory: Path) -> dict[str, bytes | None]:
    """Every path below a directory, with the content of files."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


def test_it_makes_configuration_folders_and_identity_and_no_key(operator: Operator) -> None:
    assert operator.init().code == 0
    assert list(tree(operator.home)) == ["config.toml", "data", "priv", "priv/identity_key.json"]


def test_everything_is_its_owners_alone(operator: Operator) -> None:
    operator.init()
    for path in (operator.home, operator.home / "data", operator.home / "priv"):
        assert path.stat().st_mode & 0o777 == 0o700
    for path in (operator.home / "config.toml", operator.home / "priv" / "identity_key.json"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_configuration_is_of_one_signer_and_can_be_started_with(operator: Operator) -> None:
    operator.init("--id", "kms-a", "--raft-addr", "10.0.0.10:9430", "--http-addr", ":9000", "--default-ttl", "1s")
    config = load_config(Flags(home=str(operator.home)), {})
    assert [str(peer) for peer in config.peers] == ["kms-a=10.0.0.10:9430"]
    assert (config.chains[0].id, str(config.http_addr), config.default_ttl_seconds) == (CHAIN, ":9000", 1.0)


def test_without_chain_and_node_the_configuration_says_what_is_missing(operator: Operator) -> None:
    ran = operator.at_home("init")
    assert ran.code == 0
    assert f"Write chain_id and validator_addr into {operator.home}/config.toml" in ran.out
    check = operator.at_home("config", "check")
    assert (check.code, "chain_id is missing" in check.err, "peer is missing" in check.err) == (2, True, False)


def test_it_says_what_to_do_next(operator: Operator) -> None:
    ran = operator.init()
    for words in (
        f"cmkms key generate --home {operator.home}",
        f"{operator.home}/priv/priv_validator_state.json",
        f"--never-signed {CHAIN}",
        f"cmkms start --home {operator.home}",
        "prove that it stopped",
        load_identity(operator.home / "priv" / "identity_key.json").node_id,
    ):
        assert words in ran.out
    assert "config check" not in ran.out


def test_a_second_time_touches_nothing_and_says_what_is_there(operator: Operator) -> None:
    operator.init()
    before = tree(operator.home)
    ran = operator.init("--id", "other")
    assert ran.code == 2
    assert "is a home already (it holds config.toml, data, priv), and nothing in it was touched" in ran.err
    assert tree(operator.home) == before


def test_what_is_there_before_is_kept(operator: Operator) -> None:
    operator.key_file.parent.mkdir(parents=True, mode=0o700)
    operator.key_file.write_text("mine")
    assert operator.init().code == 0
    assert operator.key_file.read_text() == "mine"


def test_interrupted_before_the_configuration_it_can_be_repeated(operator: Operator) -> None:
    operator.init()
    identity = (operator.home / "priv" / "identity_key.json").read_bytes()
    (operator.home / "config.toml").unlink()
    assert operator.init().code == 0
    assert (operator.home / "priv" / "identity_key.json").read_bytes() == identity


def test_a_link_in_place_of_the_configuration_is_left_alone(operator: Operator, tmp_path: Path) -> None:
    operator.home.mkdir(mode=0o700)
    (operator.home / "config.toml").symlink_to(tmp_path / "elsewhere.toml")
    assert operator.init().code == 2
    assert not (tmp_path / "elsewhere.toml").exists()


def test_a_malformed_value_is_refused_before_anything_is_made(operator: Operator) -> None:
    ran = operator.init("--id", "no de", "--raft-addr", ":1")
    assert ran.code == 2
    assert "the configuration has 2 problems" in ran.err
    assert not operator.home.exists()


def test_parents_of_the_home_are_made(tmp_path: Path) -> None:
    assert Operator(tmp_path / "a" / "b" / "home").init().code == 0


def test_a_file_in_the_homes_place_is_named(operator: Operator) -> None:
    operator.home.write_text("")
    ran = operator.init()
    assert (ran.code, "is in the way: a directory is needed here" in ran.err) == (1, True)


def test_the_home_may_be_given_by_variable(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETKMS_HOME", str(operator.home))
    assert operator.run("init").code == 0
    assert (operator.home / "config.toml").exists()


class TestOneOfSeveral:
    LISTED = ("--id", "b", "--peer", "a=10.0.0.10:9430", "--peer", "b=10.0.0.11:9430", "--peer", "c=10.0.0.12:9430")

    def test_its_own_pin_is_filled_in(self, operator: Operator) -> None:
        assert operator.init(*self.LISTED).code == 0
        pin = load_identity(operator.home / "priv" / "identity_key.json").public_key.hex()
        assert tomllib.loads((operator.home / "config.toml").read_text())["peer"] == [
            "a=10.0.0.10:9430",
            f"b=10.0.0.11:9430#{pin}",
            "c=10.0.0.12:9430",
        ]

    def test_the_pins_of_the_others_are_asked_for_next(self, operator: Operator) -> None:
        operator.init(*self.LISTED)
        ran = operator.at_home("config", "check")
        assert ran.code == 2
        assert "a at 10.0.0.10:9430 has no pin; run `cmkms identity show --home HOME` there" in ran.err
        assert "b at 10.0.0.11:9430" not in ran.err

    def test_with_the_pins_of_the_others_it_can_be_started_with(self, operator: Operator) -> None:
        listed = f"a=10.0.0.10:9430#{'01' * 32},b=10.0.0.11:9430,c=10.0.0.12:9430#{'03' * 32}"
        assert operator.init("--id", "b", "--peer", listed, "--raft-addr", ":9430").code == 0
        config = load_config(Flags(home=str(operator.home)), {})
        assert (len(config.peers), str(config.raft_addr), config.warnings) == (3, ":9430", ())

    def test_on_loopback_no_pin_is_filled_in(self, operator: Operator) -> None:
        operator.init("--id", "b", "--peer", "a=127.0.0.1:9430,b=127.0.0.1:9431")
        assert [peer.pin for peer in load_config(Flags(home=str(operator.home)), {}).peers] == [None, None]

    def test_it_says_what_to_do_next(self, operator: Operator) -> None:
        text = operator.init(*self.LISTED).out
        for words in (
            "the home of one replica of a cluster",
            f"On every machine: cmkms identity show --home {operator.home}",
            "the same in every home",
            "The key, the same for every replica",
            "of one replica at least",
            f"start one replica, once, with --never-signed {CHAIN}",
            f"On every machine: cmkms start --home {operator.home}",
        ):
            assert words in text

    def test_the_only_signer_may_be_listed_with_its_address(self, operator: Operator) -> None:
        ran = operator.init("--peer", "node-0=10.0.0.10:9430")
        assert (ran.code, "a replica that is the only signer" in ran.out) == (0, True)
        assert str(load_config(Flags(home=str(operator.home)), {}).raft_addr) == "10.0.0.10:9430"

    @pytest.mark.parametrize(
        ("listed", "why"),
        [
            ("a=10.0.0.10:9430,c=10.0.0.12:9430", "names a, c, but not this replica, whose id is b"),
            ("b=10.0.0.10:9430,b=10.0.0.12:9430", "names b twice"),
            ("b=10.0.0.10:9430,c=10.0.0.10:9430", "names 10.0.0.10:9430 twice"),
            ("b=10.0.0.10:9430,c", 'expected "id=host:port"'),
        ],
    )
    def test_a_list_that_is_none_is_refused_before_anything_is_made(
        self, operator: Operator, listed: str, why: str
    ) -> None:
        ran = operator.init("--id", "b", "--peer", listed)
        assert (ran.code, why in ran.err) == (2, True)
        assert not operator.home.exists()

    def test_a_pin_of_its_own_that_is_another_is_refused(self, operator: Operator) -> None:
        ran = operator.init("--id", "b", "--peer", f"a=10.0.0.10:9430,b=10.0.0.11:9430#{'ab' * 32}")
        assert (ran.code, f"peer pins b to {'ab' * 32}, but the identity in this home is" in ran.err) == (2, True)
        assert not (operator.home / "config.toml").exists()

    def test_a_kept_identity_may_be_pinned(self, operator: Operator) -> None:
        operator.init(*self.LISTED)
        pin = load_identity(operator.home / "priv" / "identity_key.json").public_key.hex()
        (operator.home / "config.toml").unlink()
        assert operator.init("--id", "b", "--peer", f"a=10.0.0.10:9430,b=10.0.0.11:9430#{pin}").code == 0
