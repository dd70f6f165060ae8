"""What a configuration says, and each way in which it is refused: where it stands, which key, what was expected."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmkms.config import (
    ChainConfig,
    Flags,
    HostPort,
    LogFormat,
    LogLevel,
    NodeConfig,
    OnOutage,
    Peer,
    Scheme,
    ValidatorAddress,
    load_config,
    locate_key_file,
)
from cmkms.errors import ConfigError
from cmkms.home import Home

GOOD = """
id = "node-0"
raft_addr = "10.0.0.10:9430"
peer = ["node-0=10.0.0.10:9430"]
chain_id = "testnet-1"
validator_addr = "tcp://10.0.0.20:26659"
"""

NODE = """
id = "node-0"
peer = ["node-0=10.0.0.10:9430"]
"""

TWO_CHAINS = (
    NODE
    + """
[[chain]]
id = "one"
validator_addr = ["tcp://10.0.0.20:26659", "unix:///run/one.sock"]
key = "priv/one/key.json"

[[chain]]
id = "two"
validator_addr = "tcp://10.0.0.30:26659"
key = "/etc/keys/two.json"
state = "priv/two.json"
on_outage = "refuse"
max_block_rate = 0.5
"""
)


def load(home: Path, content: str, environ: dict[str, str] | None = None, **flags: Any) -> NodeConfig:
    (home / "config.toml").write_text(content)
    return load_config(Flags(home=str(home), **flags), environ or {})


def problems(home: Path, content: str, environ: dict[str, str] | None = None, **flags: Any) -> list[str]:
    """The problems that are reported, each without the home's path."""
    with pytest.raises(ConfigError) as caught:
        load(home, content, environ, **flags)
    first, *rest = str(caught.value).replace(f"{home}/", "").splitlines()
    if not rest:
        return [first]
    assert first == f"the configuration has {len(rest)} problems"
    return [line.removeprefix("  - ") for line in rest]


def problem(home: Path, content: str, environ: dict[str, str] | None = None, **flags: Any) -> str:
    (only,) = problems(home, content, environ, **flags)
    return only


def pin(number: int) -> str:
    return f"{number:02x}" * 32


def peers(count: int, *, pins: bool = True) -> tuple[str, ...]:
    """A list of `count` members, of which node-0 is the one of GOOD."""
    return tuple(f"node-{n}=10.0.0.{10 + n}:9430" + (f"#{pin(n + 1)}" if pins else "") for n in range(count))


