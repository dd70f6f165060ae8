"""`cmkms status`: a running replica asked over HTTP, and shown."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from cmkms.http.schema import status_json
from cmkms.status import FuseStatus, PeerGuardStatus
from tests.ports import free_port
from tests.unit.cli.conftest import Operator, Ran
from tests.unit.cli.served import CHAIN, STATUS, Served, peer


@pytest.fixture
def served() -> Generator[Served]:
    with Served() as running:
        yield running


def ask(operator: Operator, served: Served, *words: str) -> Ran:
    return operator.run("status", "--http-addr", str(served.address), *words)


@contextmanager
def answering(answer: bytes | None) -> Generator[str]:
    """Answer one connection with these bytes, whatever it asks; none keeps it open, and None hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with closing(connection):
            connection.recv(65536)
            if answer is not None:
                connection.sendall(answer)
            if answer == b"":
                connection.recv(65536)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join(10)
        listener.close()


class TestThePage:
    def test_it_shows_the_replica_the_lease_the_peers_and_the_chain(self, operator: Operator, served: Served) -> None:
        ran = ask(operator, served)
        assert ran.code == 0
        lines = [" ".join(line.split()) for line in ran.out.splitlines()]
        assert lines[0] == "CAN SIGN"
        for line in (
            "replica a cmkms 0.2.0 up 1 h 1 min",
            "lease b epoch 7 0.250 s left",
            "term 7",
            "peer address link last seen guard at sequence release",
            "b 10.0.0.98:9430 connected 0.1 s ago armed 20/0/2 60 0.2.0",
            "c 10.0.0.99:9430 connected 0.1 s ago armed 20/0/2 60 0.2.0",
            "chain testnet-1",
            f"validator {'AB' * 20}",
            "guard armed at 20/0/3 generation 1 of a, b, c",
            "last signed 20/0 precommit",
            "refused conflict 2",
            "nodes connected tcp://10.0.0.20:26659 61 requests",
            "dialling unix:///run/n.sock 0 requests no such socket",
        ):
            assert line in lines

    def test_a_replica_that_is_not_connected_is_shown_with_the_reason(self, operator: Operator, served: Served) -> None:
        served.status = replace(
            STATUS,
            peers=(peer("b", connected=False, last_seen_seconds=None, detail="connection refused", guards=()),),
        )
        out = ask(operator, served).out
        assert "not connected  never" in out
        assert "connection refused" in out

    @pytest.mark.parametrize(("height", "shown"), [(20, True), (0, False)])
    def test_a_seal_is_shown_where_it_matters(
        self, operator: Operator, served: Served, height: int, *, shown: bool
    ) -> None:
        guard = replace(CHAIN.guard, height=height, sealed=True)
        served.status = replace(STATUS, chains=(replace(CHAIN, guard=guard),))
        assert (f"at {height}/0/3  sealed" in ask(operator, served).out) is shown

    def test_a_long_reason_is_shown_whole(self, operator: Operator, served: Served) -> None:
        reason = "its list of members differs from ours: " + "node-2 has another pin there, " * 12 + "END"
        served.status = replace(STATUS, peers=(peer("b", detail=reason),))
        assert reason.replace(" ", "") in "".join(ask(operator, served).out.split())

    def test_what_keeps_it_from_signing_comes_first(self, operator: Operator, served: Served) -> None:
        chain = replace(CHAIN, can_sign=False, waiting_for="c (never seen)")
        served.status = replace(STATUS, chains=(chain,), lease=None, leader_id="", leader_addr="")
        ran = ask(operator, served)
        assert ran.code == 0
        assert ran.out.splitlines()[:3] == [
            "CANNOT SIGN",
            "  nobody holds the lease: no majority is connected, or an election is under way",
            "  testnet-1: c (never seen)",
        ]

    def test_a_blown_fuse_is_shouted(self, operator: Operator, served: Served) -> None:
        guard = replace(CHAIN.guard, state="fused", fuse=FuseStatus("fdatasync failed", 1_700_000_000.0))
        served.status = replace(STATUS, chains=(replace(CHAIN, guard=guard),))
        out = ask(operator, served).out
        assert "BLOWN for testnet-1: fdatasync failed" in out
        assert "BLOWN 2023-11-14T22:13:20.000Z: fdatasync failed" in out

    def test_a_blown_fuse_of_another_replica_is_shown_there(self, operator: Operator, served: Served) -> None:
        guard = PeerGuardStatus("testnet-1", "fused", 1, 60, 20, 0, 2, "fdatasync failed")
        served.status = replace(STATUS, peers=(peer("b", guards=(guard,)),))
        lines = [" ".join(line.split()) for line in ask(operator, served).out.splitlines()]
        assert "b 10.0.0.98:9430 connected 0.1 s ago fused 20/0/2 60 0.2.0" in lines
        assert "b: guard of testnet-1: fdatasync failed" in lines

    def test_a_sole_replica_has_no_table_of_others(self, operator: Operator, served: Served) -> None:
        served.status = replace(STATUS, is_leader=True, leader_id="a", lease=None, peers=())
        out = ask(operator, served).out
        assert "a signs alone" in out
        assert "last seen" not in out

    def test_several_chains_are_told_apart_in_the_table_of_others(self, operator: Operator, served: Served) -> None:
        guards = tuple(PeerGuardStatus(name, "armed", 1, 1, 5, 0, 1) for name in ("testnet-1", "other-1"))
        served.status = replace(
            STATUS, chains=(CHAIN, replace(CHAIN, chain_id="other-1")), peers=(peer("b", guards=guards),)
        )
        out = ask(operator, served).out
        assert "testnet-1: armed" in out
        assert "other-1: armed" in out

    def test_the_terminal_is_not_driven_by_what_a_peer_says(self, operator: Operator, served: Served) -> None:
        served.status = replace(STATUS, peers=(peer("b", detail="\x1b[2J[bold]x[/bold]", release="\x1b]0;t\x07"),))
        out = ask(operator, served).out
        assert "\x1b" not in out
        assert "\\x1b[2J[bold]x[/bold]" in out


