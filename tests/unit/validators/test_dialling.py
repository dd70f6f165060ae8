"""Dialling: the same patience for ever, and a name for everything that keeps a connection from being made."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cmkms.config import Scheme, ValidatorAddress
from cmkms.harness import sockets
from cmkms.harness.node import SimulatedNode
from cmkms.validators import TroubleKind, link
from tests.patience import within
from tests.ports import free_port
from tests.unit.signing.messages import CHAIN, KEY
from tests.unit.validators.peers import Listener, address_of, eventually
from tests.unit.validators.seat import Seat

NOBODY = 65534
"""The user id that Linux keeps for nobody."""


async def test_a_port_where_nobody_listens_is_refused(seat: Seat) -> None:
    async with seat.dialling(ValidatorAddress(Scheme.TCP, "127.0.0.1", free_port())):
        assert "priv_validator_laddr" in (await seat.trouble(TroubleKind.REFUSED)).detail


async def test_a_name_with_two_addresses_where_nobody_listens_is_refused(seat: Seat) -> None:
    async with seat.dialling(ValidatorAddress(Scheme.TCP, "localhost", free_port())):
        assert "priv_validator_laddr" in (await seat.trouble(TroubleKind.REFUSED)).detail


async def test_a_name_that_can_be_none_is_told_of_with_what_to_write(seat: Seat) -> None:
    async with seat.dialling(ValidatorAddress(Scheme.TCP, f"{'x' * 64}.example", 26659)):
        detail = (await seat.trouble(TroubleKind.UNRESOLVED)).detail
    assert "longer than 63 characters; correct validator_addr, or write an IP address" in detail
    assert "codec" not in detail


async def test_a_unix_socket_that_is_not_there_is_absent(seat: Seat, tmp_path: Path) -> None:
    async with seat.dialling(ValidatorAddress(Scheme.UNIX, path=str(tmp_path / "no.sock"))):
        assert "priv_validator_laddr" in (await seat.trouble(TroubleKind.ABSENT)).detail


async def test_a_unix_socket_left_behind_is_refused(seat: Seat, tmp_path: Path) -> None:
    Listener.unix(tmp_path / "left.sock").close()
    async with seat.dialling(ValidatorAddress(Scheme.UNIX, path=str(tmp_path / "left.sock"))):
        assert "nobody listens" in (await seat.trouble(TroubleKind.REFUSED)).detail


@contextmanager
def closed_socket() -> Generator[ValidatorAddress]:
    """A socket that somebody listens at, in a folder that everybody may enter, and that nobody may write to."""
    with tempfile.TemporaryDirectory() as folder, Listener.unix(Path(folder) / "node.sock") as listener:
        Path(folder).chmod(0o755)
        Path(listener.where.path).chmod(0o000)
        yield listener.address


@contextmanager
def without_privilege() -> Generator[None]:
    """Root may connect to every socket, so be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_unix_socket_that_may_not_be_written_to_is_a_matter_of_permission(seat: Seat) -> None:
    with closed_socket() as address, without_privilege():
        async with seat.dialling(address):
            detail = (await seat.trouble(TroubleKind.PERMISSION)).detail
    assert address.path in detail
    assert "write permission" in detail


async def test_a_name_that_does_not_resolve_is_told_by_its_name(seat: Seat) -> None:
    async with seat.dialling(ValidatorAddress(Scheme.TCP, "no-such-host.invalid", 26659)):
        assert "no-such-host.invalid" in (await seat.trouble(TroubleKind.UNRESOLVED)).detail


@pytest.mark.parametrize("host", ["x" * 64 + ".invalid", "a..b"])
async def test_a_name_that_no_resolver_takes_is_trouble_and_no_bug(seat: Seat, host: str) -> None:
    async with seat.dialling(ValidatorAddress(Scheme.TCP, host, 26659)):
        await seat.trouble(TroubleKind.UNRESOLVED)


async def test_a_host_that_answers_nothing_is_a_timeout(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "DIAL_SECONDS", 0.3)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.socket() as first, socket.socket() as second:
            for filler in (first, second):
                filler.settimeout(0)
                filler.connect_ex(full.getsockname())
            async with seat.dialling(ValidatorAddress(Scheme.TCP, *full.getsockname())):
                assert "firewall" in (await seat.trouble(TroubleKind.TIMEOUT)).detail