class TestAGoodConfiguration:
    def test_it_says_everything(self, tmp_path: Path) -> None:
        assert load(tmp_path, GOOD) == NodeConfig(
            home=Home(tmp_path),
            id="node-0",
            raft_addr=HostPort("10.0.0.10", 9430),
            http_addr=HostPort("127.0.0.1", 8080),
            default_ttl_seconds=0.4,
            peers=(Peer("node-0", HostPort("10.0.0.10", 9430)),),
            chains=(
                ChainConfig(
                    id="testnet-1",
                    validator_addrs=(ValidatorAddress(Scheme.TCP, "10.0.0.20", 26659),),
                    key_file=tmp_path / "priv/priv_validator_key.json",
                    state_file=tmp_path / "priv/priv_validator_state.json",
                    on_outage=OnOutage.HOLD,
                    max_block_rate=100.0,
                ),
            ),
            log_level=LogLevel.INFO,
            log_format=LogFormat.AUTO,
            allow_unsafe=False,
        )

    def test_no_file_is_needed(self, tmp_path: Path) -> None:
        flags = Flags(
            home=str(tmp_path / "none"),
            id="n",
            peer=("n=h:1",),
            chain_id="c",
            validator_addr=("tcp://h:1", "unix:///s"),
        )
        assert [str(addr) for addr in load_config(flags, {}).chains[0].validator_addrs] == ["tcp://h:1", "unix:///s"]

    def test_lists_in_flags_and_variables_may_be_separated_by_commas(self, tmp_path: Path) -> None:
        environ = {"CMKMS_VALIDATOR_ADDR": "tcp://h:1, unix:///s"}
        assert len(load(tmp_path, GOOD, environ).chains[0].validator_addrs) == 2
        assert (
            len(load(tmp_path, GOOD, validator_addr=("tcp://h:1,tcp://h:2", "tcp://h:3")).chains[0].validator_addrs)
            == 3
        )

    def test_one_may_listen_on_all_interfaces(self, tmp_path: Path) -> None:
        assert load(tmp_path, GOOD, raft_addr=":9430").raft_addr == HostPort("", 9430)

    def test_the_own_address_is_taken_from_the_peers(self, tmp_path: Path) -> None:
        assert load(tmp_path, GOOD.replace('raft_addr = "10.0.0.10:9430"', "")).raft_addr == HostPort("10.0.0.10", 9430)

    def test_the_own_entry_may_be_pinned(self, tmp_path: Path) -> None:
        assert load(tmp_path, GOOD, peer=("node-0=10.0.0.10:9430#" + "ab" * 32,)).peers[0].pin == "ab" * 32

    def test_the_flat_form_has_all_settings_of_a_chain(self, tmp_path: Path) -> None:
        extra = 'key = "k/key.json"\nstate = "/s.json"\non_outage = "refuse"\nmax_block_rate = 20\n'
        (chain,) = load(tmp_path, GOOD + extra).chains
        assert (chain.key_file, chain.state_file) == (tmp_path / "k/key.json", Path("/s.json"))
        assert (chain.on_outage, chain.max_block_rate) == (OnOutage.REFUSE, 20.0)

    def test_the_state_is_looked_for_beside_the_key(self, tmp_path: Path) -> None:
        (chain,) = load(tmp_path, GOOD + 'key = "k/../other/key.json"').chains
        assert chain.state_file == tmp_path / "other/priv_validator_state.json"

    def test_tables_hold_several_chains(self, tmp_path: Path) -> None:
        one, two = load(tmp_path, TWO_CHAINS).chains
        assert (one.id, two.id) == ("one", "two")
        assert [str(addr) for addr in one.validator_addrs] == ["tcp://10.0.0.20:26659", "unix:///run/one.sock"]
        assert (one.key_file, one.state_file) == (
            tmp_path / "priv/one/key.json",
            tmp_path / "priv/one/priv_validator_state.json",
        )
        assert (two.key_file, two.state_file) == (Path("/etc/keys/two.json"), tmp_path / "priv/two.json")
        assert (two.on_outage, two.max_block_rate) == (OnOutage.REFUSE, 0.5)

    def test_two_chains_may_have_one_key(self, tmp_path: Path) -> None:
        content = TWO_CHAINS.replace("/etc/keys/two.json", "priv/one/key.json")
        one, two = load(tmp_path, content).chains
        assert one.key_file == two.key_file

    def test_variables_that_kubernetes_sets_for_a_service_do_not_stop_it(self, tmp_path: Path) -> None:
        names = ["PORT", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_8080_TCP", "PORT_8080_TCP_ADDR"]
        load(tmp_path, GOOD, {f"CMKMS_{name}": "tcp://10.0.0.1:8080" for name in names})

    def test_other_variables_are_none_of_its_business(self, tmp_path: Path) -> None:
        load(tmp_path, GOOD, {"NOT_CMKMS_ID": "x", "CMKMSID": "x", "ID": "x"})


class TestMalformedValues:
    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("id", '"no de"', '"no de": expected 1 to 32 letters'),
            ("id", "7", "7: expected a string, in quotes"),
            ("id", "[]", "an array: expected a string, in quotes"),
            ("raft_addr", '"x"', '"x": expected "host:port"'),
            ("http_addr", "8080", "8080: expected a string, in quotes"),
            ("http_addr", '"8080"', '"8080": expected "host:port"'),
            ("default_ttl", "400", "400: expected a string, in quotes"),
            ("default_ttl", '"4x"', '"4x": expected a duration such as "400ms"'),
            ("peer", "[1]", "an array: expected a string or an array of strings"),
            ("peer", "{a = 1}", "a table: expected a string or an array of strings"),
            ("peer", '["x"]', '"x": expected "id=host:port"'),
            ("chain_id", '""', '"": expected the chain_id of the genesis file'),
            ("validator_addr", '["noise://h:1"]', '"noise://h:1": noise:// comes with a later release'),
            ("validator_addr", "true", "true: expected a string or an array of strings"),
            ("log_level", '"loud"', '"loud": expected "debug", "info", "warning" or "error"'),
            ("log_format", '"xml"', '"xml": expected "auto", "console", "json" or "plain"'),
            ("allow_unsafe", '"true"', '"true": expected true or false, without quotes'),
            ("allow_unsafe", "1", "1: expected true or false, without quotes"),
            ("key", '""', '"": expected a path'),
            ("state", "2024-01-01", "a date or time: expected a string, in quotes"),
            ("on_outage", '"wait"', '"wait": expected "hold" or "refuse"'),
            ("max_block_rate", '"100"', '"100": expected a number, without quotes'),
            ("max_block_rate", "true", "true: expected a number, without quotes"),
            ("max_block_rate", "-1", "-1: expected a number of blocks a second"),
            ("max_block_rate", "nan", "nan: expected a number of blocks a second"),
            ("max_block_rate", "9" * 4000, "a huge number: expected a number of blocks a second"),
        ],
    )
    def test_in_the_file_they_are_named_with_what_was_expected(
        self, tmp_path: Path, key: str, value: str, expected: str
    ) -> None:
        content = re.sub(rf"(?m)^{key} = .*$", "", GOOD) + f"\n{key} = {value}\n"
        found = problems(tmp_path, content)
        assert any(line.startswith(f"config.toml: {key} = ") and expected in line for line in found), found

    def test_in_a_flag(self, tmp_path: Path) -> None:
        found = problem(tmp_path, GOOD, default_ttl="4x")
        assert found == '--default-ttl "4x": expected a duration such as "400ms", "1s" or "1m30s"'

    def test_in_a_variable(self, tmp_path: Path) -> None:
        found = problem(tmp_path, GOOD, {"COMETKMS_DEFAULT_TTL": "4x"})
        assert found == 'COMETKMS_DEFAULT_TTL="4x": expected a duration such as "400ms", "1s" or "1m30s"'

    def test_an_empty_flag_is_not_the_same_as_none(self, tmp_path: Path) -> None:
        assert '--id "": expected 1 to 32 letters' in problem(tmp_path, GOOD, id="")

    def test_an_empty_item_of_a_list_is_named(self, tmp_path: Path) -> None:
        found = problem(tmp_path, GOOD, {"CMKMS_VALIDATOR_ADDR": "tcp://h:1,,unix:///s"})
        assert found.startswith('CMKMS_VALIDATOR_ADDR="": expected "tcp://host:port"')

    def test_a_long_value_is_cut(self, tmp_path: Path) -> None:
        assert len(problem(tmp_path, GOOD, default_ttl="x" * 10_000)) < 300

    def test_in_a_table_the_table_is_named(self, tmp_path: Path) -> None:
        found = problem(tmp_path, TWO_CHAINS.replace('"refuse"', '"wait"'))
        assert found == 'config.toml: [[chain]] 2: on_outage = "wait": expected "hold" or "refuse"'

    def test_a_value_that_is_overruled_is_not_looked_at(self, tmp_path: Path) -> None:
        assert load(tmp_path, GOOD + 'log_level = "loud"', log_level="debug").log_level is LogLevel.DEBUG

    def test_all_are_reported_at_once(self, tmp_path: Path) -> None:
        found = problems(
            tmp_path,
            GOOD.replace("10.0.0.20:26659", "x") + 'idd = "x"\nlog_level = 3\nmax_block_rate = 0\n',
            {"CMKMS_HTTP_ADDR": "x"},
            default_ttl="x",
        )
        starts = [
            "config.toml: idd: unknown key; did you mean id?",
            'CMKMS_HTTP_ADDR="x": expected',
            '--default-ttl "x": expected',
            "config.toml: log_level = 3: expected",
            'config.toml: validator_addr = "tcp://x": expected',
            "config.toml: max_block_rate = 0: expected",
        ]
        assert len(found) == len(starts)
        for line, start in zip(found, starts, strict=True):
            assert line.startswith(start)

    def test_no_more_than_fifty_are_listed(self, tmp_path: Path) -> None:
        content = GOOD + "".join(f"unknown{number} = 1\n" for number in range(70))
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, content)
        lines = str(caught.value).splitlines()
        assert (lines[0], lines[-1], len(lines)) == ("the configuration has 70 problems", "  - and 20 more", 52)


