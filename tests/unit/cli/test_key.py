"""`cmkms key`: a new key on demand, and what may be shown of one."""

from __future__ import annotations

import base64
import json

from cmkms.keys import load_key_file
from tests.unit.cli.conftest import Operator

TWO_CHAINS = """
[[chain]]
id = "one"
key = "priv/one/key.json"
[[chain]]
id = "two"
key = "priv/two/key.json"
"""


def test_a_new_key_is_written_and_its_registration_called_for(operator: Operator) -> None:
    operator.init()
    ran = operator.at_home("key", "generate")
    assert ran.code == 0
    assert load_key_file(operator.key_file).address in ran.out
    assert "until it is registered on the chain" in ran.out


def test_a_key_is_never_overwritten(ready: Operator) -> None:
    before = ready.key_file.read_bytes()
    ran = ready.at_home("key", "generate")
    assert (ran.code, "a key is never overwritten" in ran.err) == (2, True)
    assert ready.key_file.read_bytes() == before


def test_of_several_chains_the_key_of_one_is_made(operator: Operator) -> None:
    operator.at_home("init")
    (operator.home / "config.toml").write_text(TWO_CHAINS)
    ran = operator.at_home("key", "generate")
    assert (ran.code, "say which chain: --chain-id with one of one, two" in ran.err) == (2, True)
    assert operator.at_home("key", "generate", "--chain-id", "two").code == 0
    assert load_key_file(operator.home / "priv" / "two" / "key.json").type_name == "ed25519"
    assert not (operator.home / "priv" / "one").exists()


def test_it_is_shown_for_people(ready: Operator) -> None:
    key = load_key_file(ready.key_file)
    ran = ready.at_home("key", "show")
    genesis = f'{{"type": "tendermint/PubKeyEd25519", "value": "{base64.b64encode(key.pub_key).decode()}"}}'
    assert ran.code == 0
    for words in (key.address, key.pub_key.hex(), genesis, str(ready.key_file)):
        assert words in ran.out


def test_it_is_shown_for_programs(ready: Operator) -> None:
    key = load_key_file(ready.key_file)
    assert json.loads(ready.at_home("key", "show", "-o", "json").out) == {
        "file": str(ready.key_file),
        "type": "ed25519",
        "address": key.address,
        "public_key": key.pub_key.hex(),
        "pub_key": {"type": "tendermint/PubKeyEd25519", "value": base64.b64encode(key.pub_key).decode()},
    }


def test_a_missing_key_is_named(operator: Operator) -> None:
    operator.init()
    ran = operator.at_home("key", "show")
    assert (ran.code, ran.err) == (2, f"cmkms: {operator.key_file}: no such file\n")


def test_a_readable_key_is_refused_with_the_command(ready: Operator) -> None:
    ready.key_file.chmod(0o640)
    ran = ready.at_home("key", "show")
    assert (ran.code, f"run: chmod 600 {ready.key_file}" in ran.err) == (2, True)


def test_a_seed_of_tmkms_is_refused_by_its_form(ready: Operator) -> None:
    ready.key_file.write_text(base64.b64encode(bytes(32)).decode())
    ran = ready.at_home("key", "show")
    assert (ran.code, "tmkms' softsign" in ran.err) == (2, True)
