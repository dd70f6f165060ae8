"""`cmkms cluster init`: the homes of all replicas, made at once, each ready for its machine."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from cmkms.config import Flags, NodeConfig, check_own_pin, load_config
from cmkms.guard.state_file import render_state
from cmkms.keys import generate_key, load_identity, load_key_file, write_key_file
from tests.unit.cli.conftest import CHAIN, Operator, Ran
from tests.unit.cli.test_init import tree
from tests.unit.guard.world import OTHER_KEY, precommit, signed

NODES = ("--node", "a=10.0.0.10:9430", "--node", "b=10.0.0.11:9430", "--node", "c=10.0.0.12:9430")
ON_LOOPBACK = tuple(word for n, name in enumerate("abc") for word in ("--node", f"{name}=127.0.0.1:943{n}"))
SETTINGS = ("--chain-id", CHAIN, "--validator-addr", "tcp://10.0.0.20:26659")

DEEP = 4030
"""Bytes of a path to which the names of one home's files can be added, and those of a longer-named one cannot."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "set"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir(mode=0o700)
    path = tmp_path / "keys" / "priv_validator_key.json"
    write_key_file(path, generate_key())
    return path


def make(operator: Operator, out: Path, *words: str, nodes: tuple[str, ...] = NODES) -> Ran:
    return operator.run("cluster", "init", *nodes, "--out", str(out), *words)


def config(out: Path, name: str) -> NodeConfig:
    return load_config(Flags(home=str(out / name)), {})


class TestTheHomes:
    def test_each_has_an_identity_and_a_configuration_and_no_guard(self, operator: Operator, out: Path) -> None:
        assert make(operator, out, *SETTINGS).code == 0
        for name in "abc":
            assert list(tree(out / name)) == ["config.toml", "data", "priv", "priv/identity_key.json"]
        assert sorted(tree(out)) == sorted(list("abc") + [f"{n}/{p}" for n in "abc" for p in tree(out / n)])

    def test_everything_is_its_owners_alone(self, operator: Operator, out: Path) -> None:
        make(operator, out, *SETTINGS, "--generate-key")
        for path in (out, *out.rglob("*")):
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)

    def test_all_have_the_same_list_with_the_pins_of_all(self, operator: Operator, out: Path) -> None:
        make(operator, out, *SETTINGS)
        identities = [load_identity(out / name / "priv" / "identity_key.json") for name in "abc"]
        expected = [
            f"{name}=10.0.0.{10 + n}:9430#{identity.public_key.hex()}"
            for n, (name, identity) in enumerate(zip("abc", identities, strict=True))
        ]
        assert len({identity.seed for identity in identities}) == 3
        for name in "abc":
            assert [str(peer) for peer in config(out, name).peers] == expected
            assert config(out, name).id == name
            assert config(out, name).warnings == ()
            check_own_pin(config(out, name))

    def test_the_settings_given_are_those_of_all(self, operator: Operator, out: Path) -> None:
        make(operator, out, *SETTINGS, "--http-addr", ":9000", "--default-ttl", "1s", "--raft-addr", ":9430")
        for name in "abc":
            found = config(out, name)
            assert (str(found.http_addr), found.default_ttl_seconds, str(found.raft_addr)) == (":9000", 1.0, ":9430")
            assert (found.chains[0].id, len(found.chains[0].validator_addrs)) == (CHAIN, 1)

    def test_replicas_on_one_host_have_http_addresses_of_their_own(self, operator: Operator, out: Path) -> None:
        make(operator, out, *SETTINGS, nodes=ON_LOOPBACK)
        assert [str(config(out, name).http_addr) for name in "abc"] == [f"127.0.0.1:808{n}" for n in range(3)]

    def test_nodes_may_be_separated_by_commas(self, operator: Operator, out: Path) -> None:
        assert make(operator, out, *SETTINGS, nodes=("--node", "a=10.0.0.1:1, b=10.0.0.2:1,c=10.0.0.3:1")).code == 0
        assert len(config(out, "a").peers) == 3

    def test_the_key_is_in_every_home(self, operator: Operator, out: Path, key_file: Path) -> None:
        ran = make(operator, out, *SETTINGS, "--key", str(key_file))
        address = load_key_file(key_file).address
        assert f"Each holds the key of validator {address}." in ran.out
        assert {load_key_file(config(out, name).chains[0].key_file).address for name in "abc"} == {address}

    def test_a_new_key_is_one_for_all(self, operator: Operator, out: Path) -> None:
        make(operator, out, *SETTINGS, "--generate-key")
        assert len({load_key_file(out / name / "priv" / "priv_validator_key.json").address for name in "abc"}) == 1

    def test_the_state_is_in_every_home(self, operator: Operator, out: Path, key_file: Path, tmp_path: Path) -> None:
        state = tmp_path / "state.json"
        state.write_text(json.dumps({"height": "100", "round": 0, "step": 3}))
        ran = make(operator, out, *SETTINGS, "--key", str(key_file), "--state", str(state))
        assert (
            "Each holds the state 100/0/3 (height/round/step): right only if the old signer had been stopped" in ran.out
        )
        for name in "abc":
            assert config(out, name).chains[0].state_file.read_bytes() == state.read_bytes()