class TestUnknownKeys:
    @pytest.mark.parametrize(
        ("key", "meant"),
        [
            ("validator_adr", "validator_addr"),
            ("validator-addr", "validator_addr"),
            ("Raft_Addr", "raft_addr"),
            ("peers", "peer"),
            ("chains", "chain"),
            ("max_block_rat", "max_block_rate"),
        ],
    )
    def test_a_near_one_is_suggested(self, tmp_path: Path, key: str, meant: str) -> None:
        found = problem(tmp_path, f"{GOOD}\n{key} = 1\n")
        assert re.fullmatch(rf"config\.toml: {key}: unknown key; did you mean {meant}\w*\?", found)

    def test_without_a_near_one_all_are_listed(self, tmp_path: Path) -> None:
        found = problem(tmp_path, f"{GOOD}\nzzz = 1\n")
        assert found.startswith("config.toml: zzz: unknown key; known are id, raft_addr, ")
        assert found.endswith("max_block_rate, chain")

    def test_its_value_is_not_shown(self, tmp_path: Path) -> None:
        assert "hunter2" not in problem(tmp_path, f'{GOOD}\npassword = "hunter2"\n')

    def test_a_table_is_an_unknown_key_too(self, tmp_path: Path) -> None:
        assert "config.toml: timing: unknown key" in problem(tmp_path, f"{GOOD}\n[timing]\nwan = true\n")

    def test_in_a_table_they_are_refused(self, tmp_path: Path) -> None:
        found = problem(tmp_path, TWO_CHAINS + 'on_outrage = "hold"')
        assert found == "config.toml: [[chain]] 2: on_outrage: unknown key; did you mean on_outage?"

    def test_what_belongs_to_the_top_is_sent_there(self, tmp_path: Path) -> None:
        found = problem(tmp_path, TWO_CHAINS + 'log_level = "debug"')
        assert (
            found == "config.toml: [[chain]] 2: log_level: belongs to the top of the file, before the first [[chain]]"
        )

    def test_the_home_cannot_stand_in_the_file(self, tmp_path: Path) -> None:
        found = problem(tmp_path, GOOD + 'home = "/x"')
        assert found == "config.toml: home: cannot stand in the file that lies in it; use --home"

    def test_that_a_key_never_signed_is_only_said_by_flag(self, tmp_path: Path) -> None:
        said = "is said once, on the command line: --never-signed CHAIN"
        assert problem(tmp_path, GOOD + 'never_signed = ["testnet-1"]') == f"config.toml: never_signed: {said}"
        for prefix in ("CMKMS", "COMETKMS"):
            name = f"{prefix}_NEVER_SIGNED"
            assert problem(tmp_path, GOOD, {name: "testnet-1"}) == f"{name}: {said}"

    def test_a_variable_that_looks_like_a_slip_is_refused(self, tmp_path: Path) -> None:
        found = problem(tmp_path, GOOD, {"CMKMS_VALIDATOR_ADDRS": "x"})
        assert found == "CMKMS_VALIDATOR_ADDRS: unknown variable; did you mean CMKMS_VALIDATOR_ADDR?"


