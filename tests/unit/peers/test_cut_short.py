"""A peer that dies amid its TLS handshake: it is let go or dialled again, and the event loop has nothing to say.

Its kernel closes or resets the connection at whatever byte it has come to, on the side that dials and on the one that
listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

import pytest

from cmkms.peers.session import Session
from cmkms.peers.tls import Credentials
from tests.unit.peers.replica import Replica, cluster, eventually, running

CUTS = range(5)
"""In parts of four of what is said in one go: nothing of it, or all of it, or something in between."""


class Half:
    """One side of TLS over a plain socket, that says what it has to say only in part."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, listens: bool) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=listens)

    async def hears(self) -> None:
        self._in.write(await asyncio.get_running_loop().sock_recv(self._sock, 1 << 16))

    async def says(self, parts: int = 4) -> None:
        """So many quarters of its next words."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        words = self._out.read()
        await asyncio.get_running_loop().sock_sendall(self._sock, words[: len(words) * parts // 4])

    def dies(self, *, reset: bool) -> None:
        if reset:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


@pytest.fixture
async def complaints() -> list[dict[str, Any]]:
    """What the event loop was left with, and would write somewhere."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: found.append(context))
    return found


async def dialled(one: Replica, two: Replica) -> Half:
    """Replica one, which does not run, calls the other."""
    sock = socket.socket()
    sock.setblocking(False)  # noqa: FBT003 - the socket's own interface
    await asyncio.get_running_loop().sock_connect(sock, (two.address.host, two.address.port))
    return Half(sock, Credentials(one.identity).dialling(two.identity.public_key), listens=False)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("amid", ["its first words", "its proof"])
async def test_whoever_dials_and_dies_is_let_go_in_silence(
    amid: str, reset: bool, complaints: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = cluster()
    async with running(two):
        for parts in CUTS:
            half = await dialled(one, two)
            if amid == "its proof":
                await half.says()
                await half.hears()
            await half.says(parts)
            half.dies(reset=reset)
        async with running(one):
            await eventually(two.connected)
    assert two.strangers == []
    assert (complaints, capfd.readouterr().err) == ([], "")


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("amid", ["the other's first words", "its answer", "the other's proof"])
async def test_whoever_listens_and_dies_is_dialled_again_in_silence(
    amid: str, reset: bool, complaints: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = cluster()
    loop = asyncio.get_running_loop()
    with socket.create_server((two.address.host, two.address.port)) as listener:
        listener.setblocking(False)  # noqa: FBT003 - the socket's own interface
        async with running(one):
            for parts in CUTS:
                sock, _ = await loop.sock_accept(listener)
                half = Half(sock, Credentials(two.identity).accepting([one.identity.public_key]), listens=True)
                if amid != "the other's first words":
                    await half.hears()
                    await half.says(4 if amid == "the other's proof" else parts)
                half.dies(reset=reset)
            await eventually(lambda: one.told("closed the connection") or one.told("cannot be reached"))
            listener.close()
            async with running(two):
                await eventually(one.connected)
    assert (complaints, capfd.readouterr().err) == ([], "")


async def test_an_error_that_no_session_catches_is_seen_by_these_tests(
    complaints: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("as it would be without `_guarded`")

    one, two = cluster()
    monkeypatch.setattr(Session, "connection_lost", _once(Session.connection_lost, fails))
    async with running(one, two):
        await eventually(two.connected)
    await eventually(lambda: complaints)
    assert str(complaints[0]["exception"]) == "as it would be without `_guarded`"


def _once(real: Callable[..., None], then: Callable[..., None]) -> Callable[..., None]:
    """What does the real thing, and fails after it."""

    def both(*arguments: Any) -> None:
        real(*arguments)
        then(*arguments)

    return both