class TestWhatItTells:
    def test_the_list_and_what_to_run_where(self, operator: Operator, out: Path) -> None:
        text = make(operator, out, *SETTINGS, "--generate-key").out
        for peer in config(out, "a").peers:
            assert f"  {peer}\n" in text
        for words in (
            f"rsync -a --chmod=D700,F600 {out}/b/ 10.0.0.11:/var/lib/cmkms/",
            f"cmkms start --home /var/lib/cmkms --never-signed {CHAIN}    (on one machine, the first time",
            "cmkms start --home /var/lib/cmkms    (on the others)",
            "cmkms cluster wait --home /var/lib/cmkms",
            f"Destroy {out}, once all is copied: the key lies in 3 homes there.",
        ):
            assert words in text

    def test_without_a_key_it_says_where_to_put_it(self, operator: Operator, out: Path) -> None:
        text = make(operator, out, *SETTINGS).out
        assert "Put the same priv_validator_key.json (mode 0600) into priv/ of every home" in text
        assert "prove that it stopped" in text
        assert f"If the key has never signed: one of them, the first time, with --never-signed {CHAIN}" in text
        assert "the identities lie there" in text

    def test_with_a_state_nothing_is_said_of_a_key_that_never_signed(
        self, operator: Operator, out: Path, key_file: Path, tmp_path: Path
    ) -> None:
        state = tmp_path / "state.json"
        state.write_text(json.dumps({"height": "100", "round": 0, "step": 3}))
        text = make(operator, out, *SETTINGS, "--key", str(key_file), "--state", str(state)).out
        assert "--never-signed" not in text
        assert "prove that it stopped" not in text

    def test_what_is_missing_is_said(self, operator: Operator, out: Path) -> None:
        assert "Write chain_id and validator_addr into the config.toml of every home." in make(operator, out).out

    def test_on_loopback_there_is_nothing_to_copy_or_destroy(self, operator: Operator, out: Path) -> None:
        text = make(operator, out, *SETTINGS, "--generate-key", nodes=ON_LOOPBACK).out
        assert "rsync" not in text
        assert "Destroy" not in text
        assert [line.split("    (")[0].strip() for line in text.splitlines() if "cmkms start" in line] == [
            f"cmkms start --home {out}/a --never-signed {CHAIN}",
            f"cmkms start --home {out}/b",
            f"cmkms start --home {out}/c",
        ]

    def test_the_commands_can_be_pasted_whatever_the_folder_is_called(self, operator: Operator, tmp_path: Path) -> None:
        out = tmp_path / "a set"
        text = make(operator, out, *SETTINGS, nodes=ON_LOOPBACK).out
        (line,) = [line for line in text.splitlines() if "cluster wait" in line]
        assert shlex.split(line.split("    (")[0])[-1] == f"{out}/a"

    def test_no_private_key_is_shown(self, operator: Operator, out: Path) -> None:
        ran = make(operator, out, *SETTINGS, "--generate-key")
        for path in out.rglob("*_key.json"):
            secret = json.loads(path.read_text())["priv_key"]["value"]
            assert secret[:20] not in ran.out + ran.err