class TestTheFile:
    def test_what_is_not_toml_is_refused_with_the_line(self, tmp_path: Path) -> None:
        found = problem(tmp_path, "id = node-0\n")
        assert re.fullmatch(r"config\.toml: is not valid TOML: .*\(at line 1, column \d+\)", found)

    def test_what_is_not_utf8_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_bytes(b'id = "\xff"')
        with pytest.raises(ConfigError, match=r"config\.toml: is not UTF-8 text"):
            load_config(Flags(home=str(tmp_path)), {})

    def test_what_is_too_long_is_refused_unread(self, tmp_path: Path) -> None:
        assert "expected at most 262144" in problem(tmp_path, "#" * (256 * 1024 + 1))

    def test_what_is_nested_without_end_is_refused(self, tmp_path: Path) -> None:
        assert "is not valid TOML" in problem(tmp_path, "id = " + "[" * 100_000)

    def test_a_directory_in_its_place_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").mkdir()
        with pytest.raises(ConfigError, match="is not a regular file"):
            load_config(Flags(home=str(tmp_path)), {})

    def test_a_home_that_is_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "h").write_text("")
        with pytest.raises(ConfigError, match=r"h/config\.toml: cannot be read: Not a directory"):
            load_config(Flags(home=str(tmp_path / "h")), {})

    def test_a_home_that_is_nothing_is_refused(self) -> None:
        with pytest.raises(ConfigError, match='--home "": expected the directory of this replica'):
            load_config(Flags(home=""), {})

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
    @given(st.text(max_size=200) | st.text("=[]{}\"'#.,\n abchain_id01", max_size=100))
    def test_any_text_is_a_configuration_or_a_refusal(self, tmp_path: Path, content: str) -> None:
        with pytest.raises(ConfigError):
            load(tmp_path, content)


