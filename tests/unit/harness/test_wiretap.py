"""A wiretap between node and signers passes everything on, hides nothing from the judge and changes no habit."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from cmkms.harness.chain import ChainPlan, block_id, run_chain
from cmkms.harness.endpoint import NodeTimings
from cmkms.harness.errors import NodeSideError, ReplyTimeoutError
from cmkms.harness.judge import main as judge_main
from cmkms.harness.node import SimulatedNode
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Rule, judge
from cmkms.harness.protobuf import delimited
from cmkms.harness.values import MessageType, Vote
from cmkms.harness.wire import SignVoteRequest, encode_request
from cmkms.harness.wiretap import Wiretap
from tests.unit.harness.dialing_signer import DialingSigner, Hangup
from tests.unit.harness.signer import Fault, Signer

CHAIN = "wiretap-1"
QUICK = NodeTimings(accept=2.0, read_write=0.5, ping=30, retries=5, retry_pause=0.02)
VOTE = Vote(MessageType.PREVOTE, 5, 0, block_id(5, 0))
REQUEST = encode_request(SignVoteRequest(CHAIN, VOTE))


class Tapped:
    """A node, the wiretap before it, and what each of them says was asked and answered."""

    def __init__(
        self, node: SimulatedNode, tap: Wiretap, by_node: list[Observation], by_tap: list[Observation]
    ) -> None:
        self.node = node
        self.tap = tap
        self.by_node = by_node
        self.by_tap = by_tap

    async def told(self, count: int) -> list[Observation]:
        """What the tap has told, once it is so much: it may learn of an end later than the node."""
        for _ in range(1000):
            if len(self.by_tap) >= count:
                break
            await asyncio.sleep(0.01)
        return self.by_tap


@pytest.fixture(params=["tcp", "unix"])
async def tapped(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Tapped]:
    addresses = ("tcp://127.0.0.1:0",) * 2
    if request.param == "unix":
        addresses = (f"unix://{tmp_path}/node.sock", f"unix://{tmp_path}/tap.sock")
    by_node: list[Observation] = []
    by_tap: list[Observation] = []
    async with (
        SimulatedNode(addresses[0], CHAIN, timings=QUICK, witness=by_node.append) as node,
        Wiretap(addresses[1], node.address, by_tap.append) as tap,
    ):
        yield Tapped(node, tap, by_node, by_tap)


async def test_it_tells_what_the_node_tells(tapped: Tapped) -> None:
    with DialingSigner(tapped.tap.address, Signer(CHAIN).answer):
        pub_key = await tapped.node.boot()
        steps = [step async for step in run_chain(tapped.node, ChainPlan(heights=5, late_round_every=2))]

    assert tapped.tap.pub_key == pub_key
    assert [(one.request, one.reply) for one in tapped.by_tap] == [(one.request, one.reply) for one in tapped.by_node]
    verdict = judge(tapped.by_tap, [CHAIN])
    assert (verdict.violations, verdict.signed) == ([], len(steps))


async def test_it_lies_within_the_times_of_the_node_and_knows_the_replica(tapped: Tapped) -> None:
    with DialingSigner(tapped.tap.address, Signer(CHAIN).answer):
        await tapped.node.sign_vote(VOTE)

    (outer,), (inner,) = tapped.by_node, tapped.by_tap
    assert outer.asked_at <= inner.asked_at <= inner.answered_at <= outer.answered_at
    assert inner.replica.partition(":")[0] == outer.replica.partition(":")[0]


async def test_a_faulty_signer_is_caught_through_it(tapped: Tapped) -> None:
    with DialingSigner(tapped.tap.address, Signer(CHAIN, Fault.EXTENDS_PREVOTES).answer):
        await tapped.node.boot()
        await tapped.node.sign_vote(VOTE)

    assert [violation.rule for violation in judge(tapped.by_tap, [CHAIN]).violations] == [Rule.EXTENSION]


async def test_a_second_signer_waits_behind_it_as_in_the_backlog_of_the_node(tapped: Tapped) -> None:
    with DialingSigner(tapped.tap.address, Signer(CHAIN).answer) as first:
        await tapped.node.boot()
        with DialingSigner(tapped.tap.address, Signer(CHAIN).answer) as second:
            await tapped.node.pub_key()
            assert second.served == 0

            first.close()
            await tapped.node.sign_vote(VOTE)

            assert second.served > 0


async def test_a_reset_of_the_signer_reaches_the_node_as_one() -> None:
    hangups = [Hangup(reset=True)]
    signer = Signer(CHAIN)

    def answer(message: bytes) -> bytes:
        if hangups:
            raise hangups.pop()
        return signer.answer(message)

    seen: list[Observation] = []
    async with (
        SimulatedNode("tcp://127.0.0.1:0", CHAIN, timings=QUICK) as node,
        Wiretap("tcp://127.0.0.1:0", node.address, seen.append) as tap,
    ):
        with DialingSigner(tap.address, answer):
            answered = await node.sign_vote(VOTE)

    assert answered.attempts == 2
    assert [one.reply is None for one in seen] == [True, False]


async def test_an_answer_after_the_node_has_hung_up_is_told(tapped: Tapped) -> None:
    signer = Signer(CHAIN)

    def late(message: bytes) -> bytes:
        time.sleep(QUICK.read_write + 0.3)
        return signer.answer(message)

    with DialingSigner(tapped.tap.address, late):
        with pytest.raises(ReplyTimeoutError):
            await tapped.node.raw(REQUEST)
        told = await tapped.told(1)

    assert told[0].reply == signer.answer(REQUEST)


async def test_a_signer_that_stays_silent_has_not_answered(tapped: Tapped) -> None:
    with DialingSigner(tapped.tap.address, lambda _: None):
        with pytest.raises(ReplyTimeoutError):
            await tapped.node.raw(REQUEST)
        told = await tapped.told(1)

    assert [one.reply for one in told] == [None]


async def test_a_second_answer_to_one_request_is_told_as_well(tmp_path: Path) -> None:
    signer, seen = Signer(CHAIN), list[Observation]()
    async with (
        SimulatedNode(f"unix://{tmp_path}/node.sock", CHAIN, timings=QUICK) as node,
        Wiretap(f"unix://{tmp_path}/tap.sock", node.address, seen.append, pub_key=signer.pub_key),
    ):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "tap.sock")
        asking = asyncio.create_task(node.sign_vote(VOTE))
        assert await reader.readexactly(len(delimited(REQUEST))) == delimited(REQUEST)
        answer = signer.answer(REQUEST)
        signer.state = Signer(CHAIN).state
        other = encode_request(SignVoteRequest(CHAIN, Vote(MessageType.PREVOTE, 5, 0, block_id(5, 9))))
        writer.write(delimited(answer) + delimited(signer.answer(other)))
        await asking
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    assert [one.reply for one in seen] == [answer, signer.answer(other)]
    assert Rule.TWO_MESSAGES in {violation.rule for violation in judge(seen, [CHAIN]).violations}


async def test_a_node_that_restarts_is_dialled_again(tapped: Tapped) -> None:
    with DialingSigner(tapped.tap.address, Signer(CHAIN).answer):
        await tapped.node.boot()
        await tapped.node.stop()
        await asyncio.sleep(0.2)
        await tapped.node.start()
        await tapped.node.sign_vote(VOTE)

    assert [one.reply is not None for one in tapped.by_tap] == [True]


async def test_trouble_of_the_recorder_is_told_at_the_end_and_not_to_the_node(tmp_path: Path) -> None:
    def full(_: Observation) -> None:
        raise OSError("no space left on device")

    async with SimulatedNode(f"unix://{tmp_path}/node.sock", CHAIN, timings=QUICK) as node:
        tap = Wiretap(f"unix://{tmp_path}/tap.sock", node.address, full)
        await tap.start()
        with DialingSigner(tap.address, Signer(CHAIN).answer):
            await node.sign_vote(VOTE)
        with pytest.raises(OSError, match="no space"):
            await tap.stop()


async def test_as_a_command_it_leaves_a_recording_that_can_be_judged(tmp_path: Path) -> None:
    recording = tmp_path / "recording.jsonl"
    async with SimulatedNode("tcp://127.0.0.1:0", CHAIN) as node:
        command = [sys.executable, "-m", "cmkms.harness.wiretap", "tcp://127.0.0.1:0", node.address, str(recording)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode()
            with DialingSigner(line.split()[-1], Signer(CHAIN).answer):
                await boot(node)
                _ = [step async for step in run_chain(node, ChainPlan(heights=3))]
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await process.wait() == 0
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    assert judge_main([str(recording), "--chain", CHAIN, "--at-least", "9"]) == 0


async def boot(node: SimulatedNode) -> None:
    """As an impatient operator does, who starts a node again that did not find its signer in time."""
    for _ in range(10):
        with suppress(NodeSideError):
            await node.boot()
            return