async def test_accepted_and_closed_without_a_word_is_closed_early(seat: Seat) -> None:
    with Listener() as listener:
        async with seat.dialling(listener.address):
            peer = await listener.accept()
            await asyncio.sleep(0.05)
            peer.close()
            trouble = await seat.trouble(TroubleKind.CLOSED_EARLY)
    assert "proxy" in trouble.detail


async def test_accepted_and_reset_without_a_word_is_closed_early_too(seat: Seat) -> None:
    with Listener() as listener:
        async with seat.dialling(listener.address):
            (await listener.accept()).reset()
            await seat.trouble(TroubleKind.CLOSED_EARLY)


async def test_the_redial_pause_never_reaches_half_a_second() -> None:
    assert 0 < link.REDIAL_SECONDS[0] < link.REDIAL_SECONDS[1] <= 0.5


async def test_a_node_that_comes_after_a_hundred_failures_is_found_at_once(
    seat: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with monkeypatch.context() as patch:
        patch.setattr(link, "REDIAL_SECONDS", (0.001, 0.002))
        async with seat.dialling(ValidatorAddress(Scheme.TCP, "127.0.0.1", port)):
            await eventually(lambda: len(seat.troubles) >= 100)
            patch.undo()
            await asyncio.sleep(0.01)
            with Listener(sockets.ListenAddress("127.0.0.1", port)) as listener:
                before = time.monotonic()
                (await listener.accept()).close()
                assert time.monotonic() - before < within(1.0)
    assert set(seat.troubles[:100]) == {"refused"}


async def test_dials_are_never_closer_together_than_a_tenth_of_a_second(seat: Seat) -> None:
    async with seat.dialling(ValidatorAddress(Scheme.TCP, "127.0.0.1", free_port())):
        await asyncio.sleep(1.0)
    assert 2 <= len(seat.troubles) <= 10


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
async def test_a_node_that_restarts_is_served_again(seat: Seat, tmp_path: Path, scheme: str) -> None:
    node = SimulatedNode("tcp://127.0.0.1:0" if scheme == "tcp" else f"unix://{tmp_path}/node.sock", CHAIN)
    await node.start()
    async with seat.dialling(address_of(node.address)):
        for _ in range(3):
            assert await node.boot() == KEY.pub_key
            await node.stop()
            await node.start()
        assert await node.boot() == KEY.pub_key
        await node.stop()


async def test_several_addresses_are_served_at_once(seat: Seat, tmp_path: Path) -> None:
    where = ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0", f"unix://{tmp_path}/node.sock"]
    nodes = [SimulatedNode(one, CHAIN) for one in where]
    for node in nodes:
        await node.start()
    async with seat.dialling(*(address_of(node.address) for node in nodes)):
        assert await asyncio.gather(*(node.boot() for node in nodes)) == [KEY.pub_key] * 3
    for node in nodes:
        await node.stop()


async def test_one_dead_address_does_not_hold_up_another(seat: Seat) -> None:
    dead = ValidatorAddress(Scheme.TCP, "127.0.0.1", free_port())
    async with SimulatedNode("tcp://127.0.0.1:0", CHAIN) as node, seat.dialling(dead, address_of(node.address)):
        assert await node.boot() == KEY.pub_key


class TestStatus:
    """What people are shown of a link."""

    async def test_while_dialling_it_says_what_is_wrong(self, seat: Seat) -> None:
        async with seat.dialling(ValidatorAddress(Scheme.TCP, "127.0.0.1", free_port())) as dialler:
            await seat.trouble(TroubleKind.REFUSED)
            await eventually(lambda: dialler.status().detail)
            assert dialler.status().state == "dialling"

    async def test_in_a_backlog_it_waits(self, seat: Seat) -> None:
        with Listener() as listener:
            async with seat.dialling(listener.address) as dialler:
                await eventually(lambda: dialler.status().state == "waiting")

    async def test_in_use_it_is_connected_and_counts_requests_over_redials(self, seat: Seat) -> None:
        node = SimulatedNode("tcp://127.0.0.1:0", CHAIN)
        await node.start()
        async with seat.dialling(address_of(node.address)) as dialler:
            await node.boot()
            assert dialler.status().state == "connected"
            assert len(dialler.status().remote_id) == 40
            node.endpoint.drop()
            await node.pub_key()
            await eventually(lambda: dialler.status().requests == 2)
        await node.stop()
