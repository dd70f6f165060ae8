from __future__ import annotations

import pytest

from cmkms.config import HostPort
from cmkms.errors import OperatorError
from cmkms.http.address import bind, hosts_for

ANY_IPV4 = "0.0.0.0"  # noqa: S104 - bound to for a moment, on a port of the kernel's choice


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_loopback_only_names_of_loopback_are_allowed(host: str) -> None:
    assert {"localhost", "127.0.0.1", "::1", host} == set(hosts_for(HostPort(host, 8080)))


@pytest.mark.parametrize("host", ["", "::", ANY_IPV4, "10.0.0.1", "signer.internal"])
def test_elsewhere_any_name_is_allowed(host: str) -> None:
    assert hosts_for(HostPort(host, 8080)) == ()


async def test_a_name_that_cannot_be_resolved_is_an_error_that_says_so() -> None:
    with pytest.raises(OperatorError, match=r"no-such-host\.invalid:8080: cannot listen: the name cannot be resolved"):
        await bind(HostPort("no-such-host.invalid", 8080))


async def test_an_address_of_another_machine_is_an_error_that_says_so() -> None:
    with pytest.raises(OperatorError, match="no interface of this machine has that address"):
        await bind(HostPort("192.0.2.1", 8080))


async def test_every_interface_means_ipv6_and_ipv4_where_the_kernel_has_both() -> None:
    with await bind(HostPort("", 0)) as sock:
        assert sock.getsockname()[0] in {"::", ANY_IPV4}


async def test_the_ipv4_wildcard_stays_ipv4() -> None:
    with await bind(HostPort(ANY_IPV4, 0)) as sock:
        assert sock.getsockname()[0] == ANY_IPV4
