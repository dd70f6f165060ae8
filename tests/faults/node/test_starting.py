"""What a replica needs to start, what it says when that is missing, and what it does meanwhile."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cmkms.guard.filesystem import untrusted_file_system
from cmkms.harness.chain import block_id
from cmkms.harness.node import SimulatedNode
from cmkms.harness.values import MessageType, Time, Vote
from cmkms.harness.wire import PingReply, PingRequest, PubKeyReply, PubKeyRequest, SignVoteRequest, VoteReply
from tests.faults.node.process import CHAIN, KEY, UP, Replica
from tests.unit.validators.peers import Listener

OPERATOR_ERROR = 2
"""The exit code for what the operator has to put right."""
MAY_PASS = 1
"""The exit code for what may be over when it is tried again."""
MEMORY = Path("/dev/shm")  # noqa: S108 - what a test here is about
NEEDLESS = ("cmkms.demo", "cmkms.harness", "demo", "httpx", "hypothesis", "numpy", "pytest", "requests", "tests")
"""What no replica loads: the judge, the demo, the tests, and libraries that only they use."""
MAX_RESIDENT_MIB = 80
VOTE = Vote(MessageType.PREVOTE, 10, 0, block_id(10, 0), Time(1_700_000_000), bytes(20))


class TestUnborn:
    """No state, and no word that there is none: held, and said so."""

    async def test_the_public_key_and_pings_are_answered_and_a_vote_is_held(self, replica: Replica) -> None:
        with Listener() as listener:
            replica.chains = {CHAIN: [str(listener.where)]}
            replica.configure()
            await replica.start()
            peer = await listener.meet()
            await peer.ask(PingRequest())
            assert await peer.answer() == PingReply()
            await peer.ask(PubKeyRequest(CHAIN))
            assert isinstance(reply := await peer.answer(), PubKeyReply)
            assert reply.pub_key == KEY.pub_key
            await peer.ask(SignVoteRequest(CHAIN, VOTE))
            assert not await peer.has_answer(3.5)

    async def test_log_and_status_say_what_is_missing(self, replica: Replica) -> None:
        await replica.start()
        (line,) = replica.events("not born yet: sign requests are held")
        assert "priv_validator_state.json" in line["waiting_for"]
        assert f"--never-signed {CHAIN}" in line["waiting_for"]
        status = await replica.chain_status()
        assert status["guard"]["state"] == "unborn"
        assert status["waiting_for"] == line["waiting_for"]

    @pytest.mark.slow
    async def test_a_node_that_gives_up_waiting_is_told_in_the_log(self, replica: Replica) -> None:
        with Listener() as listener:
            replica.chains = {CHAIN: [str(listener.where)]}
            replica.configure()
            await replica.start()
            peer = await listener.meet()
            await peer.ask(SignVoteRequest(CHAIN, VOTE))
            await peer.has_answer(0.1)
            peer.close()
            await replica.logged('"gone"')
        assert "never-signed" in replica.events("gone")[0]["detail"]


class TestSeveralChains:
    """One that is broken keeps no other from being served."""

    @pytest.fixture
    async def other(self) -> AsyncIterator[SimulatedNode]:
        async with SimulatedNode("tcp://127.0.0.1:0", "testnet-2") as other:
            yield other

    @pytest.mark.parametrize(
        "harm",
        [
            "key missing",
            pytest.param("key readable by all", marks=pytest.mark.slow),
            pytest.param("state file of another chain", marks=pytest.mark.slow),
        ],
    )
    async def test_the_others_are_served(
        self, replica: Replica, node: SimulatedNode, other: SimulatedNode, harm: str
    ) -> None:
        replica.add_chain("testnet-2", other.address)
        if harm == "key missing":
            replica.key_file("testnet-2").unlink()
        elif harm == "key readable by all":
            replica.key_file("testnet-2").chmod(0o644)
        else:
            state = replica.key_file("testnet-2").with_name("priv_validator_state.json")
            state.write_text("{}", encoding="utf-8")
            state.chmod(0o600)
        await replica.start(never_signed=True)
        assert (await node.sign_vote(VOTE)).reply.vote.signature
        (line,) = replica.events("this chain is not served")
        assert line["chain"] == "testnet-2"
        assert str(replica.key_file("testnet-2").parent) in line["reason"]

    @pytest.mark.slow
    async def test_each_chain_signs_only_its_own(
        self, replica: Replica, node: SimulatedNode, other: SimulatedNode
    ) -> None:
        replica.add_chain("testnet-2", other.address)
        await replica.start(never_signed=True)
        first, second = await node.sign_vote(VOTE), await other.sign_vote(VOTE)
        assert first.reply.vote.signature != second.reply.vote.signature

    async def test_with_all_broken_there_is_nothing_to_run(self, replica: Replica) -> None:
        replica.key_file(CHAIN).unlink()
        replica.spawn()
        assert await replica.ended() == OPERATOR_ERROR
        assert str(replica.key_file(CHAIN)) in replica.log


class TestRefusedToStart:
    """An exit code for who starts it again, and a sentence that says what to do."""

    async def test_a_second_process_on_the_same_home(self, replica: Replica, node: SimulatedNode) -> None:
        await replica.start(never_signed=True)
        second = Replica(replica.folder, replica.chains)
        first_pid = replica.pid
        second.spawn()
        assert await second.ended() == MAY_PASS
        assert f"process {first_pid}" in second.log
        assert "Stop it first" in second.log
        assert (await node.sign_vote(VOTE)).reply.vote.signature

    async def test_a_file_system_that_forgets(self, replica: Replica) -> None:
        if not untrusted_file_system(MEMORY):
            pytest.skip(f"{MEMORY} is no memory file system here")
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            on_memory = Replica(Path(folder), replica.chains)
            on_memory.make()
            on_memory.spawn(never_signed=True)
            assert await on_memory.ended() == OPERATOR_ERROR
            assert "tmpfs" in on_memory.log
            assert "--allow-unsafe" in on_memory.log
            await on_memory.start("--allow-unsafe", never_signed=True)
            assert on_memory.log.count("never for a real validator") == 1
            assert await on_memory.stop() == 0

    @pytest.mark.slow
    async def test_the_word_never_signed_for_a_chain_that_is_not_there(self, replica: Replica) -> None:
        replica.spawn("--never-signed", "testnet-9")
        assert await replica.ended() == OPERATOR_ERROR
        assert "testnet-9" in replica.log

    async def test_a_guard_that_was_lost(self, replica: Replica) -> None:
        await replica.start(never_signed=True)
        await replica.stop()
        (replica.home / "data" / CHAIN / "guard").unlink()
        replica.spawn(never_signed=True)
        assert await replica.ended() == OPERATOR_ERROR
        assert "cmkms guard replace" in replica.log

    async def test_a_home_from_a_backup_has_lost_its_guard(self, replica: Replica) -> None:
        """What is written while it runs is in no backup, not even the folder: docs/HOSTS.md."""
        await replica.start(never_signed=True)
        await replica.stop()
        shutil.rmtree(replica.home / "data")
        replica.spawn()
        assert await replica.ended() == OPERATOR_ERROR
        assert "cmkms guard replace" in replica.log


class TestService:
    """What a service manager and an operator see of a process that starts."""

    async def test_an_http_port_that_is_taken_keeps_nobody_from_signing(
        self, replica: Replica, node: SimulatedNode
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            await replica.start("--http-addr", address, never_signed=True)
            assert (await node.sign_vote(VOTE)).reply.vote.signature
            (trouble,) = replica.events("no status, no metrics: trying again every few seconds")
        assert address in trouble["reason"]
        assert "Traceback" not in replica.log
        assert await replica.stop() == 0

    async def test_a_chain_that_is_refused_is_shown_beside_those_that_are_served(
        self, replica: Replica, node: SimulatedNode
    ) -> None:
        replica.add_chain("broken-1", "tcp://127.0.0.1:1")
        (replica.home / "priv" / "broken-1" / "priv_validator_state.json").write_text("{}")
        await replica.start("--never-signed", CHAIN)
        assert (await node.sign_vote(VOTE)).reply.vote.signature
        shown = await replica.chain_status("broken-1")
        assert shown["guard"]["state"] == "refused"
        assert "priv_validator_state.json: it lacks height, round, step" in shown["waiting_for"]
        assert (await replica.chain_status())["guard"]["state"] == "armed"

    async def test_systemd_is_told_ready_and_stopping(self, replica: Replica, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.settimeout(0)
            replica.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
            await replica.start(never_signed=True)
            assert await _datagram(manager) == b"READY=1"
            await replica.stop()
            assert await _datagram(manager) == b"STOPPING=1"

    async def test_it_leaves_no_core_dump(self, replica: Replica) -> None:
        await replica.start(never_signed=True)
        limits = Path(f"/proc/{replica.pid}/limits").read_text(encoding="ascii")  # noqa: ASYNC240
        (core,) = [line.split() for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core[4:6] == ["0", "0"]

    async def test_everything_it_makes_is_for_its_owner_only(self, replica: Replica, node: SimulatedNode) -> None:
        await replica.start(never_signed=True)
        await node.sign_vote(VOTE)
        await replica.stop()
        made = [path for path in replica.home.rglob("*") if path.name != "config.toml"]
        assert len(made) > 5
        assert [path for path in made if path.stat().st_mode & 0o077] == []

    async def test_it_loads_nothing_that_signing_does_not_need(self, replica: Replica) -> None:
        """Most of the time from start to ready is the import of libraries: benchmarks/starting.py has the seconds."""
        replica.environment["PYTHONPROFILEIMPORTTIME"] = "1"
        await replica.start(never_signed=True)
        loaded = set(re.findall(r"^import time: .*\| *([\w.]+)$", replica.log, re.MULTILINE))
        assert {"cmkms.node", "cmkms.http", "pysyncobj"} <= loaded
        assert {name for name in loaded if name.startswith(NEEDLESS)} == set()

    async def test_it_is_small(self, replica: Replica, node: SimulatedNode) -> None:
        await replica.start(never_signed=True)
        await node.sign_vote(VOTE)
        await replica.status()
        assert _resident_mib(replica.pid) <= MAX_RESIDENT_MIB

    async def test_a_node_that_starts_first_finds_its_signer_in_time(
        self, replica: Replica, node: SimulatedNode
    ) -> None:
        replica.spawn(never_signed=True)
        assert await node.boot() == KEY.pub_key


@pytest.mark.slow
async def test_a_vote_is_signed_as_soon_as_it_is_up(replica: Replica, node: SimulatedNode) -> None:
    await replica.start(never_signed=True)
    answer = await node.sign_vote(VOTE)
    assert isinstance(answer.reply, VoteReply)
    assert replica.log.count(UP) == 1


def _resident_mib(pid: int) -> float:
    (line,) = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


async def _datagram(manager: socket.socket) -> bytes:
    async with asyncio.timeout(5):
        while True:
            try:
                return manager.recv(100)
            except BlockingIOError:
                await asyncio.sleep(0.01)
