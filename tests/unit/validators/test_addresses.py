"""Host names: a known address is dialled at once, whatever the resolver does."""

from __future__ import annotations

import asyncio
import socket

import pytest

from cmkms.validators.addresses import Addresses


class Resolver:
    """Stands in the place of the loop's resolver: answers, fails or takes its time, as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: list[str] | None = ["10.0.0.1"]
        self.asked = 0
        self.hold = asyncio.Event()
        self.hold.set()
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.getaddrinfo)

    async def getaddrinfo(self, host: str, port: None, **_: object) -> list[tuple[object, ...]]:
        self.asked += 1
        await self.hold.wait()
        if self.answer is None:
            raise socket.gaierror(socket.EAI_AGAIN, f"{host}: try again")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.answer]


async def test_an_ip_address_is_never_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch)
    assert await Addresses("::1").get() == ["::1"]
    assert resolver.asked == 0


async def test_a_name_is_looked_up_once_and_then_known(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch)
    addresses = Addresses("node")
    assert await addresses.get() == await addresses.get() == ["10.0.0.1"]
    assert resolver.asked == 1


async def test_a_slow_resolver_is_waited_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch)
    resolver.hold.clear()
    addresses = Addresses("node")
    waiting = asyncio.create_task(addresses.get())
    await asyncio.sleep(0.05)
    waiting.cancel()
    again = asyncio.create_task(addresses.get())
    await asyncio.sleep(0.05)
    resolver.hold.set()
    assert await again == ["10.0.0.1"]
    assert resolver.asked == 1


async def test_a_known_address_is_used_while_a_new_lookup_hangs_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cmkms.validators.addresses.REFRESH_SECONDS", 0.0)
    resolver = Resolver(monkeypatch)
    addresses = Addresses("node")
    await addresses.get()
    resolver.hold.clear()
    assert await addresses.get() == ["10.0.0.1"]
    resolver.answer = None
    resolver.hold.set()
    await asyncio.sleep(0.01)
    assert await addresses.get() == ["10.0.0.1"]
    resolver.answer = ["10.0.0.2"]
    await addresses.get()
    await asyncio.sleep(0.01)
    assert await addresses.get() == ["10.0.0.2"]


async def test_a_name_that_never_resolved_is_an_error_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch)
    resolver.answer = None
    addresses = Addresses("node")
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="node"):
            await addresses.get()
    assert resolver.asked == 2
