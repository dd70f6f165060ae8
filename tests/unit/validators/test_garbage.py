"""Any bytes at any stage: this connection ends or goes on, the process lives, and the next connection is served."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cmkms.harness.protobuf import delimited
from cmkms.harness.wire import PingReply, PingRequest, encode_request
from cmkms.validators import link
from tests.unit.validators.peers import Listener, Peer, PeerGoneError
from tests.unit.validators.seat import Seat

EXAMPLES = 25
PING = delimited(encode_request(PingRequest()))

Attack = Callable[[Peer], Awaitable[None]]

TAGS = st.integers(0, 16)


def chunk(number: int, body: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + delimited(body)


FIELDS = st.builds(chunk, TAGS, st.binary(max_size=60))
MESSAGES = st.lists(FIELDS, max_size=4).map(b"".join)
NESTED = st.builds(chunk, TAGS, MESSAGES)


@pytest.fixture(autouse=True)
def quick_redials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "REDIAL_SECONDS", (0.001, 0.002))


def survive(attack: Attack, *, plain: bool, handshake: bool) -> None:
    """Let one connection be attacked, and see that the one after it is served."""

    async def play(folder: Path) -> None:
        seat = Seat(folder)
        with Listener.unix(folder / "node.sock") if plain else Listener() as listener:
            async with seat.dialling(listener.address):
                victim = await listener.accept()
                if handshake:
                    await victim.handshake()
                with suppress(PeerGoneError):
                    await attack(victim)
                    # To close at once would reset the connection, perhaps before a byte was read.
                    await victim.has_answer(0.02)
                victim.close()
                peer = await listener.meet()
                await peer.ask(PingRequest())
                assert await peer.answer() == PingReply()
        seat.close()

    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play(Path(folder)))


@settings(max_examples=EXAMPLES)
@given(data=st.binary(min_size=1, max_size=3000))
def test_any_bytes_instead_of_a_hello(data: bytes) -> None:
    survive(lambda peer: peer.send(data), plain=False, handshake=False)


@settings(max_examples=EXAMPLES)
@given(data=st.binary(min_size=1, max_size=2500))
def test_any_bytes_after_a_true_hello(data: bytes) -> None:
    hello = b"\x22\x0a\x20" + b"\x09" + bytes(31)
    survive(lambda peer: peer.send(hello + data), plain=False, handshake=False)


@settings(max_examples=EXAMPLES)
@given(data=st.binary(min_size=1, max_size=2500))
def test_any_bytes_after_the_handshake(data: bytes) -> None:
    survive(lambda peer: peer.send(data), plain=False, handshake=True)


@pytest.mark.parametrize("plain", [False, True], ids=["tcp", "unix"])
@settings(max_examples=EXAMPLES)
@given(data=st.binary(min_size=1, max_size=2500))
@example(data=PING[:-1])
@example(data=b"\x00")
@example(data=b"\xff" * 12)
def test_any_bytes_inside_the_stream(data: bytes, *, plain: bool) -> None:
    survive(lambda peer: peer.write(data), plain=plain, handshake=True)


@pytest.mark.parametrize("plain", [False, True], ids=["tcp", "unix"])
@settings(max_examples=EXAMPLES)
@given(messages=st.lists(st.one_of(MESSAGES, NESTED), min_size=1, max_size=12))
def test_any_well_framed_messages(messages: list[bytes], *, plain: bool) -> None:
    data = b"".join(delimited(message) for message in messages)
    survive(lambda peer: peer.write(data), plain=plain, handshake=True)


@settings(max_examples=EXAMPLES)
@given(cuts=st.lists(st.integers(1, 10), min_size=1, max_size=12))
def test_a_ping_in_any_pieces_is_answered(cuts: list[int]) -> None:
    async def attack(peer: Peer) -> None:
        data = PING * 8
        for cut in [*cuts, len(data)]:
            await peer.write(data[:cut])
            data = data[cut:]
        for _ in range(8):
            assert await peer.answer() == PingReply()

    survive(attack, plain=True, handshake=True)
