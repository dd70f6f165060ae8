"""`cmkms init`: a home, made once, with nothing overwritten and no key."""

from __future__ import annotations

import json
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


def test_what_is_given_is_written(operator: Operator) -> None:
    operator.init("--alone", "--id", "kms-a", "--http-addr", ":9000", "--default-ttl", "1s")
    config = load_config(Flags(home=str(operator.home)), {})
    assert (config.id, config.chains[0].id) == ("kms-a", CHAIN)
    assert (str(config.http_addr), config.default_ttl_seconds) == (":9000", 1.0)


@pytest.mark.parametrize("more", [[], ["--alone"], ["--peer", "node-0=10.0.0.10:9430"]])
def test_where_it_listens_is_written_only_if_it_is_given(operator: Operator, more: list[str]) -> None:
    operator.init(*more)
    assert "raft_addr" not in tomllib.loads((operator.home / "config.toml").read_text())


def test_members_given_at_the_start_say_where_it_listens(operator: Operator) -> None:
    operator.init()
    listed = [word for n in range(3) for word in ("--peer", f"node-{n}=10.0.0.1{n}:9430#{n + 1:064x}")]
    rows = json.loads(operator.at_home("config", "show", *listed, "-o", "json").out)
    assert {"key": "raft_addr", "value": '"10.0.0.10:9430"', "source": "peer"} in rows


def test_without_chain_and_node_the_configuration_says_what_is_missing(operator: Operator) -> None:
    ran = operator.at_home("init", "--alone")
    assert ran.code == 0
    assert f"Write chain_id and validator_addr into {operator.home}/config.toml" in ran.out
    check = operator.at_home("config", "check")
    assert (check.code, "chain_id is missing" in check.err, "peer is missing" in check.err) == (2, True, False)


def test_it_says_what_to_do_next(operator: Operator) -> None:
    ran = operator.init("--alone")
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
    ran = operator.init("--id", "no de", "--raft-addr", "1")
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


class TestWithoutAList:
    """Three homes that each took themselves for the only signer would be three signers of one key."""

    def test_none_is_written(self, operator: Operator) -> None:
        operator.init("--raft-addr", "10.0.0.10:9430")
        text = (operator.home / "config.toml").read_text()
        assert "peer" not in tomllib.loads(text)
        assert '\n# peer = ["node-0=10.0.0.10:9430#PIN", "node-1=' in text

    @pytest.mark.parametrize("command", [("start", "--never-signed", CHAIN), ("config", "check"), ("guard", "show")])
    def test_nothing_starts(self, operator: Operator, command: tuple[str, ...]) -> None:
        operator.init()
        operator.at_home("key", "generate")
        ran = operator.at_home(*command)
        file = operator.home / "config.toml"
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert ran.err.startswith("cmkms: peer is missing, and no replica takes itself for the only signer of its key.")
        assert f"prints on each machine into peer in {file}, the same list everywhere" in ran.err
        assert f'Alone: write peer = ["node-0=127.0.0.1:9430"] into {file}' in ran.err
        assert not list((operator.home / "data").iterdir())

    def test_both_ways_are_told(self, operator: Operator) -> None:
        ran = operator.init()
        for words in (
            "the home of a replica that does not know yet who signs",
            f"{operator.home}/config.toml has no list of members yet, and nothing starts without one",
            f"One of several: on every machine, cmkms identity show --home {operator.home}",
            'Alone, the only signer of its key: write peer = ["node-0=127.0.0.1:9430"] there',
            "cmkms init --alone",
            "cmkms cluster init",
            "prove that it stopped",
            f"cmkms start --home {operator.home}",
        ):
            assert words in ran.out

    def test_what_the_example_shows_makes_nobody_a_signer(self, operator: Operator) -> None:
        operator.init()
        file = operator.home / "config.toml"
        file.write_text(file.read_text().replace("# peer =", "peer ="))
        ran = operator.at_home("config", "check")
        assert (ran.code, ran.err.count("expected 64 hex digits after the #")) == (2, 3)


class TestAlone:
    @pytest.mark.parametrize(
        ("more", "listed"),
        [
            ([], "node-0=127.0.0.1:9430"),
            (["--id", "kms-a", "--raft-addr", "10.0.0.10:9431"], "kms-a=10.0.0.10:9431"),
            (["--raft-addr", ":9430"], "node-0=127.0.0.1:9430"),
            (["--raft-addr", "127.0.0.1:0"], "node-0=127.0.0.1:9430"),
            (["--peer", "node-0=10.0.0.10:9430"], "node-0=10.0.0.10:9430"),
        ],
    )
    def test_the_list_names_only_itself(self, operator: Operator, more: list[str], listed: str) -> None:
        ran = operator.init("--alone", *more)
        assert (ran.code, "the home of a replica that is the only signer" in ran.out) == (0, True)
        assert [str(peer) for peer in load_config(Flags(home=str(operator.home)), {}).peers] == [listed]

    @pytest.mark.parametrize("peers", [["a=h:1,node-0=h:2"], ["a=h:1", "node-0=h:2"]])
    def test_beside_others_it_is_refused_before_anything_is_made(self, operator: Operator, peers: list[str]) -> None:
        ran = operator.init("--alone", *(f"--peer={peer}" for peer in peers))
        assert ran.code == 2
        assert "--alone: says that this replica is the only signer of its key, but --peer names 2 replicas" in ran.err
        assert not operator.home.exists()

    def test_a_list_of_one_other_is_refused(self, operator: Operator) -> None:
        ran = operator.init("--alone", "--peer", "a=h:1")
        assert (ran.code, "names a, but not this replica, whose id is node-0" in ran.err) == (2, True)


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