class TestMissingValues:
    def test_they_are_named_with_the_line_to_write_and_the_flag(self, tmp_path: Path) -> None:
        found = problems(tmp_path, "")
        assert found == [
            'id is missing; write id = "node-0" into config.toml, or give --id node-0',
            (
                "peer is missing, and no replica takes itself for the only signer of its key. One of several: put the "
                "lines that `cmkms identity show --home HOME` prints on each machine into peer in config.toml, the "
                "same list everywhere, or give each with --peer. Alone: write "
                'peer = ["node-0=127.0.0.1:9430"] into config.toml, or give --peer node-0=127.0.0.1:9430'
            ),
            'chain_id is missing; write chain_id = "testnet-1" into config.toml, or give --chain-id testnet-1',
            (
                'validator_addr is missing; write validator_addr = ["tcp://10.0.0.20:26659"] into config.toml, '
                "or give --validator-addr tcp://10.0.0.20:26659"
            ),
        ]

    def test_in_a_table_too(self, tmp_path: Path) -> None:
        found = problems(tmp_path, NODE + '[[chain]]\nkey = "k"\n')
        assert found == [
            'config.toml: [[chain]] 1: id is missing; write id = "testnet-1" into config.toml',
            (
                "config.toml: [[chain]] 1: validator_addr is missing; write "
                'validator_addr = ["tcp://10.0.0.20:26659"] into config.toml'
            ),
        ]

    @pytest.mark.parametrize("key", ["peer", "validator_addr"])
    def test_an_empty_list_is_as_good_as_none(self, tmp_path: Path, key: str) -> None:
        content = re.sub(rf"(?m)^{key} = .*$", f"{key} = []", GOOD)
        assert problem(tmp_path, content).startswith(f"{key} is missing")


