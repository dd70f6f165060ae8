"""`cmkms identity`: the line that goes into every replica's list of members."""

from __future__ import annotations

import json

from cmkms.config.syntax import parse_peer
from cmkms.keys import load_identity
from tests.unit.cli.conftest import Operator


def pin_of(operator: Operator) -> str:
    return load_identity(operator.home / "priv" / "identity_key.json").public_key.hex()


def test_the_line_is_what_a_list_of_members_takes(operator: Operator) -> None:
    operator.init("--id", "kms-a", "--raft-addr", "10.0.0.10:9430")
    ran = operator.at_home("identity", "show")
    assert (ran.code, ran.out, ran.err) == (0, f"kms-a=10.0.0.10:9430#{pin_of(operator)}\n", "")
    assert parse_peer(ran.out.strip()).pin == pin_of(operator)


def test_for_programs_its_parts_are_told_apart(operator: Operator) -> None:
    operator.init("--id", "kms-a", "--raft-addr", "10.0.0.10:9430")
    assert json.loads(operator.at_home("identity", "show", "-o", "json").out) == {
        "id": "kms-a",
        "address": "10.0.0.10:9430",
        "pin": pin_of(operator),
        "line": f"kms-a=10.0.0.10:9430#{pin_of(operator)}",
        "node_id": load_identity(operator.home / "priv" / "identity_key.json").node_id,
    }


def test_an_address_of_loopback_is_no_good_to_others(operator: Operator) -> None:
    operator.init("--alone")
    ran = operator.at_home("identity", "show")
    assert ran.out.startswith("node-0=127.0.0.1:9430#")
    assert "127.0.0.1:9430 is reached from this machine only" in ran.err


def test_the_list_of_members_may_be_unfinished(operator: Operator) -> None:
    operator.init()
    (operator.home / "config.toml").write_text(
        'id = "b"\npeer = ["a=10.0.0.10:9430", "b=10.0.0.11:9430#TODO", "c="]\nfoo = 1\n'
    )
    assert operator.at_home("identity", "show").out == f"b=10.0.0.11:9430#{pin_of(operator)}\n"


def test_what_is_not_known_yet_is_left_to_be_filled_in(operator: Operator) -> None:
    operator.init()
    ran = operator.at_home("identity", "show")
    assert (ran.code, ran.out) == (0, f"node-0=HOST:PORT#{pin_of(operator)}\n")
    assert "HOST:PORT: put the address there at which the other replicas reach this one" in ran.err


def test_without_a_configuration_the_name_is_left_to_be_filled_in_too(operator: Operator) -> None:
    operator.init()
    (operator.home / "config.toml").unlink()
    ran = operator.at_home("identity", "show")
    assert (ran.code, ran.out) == (0, f"ID=HOST:PORT#{pin_of(operator)}\n")
    assert "--id" in ran.err


def test_every_interface_is_no_address_for_others(operator: Operator) -> None:
    operator.init()
    (operator.home / "config.toml").write_text('id = "b"\nraft_addr = ":9430"\n')
    assert operator.at_home("identity", "show").out == f"b=HOST:PORT#{pin_of(operator)}\n"


def test_name_and_address_may_be_given(operator: Operator) -> None:
    operator.init()
    ran = operator.at_home("identity", "show", "--id", "x", "--raft-addr", "10.0.0.77:1")
    assert ran.out == f"x=10.0.0.77:1#{pin_of(operator)}\n"
    assert operator.at_home("identity", "show", "--raft-addr", "10.0.0.77:1").out.startswith("node-0=10.0.0.77:1#")


def test_a_missing_identity_is_named(operator: Operator) -> None:
    ran = operator.at_home("identity", "show")
    assert (ran.code, "identity_key.json: no such file" in ran.err) == (2, True)


def test_a_name_that_is_none_is_refused(operator: Operator) -> None:
    operator.init()
    ran = operator.at_home("identity", "show", "--id", "no de")
    assert (ran.code, "expected 1 to 32 letters" in ran.err) == (2, True)
