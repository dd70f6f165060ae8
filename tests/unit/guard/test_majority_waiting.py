"""Trouble that passes: guards that refuse for now or are away are asked again, and nobody is told no for it."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import replace
from typing import cast

import pytest

from cmkms.guard.decide import Held, Refused, RefusedBecause, Regression, Verdict
from cmkms.guard.quorum import Granted
from cmkms.guard.rpc import Outranked, Peek
from cmkms.privval import SignBytesError
from tests.unit.guard.board import ACCEPTED, ME, Board
from tests.unit.guard.world import hrs, precommit

ASKED = precommit(5)
OTHERS = ("node-1", "node-2")
PASSING = [
    Refused(RefusedBecause.NOT_ARMED),
    Refused(RefusedBecause.FUSE, "the disk failed"),
    Refused(RefusedBecause.PAUSED),
    Refused(RefusedBecause.GENERATION, "guard is at 2:ffff"),
    Outranked(9),
]


@pytest.fixture
def board() -> Board:
    board = Board(3)
    board.lead()
    return board


class TestRefusedForNow:
    @pytest.mark.parametrize("why", PASSING, ids=str)
    def test_it_is_never_an_outcome_even_if_all_say_so(self, board: Board, why: Refused | Outranked) -> None:
        outcomes = board.propose(ASKED)
        for name in board.names:
            board.say(name, why)
        assert outcomes == []

    @pytest.mark.parametrize("why", PASSING, ids=str)
    def test_whoever_said_so_is_asked_again_and_may_accept_then(self, board: Board, why: Refused | Outranked) -> None:
        outcomes = board.propose(ASKED)
        for name in board.names:
            board.say(name, why)
        board.clock.advance(1)
        for name in OTHERS:
            board.say(name, ACCEPTED)
        assert outcomes == [Granted(ASKED)]

    def test_it_takes_nothing_from_the_own_chance(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        board.say("node-1", Refused(RefusedBecause.PAUSED))
        board.say("node-2", ACCEPTED)
        board.say(ME, ACCEPTED)
        assert outcomes == [Granted(ASKED)]

    def test_a_paused_cluster_signs_once_it_is_resumed(self, board: Board) -> None:
        for name in board.names:
            board.pause(name, paused=True)
        outcomes = board.propose(ASKED)
        board.run()
        for name in board.names:
            board.pause(name, paused=False)
        board.clock.advance(1)
        board.run()
        assert outcomes == [Granted(ASKED)]

    def test_asking_again_asks_only_those_whose_word_is_not_final(self, board: Board) -> None:
        board.propose(ASKED)
        board.say(ME, Regression(hrs(9)))
        board.say("node-1", Refused(RefusedBecause.PAUSED))
        board.sent.clear()
        board.clock.advance(1)
        assert {one.to for one in board.accepts} == set(OTHERS)

    @pytest.mark.parametrize("first", [ACCEPTED, Held(precommit(5, at=1))], ids=["accepted", "held another variant"])
    def test_a_guard_that_has_gone_on_since_is_waited_for_no_more(self, board: Board, first: Verdict) -> None:
        """A lagging node would wait for a majority that nobody can make any more: found by the simulation."""
        outcomes = board.propose(ASKED)
        board.say("node-1", first)
        board.say(ME, Regression(hrs(9)))
        assert outcomes == []
        board.clock.advance(1)
        board.say("node-1", Regression(hrs(9)))
        assert outcomes == [Regression(hrs(9))]

    def test_a_guard_that_says_the_same_again_counts_once(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        for _ in range(3):
            board.say("node-1", ACCEPTED)
            board.clock.advance(1)
        assert outcomes == []

    def test_asking_again_asks_for_what_is_asked_for_now(self, board: Board) -> None:
        theirs = precommit(5, at=1)
        board.propose(ASKED)
        for name in OTHERS:
            board.say(name, Held(theirs))
        board.sent.clear()
        board.clock.advance(1)
        assert {one.sign_bytes for one in board.accepts} == {theirs}

    def test_nobody_is_asked_more_often_than_ten_times_a_second(self, board: Board) -> None:
        board.propose(ASKED)
        before = len(board.all_sent)
        for _ in range(100):
            board.clock.advance(0.01)
        assert len(board.all_sent) - before <= 10 * len(board.names)

    def test_a_granted_ballot_is_asked_for_no_more(self, board: Board) -> None:
        board.propose(ASKED)
        board.run()
        before = len(board.all_sent)
        board.clock.advance(1)
        board.clock.advance(1)
        assert len(board.all_sent) == before

    def test_with_nothing_open_no_timer_runs_for_long(self, board: Board) -> None:
        board.propose(ASKED)
        board.run()
        board.clock.advance(1)
        assert board.clock.armed == 0


class TestLinks:
    def test_a_peer_that_comes_back_is_asked_at_once(self, board: Board) -> None:
        board.quorum.peer_down("node-1")
        board.quorum.peer_down("node-2")
        board.unreachable |= set(OTHERS)
        outcomes = board.propose(ASKED)
        board.run()
        board.unreachable.clear()
        board.quorum.peer_up("node-2")
        board.run()
        assert outcomes == [Granted(ASKED)]

    def test_a_peer_that_is_gone_is_not_asked_again_and_again(self, board: Board) -> None:
        board.propose(ASKED)
        board.quorum.peer_down("node-1")
        board.sent.clear()
        board.clock.advance(1)
        assert "node-1" not in {one.to for one in board.accepts}

    def test_what_a_peer_said_counts_after_it_is_gone(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        board.say("node-1", ACCEPTED)
        board.quorum.peer_down("node-1")
        board.say(ME, ACCEPTED)
        assert outcomes == [Granted(ASKED)]

    def test_a_question_that_could_not_be_sent_is_asked_again(self, board: Board) -> None:
        board.unreachable |= set(OTHERS)
        outcomes = board.propose(ASKED)
        board.run()
        board.unreachable.clear()
        board.clock.advance(1)
        board.run()
        assert outcomes == [Granted(ASKED)]

    def test_a_peer_that_was_away_at_the_peek_is_peeked_when_it_comes(self) -> None:
        board = Board(3)
        board.unreachable |= set(OTHERS)
        board.quorum.lead(1)
        outcomes = board.propose(ASKED)
        board.run()
        board.clock.advance(1)
        board.unreachable.clear()
        board.quorum.peer_up("node-2")
        board.run()
        assert outcomes == [Granted(ASKED)]

    def test_strangers_come_and_go_without_effect(self, board: Board) -> None:
        board.quorum.peer_up("node-9")
        board.quorum.peer_down("node-9")
        board.propose(ASKED)
        assert "node-9" not in {one.to for one in board.sent}
        assert board.quorum.waiting_for == ""


class TestTheLeaseIsLost:
    def test_nothing_is_asked_any_more(self, board: Board) -> None:
        board.propose(ASKED)
        board.quorum.rest()
        before = len(board.all_sent)
        board.clock.advance(10)
        board.quorum.peer_down("node-1")
        board.quorum.peer_up("node-1")
        board.propose(precommit(6))
        assert len(board.all_sent) == before
        assert board.clock.armed == 0

    def test_what_was_open_comes_to_nothing_whatever_the_guards_still_say(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        board.quorum.rest()
        board.run()
        assert outcomes == []

    def test_it_comes_to_nothing_even_if_the_lease_comes_back(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        late = [(one.to, board.answer(one)) for one in board.accepts]
        board.sent.clear()
        board.quorum.rest()
        board.quorum.lead(1)
        for name, answer in late:
            board.hear(name, answer)
        board.clock.advance(1)
        board.run()
        assert outcomes == []

    def test_asked_anew_the_same_bytes_are_granted(self, board: Board) -> None:
        board.propose(ASKED)
        board.run("node-1")
        board.quorum.rest()
        board.quorum.lead(2)
        outcomes = board.propose(ASKED)
        board.run()
        assert outcomes == [Granted(ASKED)]

    def test_resting_twice_and_at_first_is_harmless(self) -> None:
        board = Board(3)
        board.quorum.rest()
        board.quorum.rest()
        assert board.sent == []


class TestForgotten:
    """Nobody waits for it any more: it is asked for no longer."""

    def test_it_is_not_asked_for_again(self, board: Board) -> None:
        board.propose(ASKED)
        board.quorum.forget(hrs(5, 0, 3))
        before = len(board.all_sent)
        board.clock.advance(1)
        assert len(board.all_sent) == before

    def test_its_outcome_is_told_to_nobody(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        board.quorum.forget(hrs(5, 0, 3))
        board.run()
        assert outcomes == []

    def test_what_the_guards_accepted_meanwhile_is_granted_when_it_is_asked_for_again(self, board: Board) -> None:
        board.propose(ASKED)
        board.quorum.forget(hrs(5, 0, 3))
        board.run()
        outcomes = board.propose(precommit(5, at=9))
        board.run()
        assert outcomes == [Granted(ASKED)]

    def test_forgetting_what_was_never_asked_is_harmless(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        board.quorum.forget(hrs(9, 0, 3))
        board.run()
        assert outcomes == [Granted(ASKED)]

    def test_another_proposal_at_one_place_takes_the_place_of_the_former(self, board: Board) -> None:
        former, latter = board.propose(ASKED), board.propose(precommit(5, number=2))
        board.sent = [one for one in board.sent if one.sign_bytes != ASKED]
        board.run()
        assert (former, latter) == ([], [Granted(precommit(5, number=2))])


class TestTheOwnGuard:
    """It is asked and counted like any other: by the same functions, after `propose` has returned."""

    def test_it_is_no_majority_of_several(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        board.run(ME)
        assert outcomes == []

    def test_with_a_blown_fuse_of_its_own_a_replica_still_counts_the_others(self) -> None:
        board = Board(3)
        board.guards[ME].blown = "the disk failed"
        board.lead()
        outcomes = board.propose(ASKED)
        board.run()
        assert outcomes == [Granted(ASKED)]

    def test_with_a_blown_fuse_of_its_own_it_needs_all_of_a_majority_from_the_others(self) -> None:
        board = Board(3)
        board.guards[ME].blown = "the disk failed"
        board.unreachable.add("node-2")
        board.lead()
        outcomes = board.propose(ASKED)
        board.run()
        board.clock.advance(1)
        board.run()
        assert outcomes == []
        assert board.guards["node-1"].accepted == []

    def test_a_slow_own_disk_does_not_keep_the_others_from_granting(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        board.run(*OTHERS)
        assert outcomes == [Granted(ASKED)]


class TestWhatPeopleAreTold:
    def test_nothing_while_a_majority_answers(self, board: Board) -> None:
        assert board.quorum.waiting_for == ""
        board.quorum.peer_down("node-1")
        assert board.quorum.waiting_for == ""

    def test_who_is_missing_and_how_many_are_needed(self, board: Board) -> None:
        for name in OTHERS:
            board.quorum.peer_down(name)
        assert "node-1" in board.quorum.waiting_for
        assert "node-2" in board.quorum.waiting_for
        assert "2 of 3" in board.quorum.waiting_for

    def test_before_anybody_has_connected_all_are_missing(self) -> None:
        assert "2 of 3" in Board(3).quorum.waiting_for

    def test_why_a_guard_refuses(self, board: Board) -> None:
        board.propose(ASKED)
        for name in OTHERS:
            board.say(name, Refused(RefusedBecause.FUSE, "the disk failed"))
        assert "the disk failed" in board.quorum.waiting_for

    def test_no_more_of_it_once_they_accept(self, board: Board) -> None:
        board.propose(ASKED)
        for name in OTHERS:
            board.say(name, Refused(RefusedBecause.PAUSED))
        board.clock.advance(1)
        board.run()
        assert board.quorum.waiting_for == ""


def test_what_is_no_vote_or_proposal_is_an_error(board: Board) -> None:
    with pytest.raises(SignBytesError):
        board.propose(b"\x00")


def test_questions_to_a_guard_that_never_answers_do_not_pile_up(board: Board) -> None:
    """A stopped peer with an open connection, for ten minutes, while the other is away."""
    board.quorum.peer_down("node-2")
    board.unreachable.add("node-2")
    board.propose(ASKED)
    board.run(ME)
    for _ in range(6000):
        board.clock.advance(0.1)
    board.sent = board.sent[-10:]
    kept: list[object] = list(vars(board.quorum).values())
    known = sum(len(cast("Sized", value)) for value in kept if isinstance(value, dict | set | list))
    assert known < 1100


def test_a_guard_that_was_re_armed_under_another_generation_answers_nothing_for_this_one(board: Board) -> None:
    other = replace(board.guards["node-1"].record.generation, number=2)
    for name in OTHERS:
        board.guards[name].record = replace(board.guards[name].record, generation=other)
    outcomes = board.propose(ASKED)
    board.run()
    assert outcomes == []
    assert all(board.guards[name].accepted == [] for name in OTHERS)


def test_a_peek_of_a_later_holder_ends_what_this_one_may_write(board: Board) -> None:
    for name in OTHERS:
        board.services[name].peek(Peek(1, 2, "guarded-1"))
    board.propose(ASKED)
    board.run()
    board.clock.advance(1)
    board.run()
    assert all(board.guards[name].accepted == [] for name in OTHERS)