class TestForPrograms:
    def test_json_is_the_body_as_it_is(self, operator: Operator, served: Served) -> None:
        ran = ask(operator, served, "-o", "json")
        assert (ran.code, ran.out) == (0, status_json(STATUS) + "\n")
        assert list(json.loads(ran.out))[:4] == ["is_leader", "leader_addr", "leader_id", "last_sign_state"]

    def test_check_ends_with_0_and_one_line_if_it_can_sign(self, operator: Operator, served: Served) -> None:
        ran = ask(operator, served, "--check")
        assert (ran.code, ran.out, ran.err) == (0, "can sign: testnet-1; b holds the lease (term 7)\n", "")

    def test_check_ends_with_1_and_the_reasons_if_it_cannot(self, operator: Operator, served: Served) -> None:
        chain = replace(CHAIN, can_sign=False, waiting_for="c (never seen)")
        served.status = replace(STATUS, chains=(replace(CHAIN, chain_id="good-1"), chain))
        ran = ask(operator, served, "--check")
        assert (ran.code, ran.out, ran.err) == (1, "", "cannot sign: testnet-1: c (never seen)\n")

    def test_check_ends_with_1_if_nobody_answers(self, operator: Operator) -> None:
        assert operator.run("status", "--check", "--http-addr", f"127.0.0.1:{free_port()}").code == 1

    def test_check_and_watch_exclude_each_other(self, operator: Operator, served: Served) -> None:
        ran = ask(operator, served, "--check", "-w", "1")
        assert (ran.code, "expected one of them" in ran.err) == (2, True)

    def test_watching_shows_it_again_until_interrupted(self, served: Served) -> None:
        words = ["status", "--http-addr", str(served.address), "-o", "json", "-w", "0.2"]
        with subprocess.Popen([sys.executable, "-m", "cmkms", *words], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            bodies = [json.loads(process.stdout.readline()) for _ in range(3)]
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        assert [body["id"] for body in bodies] == ["a"] * 3

    def test_watching_goes_on_while_nobody_answers(self) -> None:
        words = ["status", "--http-addr", f"127.0.0.1:{free_port()}", "-o", "json", "-w", "0.2"]
        with subprocess.Popen([sys.executable, "-m", "cmkms", *words], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            lines = [process.stderr.readline() for _ in range(2)]
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        assert all("nobody listens there" in line for line in lines)


class TestWhomItAsks:
    def test_the_replica_of_the_home_at_its_http_addr(self, operator: Operator, served: Served) -> None:
        operator.init("--http-addr", str(served.address))
        assert operator.at_home("status", "--check").code == 0

    def test_the_rest_of_the_configuration_may_be_unfinished(self, operator: Operator, served: Served) -> None:
        operator.home.mkdir()
        (operator.home / "config.toml").write_text(f'http_addr = "{served.address}"\nid = 3\n')
        assert operator.at_home("status", "--check").code == 0

    @pytest.mark.parametrize("every", ["", "0.0.0.0"])  # noqa: S104 - asked for, not bound
    def test_every_interface_is_asked_at_loopback(self, operator: Operator, served: Served, every: str) -> None:
        operator.init("--http-addr", f"{every}:{served.address.port}")
        assert operator.at_home("status", "--check").code == 0

    def test_an_address_given_wins(self, operator: Operator, served: Served) -> None:
        operator.init("--http-addr", f"127.0.0.1:{free_port()}")
        assert operator.at_home("status", "--check", "--http-addr", str(served.address)).code == 0

    def test_a_variable_counts_too(self, operator: Operator, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COMETKMS_HTTP_ADDR", str(served.address))
        assert operator.at_home("status", "--check").code == 0

    def test_proxies_of_the_environment_are_not_asked(
        self, operator: Operator, served: Served, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
        assert ask(operator, served, "--check").code == 0

    def test_any_free_port_is_no_address_to_ask(self, operator: Operator) -> None:
        ran = operator.run("status", "--http-addr", "127.0.0.1:0")
        assert (ran.code, "say which with --http-addr" in ran.err) == (2, True)

    def test_what_is_no_address_is_refused(self, operator: Operator) -> None:
        ran = operator.run("status", "--http-addr", "nonsense")
        assert (ran.code, 'expected "host:port"' in ran.err) == (2, True)


class TestWhoAnswers:
    def test_nobody(self, operator: Operator) -> None:
        address = f"127.0.0.1:{free_port()}"
        ran = operator.run("status", "--http-addr", address)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == (
            f"cmkms: no status from http://{address}/status: nobody listens there. Is this replica running? "
            "If it serves elsewhere, give --http-addr\n"
        )

    def test_what_the_system_says_is_told_without_its_number(self, operator: Operator) -> None:
        # Linux connects nobody to a broadcast address, and sends nothing there.
        ran = operator.run("status", "--http-addr", "255.255.255.255:1")
        assert (ran.code, "Errno" in ran.err) == (1, False)
        assert "Network is unreachable. If that is not where the replica serves, give --http-addr" in ran.err

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
                "is no cmkms of this release: is_leader is missing. If another program has that address, give",
            ),
            (
                b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"is_leader":{}}',
                "is no cmkms of this release: is_leader has another form",
            ),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "is no cmkms of this release: its answer is no status"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
                "is no cmkms of this release: its answer is not JSON",
            ),
            (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "it answered 403 Forbidden"),
            (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "it answered 302"),
            (b"\x15\x03\x01\x00\x02\x02\x46", "does not speak HTTP"),
            (None, "it hung up without an answer"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", "its answer was cut off"),
        ],
        ids=["empty", "other form", "array", "page", "forbidden", "redirect", "tls", "hangs up", "cut off"],
    )
    def test_somebody_else(self, operator: Operator, answer: bytes | None, why: str) -> None:
        with answering(answer) as address:
            ran = operator.run("status", "--http-addr", address)
        assert (ran.code, why in ran.err, ran.err.count("\n")) == (1, True, 1)

    def test_one_with_long_names_of_its_own(self, operator: Operator) -> None:
        body = json.dumps({"guards": {"x" * 5000: {"state": 1}}, "chains": "x" * 5000}).encode()
        with answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)) as address:
            ran = operator.run("status", "--http-addr", address)
        assert (ran.code, len(ran.err) < 400) == (1, True)

    def test_one_without_end(self, operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cmkms.cli.asking.MAX_BODY_BYTES", 100)
        with answering(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 101) as address:
            ran = operator.run("status", "--http-addr", address)
        assert (ran.code, "its answer is longer than 100 bytes" in ran.err) == (1, True)

    def test_one_that_says_nothing(self, operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cmkms.cli.asking.TIMEOUT_SECONDS", 0.2)
        with answering(b"") as address:
            ran = operator.run("status", "--http-addr", address)
        assert (ran.code, "it did not answer within 0.2 s" in ran.err) == (1, True)


def test_colours_are_for_terminals(served: Served) -> None:
    words = [sys.executable, "-m", "cmkms", "status", "--http-addr", str(served.address)]
    environment = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "NO_COLOR"}}
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, env=environment)
    assert "\x1b" not in ran.stdout
