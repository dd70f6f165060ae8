"""How single values are written, and what is said of those that are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmkms.config import HostPort, LogFormat, LogLevel, OnOutage, Peer, Scheme, ValidatorAddress, syntax

PIN = "ab" * 32
NODE_ID = "0123456789abcdef0123456789abcdef01234567"

hosts = st.sampled_from(["10.0.0.10", "::1", "fe80::1%eth0", "localhost", "node-0.example.org", "my_service", "a"])
ports = st.integers(1, 65535)
replica_ids = st.from_regex(r"[A-Za-z0-9._-]{1,32}", fullmatch=True)


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("400ms", 0.4),
            ("1s", 1.0),
            ("1m30s", 90.0),
            ("1.5s", 1.5),
            ("0.4s", 0.4),
            (".5s", 0.5),
            ("1.s", 1.0),
            ("400000us", 0.4),
            ("400000µs", 0.4),
            ("400000μs", 0.4),
            ("400000000ns", 0.4),
            ("50ms", 0.05),
            ("10m", 600.0),
            ("0h1m", 60.0),
        ],
    )
    def test_they_are_written_as_in_go(self, text: str, seconds: float) -> None:
        assert syntax.parse_ttl(text) == seconds

    @pytest.mark.parametrize(
        "text",
        ["", "400", "400 ms", " 400ms", "-1s", "+1s", "1d", "ms", "1s1", "s1", "1S", "1e3ms", "٤00ms", "1s\n"],
    )
    def test_anything_else_is_refused_with_examples(self, text: str) -> None:
        with pytest.raises(ValueError, match='expected a duration such as "400ms", "1s" or "1m30s"'):
            syntax.parse_ttl(text)

    @pytest.mark.parametrize("text", ["0s", "49.999ms", "10m0.001s", "999999999999999h"])
    def test_what_no_lease_can_be_is_refused_with_the_bounds(self, text: str) -> None:
        with pytest.raises(ValueError, match="expected a duration from 50ms to 10m"):
            syntax.parse_ttl(text)


class TestHostsAndPorts:
    @pytest.mark.parametrize(
        ("text", "host", "port"),
        [
            ("10.0.0.10:9430", "10.0.0.10", 9430),
            ("node-0.example.org:1", "node-0.example.org", 1),
            ("my_service:65535", "my_service", 65535),
            ("[::1]:9430", "::1", 9430),
            ("[0:0:0:0:0:0:0:1]:9430", "::1", 9430),
            ("[fe80::1%eth0]:9430", "fe80::1%eth0", 9430),
        ],
    )
    def test_addresses_are_read(self, text: str, host: str, port: int) -> None:
        assert syntax.parse_host_port(text) == HostPort(host, port)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", "with a port"),
            ("host", "with a port"),
            ("host:", "with a port"),
            ("host:x", "with a port"),
            ("host:+1", "with a port"),
            ("host:65536", "with a port"),
            ("host:٣", "with a port"),
            ("host:0", "with a port from 1"),
            (":9430", "with a host"),
            ("::1:9430", "IPv6 address in brackets"),
            ("[::1:9430", "IPv6 address in brackets"),
            ("[::x]:9430", "IPv6 address between the brackets"),
            ("[10.0.0.1]:9430", "IPv6 address between the brackets"),
            ("10.0.0:9430", "IPv4 address of four numbers"),
            ("10.0.0.256:9430", "IPv4 address of four numbers"),
            ("a b:9430", "host name"),
            ("-a:9430", "host name"),
            ("a..b:9430", "host name"),
            ("a" * 254 + ":9430", "host name"),
            ("tcp://a:9430", "IPv6 address in brackets"),
        ],
    )
    def test_others_are_refused_with_the_reason(self, text: str, expected: str) -> None:
        with pytest.raises(ValueError, match=expected):
            syntax.parse_host_port(text)

    def test_without_a_host_one_listens_on_all_interfaces(self) -> None:
        assert syntax.parse_listen_addr(":8080") == HostPort("", 8080)
        assert syntax.parse_listen_addr(":8080").is_every_interface

    @pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1"])
    def test_the_unspecified_addresses_are_all_interfaces_too(self, text: str) -> None:
        assert syntax.parse_listen_addr(text).is_every_interface

    def test_one_may_listen_on_any_free_port(self) -> None:
        assert syntax.parse_listen_addr("127.0.0.1:0") == HostPort("127.0.0.1", 0)

    @given(hosts, ports)
    def test_what_is_shown_reads_back(self, host: str, port: int) -> None:
        assert syntax.parse_host_port(str(HostPort(host, port))) == HostPort(host, port)


class TestPeers:
    def test_a_peer_has_a_name_and_an_address(self) -> None:
        assert syntax.parse_peer("node-0=10.0.0.10:9430") == Peer("node-0", HostPort("10.0.0.10", 9430))

    def test_a_peer_may_be_pinned(self) -> None:
        assert syntax.parse_peer(f"node-0=[::1]:9430#{PIN.upper()}") == Peer("node-0", HostPort("::1", 9430), PIN)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", "id=host:port"),
            ("10.0.0.10:9430", "id=host:port"),
            ("=10.0.0.10:9430", "1 to 32 letters"),
            ("no de=10.0.0.10:9430", "1 to 32 letters"),
            ("a" * 33 + "=10.0.0.10:9430", "1 to 32 letters"),
            ("node-0=", "with a port"),
            ("node-0=:9430", "with a host"),
            ("node-0=a:1#", "64 hex digits after the #"),
            ("node-0=a:1#" + "a" * 63, "64 hex digits after the #"),
            ("node-0=a:1#" + "g" * 64, "which `cmkms identity show` prints"),
            (f"node-0=a:1#{PIN}#{PIN}", "64 hex digits after the #"),
        ],
    )
    def test_others_are_refused_with_the_reason(self, text: str, expected: str) -> None:
        with pytest.raises(ValueError, match=expected):
            syntax.parse_peer(text)

    @given(replica_ids, hosts, ports, st.sampled_from([None, PIN]))
    def test_what_is_shown_reads_back(self, name: str, host: str, port: int, pin: str | None) -> None:
        peer = Peer(name, HostPort(host, port), pin)
        assert syntax.parse_peer(str(peer)) == peer


class TestValidatorAddresses:
    def test_tcp(self) -> None:
        assert syntax.parse_validator_addr("tcp://10.0.0.20:26659") == ValidatorAddress(
            Scheme.TCP, host="10.0.0.20", port=26659
        )

    def test_tcp_with_the_nodes_id_pinned(self) -> None:
        assert syntax.parse_validator_addr(f"tcp://{NODE_ID.upper()}@[::1]:26659") == ValidatorAddress(
            Scheme.TCP, host="::1", port=26659, node_id=NODE_ID
        )

    def test_unix(self) -> None:
        assert syntax.parse_validator_addr("unix:///run/node/privval.sock") == ValidatorAddress(
            Scheme.UNIX, path="/run/node/privval.sock"
        )

    def test_the_longest_path_of_a_socket_is_read(self) -> None:
        assert syntax.parse_validator_addr("unix:///" + "a" * 106).path == "/" + "a" * 106

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("noise://ID@10.0.0.20:26659", "noise:// comes with a later release"),
            ("", "tcp://host:port"),
            ("10.0.0.20:26659", "tcp://host:port"),
            ("http://10.0.0.20:26659", "tcp://host:port"),
            ("TCP://10.0.0.20:26659", "tcp://host:port"),
            ("tcp:/10.0.0.20:26659", "tcp://host:port"),
            ("tcp://", "with a port"),
            ("tcp://host", "with a port"),
            ("tcp://:26659", "with a host"),
            ("tcp://host:26659/", "with a port"),
            ("tcp://@host:26659", "40 hex digits before the @"),
            (f"tcp://{NODE_ID[:-1]}@host:26659", "40 hex digits before the @"),
            (f"tcp://{NODE_ID}@{NODE_ID}@host:26659", "40 hex digits before the @"),
            ("unix://", "absolute path"),
            ("unix://run/node.sock", "absolute path"),
            ("unix://@abstract", "absolute path"),
            ("unix:///run/\0", "absolute path"),
            ("unix:///" + "a" * 107, "at most 107 bytes"),
            ("unix:///" + "ü" * 54, "at most 107 bytes"),
        ],
    )
    def test_others_are_refused_with_the_reason(self, text: str, expected: str) -> None:
        with pytest.raises(ValueError, match=expected):
            syntax.parse_validator_addr(text)

    @given(hosts, ports, st.sampled_from([None, NODE_ID]))
    def test_tcp_addresses_read_back_as_shown(self, host: str, port: int, node_id: str | None) -> None:
        addr = ValidatorAddress(Scheme.TCP, host, port, node_id=node_id)
        assert syntax.parse_validator_addr(str(addr)) == addr

    def test_unix_addresses_read_back_as_shown(self) -> None:
        addr = ValidatorAddress(Scheme.UNIX, path="/run/a b@c.sock")
        assert syntax.parse_validator_addr(str(addr)) == addr


class TestNames:
    @pytest.mark.parametrize("text", ["a", "node-0", "A.b_C-9", "a" * 32])
    def test_names_of_replicas(self, text: str) -> None:
        assert syntax.parse_replica_id(text) == text

    @pytest.mark.parametrize("text", ["", "a" * 33, "a b", "ü", "a/b", "a=b", "a\n"])
    def test_other_names_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="1 to 32 letters, digits, dots, underscores or hyphens"):
            syntax.parse_replica_id(text)

    @pytest.mark.parametrize("text", ["a", "testnet-1", "..", "a/b", "a" * 50, "ü" * 25])
    def test_chain_ids_are_whatever_a_genesis_file_may_say(self, text: str) -> None:
        assert syntax.parse_chain_id(text) == text

    @pytest.mark.parametrize("text", ["", " a", "a ", "a\n", "a\x1b[31m", "a\udcff"])
    def test_chain_ids_that_no_chain_has_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="chain_id of the genesis file"):
            syntax.parse_chain_id(text)

    @pytest.mark.parametrize(("text", "size"), [("a" * 51, 51), ("ü" * 26, 52)])
    def test_chain_ids_are_limited_in_bytes(self, text: str, size: int) -> None:
        with pytest.raises(ValueError, match=f"at most 50 bytes, this one has {size}"):
            syntax.parse_chain_id(text)


class TestChoices:
    @pytest.mark.parametrize("level", list(LogLevel))
    def test_levels(self, level: LogLevel) -> None:
        assert syntax.parse_log_level(str(level)) is level

    def test_warn_is_warning(self) -> None:
        assert syntax.parse_log_level("warn") is LogLevel.WARNING

    @pytest.mark.parametrize("log_format", list(LogFormat))
    def test_formats(self, log_format: LogFormat) -> None:
        assert syntax.parse_log_format(str(log_format)) is log_format

    @pytest.mark.parametrize("on_outage", list(OnOutage))
    def test_outages(self, on_outage: OnOutage) -> None:
        assert syntax.parse_on_outage(str(on_outage)) is on_outage

    def test_others_are_refused_with_the_choices(self) -> None:
        with pytest.raises(ValueError, match='expected "debug", "info", "warning" or "error"'):
            syntax.parse_log_level("loud")
        with pytest.raises(ValueError, match='expected "auto", "console", "json" or "plain"'):
            syntax.parse_log_format("xml")
        with pytest.raises(ValueError, match='expected "hold" or "refuse"'):
            syntax.parse_on_outage("")

    @pytest.mark.parametrize(
        ("text", "value"), [("true", True), ("TRUE", True), ("1", True), ("false", False), ("0", False)]
    )
    def test_switches(self, text: str, *, value: bool) -> None:
        assert syntax.parse_switch(text) is value

    @pytest.mark.parametrize("text", ["", "2", "maybe", "truee"])
    def test_other_switches_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match='expected "true" or "false"'):
            syntax.parse_switch(text)

    @pytest.mark.parametrize(("text", "rate"), [("100", 100.0), ("0.2", 0.2), ("1000", 1000.0)])
    def test_block_rates(self, text: str, rate: float) -> None:
        assert syntax.parse_block_rate(text) == rate

    @pytest.mark.parametrize("text", ["", "0", "-1", "1000.1", "inf", "nan", "a huge number"])
    def test_other_block_rates_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="above 0 and at most 1000"):
            syntax.parse_block_rate(text)


@given(st.text(max_size=120))
def test_any_text_is_a_value_or_a_reason(text: str) -> None:
    parsers = [
        syntax.parse_ttl,
        syntax.parse_host_port,
        syntax.parse_listen_addr,
        syntax.parse_peer,
        syntax.parse_validator_addr,
        syntax.parse_chain_id,
        syntax.parse_replica_id,
        syntax.parse_path,
        syntax.parse_block_rate,
    ]
    for parse in parsers:
        try:
            parse(text)
        except ValueError as error:
            reason = str(error)
        else:
            continue
        assert "expected" in reason
