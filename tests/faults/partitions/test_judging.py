"""What a campaign of cuts calls a standstill, and that its network does to packets what it is told to."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.partitions.campaign import Cycle, Plan, late, longest_silence
from tests.faults.partitions.faults import FAULTS
from tests.faults.partitions.namespaces import Host
from tests.faults.partitions.scratch import sweep
from tests.faults.partitions.wire import Network, Weather

GOOD = Cycle("leader-deaf", silence=1.0, recovered=0.1, whole=1.0, during=10, after=10)
PLAN = Plan((), slack=0.0)


def complaints(cycle: Cycle) -> list[str]:
    return late(cycle, FAULTS[cycle.fault], PLAN)


class TestStandstill:
    def test_a_silence_within_the_budget_is_none(self) -> None:
        assert complaints(GOOD) == []

    def test_a_longer_one_is_where_a_majority_is_connected(self) -> None:
        assert "nothing signed" in complaints(replace(GOOD, silence=4.0))[0]

    def test_and_none_where_there_is_no_majority(self) -> None:
        assert complaints(replace(GOOD, fault="all", silence=60.0)) == []

    def test_a_cluster_that_does_not_sign_after_healing_is_one(self) -> None:
        assert "after healing" in complaints(replace(GOOD, fault="all", recovered=30.0))[0]

    def test_replicas_that_do_not_find_each_other_again_are_one(self) -> None:
        assert "not whole" in complaints(replace(GOOD, whole=31.0))[0]

    def test_a_cycle_without_a_signature_after_it_shows_nothing(self) -> None:
        assert "shows nothing" in complaints(replace(GOOD, after=0))[0]


class TestTheLongestSilence:
    def test_it_counts_from_the_cut(self) -> None:
        assert longest_silence([0.0, 3.0], cut=1.0, healed=5.0) > 1e3  # the last one lasts until now
        assert longest_silence([0.0, 3.0, time.monotonic()], cut=1.0, healed=2.0) == 2.0

    def test_one_that_began_in_the_fault_counts_beyond_it(self) -> None:
        assert longest_silence([1.0, 1.5, 9.0, time.monotonic()], cut=1.0, healed=2.0) == 7.5

    def test_one_that_began_later_is_none_of_it(self) -> None:
        assert longest_silence([1.0, 1.5, 2.5, 90.0], cut=1.0, healed=2.0) == 1.0


class TestLeftovers:
    def test_those_of_a_run_that_was_killed_go_and_others_stay(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        ended = subprocess.Popen(["true"])
        ended.wait()
        for name in (f"cmkms-hosts-{ended.pid}-x", f"cmkms-hosts-{os.getpid()}-x", f"cmkms-{ended.pid}-x"):
            (tmp_path / name / "home").mkdir(parents=True)
        sweep()
        assert {path.name for path in tmp_path.iterdir()} == {
            f"cmkms-hosts-{os.getpid()}-x",
            f"cmkms-{ended.pid}-x",
        }


HERE, THERE = "10.77.0.1", "10.77.0.2"


def packet(source: str, target: str, body: bytes = b"x") -> bytes:
    addresses = bytes(int(part) for address in (source, target) for part in address.split("."))
    return bytes([0x45]) + bytes(11) + addresses + body


class Ends:
    """Two hosts, of which the test is both."""

    def __init__(self, network: Network, here: socket.socket, there: socket.socket) -> None:
        self.network = network
        self.here = here
        self.there = there

    async def arrived(self, at: socket.socket, seconds: float = 0.03) -> list[bytes]:
        """What has come after so long."""
        await asyncio.sleep(seconds)
        found: list[bytes] = []
        at.settimeout(0)
        try:
            while True:
                found.append(at.recv(100))
        except BlockingIOError:
            return found


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    made = [
        *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
        *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    ]
    yield made
    for one in made:
        one.close()


@pytest.fixture
async def ends(sockets: list[socket.socket]) -> AsyncIterator[Ends]:
    here, near, there, far = sockets
    for one in (near, far):
        os.set_blocking(one.fileno(), False)
    hosts = [Host("here", (HERE,), -1, near.fileno()), Host("there", (THERE,), -1, far.fileno())]
    network = Network(hosts, seed=1)
    network.start()
    yield Ends(network, here, there)
    network.close()


class TestTheNetwork:
    async def test_it_carries_to_whom_a_packet_is_addressed(self, ends: Ends) -> None:
        ends.here.send(packet(HERE, THERE))
        assert await ends.arrived(ends.there) == [packet(HERE, THERE)]

    async def test_a_cut_is_in_one_direction(self, ends: Ends) -> None:
        ends.network.cut([HERE], [THERE])
        ends.here.send(packet(HERE, THERE))
        ends.there.send(packet(THERE, HERE))
        assert await ends.arrived(ends.there) == []
        assert await ends.arrived(ends.here) == [packet(THERE, HERE)]

    async def test_what_is_mended_carries_again(self, ends: Ends) -> None:
        ends.network.cut_both([HERE], [THERE])
        ends.network.mend()
        ends.here.send(packet(HERE, THERE))
        assert len(await ends.arrived(ends.there)) == 1

    async def test_in_foul_weather_packets_are_lost(self, ends: Ends) -> None:
        ends.network.weather = Weather(lost=1.0)
        ends.here.send(packet(HERE, THERE))
        assert await ends.arrived(ends.there) == []
        assert ends.network.counts["lost"] == 1

    async def test_come_late(self, ends: Ends) -> None:
        ends.network.weather = Weather(delay=0.2)
        ends.here.send(packet(HERE, THERE))
        assert await ends.arrived(ends.there) == []
        assert len(await ends.arrived(ends.there, 0.5)) == 1

    async def test_twice(self, ends: Ends) -> None:
        ends.network.weather = Weather(doubled=1.0)
        ends.here.send(packet(HERE, THERE))
        assert len(await ends.arrived(ends.there)) == 2

    async def test_and_out_of_order(self, ends: Ends) -> None:
        ends.network.weather = Weather(delay=0.1, reordered=0.5)
        sent = [packet(HERE, THERE, bytes([number])) for number in range(9)]  # a socket holds ten
        for one in sent:
            ends.here.send(one)
        came = await ends.arrived(ends.there, 0.5)
        assert sorted(came) == sent
        assert came != sent
