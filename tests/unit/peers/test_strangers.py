"""Whoever calls: a stranger, a scanner, a broken replica. It ends that connection, is told once, and costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cmkms.keys.identity import Identity
from cmkms.peers import listening, session
from cmkms.peers.codec import MAX_FRAME_BYTES, MAX_HELLO_BYTES, encode
from cmkms.peers.frames import with_length
from cmkms.peers.messages import Goodbye, Raft
from cmkms.peers.tls import Credentials
from tests.patience import within
from tests.unit.peers.caller import Caller, GoneError, issued_by_a_leaf
from tests.unit.peers.replica import (
    HEARTBEAT,
    Replica,
    cluster,
    eventually,
    identity,
    meshed,
    open_sockets,
    running,
)

NO_CERTIFICATE = ("127.0.0.1", "it shows no certificate: no replica")
NO_MEMBER = (
    "127.0.0.1",
    "its certificate proves no identity that is pinned here: another cluster's replica, or a wrong pin",
)


async def drip(caller: Caller, data: bytes) -> None:
    """Send data one byte at a time."""
    with contextlib.suppress(GoneError):
        for at in range(len(data)):
            await caller.send(data[at : at + 1])
            await asyncio.sleep(0.01)


async def still_serves(one: Replica, two: Replica) -> None:
    """A replica that was attacked lets its peer in, and found no bug."""
    caller = await Caller.greeted(one, two)
    assert two.connected() == {one.me}
    caller.close()
    await eventually(lambda: not two.connected())
    assert two.bugs == []


# -------------------------------------------------------------------------------------------------------- without proof


async def test_a_stranger_without_a_certificate_is_turned_away() -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.by(Credentials(identity()).asking_who(), two)
        await caller.gone()
        await eventually(lambda: two.strangers == [NO_CERTIFICATE])
        await still_serves(one, two)


async def test_a_replica_of_another_cluster_is_turned_away() -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.being(identity(), two)
        await caller.gone()
        await eventually(lambda: two.strangers == [NO_MEMBER])
        await still_serves(one, two)


async def test_a_certificate_that_names_a_member_and_is_not_issued_by_it_is_turned_away() -> None:
    one, two = cluster()
    forger = Identity(identity().seed, one.identity.public_key, "")
    async with running(two):
        caller = await Caller.being(forger, two)
        await caller.gone()
        await eventually(lambda: two.strangers == [NO_MEMBER])


async def test_a_leaf_issues_no_other_certificates(tmp_path: Path) -> None:
    """A member's process that was broken into must not make replicas of its own."""
    one, two = cluster()
    async with running(two):
        caller = await Caller.by(issued_by_a_leaf(one.identity, tmp_path), two)
        await caller.gone()
        await eventually(lambda: two.strangers == [NO_MEMBER])


async def test_an_older_tls_is_turned_away() -> None:
    one, two = cluster()
    context = Credentials(one.identity).dialling(two.identity.public_key)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with running(two):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await Caller.by(context, two)
        await eventually(lambda: two.strangers)
        assert two.strangers[0][1].startswith("it does not speak TLS 1.3: ")
        await still_serves(one, two)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.0\r\n\r\n", bytes(1000), b"\x16\x03\x01\xff\xff" + bytes(100)])
async def test_garbage_instead_of_tls_is_turned_away(data: bytes) -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.plain(two)
        await caller.send(data)
        await caller.gone()
        await eventually(lambda: two.strangers)
        assert two.strangers[0][1].startswith("it does not speak TLS 1.3: ")
        await still_serves(one, two)


async def test_a_caller_that_only_looks_whether_somebody_listens_is_not_told() -> None:
    one, two = cluster()
    async with running(two):
        (await Caller.plain(two)).close()
        await still_serves(one, two)
        assert two.strangers == []