class TestRefusals:
    def refused(self, operator: Operator, out: Path, *words: str, nodes: tuple[str, ...] = NODES) -> str:
        ran = make(operator, out, *words, nodes=nodes)
        assert (ran.code, ran.out) == (2, "")
        return ran.err

    @pytest.mark.parametrize(
        ("nodes", "why"),
        [
            (["a=10.0.0.1:1"], "names one replica, expected several; the home of a sole one is made by `cmkms init`"),
            (["a=10.0.0.1:1", "a=10.0.0.2:1"], "--node: names a twice"),
            (["a=10.0.0.1:1", "b=10.0.0.1:1"], "--node: names 10.0.0.1:1 twice"),
            (["a=10.0.0.1:1", "b"], '--node "b": expected "id=host:port"'),
            (["a=10.0.0.1:1", f"b=10.0.0.2:1#{'ab' * 32}"], "expected no pin: the identities are made here"),
            (["a=10.0.0.1:1", "..=10.0.0.2:1"], "expected an id that can be the name of a folder"),
            ([f"n{n}=10.0.0.{n}:1" for n in range(10)], "names 10 replicas, expected at most 9"),
        ],
    )
    def test_a_list_that_is_none(self, operator: Operator, out: Path, nodes: list[str], why: str) -> None:
        words = tuple(word for node in nodes for word in ("--node", node))
        assert why in self.refused(operator, out, *SETTINGS, nodes=words)
        assert not out.exists()

    def test_a_malformed_setting(self, operator: Operator, out: Path) -> None:
        assert "--default-ttl" in self.refused(operator, out, *SETTINGS, "--default-ttl", "x")
        assert not out.exists()

    def test_a_home_that_is_there_already_is_not_touched(self, operator: Operator, out: Path) -> None:
        (out / "b").mkdir(parents=True)
        (out / "b" / "mine").write_text("mine")
        assert f"{out}/b: there already, and nothing was touched" in self.refused(operator, out, *SETTINGS)
        assert list(tree(out)) == ["b", "b/mine"]

    def test_a_second_time_touches_nothing(self, operator: Operator, out: Path) -> None:
        make(operator, out, *SETTINGS, "--generate-key")
        before = tree(out)
        self.refused(operator, out, *SETTINGS, "--generate-key")
        assert tree(out) == before

    def test_a_key_that_others_can_read(self, operator: Operator, out: Path, key_file: Path) -> None:
        key_file.chmod(0o644)
        assert f"run: chmod 600 {key_file}" in self.refused(operator, out, *SETTINGS, "--key", str(key_file))
        assert not out.exists()

    def test_a_key_given_and_made(self, operator: Operator, out: Path, key_file: Path) -> None:
        words = ("--key", str(key_file), "--generate-key")
        assert "expected one of them, or none" in self.refused(operator, out, *SETTINGS, *words)

    @pytest.mark.parametrize("words", [(), ("--generate-key",)])
    def test_a_state_without_the_key_that_signed(self, operator: Operator, out: Path, words: tuple[str, ...]) -> None:
        assert "give --key and --chain-id, too" in self.refused(operator, out, *SETTINGS, "--state", "x", *words)

    def test_a_state_that_is_none(self, operator: Operator, out: Path, key_file: Path, tmp_path: Path) -> None:
        (tmp_path / "state.json").write_text("{}")
        words = ("--key", str(key_file), "--state", str(tmp_path / "state.json"))
        assert "it lacks height, round, step" in self.refused(operator, out, *SETTINGS, *words)
        assert not out.exists()

    def test_a_state_that_is_not_there(self, operator: Operator, out: Path, key_file: Path) -> None:
        words = ("--key", str(key_file), "--state", str(out / "none.json"))
        assert "none.json: no such file" in self.refused(operator, out, *SETTINGS, *words)

    def test_a_state_that_another_key_signed(
        self, operator: Operator, out: Path, key_file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "state.json").write_bytes(render_state(signed(precommit(7, chain=CHAIN), OTHER_KEY)))
        words = ("--key", str(key_file), "--state", str(tmp_path / "state.json"))
        assert "its signature was not made by this chain's key" in self.refused(operator, out, *SETTINGS, *words)

    def test_a_set_that_cannot_be_finished_is_not_left_without_a_word(self, operator: Operator, tmp_path: Path) -> None:
        # So deep that the path of the second identity is longer than Linux allows (PATH_MAX).
        out = tmp_path
        while len(str(out)) < DEEP - 200:
            out /= "d" * 180
        out /= "d" * (DEEP - len(str(out)) - 1)
        longest = "b" * 32
        ran = make(operator, out, *SETTINGS, nodes=("--node", "a=10.0.0.1:1", "--node", f"{longest}=10.0.0.2:1"))
        assert ran.code == 1
        assert f"Not finished: {out}/a, {out}/{longest} may hold identities and the key; remove them" in ran.err
        assert not list(out.rglob("config.toml"))