class TestPeers:
    def test_no_list_is_refused_with_the_sentence_to_write(self, tmp_path: Path) -> None:
        content = GOOD.replace('peer = ["node-0=10.0.0.10:9430"]', "")
        assert 'write peer = ["node-0=10.0.0.10:9430"] into' in problem(tmp_path, content)

    def test_exactly_this_replica_is_the_only_signer(self, tmp_path: Path) -> None:
        assert [peer.id for peer in load(tmp_path, GOOD).peers] == ["node-0"]

    def test_another_replica_alone_is_refused(self, tmp_path: Path) -> None:
        found = problem(tmp_path, GOOD, peer=("node-1=10.0.0.11:9430",))
        assert found == (
            "--peer: names node-1, but not this replica, whose id is node-0; expected all members, this one included"
        )

    def test_a_repeated_replica_is_refused(self, tmp_path: Path) -> None:
        found = problem(tmp_path, GOOD, peer=(f"node-0=10.0.0.10:9430#{pin(1)}", f"node-0=10.0.0.11:9430#{pin(2)}"))
        assert found == "--peer: names node-0 twice; expected each replica once"

    def test_a_repeated_address_is_refused(self, tmp_path: Path) -> None:
        found = problem(tmp_path, GOOD, peer=(f"node-0=10.0.0.10:9430#{pin(1)}", f"node-1=10.0.0.10:9430#{pin(2)}"))
        assert found == "--peer: names 10.0.0.10:9430 twice; expected another address for each replica"


class TestClusters:
    @pytest.mark.parametrize("count", range(1, 10))
    def test_up_to_nine_replicas_may_sign_together(self, tmp_path: Path, count: int) -> None:
        config = load(tmp_path, GOOD, peer=peers(count))
        assert [str(peer) for peer in config.peers] == list(peers(count))
        assert config.own_peer == Peer("node-0", HostPort("10.0.0.10", 9430), pin(1))

    def test_a_tenth_is_refused(self, tmp_path: Path) -> None:
        found = problem(tmp_path, GOOD, peer=peers(10))
        assert found == "--peer: names 10 replicas, expected at most 9; three or five are the usual"

    def test_a_list_without_this_replica_is_refused(self, tmp_path: Path) -> None:
        found = problem(tmp_path, GOOD, peer=peers(3)[1:])
        assert found == (
            "--peer: names node-1, node-2, but not this replica, whose id is node-0; expected all members, "
            "this one included"
        )

    @pytest.mark.parametrize("missing", range(3))
    def test_a_member_on_a_network_needs_a_pin(self, tmp_path: Path, missing: int) -> None:
        listed = [*peers(3)]
        listed[missing] = peers(3, pins=False)[missing]
        assert problem(tmp_path, GOOD, peer=tuple(listed)) == (
            f"--peer: node-{missing} at 10.0.0.{10 + missing}:9430 has no pin; run `cmkms identity show --home HOME` "
            "there, and put the line it prints into the list of every replica"
        )

    def test_members_without_pins_are_each_named(self, tmp_path: Path) -> None:
        assert len(problems(tmp_path, GOOD, peer=peers(3, pins=False))) == 3

    def test_the_only_signer_needs_no_pin(self, tmp_path: Path) -> None:
        assert load(tmp_path, GOOD, peer=peers(1, pins=False)).own_peer.pin is None

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost"])
    def test_on_loopback_pins_may_be_left_out(self, tmp_path: Path, host: str) -> None:
        listed = tuple(f"node-{n}={host}:943{n}" for n in range(3))
        config = load(tmp_path, GOOD, raft_addr=f"{host}:9430", peer=listed)
        assert [peer.pin for peer in config.peers] == [None] * 3

    def test_one_pin_for_two_members_is_refused(self, tmp_path: Path) -> None:
        listed = (*peers(2), f"node-2=10.0.0.12:9430#{pin(1).upper()}")
        found = problem(tmp_path, GOOD, peer=listed)
        assert found.startswith(
            f"--peer: node-0 and node-2 have the same pin, {pin(1)}; each replica has an identity of"
        )
        assert "`cmkms identity show`" in found

    def test_all_that_is_wrong_with_a_list_is_said_at_once(self, tmp_path: Path) -> None:
        listed = (*peers(3), "node-1=10.0.0.12:9430")
        found = problems(tmp_path, GOOD, peer=listed)
        assert [line.split(": ", 1)[1][:32] for line in found] == [
            "names node-1 twice; expected eac",
            "names 10.0.0.12:9430 twice; expe",
            "node-1 at 10.0.0.12:9430 has no ",
        ]

    def test_the_address_to_listen_on_may_be_another_than_that_in_the_list(self, tmp_path: Path) -> None:
        config = load(tmp_path, GOOD, raft_addr="192.168.1.5:19430", peer=peers(3))
        assert (str(config.raft_addr), str(config.own_peer.addr)) == ("192.168.1.5:19430", "10.0.0.10:9430")

    def test_a_port_that_nobody_could_know_is_refused(self, tmp_path: Path) -> None:
        assert problem(tmp_path, GOOD, raft_addr=":0", peer=peers(3)) == (
            '--raft-addr ":0": port 0 is any free one, where no other replica would find this one; '
            "expected the port of its entry in peer"
        )