async def test_a_caller_that_says_nothing_is_given_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "HANDSHAKE_SECONDS", 0.2)
    one, two = cluster()
    async with running(two):
        caller = await Caller.plain(two)
        before = time.monotonic()
        await caller.gone()
        assert time.monotonic() - before < within(1)
        assert two.strangers == [("127.0.0.1", "no TLS handshake within 0 s")]
        await still_serves(one, two)


async def test_a_caller_that_proves_itself_and_says_no_hello_is_given_little_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "HELLO_SECONDS", 0.2)
    one, two = cluster()
    async with running(two):
        caller = await Caller.being(one.identity, two)
        slowly = asyncio.create_task(drip(caller, with_length(encode(one.hello()))))
        await caller.gone()
        slowly.cancel()
        assert two.told("no hello within 0 s")
        await still_serves(one, two)


async def test_places_held_in_silence_keep_no_replica_out() -> None:
    one, two = cluster()
    async with running(two):
        callers = [await Caller.plain(two) for _ in range(listening.MAX_STRANGERS + 4)]
        await eventually(lambda: len(two.strangers) == 4)
        assert "more than 16 callers that do not say hello" in two.strangers[0][1]
        for first in callers[:4]:
            await first.gone()
        await still_serves(one, two)
        for caller in callers:
            caller.close()


async def test_turned_away_callers_leave_no_socket_behind() -> None:
    one, two = cluster()
    async with running(two):
        await still_serves(one, two)
        before = open_sockets()
        for _ in range(20):
            (await Caller.being(identity(), two)).close()
            (await Caller.plain(two)).close()
        await eventually(lambda: open_sockets() <= before)


async def test_a_stop_leaves_no_socket_behind() -> None:
    one, two, three = cluster(3)
    before = open_sockets()
    async with meshed(one, two, three):
        waiting = await Caller.plain(two)
    waiting.close()
    await eventually(lambda: open_sockets() <= before)


# ----------------------------------------------------------------------------------------------- members that misbehave


async def test_a_frame_that_is_too_long_for_a_hello_is_refused_by_its_header() -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.being(one.identity, two)
        await caller.send(struct.pack(">I", MAX_HELLO_BYTES + 1))
        await caller.gone()
        assert two.told(f"a frame of {MAX_HELLO_BYTES + 1} bytes was announced")
        await still_serves(one, two)


async def test_a_frame_that_is_too_long_is_refused_by_its_header() -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.greeted(one, two)
        await caller.send(struct.pack(">I", MAX_FRAME_BYTES + 1))
        await caller.gone()
        assert two.told(f"a frame of {MAX_FRAME_BYTES + 1} bytes was announced")
        await still_serves(one, two)


async def test_a_message_before_the_hello_is_refused() -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.being(one.identity, two)
        await caller.say(Goodbye())
        await caller.gone()
        assert two.told("its first message is no hello")
        assert two.messages == []


async def test_a_second_hello_is_refused() -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.greeted(one, two)
        await caller.say(one.hello())
        await caller.gone()
        assert two.told("a second hello in one session")


async def test_optional_messages_of_a_newer_release_are_skipped() -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.greeted(one, two)
        await caller.send(with_length(b"\xfenews"))
        await caller.say(Raft(b"after it"))
        await eventually(lambda: two.messages == [("node-0", Raft(b"after it"))])
        assert two.net.skipped == 1
        caller.close()


async def test_an_empty_frame_is_refused_before_and_after_a_heartbeat() -> None:
    for beats in (0, 2):
        one, two = cluster()
        async with running(two):
            caller = await Caller.greeted(one, two)
            for _ in range(beats):
                await caller.say(HEARTBEAT)
            await caller.send(with_length(b""))
            await caller.gone()
            assert two.told("a frame of 0 bytes")


async def test_heartbeats_that_say_the_same_are_all_heard_and_so_is_news() -> None:
    one, two = cluster()
    news = replace(HEARTBEAT, nodes=1)
    async with running(two):
        caller = await Caller.greeted(one, two)
        for message in (news, news, HEARTBEAT, news):
            await caller.say(message)
        await eventually(lambda: len(two.messages) == 3)
        assert two.messages == [(one.me, news)] * 3
        caller.close()


