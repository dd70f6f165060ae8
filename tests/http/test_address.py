from __future__ import annotations

import pytest

from cmkms.errors import ConfigError, OperatorError
from cmkms.http.address import ListenAddress, bind, hosts_for, parse_http_addr

ANY_IPV4 = "0.0.0.0"  # noqa: S104 - bound to for a moment, on a port of the kernel's choice


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":8080", "", 8080),
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("localhost:0", "localhost", 0),
        ("[::1]:8080", "::1", 8080),
        ("[::]:65535", "::", 65535),
        (f" {ANY_IPV4}:80 ", ANY_IPV4, 80),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert parse_http_addr(text) == ListenAddress(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8080",
        "localhost",
        "localhost:",
        ":65536",
        ":-1",
        ":http",
        "::1:8080",
        "[::1]",
        "[x]:80",
        "http://x:80",
        ":٣",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"http_addr: .* is no address; expected HOST:PORT"):
        parse_http_addr(text)


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "[::1]:8080", ":8080"])
def test_an_address_is_shown_as_it_is_written(text: str) -> None:
    assert str(parse_http_addr(text)) == text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_loopback_only_names_of_loopback_are_allowed(host: str) -> None:
    assert {"localhost", "127.0.0.1", "::1", host} == set(hosts_for(ListenAddress(host, 8080)))


@pytest.mark.parametrize("host", ["", "::", ANY_IPV4, "10.0.0.1", "signer.internal"])
def test_elsewhere_any_name_is_allowed(host: str) -> None:
    assert hosts_for(ListenAddress(host, 8080)) == ()


async def test_a_name_that_cannot_be_resolved_is_an_error_that_says_so() -> None:
    with pytest.raises(OperatorError, match=r"no-such-host\.invalid:8080: cannot listen: the name cannot be resolved"):
        await bind(ListenAddress("no-such-host.invalid", 8080))


async def test_an_address_of_another_machine_is_an_error_that_says_so() -> None:
    with pytest.raises(OperatorError, match="no interface of this machine has that address"):
        await bind(ListenAddress("192.0.2.1", 8080))


async def test_every_interface_means_ipv6_and_ipv4_where_the_kernel_has_both() -> None:
    with await bind(ListenAddress("", 0)) as sock:
        assert sock.getsockname()[0] in {"::", ANY_IPV4}


async def test_the_ipv4_wildcard_stays_ipv4() -> None:
    with await bind(ListenAddress(ANY_IPV4, 0)) as sock:
        assert sock.getsockname()[0] == ANY_IPV4
