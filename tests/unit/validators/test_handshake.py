"""The handshake on tcp: patient in a backlog, strict once the node speaks, loud about a wrong identity."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cmkms.config import ValidatorAddress
from cmkms.harness.wire import PingReply, PingRequest
from cmkms.validators import TroubleKind, conversation
from tests.unit.validators.peers import Listener, Peer, PeerGoneError
from tests.unit.validators.seat import Seat


def node_id(key: Ed25519PrivateKey) -> str:
    return hashlib.sha256(key.public_key().public_bytes_raw()).digest()[:20].hex()


def pinned(address: ValidatorAddress, pin: str) -> ValidatorAddress:
    return ValidatorAddress(address.scheme, address.host, address.port, node_id=pin)


async def serve(peer: Peer) -> None:
    await peer.handshake()
    await peer.ask(PingRequest())
    assert await peer.answer() == PingReply()


async def test_in_a_backlog_there_is_no_deadline(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "HANDSHAKE_SECONDS", 0.1)
    with Listener() as listener:
        async with seat.dialling(listener.address):
            await seat.entered("waiting")
            await asyncio.sleep(0.6)
            await serve(await listener.accept())
    assert seat.troubles == []


async def test_an_accepting_node_that_keeps_silent_is_waited_for(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "HANDSHAKE_SECONDS", 0.1)
    with Listener() as listener:
        async with seat.dialling(listener.address):
            peer = await listener.accept()
            await asyncio.sleep(0.6)
            await serve(peer)
    assert seat.troubles == []


async def test_a_handshake_that_stops_halfway_times_out(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "HANDSHAKE_SECONDS", 0.2)
    with Listener() as listener:
        async with seat.dialling(listener.address):
            peer = await listener.accept()
            await peer.send(b"\x22\x0a\x20")
            await seat.trouble(TroubleKind.HANDSHAKE_TIMEOUT)
            assert await peer.gone()
            await serve(await listener.accept())


async def test_a_drip_of_bytes_does_not_stretch_the_deadline(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "HANDSHAKE_SECONDS", 0.3)
    with Listener() as listener:
        async with seat.dialling(listener.address):
            peer = await listener.accept()
            with suppress(PeerGoneError):
                for byte in b"\x22\x0a\x20" + bytes(30):
                    await peer.send(bytes([byte]))
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.1)
            assert seat.troubles[:1] == ["handshake_timeout"]


async def test_a_finished_handshake_may_stay_without_a_request(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "HANDSHAKE_SECONDS", 0.2)
    monkeypatch.setattr(conversation, "SILENCE_SECONDS", 0.2)
    with Listener() as listener:
        async with seat.dialling(listener.address) as link:
            peer = await listener.meet()
            await asyncio.sleep(1.3)
            assert link.status().state == "handshaking"
            await peer.ask(PingRequest())
            assert await peer.answer() == PingReply()
    assert seat.troubles == []


async def test_the_pinned_node_is_served(seat: Seat) -> None:
    with Listener() as listener:
        peer_key = Ed25519PrivateKey.generate()
        async with seat.dialling(pinned(listener.address, node_id(peer_key))):
            peer = await listener.accept()
            peer.identify(peer_key)
            await serve(peer)
    assert seat.troubles == []


async def test_another_node_than_the_pinned_one_is_told_by_both_ids(seat: Seat) -> None:
    expected = "ab" * 20
    with Listener() as listener:
        async with seat.dialling(pinned(listener.address, expected)):
            peer = await listener.meet()
            trouble = await seat.trouble(TroubleKind.WRONG_ID)
            assert await peer.gone()
    assert expected in trouble.detail
    assert node_id(peer.identity) in trouble.detail


async def test_another_node_than_the_pinned_one_is_answered_nothing(seat: Seat) -> None:
    with Listener() as listener:
        async with seat.dialling(pinned(listener.address, "ab" * 20)) as link:
            peer = await listener.accept()
            await peer.handshake_and_ask(PingRequest())
            assert await peer.gone()
            await seat.trouble(TroubleKind.WRONG_ID)
            assert link.status().requests == 0


async def test_the_signer_proves_its_own_identity(seat: Seat) -> None:
    with Listener() as listener:
        async with seat.dialling(listener.address):
            peer = await listener.meet()
            expected = Ed25519PrivateKey.from_private_bytes(b"i" * 32).public_key().public_bytes_raw()
            assert peer.remote_key == expected


@pytest.mark.parametrize(
    "hello",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01" + bytes(60), b"\x22\x0a\x20" + bytes(32), b"\xff" * 40],
    ids=["http", "tls", "low order key", "noise"],
)
async def test_what_is_no_hello_ends_the_connection_and_the_next_is_served(seat: Seat, hello: bytes) -> None:
    with Listener() as listener:
        async with seat.dialling(listener.address):
            peer = await listener.accept()
            await peer.send(hello)
            assert await peer.gone()
            await seat.trouble(TroubleKind.PROTOCOL)
            await serve(await listener.accept())


async def test_a_node_that_hangs_up_during_the_handshake_is_dialled_again(seat: Seat) -> None:
    with Listener() as listener:
        async with seat.dialling(listener.address):
            peer = await listener.accept()
            await peer.receive()
            await peer.send(b"\x22")
            peer.close()
            await seat.trouble(TroubleKind.CLOSED)
            await serve(await listener.accept())