async def test_a_peer_that_does_not_read_is_cut_off_and_costs_a_bounded_amount() -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.greeted(one, two)
        sent = 0
        piece = Raft(bytes(1 << 20))
        while two.net.send("node-0", piece):
            sent += 1
            # As heartbeats come: what is not read is what ends the session, not silence.
            await caller.say(Raft(b""))
            await asyncio.sleep(0.02)
            assert sent < 64
        caller.close()
        assert two.told("it does not read what it is sent")
        await still_serves(one, two)


async def test_a_send_to_a_peer_that_does_not_read_calls_no_handler() -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.greeted(one, two)
        told = len(two.events)
        for _ in range(40):
            two.net.send("node-0", Raft(bytes(1 << 20)))
        assert len(two.events) == told
        await eventually(lambda: two.count("down", "node-0") == 1)
        caller.close()


async def test_a_peer_that_ends_amid_a_frame_is_gone_and_nothing_else() -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.greeted(one, two)
        await caller.send(with_length(encode(Raft(bytes(1000))))[:500])
        caller.close()
        await eventually(lambda: two.count("down", "node-0") == 1)
        assert two.messages == []
        await still_serves(one, two)


async def test_what_follows_a_hello_in_one_piece_is_read() -> None:
    one, two = cluster()
    async with running(two):
        caller = await Caller.being(one.identity, two)
        longest = Raft(bytes(1_000_000))
        await caller.send(with_length(encode(one.hello())) + with_length(encode(longest)))
        await eventually(lambda: two.messages == [("node-0", longest)])
        caller.close()


# ------------------------------------------------------------------------------------------------------------ anything

EXAMPLES = 25


def survive(attack: Callable[[Replica, Replica], Awaitable[Caller]]) -> None:
    """Let one connection be attacked, and see that the next one is served."""

    async def play() -> None:
        one, two = cluster()
        async with running(two):
            with contextlib.suppress(GoneError, OSError):
                (await attack(one, two)).close()
            await still_serves(one, two)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())


@settings(max_examples=EXAMPLES)
@given(data=st.binary(min_size=1, max_size=3000))
@example(data=b"\x16\x03\x01\x00\x00")
def test_any_bytes_instead_of_tls(data: bytes) -> None:
    async def attack(_one: Replica, two: Replica) -> Caller:
        caller = await Caller.plain(two)
        await caller.send(data)
        await asyncio.sleep(0.005)
        return caller

    survive(attack)


@settings(max_examples=EXAMPLES)
@given(data=st.binary(min_size=1, max_size=3000))
def test_any_bytes_instead_of_a_hello(data: bytes) -> None:
    async def attack(one: Replica, two: Replica) -> Caller:
        caller = await Caller.being(one.identity, two)
        await caller.send(data)
        await asyncio.sleep(0.005)
        return caller

    survive(attack)


@settings(max_examples=EXAMPLES)
@given(frames=st.lists(st.binary(max_size=300), min_size=1, max_size=5), framed=st.booleans())
def test_any_bytes_after_the_hello(frames: list[bytes], *, framed: bool) -> None:
    async def attack(one: Replica, two: Replica) -> Caller:
        caller = await Caller.greeted(one, two)
        await caller.send(b"".join(with_length(frame) if framed else frame for frame in frames))
        await asyncio.sleep(0.005)
        return caller

    survive(attack)


async def test_what_answers_a_dial_and_is_no_replica_is_asked_again() -> None:
    one, two = cluster()
    with socket.create_server((two.address.host, two.address.port)) as sock:
        async with running(one):
            answered, _ = await asyncio.get_running_loop().run_in_executor(None, sock.accept)
            answered.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            await eventually(lambda: one.told("is no replica of this release"))
            answered.close()
    async with meshed(one, two):
        pass
