"""What a connected validator gets: every request one answer of its kind, in order, and the connection stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cmkms.harness.chain import ChainPlan, block_id, run_chain
from cmkms.harness.errors import RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.protobuf import delimited
from cmkms.harness.values import NIL_BLOCK, BlockID, MessageType, Proposal, Time, Vote
from cmkms.harness.wire import (
    ErrorReply,
    Kind,
    PingReply,
    PingRequest,
    PubKeyReply,
    PubKeyRequest,
    Request,
    SignProposalRequest,
    SignVoteRequest,
    VoteReply,
    decode_reply,
    encode_request,
)
from cmkms.privval.session import MAX_REQUESTS_AT_ONCE
from cmkms.validators import TroubleKind
from cmkms.validators.conversation import MAX_QUEUED_EVENTS
from tests.unit.signing.messages import CHAIN, KEY
from tests.unit.validators.peers import Listener, Peer, address_of, eventually
from tests.unit.validators.seat import Seat

SignRequest = SignVoteRequest | SignProposalRequest

NOW = Time(1_700_000_000, 5)
MIB = 1024 * 1024
ANSWER_LIMIT = 300


@pytest.fixture(params=["tcp", "unix"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "tcp://127.0.0.1:0" if request.param == "tcp" else f"unix://{tmp_path}/node.sock"


@asynccontextmanager
async def served(seat: Seat, where: str, oracle: Oracle | None = None) -> AsyncGenerator[SimulatedNode]:
    node = SimulatedNode(where, CHAIN, witness=oracle)
    node.knows(KEY.pub_key)
    await node.start()
    async with seat.dialling(address_of(node.address)):
        yield node
    await node.stop()


@asynccontextmanager
async def peer_of(seat: Seat) -> AsyncGenerator[Peer]:
    with Listener() as listener:
        async with seat.dialling(listener.address):
            yield await listener.meet()


def vote(
    kind: MessageType = MessageType.PREVOTE, height: int = 10, block: BlockID | None = None, extension: bytes = b""
) -> Vote:
    block = block_id(height, 0) if block is None else block
    return Vote(kind, height, 0, block, NOW, bytes(20), extension=extension)


async def test_a_chain_goes_on_and_the_judge_finds_nothing(seat: Seat, where: str) -> None:
    oracle = Oracle([CHAIN])
    async with served(seat, where, oracle) as node:
        steps = [step async for step in run_chain(node, ChainPlan(first_height=10, heights=8, late_round_every=3))]
    assert oracle.violations == []
    assert oracle.signed == len(steps) >= 24
    assert node.endpoint.accepted == 1


async def test_each_signature_is_told_with_all_that_a_log_needs(seat: Seat) -> None:
    async with served(seat, "tcp://127.0.0.1:0") as node:
        await node.sign_proposal(Proposal(10, 0, block_id=block_id(10, 0), time=NOW))
        await node.sign_vote(vote())
        await node.sign_vote(vote(MessageType.PRECOMMIT, block=NIL_BLOCK))
    assert [(event.kind, event.step, event.result) for event in seat.signs] == [
        ("proposal", 1, "signed"),
        ("prevote", 2, "signed"),
        ("precommit", 3, "signed"),
    ]
    assert {(event.chain_id, event.height, event.round, event.who) for event in seat.signs} == {
        (CHAIN, 10, 0, node.address)
    }
    assert [event.block_hash for event in seat.signs] == [block_id(10, 0).hash, block_id(10, 0).hash, b""]
    assert all(0 < event.seconds < 5 for event in seat.signs)


async def test_the_public_key_comes_in_the_forms_of_both_generations(seat: Seat, where: str) -> None:
    async with served(seat, where) as node:
        reply = (await node.pub_key()).reply
    assert reply == PubKeyReply(KEY.pub_key, KEY.pub_key, "ed25519")


async def test_the_public_key_of_another_chain_is_an_error_and_the_connection_stays(seat: Seat) -> None:
    async with served(seat, "tcp://127.0.0.1:0") as node:
        with pytest.raises(RemoteSignerError) as refusal:
            await node.pub_key("other-1")
        assert CHAIN not in str(refusal.value)
        assert await node.boot() == KEY.pub_key
        assert node.endpoint.accepted == 1


async def test_a_vote_of_another_chain_is_an_error_and_the_connection_stays(seat: Seat) -> None:
    async with served(seat, "tcp://127.0.0.1:0") as node:
        with pytest.raises(RemoteSignerError):
            await node.sign_vote(vote(), chain_id="other-1")
        await node.sign_vote(vote())
        assert node.endpoint.accepted == 1
    assert [(event.result, event.reason) for event in seat.signs] == [("refused", "unknown_chain"), ("signed", "")]


async def test_a_conflict_is_an_error_told_with_its_reason_and_the_connection_stays(seat: Seat, where: str) -> None:
    async with served(seat, where) as node:
        await node.sign_vote(vote())
        with pytest.raises(RemoteSignerError, match="conflicting data"):
            await node.sign_vote(vote(block=block_id(10, 1)))
        await node.sign_vote(vote(MessageType.PRECOMMIT))
        assert node.endpoint.accepted == 1
    assert [(event.result, event.reason) for event in seat.signs][1] == ("refused", "conflict")


async def test_a_repeat_is_told_as_a_replay(seat: Seat) -> None:
    async with served(seat, "tcp://127.0.0.1:0") as node:
        first = await node.sign_vote(vote())
        again = await node.sign_vote(vote())
    assert first.reply == again.reply
    assert [event.result for event in seat.signs] == ["signed", "replayed"]


BAD_REQUESTS: list[tuple[SignRequest, Kind]] = [
    (SignVoteRequest(CHAIN, vote(MessageType.UNKNOWN)), Kind.SIGN_VOTE),
    (SignVoteRequest(CHAIN, vote(height=0)), Kind.SIGN_VOTE),
    (SignVoteRequest(CHAIN, vote(height=-5)), Kind.SIGN_VOTE),
    (SignVoteRequest(CHAIN, vote(block=BlockID(b"short", 1, bytes(32)))), Kind.SIGN_VOTE),
    (SignVoteRequest(CHAIN, vote(extension=b"on a prevote")), Kind.SIGN_VOTE),
    (SignProposalRequest(CHAIN, Proposal(10, -1, block_id=block_id(10, 0), time=NOW)), Kind.SIGN_PROPOSAL),
    (SignProposalRequest(CHAIN, Proposal(10, 0, -2, block_id(10, 0), NOW)), Kind.SIGN_PROPOSAL),
    (SignProposalRequest(CHAIN, Proposal(10, 0, block_id=block_id(10, 0), time=Time(2**60))), Kind.SIGN_PROPOSAL),
]


@pytest.mark.parametrize(("request_", "kind"), BAD_REQUESTS)
async def test_a_request_that_means_nothing_is_an_error_of_its_kind(
    seat: Seat, request_: SignRequest, kind: Kind
) -> None:
    async with peer_of(seat) as peer:
        await peer.ask(request_)
        reply = await peer.answer()
        assert isinstance(reply, ErrorReply)
        assert (reply.kind, reply.leaked) == (kind, b"")
        assert reply.description
        await peer.ask(PingRequest())
        assert await peer.answer() == PingReply()


@pytest.mark.parametrize("kind", [Kind.PUB_KEY, Kind.SIGN_VOTE, Kind.SIGN_PROPOSAL])
async def test_a_request_whose_body_is_noise_is_an_error_of_its_kind(seat: Seat, kind: Kind) -> None:
    async with peer_of(seat) as peer:
        await peer.write(delimited(bytes([kind << 3 | 2, 3]) + b"\xff\xff\xff"))
        reply = await peer.answer()
        assert isinstance(reply, ErrorReply)
        assert reply.kind is kind


async def test_a_request_that_cannot_be_decoded_is_told_and_survived(seat: Seat) -> None:
    async with peer_of(seat) as peer:
        await peer.ask(BAD_REQUESTS[0][0])
        await peer.answer()
    (event,) = [event for event in seat.changes if event.reason]
    assert (event.state, event.reason) == ("connected", "undecodable")


@pytest.mark.parametrize("message", [b"", b"\x7a\x00", b"\x12\x00", bytes([7 << 3 | 1]) + bytes(8)])
async def test_a_message_that_no_answer_fits_ends_the_connection_only(seat: Seat, message: bytes) -> None:
    with Listener() as listener:
        async with seat.dialling(listener.address):
            peer = await listener.meet()
            await peer.write(delimited(message))
            assert await peer.gone()
            await seat.trouble(TroubleKind.PROTOCOL)
            await (await listener.meet()).ask(PingRequest())


async def test_a_message_longer_than_any_request_ends_the_connection_before_it_is_read(seat: Seat) -> None:
    async with peer_of(seat) as peer:
        await peer.write(b"\xff\xff\xff\xff\x07")
        await seat.trouble(TroubleKind.PROTOCOL)
        assert await peer.gone()


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + MIB // 20])
async def test_a_precommit_with_a_large_extension_has_a_small_answer(seat: Seat, where: str, size: int) -> None:
    oracle = Oracle([CHAIN])
    request = SignVoteRequest(CHAIN, vote(MessageType.PRECOMMIT, extension=b"x" * size))
    async with served(seat, where, oracle) as node:
        answer = await node.raw(encode_request(request))
        await node.sign_vote(request.vote)
    reply = decode_reply(answer)
    assert isinstance(reply, VoteReply)
    assert reply.vote.extension == b""
    assert len(answer) < ANSWER_LIMIT
    assert oracle.violations == []


async def test_every_answer_is_shorter_than_300_bytes(seat: Seat) -> None:
    last = 2**63 - 1
    requests: list[Request] = [
        PubKeyRequest(CHAIN),
        PubKeyRequest("x" * 10_000),
        SignProposalRequest(CHAIN, Proposal(last, 2**31 - 1, 2**31 - 1, block_id(1, 0), Time(253402300799, 999999999))),
        SignVoteRequest(CHAIN, Vote(MessageType.PRECOMMIT, last, 2**31 - 1, block_id(1, 0), NOW)),
        SignVoteRequest("x" * 10_000, vote()),
        SignVoteRequest(CHAIN, vote(height=1)),
    ]
    async with peer_of(seat) as peer:
        for request in requests:
            await peer.ask(request)
            assert len(await peer.answer_bytes()) < ANSWER_LIMIT


class TestPipelined:
    """A node never asks two things at once; whoever does is answered in order, within bounds."""

    async def test_requests_in_one_piece_are_answered_in_order(self, seat: Seat) -> None:
        async with peer_of(seat) as peer:
            await peer.ask(PingRequest(), PubKeyRequest(CHAIN), SignVoteRequest(CHAIN, vote()), PingRequest())
            kinds = [type(await peer.answer()) for _ in range(4)]
        assert kinds == [PingReply, PubKeyReply, VoteReply, PingReply]

    async def test_what_follows_a_held_request_waits_for_its_turn(self, seat: Seat) -> None:
        seat.hold()
        async with peer_of(seat) as peer:
            await peer.ask(SignVoteRequest(CHAIN, vote()), PingRequest(), SignVoteRequest(CHAIN, vote(height=11)))
            assert not await peer.has_answer(0.2)
            assert len(seat.quorum.pending) == 1
            seat.quorum.decide()
            assert isinstance(await peer.answer(), VoteReply)
            assert await peer.answer() == PingReply()
            seat.quorum.decide()
            last = await peer.answer()
            assert isinstance(last, VoteReply)
            assert last.vote.height == 11

    async def test_thousands_in_one_piece_end_the_connection_before_any_is_answered(self, seat: Seat) -> None:
        async with peer_of(seat) as peer:
            await peer.ask(*[SignVoteRequest(CHAIN, vote(height=height)) for height in range(1, 1000)])
            assert await peer.gone()
            await seat.trouble(TroubleKind.PROTOCOL)
        assert len(seat.signs) <= MAX_REQUESTS_AT_ONCE

    async def test_as_many_as_may_wait_are_answered(self, seat: Seat) -> None:
        seat.hold()
        async with peer_of(seat) as peer:
            await peer.ask(SignVoteRequest(CHAIN, vote()))
            await eventually(lambda: seat.signer.flights == 1)
            await peer.ask(*[PingRequest()] * MAX_QUEUED_EVENTS)
            await asyncio.sleep(0.1)
            seat.quorum.decide()
            replies = [await peer.answer() for _ in range(MAX_QUEUED_EVENTS + 1)]
        assert replies[1:] == [PingReply()] * MAX_QUEUED_EVENTS

    async def test_one_more_ends_the_connection_and_forgets_the_request(self, seat: Seat) -> None:
        seat.hold()
        async with peer_of(seat) as peer:
            await peer.ask(SignVoteRequest(CHAIN, vote()))
            await eventually(lambda: seat.signer.flights == 1)
            for _ in range(MAX_QUEUED_EVENTS + 1):
                await peer.ask(PingRequest())
                await asyncio.sleep(0.01)
            assert await peer.gone()
            await seat.trouble(TroubleKind.PROTOCOL)
            assert seat.signer.flights == 0
            assert [event.result for event in seat.signs] == ["gone"]


async def test_a_hostile_validator_does_not_keep_another_from_its_chain(seat: Seat) -> None:
    stop = asyncio.Event()

    async def molest(listener: Listener) -> None:
        noise = 0
        while not stop.is_set():
            peer = await listener.meet()
            noise += 1
            await peer.send(bytes([noise % 256]) * 5000)
            await peer.gone()
            peer.close()

    oracle = Oracle([CHAIN])
    node = SimulatedNode("tcp://127.0.0.1:0", CHAIN, witness=oracle)
    node.knows(KEY.pub_key)
    await node.start()
    with Listener() as listener:
        async with seat.dialling(address_of(node.address), listener.address):
            hostile = asyncio.create_task(molest(listener))
            plan = ChainPlan(first_height=10, heights=30, block_seconds=0.05)
            steps = [step async for step in run_chain(node, plan)]
            stop.set()
            await hostile
    await node.stop()
    assert len(steps) == 90
    assert oracle.violations == []
    assert node.endpoint.accepted == 1
    assert seat.troubles.count("protocol") >= 2