class TestWarnings:
    @pytest.mark.parametrize("count", [1, 3, 5, 7, 9])
    def test_an_odd_number_of_replicas_is_nothing_to_warn_of(self, tmp_path: Path, count: int) -> None:
        assert load(tmp_path, GOOD, peer=peers(count)).warnings == ()

    def test_two_replicas_are_less_available_than_one(self, tmp_path: Path) -> None:
        assert load(tmp_path, GOOD, peer=peers(2)).warnings == (
            "2 replicas are less available than one: both must be up to sign; use one, or three",
        )

    def test_an_even_number_gains_nothing(self, tmp_path: Path) -> None:
        assert load(tmp_path, GOOD, peer=peers(4)).warnings == (
            "4 replicas go on without 1, just as 3 do; use 3, or 5, which go on without 2",
        )

    @pytest.mark.parametrize("addr", ["10.0.0.10:9430", ":9430", "0.0.0.0:9430", "[::]:9430", "kms-a.internal:9430"])
    def test_to_listen_where_the_others_look_is_nothing_to_warn_of(self, tmp_path: Path, addr: str) -> None:
        assert load(tmp_path, GOOD, raft_addr=addr, peer=peers(3)).warnings == ()

    @pytest.mark.parametrize("addr", ["10.0.0.99:9430", ":9431", "kms-a.internal:9431"])
    def test_to_listen_elsewhere_is_only_right_behind_nat(self, tmp_path: Path, addr: str) -> None:
        (warning,) = load(tmp_path, GOOD, raft_addr=addr, peer=peers(3)).warnings
        assert f"listens at {addr} (raft_addr), but the others look for it at 10.0.0.10:9430 (peer)" in warning


