"""`cmkms cluster wait`: what a rolling restart waits for before it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import replace

import pytest

from cmkms.status import PeerGuardStatus, PeerStatus
from tests.patience import within
from tests.unit.cli.conftest import Operator, Ran
from tests.unit.cli.served import CHAIN, STATUS, Served, peer

UNABLE = replace(STATUS, chains=(replace(CHAIN, can_sign=False, waiting_for="c (never seen)"),))


@pytest.fixture
def served() -> Generator[Served]:
    with Served() as running:
        yield running


def wait(operator: Operator, served: Served, *words: str) -> Ran:
    return operator.run("cluster", "wait", "--http-addr", str(served.address), *words)


def test_a_cluster_that_can_sign_is_not_waited_for(operator: Operator, served: Served) -> None:
    started = time.monotonic()
    ran = wait(operator, served)
    assert (ran.code, ran.out) == (0, "can sign: testnet-1; b holds the lease (term 7)\n")
    assert time.monotonic() - started < within(5)


def test_it_waits_until_the_cluster_can_sign(operator: Operator, served: Served) -> None:
    served.status = UNABLE
    timer = threading.Timer(0.5, lambda: setattr(served, "status", STATUS))
    timer.start()
    started = time.monotonic()
    assert wait(operator, served, "--timeout", "20").code == 0
    assert time.monotonic() - started >= 0.45
    timer.join()


def test_it_gives_up_in_time_and_says_what_it_waits_for(operator: Operator, served: Served) -> None:
    served.status = UNABLE
    ran = wait(operator, served, "--timeout", "0.5")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == ["cmkms: gave up after 0.5 s, still waiting:", "testnet-1: c (never seen)"]


def test_a_replica_that_is_not_up_yet_is_waited_for(operator: Operator) -> None:
    with Served() as before:
        port = before.address.port
    late = Served(port)
    timer = threading.Timer(0.5, late.__enter__)
    timer.start()
    try:
        assert operator.run("cluster", "wait", "--http-addr", f"127.0.0.1:{port}", "--timeout", "20").code == 0
    finally:
        timer.join()
        late.__exit__(None, None, None)


def test_a_replica_that_does_not_come_up_is_named(operator: Operator) -> None:
    with Served() as before:
        address = str(before.address)
    ran = operator.run("cluster", "wait", "--http-addr", address, "--timeout", "0.3")
    assert (ran.code, "nobody listens there" in ran.err) == (1, True)


def test_a_time_of_nothing_asks_once(operator: Operator, served: Served) -> None:
    assert wait(operator, served, "--timeout", "0").code == 0
    served.status = UNABLE
    assert wait(operator, served, "--timeout", "0").code == 1


MISSING = [
    (peer("c", connected=False, detail="connection refused"), "c: not connected (connection refused)"),
    (peer("c", connected=False), "c: not connected"),
    (peer("c", guards=()), "c: its guard of testnet-1 is not known"),
    (
        peer("c", guards=(PeerGuardStatus("testnet-1", "unborn", 0, 0, 0, 0, 0),)),
        "c: its guard of testnet-1 is unborn",
    ),
]


@pytest.mark.parametrize(("third", "why"), MISSING)
def test_all_means_every_replica_connected_and_armed(
    operator: Operator, served: Served, third: PeerStatus, why: str
) -> None:
    served.status = replace(STATUS, peers=(peer("b"), third))
    assert wait(operator, served).code == 0
    ran = wait(operator, served, "--all", "--timeout", "0.2")
    assert (ran.code, ran.err.splitlines()[1:]) == (1, [why])


def test_all_means_this_replica_too(operator: Operator, served: Served) -> None:
    guard = replace(CHAIN.guard, state="fused")
    served.status = replace(STATUS, chains=(replace(CHAIN, guard=guard),))
    ran = wait(operator, served, "--all", "--timeout", "0.2")
    assert (ran.code, "a: its guard of testnet-1 is fused" in ran.err) == (1, True)


def test_with_all_there_it_ends(operator: Operator, served: Served) -> None:
    assert wait(operator, served, "--all", "--timeout", "0.2").code == 0
