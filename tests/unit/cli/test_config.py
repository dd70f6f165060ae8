"""`cmkms config`: what is wrong, and what is in force."""

from __future__ import annotations

import json

import pytest

from cmkms.keys import load_identity
from tests.unit.cli.conftest import CHAIN, Operator


def test_a_good_configuration_is_called_good(ready: Operator) -> None:
    ran = ready.at_home("config", "check")
    assert (ran.code, ran.out) == (0, f"The configuration is good: node-0 is the only signer of {CHAIN}.\n")


def test_a_missing_key_is_pointed_out(operator: Operator) -> None:
    operator.init("--alone")
    ran = operator.at_home("config", "check")
    assert (ran.code, f"Still missing: the consensus key of {CHAIN}, {operator.key_file}" in ran.out) == (0, True)


def test_problems_are_listed_on_standard_error(ready: Operator) -> None:
    with (ready.home / "config.toml").open("a") as file:
        file.write('log_levl = "debug"\n')
    ran = ready.at_home("config", "check", "--default-ttl", "x")
    assert (ran.code, ran.out) == (2, "")
    first, *rest = ran.err.splitlines()
    assert first == "cmkms: the configuration has 2 problems"
    assert [line[:4] for line in rest] == ["  - ", "  - "]
    assert "log_levl: unknown key; did you mean log_level?" in ran.err


def test_one_problem_is_one_line(ready: Operator) -> None:
    ran = ready.at_home("config", "check", "--default-ttl", "x")
    assert ran.code == 2
    assert ran.err.count("\n") == 1


def test_a_replica_of_a_cluster_is_called_one(ready: Operator) -> None:
    listed = [word for n in range(3) for word in ("--peer", f"node-{n}=127.0.0.1:943{n}")]
    ran = ready.at_home("config", "check", *listed)
    assert (ran.code, ran.out) == (
        0,
        f"The configuration is good: node-0 is one of 3 replicas (node-0, node-1, node-2) that sign for {CHAIN}.\n",
    )


def test_what_is_seldom_meant_is_warned_of(ready: Operator) -> None:
    ran = ready.at_home("config", "check", "--peer", "node-0=127.0.0.1:9430,node-1=127.0.0.1:9431")
    assert (ran.code, "Warning: 2 replicas are less available than one" in ran.out) == (0, True)


def test_a_pin_that_is_not_that_of_the_identity_here_is_refused(ready: Operator) -> None:
    own = load_identity(ready.home / "priv" / "identity_key.json").public_key.hex()
    ran = ready.at_home("config", "check", "--peer", f"node-0=127.0.0.1:9430#{'ab' * 32}")
    assert ran.code == 2
    assert f"peer pins node-0 to {'ab' * 32}, but the identity in this home is {own}" in ran.err
    assert f"put node-0=127.0.0.1:9430#{own} into the list of every replica" in ran.err


def test_another_replicas_home_is_refused(ready: Operator) -> None:
    own = load_identity(ready.home / "priv" / "identity_key.json").public_key.hex()
    listed = f"node-0=127.0.0.1:9430,node-1=127.0.0.1:9431#{own}"
    ran = ready.at_home("config", "check", "--peer", listed)
    assert (ran.code, "this is the identity of node-1, but this replica is node-0" in ran.err) == (2, True)
    assert ready.at_home("config", "check", "--id", "node-1", "--peer", listed).code == 0


def test_a_missing_identity_is_pointed_out(ready: Operator) -> None:
    (ready.home / "priv" / "identity_key.json").unlink()
    ran = ready.at_home("config", "check", "--peer", f"node-0=127.0.0.1:9430#{'ab' * 32}")
    assert (ran.code, "Still missing: the identity for connections" in ran.out) == (0, True)


def test_a_terminal_is_not_driven_by_what_stands_in_a_file(ready: Operator) -> None:
    with (ready.home / "config.toml").open("a") as file:
        file.write('"\\u001b[2J" = 1\n')
    ran = ready.at_home("config", "check")
    assert ran.code == 2
    assert "\x1b" not in ran.err
    assert "\\x1b[2J: unknown key" in ran.err


def test_values_are_shown_with_their_origin(ready: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETKMS_HTTP_ADDR", ":9000")
    ran = ready.at_home("config", "show", "--log-level", "debug", "-o", "json")
    rows = {row["key"]: (row["value"], row["source"]) for row in json.loads(ran.out)}
    assert rows["log_level"] == ('"debug"', "--log-level")
    assert rows["http_addr"] == ('":9000"', "COMETKMS_HTTP_ADDR")
    assert rows["chain_id"] == (f'"{CHAIN}"', "config.toml")
    assert rows["default_ttl"] == ('"400ms"', "default")
    assert rows["home"] == (f'"{ready.home}"', "--home")


def test_text_has_a_line_for_every_value(ready: Operator) -> None:
    text = ready.at_home("config", "show").out
    rows = json.loads(ready.at_home("config", "show", "-o", "json").out)
    assert [line.split() for line in text.splitlines()] == [
        [row["key"], row["source"], *row["value"].split()] for row in rows
    ]


def test_values_of_chain_tables_are_shown_by_number(operator: Operator) -> None:
    operator.at_home("init")
    (operator.home / "config.toml").write_text(
        'id = "n"\npeer = "n=h:1"\n[[chain]]\nid = "one"\nvalidator_addr = "tcp://h:1"\n'
    )
    rows = json.loads(operator.at_home("config", "show", "-o", "json").out)
    assert {"key": "chain 1 id", "value": '"one"', "source": "config.toml"} in rows
    assert {"key": "raft_addr", "value": '"h:1"', "source": "peer"} in rows
