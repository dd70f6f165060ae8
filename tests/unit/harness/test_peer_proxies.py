"""The network in the hands of a test: what passes the proxies, what does not, and what arrives after healing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from cmkms.harness.peer_proxies import PeerProxies
from tests.patience import within

# Seconds in which what passes has long arrived, and what does not arrive until then is taken to be stopped.
SOON = within(2.0)
SILENCE = 0.2


class Member:
    """One replica as the network sees it: a port where it listens."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(SOON)
        self.address = "127.0.0.1:" + str(self.listener.getsockname()[1])

    def accept(self) -> socket.socket:
        sock, _ = self.listener.accept()
        sock.settimeout(SOON)
        return sock


@pytest.fixture
def members() -> Iterator[dict[str, Member]]:
    members = {name: Member() for name in ("a", "b", "c")}
    yield members
    for member in members.values():
        member.listener.close()


@pytest.fixture
def proxies(members: dict[str, Member]) -> Iterator[PeerProxies]:
    proxies = PeerProxies({name: member.address for name, member in members.items()})
    yield proxies
    proxies.close()


def dial(proxies: PeerProxies, one: str, other: str) -> socket.socket:
    host, _, port = proxies.address(one, other).rpartition(":")
    return socket.create_connection((host, int(port)), SOON)


@pytest.fixture
def pair(proxies: PeerProxies, members: dict[str, Member]) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection that a dialled to b: a's end and b's."""
    with dial(proxies, "a", "b") as near, members["b"].accept() as far:
        yield near, far


def hears_nothing(sock: socket.socket) -> bool:
    """Whether neither bytes nor an end arrive."""
    sock.settimeout(SILENCE)
    try:
        sock.recv(100)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(SOON)
    return False


def test_bytes_pass_both_ways(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    near.sendall(b"question")
    assert far.recv(100) == b"question"
    far.sendall(b"answer")
    assert near.recv(100) == b"answer"


def test_the_end_of_a_stream_passes(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    near.shutdown(socket.SHUT_WR)

    assert far.recv(100) == b""
    far.sendall(b"still here")
    assert near.recv(100) == b"still here"


def test_a_cut_stops_both_ways_and_tells_nobody(
    pair: tuple[socket.socket, socket.socket], proxies: PeerProxies
) -> None:
    near, far = pair
    proxies.cut("b", "a")
    near.sendall(b"lost?")
    far.sendall(b"lost?")

    assert hears_nothing(far)
    assert hears_nothing(near)


def test_what_was_sent_during_a_cut_arrives_after_healing(
    pair: tuple[socket.socket, socket.socket], proxies: PeerProxies
) -> None:
    near, far = pair
    proxies.cut("a", "b")
    near.sendall(b"late")
    assert hears_nothing(far)
    proxies.heal("a", "b")

    assert far.recv(100) == b"late"


def test_a_one_way_cut_lets_the_other_way_through(
    pair: tuple[socket.socket, socket.socket], proxies: PeerProxies
) -> None:
    near, far = pair
    proxies.cut_one_way("b", "a")
    near.sendall(b"question")
    far.sendall(b"answer")

    assert far.recv(100) == b"question"
    assert hears_nothing(near)


def test_a_cut_between_two_leaves_the_third_alone(proxies: PeerProxies, members: dict[str, Member]) -> None:
    proxies.cut("a", "b")
    with dial(proxies, "a", "c") as near, members["c"].accept() as far:
        near.sendall(b"question")

        assert far.recv(100) == b"question"


def test_an_isolated_member_is_cut_off_from_all_others(proxies: PeerProxies, members: dict[str, Member]) -> None:
    proxies.isolate("b")
    members["b"].listener.settimeout(SILENCE)
    members["c"].listener.settimeout(SILENCE)
    with dial(proxies, "a", "b"), dial(proxies, "b", "c"):
        for target in ("b", "c"):
            with pytest.raises(TimeoutError):
                members[target].listener.accept()


def test_a_dial_during_a_cut_reaches_nobody_and_has_to_be_made_again(
    proxies: PeerProxies, members: dict[str, Member]
) -> None:
    proxies.cut("a", "b")
    with dial(proxies, "a", "b") as stale:
        assert hears_nothing(stale)
        proxies.heal_all()
        with pytest.raises(ConnectionResetError):
            stale.recv(100)
    with dial(proxies, "a", "b") as fresh, members["b"].accept() as far:
        fresh.sendall(b"question")

        assert far.recv(100) == b"question"


def test_a_reset_ends_the_connections_of_both_ends_only(
    pair: tuple[socket.socket, socket.socket], proxies: PeerProxies, members: dict[str, Member]
) -> None:
    with dial(proxies, "c", "b") as other, members["b"].accept() as far:
        proxies.reset("b", "a")

        for end in pair:
            with pytest.raises(ConnectionResetError):
                end.recv(100)
        other.sendall(b"question")
        assert far.recv(100) == b"question"


def test_the_crash_of_one_end_reaches_the_other(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    far.close()
    near.sendall(b"anybody?")

    with contextlib.suppress(ConnectionResetError):
        assert near.recv(100) == b""


def test_a_member_that_is_gone_resets_its_dialler(proxies: PeerProxies, members: dict[str, Member]) -> None:
    members["b"].listener.close()
    with pytest.raises(ConnectionResetError), dial(proxies, "a", "b") as near:
        near.recv(100)
