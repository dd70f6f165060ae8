"""Whoever has taken the place of the validator's node does its worst, over tcp and over a unix socket.

It is in the position to ask for signatures, and gets those that may be given. What it must not get is anything else:
two messages for one place, the signer's life, its memory, its disk full of log.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from cmkms.harness.chain import block_id
from cmkms.harness.endpoint import NodeTimings
from cmkms.harness.errors import NodeSideError, RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.protobuf import delimited, uvarint
from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import CmkmsProcess
from cmkms.harness.values import Proposal, Vote
from cmkms.harness.wire import PingRequest, PubKeyRequest, SignProposalRequest, SignVoteRequest, encode_request
from tests.faults.cluster.replicas import CHAIN, READY, events, vote
from tests.fuzz.entries_privval import stream_corpus
from tests.fuzz.mutation import Mutator

pytestmark = [pytest.mark.proof, pytest.mark.asyncio(loop_scope="module")]

SECONDS: Final = 0.3
LONG_SECONDS: Final = 30.0
MORE_KB: Final = 24 * 1024
"""What the signer may grow by in one attack: the longest request a few times over, and what Python keeps."""
MORE_LINES: Final = 40
LINES_A_SECOND: Final = 5
BACK_SECONDS: Final = 20.0
TIMINGS: Final = NodeTimings(accept=1.0, read_write=0.5, ping=60.0, retries=4, retry_pause=0.02)


@dataclass
class Signer:
    """A replica alone and the node that it serves, which is in bad hands. `oracle` sees each answer."""

    replica: CmkmsProcess
    cluster: CmkmsCluster
    node: SimulatedNode
    oracle: Oracle
    heights: count[int] = field(default_factory=lambda: count(100))

    async def exchange(self, data: bytes) -> bytes:
        """Put bytes into the stream, and read one answer; none if the signer hangs up or keeps silent."""
        with suppress(NodeSideError):
            return (await self.node.endpoint.exchange_bytes(data)).reply
        return b""

    async def write(self, data: bytes) -> None:
        """Put bytes into the stream, and read nothing."""
        connection = self.node.endpoint._serving
        if connection is None:
            await self.exchange(delimited(encode_request(PingRequest())))
            return
        with suppress(NodeSideError, OSError):
            async with asyncio.timeout(0.2):
                await connection.write(data)
                return
        self.node.endpoint.drop()
        self.node.endpoint._connect_wanted.set()

    async def ask(self, message: Vote | Proposal, chain_id: str = CHAIN) -> bool:
        """Ask as a node does; whether it was signed. The oracle sees it."""
        try:
            if isinstance(message, Vote):
                await self.node.sign_vote(message, chain_id=chain_id)
            else:
                await self.node.sign_proposal(message, chain_id=chain_id)
        except (RemoteSignerError, NodeSideError):
            return False
        return True

    def resident_kb(self) -> int:
        text = Path(f"/proc/{self.replica.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0])

    def chatter(self) -> int:
        """Lines of log that are no signature."""
        return sum(line["event"] != "signed" for line in events(self.replica))


Attack = Callable[[Signer, float], Awaitable[None]]


async def for_a_while(seconds: float, step: Callable[[], Awaitable[object]]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        await step()
        await asyncio.sleep(0)


def _request(message: Vote | Proposal, chain_id: str = CHAIN) -> bytes:
    if isinstance(message, Vote):
        return encode_request(SignVoteRequest(chain_id, message))
    return encode_request(SignProposalRequest(chain_id, message))


# ------------------------------------------------------------------------------------------------------------- attacks


async def a_flood_of_pings(signer: Signer, seconds: float) -> None:
    """Eight in one piece, again and again: as many as a signer takes."""
    ping = delimited(encode_request(PingRequest()))
    await for_a_while(seconds, lambda: signer.write(ping * 8))


async def more_at_once_than_any_node_asks(signer: Signer, seconds: float) -> None:
    """Thousands of requests in one piece."""
    key = delimited(encode_request(PubKeyRequest(CHAIN)))
    await for_a_while(seconds, lambda: signer.write(key * 5000))


async def votes_without_reading_the_answers(signer: Signer, seconds: float) -> None:
    """Asks for signatures one after the other, and leaves the answers where they are."""
    requests = (delimited(_request(vote(next(signer.heights)))) for _ in iter(int, 1))
    await for_a_while(seconds, lambda: signer.write(next(requests)))


async def giant_frames(signer: Signer, seconds: float) -> None:
    """The longest request there is, whole, of nothing; one byte more; and lengths of gigabytes."""
    longest = 11 * 1024 * 1024 // 10
    frames = [uvarint(longest) + bytes(longest), uvarint(longest + 1), uvarint(2**31 - 1), uvarint(2**63), b"\xff" * 10]
    await for_a_while(seconds, lambda: signer.exchange(random.choice(frames)))


async def half_a_request_for_ever(signer: Signer, seconds: float) -> None:
    """Announces the longest request and sends it a byte at a time."""
    await signer.write(uvarint(1_000_000))
    await for_a_while(seconds, lambda: signer.write(b"\x00"))


async def a_storm_of_connections(signer: Signer, seconds: float) -> None:
    """Takes the signer from the backlog, shakes hands, and hangs up."""

    async def step() -> None:
        await signer.exchange(delimited(encode_request(PingRequest())))
        signer.node.endpoint.drop()
        signer.node.endpoint._connect_wanted.set()

    await for_a_while(seconds, step)


async def everything_damaged(signer: Signer, seconds: float) -> None:
    """Requests of every kind, mutated."""
    mutator = Mutator(random.Random(3), stream_corpus())
    await for_a_while(seconds, lambda: signer.write(mutator.draw()))


async def impossible_places(signer: Signer, seconds: float) -> None:
    """Height 2^63-1 and 0, negative rounds, unknown types, blocks of strange shape."""
    good = vote(next(signer.heights))
    odd = (
        replace(good, height=2**63 - 1),
        replace(good, height=0),
        replace(good, height=-1),
        replace(good, round=-1),
        replace(good, round=2**31 - 1, height=1),
        replace(good, type=99),
        Proposal(2**63 - 1, 0, block_id=block_id(1, 0)),
        Proposal(good.height, 0, pol_round=-5, block_id=block_id(1, 0)),
    )
    await for_a_while(seconds, lambda: signer.exchange(delimited(_request(random.choice(odd)))))


async def chains_of_strange_names(signer: Signer, seconds: float) -> None:
    """Other chains: empty, long, of escape sequences, of what a path or a log would misunderstand."""
    names = ("", "x" * 60_000, "\x1b[2J\x07", "../../etc/passwd", "a\nb", '"}{', f"{CHAIN}\0", CHAIN.upper(), "é" * 25)
    height = next(signer.heights)
    await for_a_while(seconds, lambda: signer.exchange(delimited(_request(vote(height), random.choice(names)))))


async def contradictions(signer: Signer, seconds: float) -> None:
    """For each place, and each place before it, as many different blocks as it can ask for."""

    async def step() -> None:
        height = next(signer.heights)
        for place in (height, height, height - 1, max(1, height - 50)):
            await signer.ask(vote(place, block=random.randrange(5), seconds=random.randrange(3)))

    await for_a_while(seconds, step)


async def refusals_in_turns(signer: Signer, seconds: float) -> None:
    """What will be refused, in turns, so that no two in a row are alike."""
    await signer.ask(vote(next(signer.heights)))
    turns = count(1)
    await for_a_while(seconds, lambda: signer.exchange(delimited(_request(vote(1 + next(turns) % 40)))))


ATTACKS: Final[tuple[Attack, ...]] = (
    a_flood_of_pings,
    more_at_once_than_any_node_asks,
    votes_without_reading_the_answers,
    giant_frames,
    half_a_request_for_ever,
    a_storm_of_connections,
    everything_damaged,
    impossible_places,
    chains_of_strange_names,
    contradictions,
    refusals_in_turns,
)


# --------------------------------------------------------------------------------------------------------------- tests


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["tcp", "unix"])
async def signer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Signer]:
    folder = tmp_path_factory.mktemp("hostile")
    address = "tcp://127.0.0.1:0" if request.param == "tcp" else f"unix://{folder}/node.sock"
    oracle = Oracle([CHAIN])
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(SimulatedNode(address, CHAIN, timings=TIMINGS, witness=oracle))
        cluster = CmkmsCluster(folder, CHAIN, [node.address], replicas=1)
        stack.enter_context(cluster)
        node.knows(await asyncio.to_thread(cluster.initialise))
        cluster.start_all()
        await asyncio.to_thread(cluster.wait_ready, READY)
        await node.endpoint.wait_served(READY)
        made = Signer(cluster.replica("node-0"), cluster, node, oracle)
        assert await made.ask(vote(50))
        yield made
    assert oracle.violations == []


async def _signs_again(signer: Signer) -> None:
    async with asyncio.timeout(BACK_SECONDS):
        signed = False
        while not signed:
            signed = await signer.ask(vote(next(signer.heights)))


async def _endures(signer: Signer, attack: Attack, seconds: float) -> None:
    memory, chatter, began = signer.resident_kb(), signer.chatter(), time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds + BACK_SECONDS):
            await attack(signer, seconds)
    assert signer.replica.alive, signer.replica.log_tail()
    signer.node.endpoint.drop()
    signer.node.endpoint._connect_wanted.set()
    await _signs_again(signer)
    took = time.monotonic() - began
    grown, lines = signer.resident_kb() - memory, signer.chatter() - chatter
    print(f"{attack.__name__}: {grown} KiB more, {lines} lines in {took:.1f} s, {signer.oracle.signed} signed")  # noqa: T201
    assert signer.oracle.violations == []
    assert grown < MORE_KB
    assert lines < MORE_LINES + LINES_A_SECOND * took, signer.replica.log_tail()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_the_signer_endures_it_and_signs_on(signer: Signer, attack: Attack) -> None:
    await _endures(signer, attack, SECONDS)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_for_half_a_minute(signer: Signer, attack: Attack) -> None:
    await _endures(signer, attack, LONG_SECONDS)
