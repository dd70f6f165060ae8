"""How connections end, and what becomes of the request that waited: withdrawn, told, and never answered elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cmkms.harness.chain import block_id
from cmkms.harness.values import MessageType, Time, Vote
from cmkms.harness.wire import PingReply, PingRequest, PubKeyRequest, SignVoteRequest, VoteReply
from cmkms.telemetry.events import SignEvent
from cmkms.validators import TroubleKind, conversation
from tests.unit.signing.messages import CHAIN
from tests.unit.validators.peers import Listener, PeerGoneError, eventually
from tests.unit.validators.seat import Seat

VOTE = SignVoteRequest(CHAIN, Vote(MessageType.PREVOTE, 10, 0, block_id(10, 0), Time(1_700_000_000), bytes(20)))


@pytest.fixture(params=["tcp", "unix"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    with Listener() if request.param == "tcp" else Listener.unix(tmp_path / "node.sock") as listener:
        yield listener


@pytest.mark.parametrize("reset", [False, True], ids=["in order", "by reset"])
async def test_a_held_request_is_withdrawn_when_the_node_hangs_up(
    seat: Seat, listener: Listener, *, reset: bool
) -> None:
    seat.hold()
    async with seat.dialling(listener.address):
        peer = await listener.meet()
        await peer.ask(VOTE)
        await eventually(lambda: seat.signer.flights == 1)
        peer.reset() if reset else peer.close()
        event = await seat.sign_event()
        assert (event.result, event.reason, event.height) == ("gone", "", 10)
        assert seat.signer.flights == 0


async def test_a_late_outcome_is_sent_to_nobody_and_the_retry_is_answered(seat: Seat, listener: Listener) -> None:
    seat.hold()
    async with seat.dialling(listener.address):
        first = await listener.meet()
        await first.ask(VOTE)
        await eventually(lambda: seat.signer.flights == 1)
        first.close()
        second = await listener.meet()
        await eventually(lambda: seat.signer.flights == 0)
        seat.quorum.decide()
        assert not await second.has_answer(0.2)
        await second.ask(VOTE)
        await eventually(lambda: seat.quorum.pending)
        seat.quorum.decide()
        assert isinstance(await second.answer(), VoteReply)
    assert [event.result for event in seat.signs] == ["gone", "signed"]


async def test_what_waited_behind_a_held_request_is_forgotten_with_it(seat: Seat, listener: Listener) -> None:
    seat.hold()
    async with seat.dialling(listener.address):
        peer = await listener.meet()
        await peer.ask(VOTE, VOTE, PingRequest())
        await eventually(lambda: seat.signer.flights == 1)
        peer.close()
        await seat.sign_event()
        seat.quorum.decide()
        await asyncio.sleep(0.05)
    assert [event.result for event in seat.signs] == ["gone"]


async def test_two_sentries_that_ask_for_one_vote_share_its_signature(seat: Seat, tmp_path: Path) -> None:
    seat.hold()
    with Listener() as tcp, Listener.unix(tmp_path / "node.sock") as unix:
        async with seat.dialling(tcp.address, unix.address):
            peers = [await tcp.meet(), await unix.meet()]
            for peer in peers:
                await peer.ask(VOTE)
            await eventually(lambda: seat.signer.flights == 1)
            await asyncio.sleep(0.1)
            seat.quorum.decide()
            replies = [await peer.answer() for peer in peers]
    assert replies[0] == replies[1]
    assert seat.quorum.pending == []


async def test_a_sentry_that_hangs_up_does_not_take_the_other_along(seat: Seat, tmp_path: Path) -> None:
    seat.hold()
    with Listener() as tcp, Listener.unix(tmp_path / "node.sock") as unix:
        async with seat.dialling(tcp.address, unix.address):
            leaver, stayer = await tcp.meet(), await unix.meet()
            for peer in (leaver, stayer):
                await peer.ask(VOTE)
            await asyncio.sleep(0.1)
            leaver.close()
            assert (await seat.sign_event()).result == "gone"
            seat.quorum.decide()
            assert isinstance(await stayer.answer(), VoteReply)


async def test_after_use_a_close_is_a_close_and_a_reset_a_reset(seat: Seat) -> None:
    with Listener() as listener:
        async with seat.dialling(listener.address):
            for end, kind in (("close", TroubleKind.CLOSED), ("reset", TroubleKind.RESET)):
                peer = await listener.meet()
                await peer.ask(PingRequest())
                await peer.answer()
                peer.close() if end == "close" else peer.reset()
                await seat.trouble(kind)


async def test_silence_after_use_ends_the_connection(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "SILENCE_SECONDS", 0.3)
    with Listener() as listener:
        async with seat.dialling(listener.address):
            peer = await listener.meet()
            await peer.ask(PingRequest())
            assert await peer.answer() == PingReply()
            assert "ping" in (await seat.trouble(TroubleKind.SILENT)).detail
            assert await peer.gone()


async def test_a_node_that_waits_for_its_answer_is_not_silent(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "SILENCE_SECONDS", 0.3)
    seat.hold()
    with Listener() as listener:
        async with seat.dialling(listener.address):
            peer = await listener.meet()
            await peer.ask(VOTE)
            await asyncio.sleep(1.5)
            seat.quorum.decide()
            assert isinstance(await peer.answer(), VoteReply)
    assert seat.troubles == []


async def test_silence_before_the_first_request_is_no_silence(
    seat: Seat, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(conversation, "SILENCE_SECONDS", 0.2)
    with Listener.unix(tmp_path / "node.sock") as listener:
        async with seat.dialling(listener.address):
            await listener.accept()
            await asyncio.sleep(1.3)
    assert seat.troubles == []


async def test_a_peer_that_asks_and_never_reads_is_given_up(seat: Seat, listener: Listener) -> None:
    listener.take_little()
    async with seat.dialling(listener.address):
        peer = await listener.meet()
        with suppress(PeerGoneError):
            for _ in range(5000):
                await peer.ask(PubKeyRequest(CHAIN))
                await asyncio.sleep(0.0005)
        await seat.trouble(TroubleKind.NOT_READING)
    assert seat.troubles[0] == "not_reading"


async def test_stopping_a_link_resets_its_connection(seat: Seat) -> None:
    with Listener() as listener:
        async with seat.dialling(listener.address):
            peer = await listener.meet()
            await peer.ask(PingRequest())
            await peer.answer()
        assert await peer.gone()


async def test_stopping_a_link_withdraws_what_it_held(seat: Seat, listener: Listener) -> None:
    seat.hold()
    async with seat.dialling(listener.address):
        peer = await listener.meet()
        await peer.ask(VOTE)
        await eventually(lambda: seat.signer.flights == 1)
    await eventually(lambda: seat.signer.flights == 0)


async def test_stopping_a_link_that_dials_ends_it(seat: Seat) -> None:
    with Listener() as listener:
        address = listener.address
    async with seat.dialling(address):
        await seat.trouble(TroubleKind.REFUSED)


@pytest.mark.parametrize("turns", range(6))
async def test_stopping_a_link_at_any_turn_of_its_dial_leaves_no_connection(
    seat: Seat, listener: Listener, turns: int
) -> None:
    async with seat.dialling(listener.address):
        for _ in range(turns):
            await asyncio.sleep(0)
    try:
        peer = await listener.accept(0.1)
    except TimeoutError:
        return  # it had not got as far as to connect
    await peer.gone()


class TestBugs:
    """An event loop swallows what a callback raises. A bug of ours ends the process instead, wherever it shows."""

    class BrokenJournalError(Exception):
        pass

    @pytest.fixture
    def broken(self, seat: Seat, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seat]:
        def fail(event: SignEvent) -> None:
            raise self.BrokenJournalError(event.result)

        monkeypatch.setattr(seat, "signed", fail)
        yield seat
        assert [type(bug) for bug in seat.bugs] == [self.BrokenJournalError]
        seat.bugs.clear()

    async def test_while_a_connection_ends(self, broken: Seat, listener: Listener) -> None:
        broken.hold()
        async with broken.dialling(listener.address):
            peer = await listener.meet()
            await peer.ask(VOTE)
            await eventually(lambda: broken.signer.flights == 1)
            peer.close()
            await eventually(lambda: broken.bugs)
            assert broken.signer.flights == 0
            await listener.meet()

    async def test_while_an_answer_is_told(self, broken: Seat, listener: Listener) -> None:
        async with broken.dialling(listener.address):
            peer = await listener.meet()
            await peer.ask(VOTE)
            await eventually(lambda: broken.bugs)