class TestChains:
    @pytest.mark.parametrize(
        "flat",
        [
            "max_block_rate = 1",
            'chain_id = "c"',
            'validator_addr = "tcp://h:1"',
            'key = "k"',
            'state = "s"',
            'on_outage = "hold"',
        ],
    )
    def test_both_forms_in_the_file_are_refused(self, tmp_path: Path, flat: str) -> None:
        key = flat.split(maxsplit=1)[0]
        found = problem(tmp_path, flat + TWO_CHAINS)
        assert found == (
            f"config.toml: {key}: cannot stand beside the [[chain]] tables in config.toml, which say it for each "
            "chain; use one form or the other"
        )

    def test_a_flag_beside_tables_is_refused(self, tmp_path: Path) -> None:
        assert problem(tmp_path, TWO_CHAINS, chain_id="c").startswith("--chain-id: cannot stand beside the [[chain]]")

    def test_a_variable_beside_tables_is_refused(self, tmp_path: Path) -> None:
        found = problem(tmp_path, TWO_CHAINS, {"COMETKMS_VALIDATOR_ADDR": "tcp://h:1"})
        assert found.startswith("COMETKMS_VALIDATOR_ADDR: cannot stand beside the [[chain]]")

    @pytest.mark.parametrize("value", ["1", '"c"', "[1]", "{id = 1}", '[{id = "c"}, 1]'])
    def test_what_is_no_table_of_chains_is_refused(self, tmp_path: Path, value: str) -> None:
        found = problem(tmp_path, f"chain = {value}\n{GOOD}")
        assert found == "config.toml: chain: expected [[chain]] tables, one for each chain"

    def test_two_tables_of_one_chain_are_refused(self, tmp_path: Path) -> None:
        found = problem(tmp_path, TWO_CHAINS.replace('id = "two"', 'id = "one"'))
        assert found == 'two [[chain]] tables are of chain "one"; expected one for each'

    def test_two_chains_with_one_state_file_are_refused(self, tmp_path: Path) -> None:
        found = problem(tmp_path, TWO_CHAINS.replace("priv/two.json", "priv/x/../one/priv_validator_state.json"))
        assert found.startswith('chains "one" and "two" share the state file ')
        assert found.endswith("give each a key and a state of its own")

    def test_a_link_does_not_hide_that_a_state_file_is_shared(self, tmp_path: Path) -> None:
        (tmp_path / "priv").mkdir()
        (tmp_path / "priv/two.json").symlink_to("one/priv_validator_state.json")
        assert 'chains "one" and "two" share the state file' in problem(tmp_path, TWO_CHAINS)

    def test_two_chains_with_the_default_key_share_its_state_file(self, tmp_path: Path) -> None:
        content = NODE + "".join(
            f'[[chain]]\nid = "{name}"\nvalidator_addr = "tcp://{name}:1"\n' for name in ("one", "two")
        )
        assert "share the state file priv/priv_validator_state.json" in problem(tmp_path, content)

    def test_two_chains_with_one_node_are_refused(self, tmp_path: Path) -> None:
        pinned = f"tcp://{'ab' * 20}@10.0.0.20:26659"
        found = problem(tmp_path, TWO_CHAINS.replace("tcp://10.0.0.30:26659", pinned))
        assert found == f'chains "one" and "two" share the validator {pinned}; a node signs for one chain'

    def test_one_node_twice_is_refused(self, tmp_path: Path) -> None:
        found = problem(tmp_path, TWO_CHAINS.replace("unix:///run/one.sock", "tcp://10.0.0.20:26659"))
        assert found == "validator_addr names tcp://10.0.0.20:26659 twice; expected each node once"


class TestWhereTheKeyLies:
    def test_by_default_in_the_home(self, tmp_path: Path) -> None:
        assert locate_key_file(Flags(home=str(tmp_path)), {}) == tmp_path / "priv/priv_validator_key.json"

    def test_the_rest_of_the_file_may_be_unfinished(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_text('key = "k.json"\nlog_level = 3\n')
        assert locate_key_file(Flags(home=str(tmp_path)), {}) == tmp_path / "k.json"

    def test_of_several_chains_one_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_text(TWO_CHAINS)
        assert locate_key_file(Flags(home=str(tmp_path), chain_id="two"), {}) == Path("/etc/keys/two.json")

    def test_of_several_chains_none_is_guessed(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_text(TWO_CHAINS)
        with pytest.raises(ConfigError, match="say which chain: --chain-id with one of one, two"):
            locate_key_file(Flags(home=str(tmp_path)), {})

    def test_an_unknown_chain_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_text(TWO_CHAINS)
        with pytest.raises(ConfigError, match=r'no chain "three" in .*: --chain-id with one of one, two'):
            locate_key_file(Flags(home=str(tmp_path), chain_id="three"), {})

    def test_the_only_table_needs_no_name(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_text('[[chain]]\nkey = "k.json"\n')
        assert locate_key_file(Flags(home=str(tmp_path)), {}) == tmp_path / "k.json"

    def test_a_malformed_path_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_text("key = 1\n")
        with pytest.raises(ConfigError, match="key = 1: expected a string"):
            locate_key_file(Flags(home=str(tmp_path)), {})
