"""A new lease holder first asks what the guards hold, and writes nothing before a majority has told it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmkms.guard.generation import GenerationId
from cmkms.guard.quorum import Granted
from cmkms.guard.rpc import Peek, Peeked
from tests.unit.guard.board import ME, Board
from tests.unit.guard.world import hrs, precommit, prevote, proposal

OURS = precommit(5, at=9)
THEIRS = precommit(5, at=1)
OTHERS = precommit(5, at=2)


@pytest.fixture
def board() -> Board:
    """Everybody connected, nobody leads yet."""
    board = Board(3)
    board.all_up()
    return board


@pytest.fixture
def five() -> Board:
    board = Board(5)
    board.all_up()
    return board


def peeked(board: Board, name: str) -> Peeked:
    """What `name` answers to the peek that waits for it."""
    one = next(one for one in board.peeks if one.to == name)
    board.sent.remove(one)
    answer = board.answer(one)
    assert isinstance(answer, Peeked)
    return answer


class TestBeforeAnyWrite:
    def test_taking_the_lease_asks_every_guard_with_the_term(self, board: Board) -> None:
        board.quorum.lead(4)
        assert sorted(one.to for one in board.peeks) == ["node-0", "node-1", "node-2"]
        assert {one.message.term for one in board.peeks} == {4}
        assert board.accepts == []

    def test_nothing_is_written_before_the_lease_is_taken(self, board: Board) -> None:
        board.propose(OURS)
        board.clock.advance(10)
        assert board.sent == []

    def test_nothing_is_written_before_a_majority_has_told(self, board: Board) -> None:
        board.quorum.lead(1)
        board.propose(OURS)
        board.run(ME)
        assert board.accepts == []
        board.clock.advance(10)
        assert board.accepts == []
        board.run("node-2")
        assert board.asked("node-1") == [OURS]

    def test_a_majority_without_the_own_guard_is_not_enough(self, board: Board) -> None:
        board.quorum.lead(1)
        board.propose(OURS)
        board.run("node-1", "node-2")
        assert board.accepts == []
        board.run(ME)
        assert OURS in board.asked("node-1")

    def test_three_of_five_have_to_tell(self, five: Board) -> None:
        five.quorum.lead(1)
        five.propose(OURS)
        five.run(ME, "node-3")
        assert five.accepts == []
        five.run("node-1")
        assert five.asked("node-4") == [OURS]

    def test_what_was_proposed_before_the_lease_begins_with_it(self, board: Board) -> None:
        outcomes = board.propose(OURS)
        board.quorum.lead(1)
        board.run()
        assert outcomes == [Granted(OURS)]

    def test_in_the_same_term_one_peek_is_enough(self, board: Board) -> None:
        board.quorum.lead(1)
        board.run()
        for height in (5, 6, 7):
            board.propose(precommit(height))
            board.run()
        assert sum(isinstance(one.message, Peek) for one in board.all_sent) == 3

    def test_a_new_term_peeks_anew(self, board: Board) -> None:
        board.quorum.lead(1)
        board.run()
        board.quorum.rest()
        board.quorum.lead(2)
        board.propose(OURS)
        assert {one.message.term for one in board.peeks} == {2}
        assert board.accepts == []

    def test_what_is_under_way_is_written_no_further_before_the_peek_of_a_new_term(self, board: Board) -> None:
        """Elected anew without having noticed a loss in between: somebody may have been there."""
        board.quorum.lead(1)
        board.run()
        board.propose(OURS)
        board.quorum.lead(3)
        board.sent = board.peeks
        board.clock.advance(1)
        assert board.accepts == []

    def test_what_is_under_way_adopts_what_the_peek_of_a_new_term_finds(self, board: Board) -> None:
        board.quorum.lead(1)
        board.run()
        outcomes = board.propose(OURS)
        board.sent.clear()
        board.guards["node-1"].hold(THEIRS)
        board.quorum.lead(3)
        board.run()
        assert outcomes == [Granted(THEIRS)]


class TestWhoseWatermarkCounts:
    """Each answer here would complete the majority of the peek if it counted."""

    @pytest.fixture
    def waiting(self, board: Board) -> Board:
        board.quorum.lead(1)
        board.propose(OURS)
        board.run(ME)
        return board

    def test_an_unusable_guards_does_not(self, waiting: Board) -> None:
        waiting.guards["node-1"].blown = "the disk failed"
        waiting.run("node-1")
        assert waiting.accepts == []

    def test_that_of_another_generation_does_not(self, waiting: Board) -> None:
        waiting.hear("node-1", replace(peeked(waiting, "node-1"), generation=GenerationId(2, bytes(32))))
        assert waiting.accepts == []

    def test_that_of_another_guard_file_does_not(self, waiting: Board) -> None:
        waiting.hear("node-1", replace(peeked(waiting, "node-1"), nonce=bytes(16)))
        assert waiting.accepts == []

    def test_a_strangers_does_not(self, waiting: Board) -> None:
        waiting.hear("node-1", peeked(waiting, "node-1"), identity=b"?" * 32)
        assert waiting.accepts == []

    def test_that_of_an_earlier_term_does_not(self, waiting: Board) -> None:
        waiting.hear("node-1", replace(peeked(waiting, "node-1"), term=0))
        assert waiting.accepts == []

    def test_the_answer_to_another_guards_peek_does_not(self, waiting: Board) -> None:
        waiting.hear("node-1", replace(peeked(waiting, "node-1"), rpc=peeked(waiting, "node-2").rpc))
        assert waiting.accepts == []

    def test_one_guards_twice_does_not(self, five: Board) -> None:
        five.quorum.lead(1)
        five.propose(OURS)
        five.run(ME)
        answer = peeked(five, "node-1")
        five.hear("node-1", answer)
        five.hear("node-1", answer)
        assert five.accepts == []

    def test_an_answer_to_the_peek_of_a_former_term_does_not(self, board: Board) -> None:
        board.quorum.lead(1)
        old = peeked(board, "node-1")
        board.quorum.rest()
        board.quorum.lead(2)
        board.propose(OURS)
        board.sent = [one for one in board.sent if one.message.term == 2]
        board.run(ME)
        board.hear("node-1", old)
        assert board.accepts == []

    def test_a_guard_that_becomes_usable_is_asked_again(self, waiting: Board) -> None:
        waiting.unreachable.add("node-2")
        waiting.guards["node-1"].record = replace(waiting.guards["node-1"].record, armed=False)
        waiting.run()
        waiting.guards["node-1"].record = replace(waiting.guards["node-1"].record, armed=True)
        waiting.clock.advance(1)
        waiting.run("node-1")
        assert OURS in waiting.asked("node-1")

    def test_a_peek_that_was_lost_is_sent_again(self, waiting: Board) -> None:
        waiting.sent.clear()
        waiting.clock.advance(1)
        waiting.run()
        assert OURS in waiting.asked("node-1")


class TestAdoption:
    """Where a guard holds the requested place up to the timestamp, that is proposed: not one's own."""

    @pytest.mark.parametrize("holder", ["node-0", "node-1"])
    def test_what_one_of_the_majority_holds_is_asked_for_from_the_start(self, board: Board, holder: str) -> None:
        board.guards[holder].hold(THEIRS)
        board.quorum.lead(1)
        outcomes = board.propose(OURS)
        board.run("node-0", "node-1")
        assert outcomes == [Granted(THEIRS)]
        assert all(one.sign_bytes != OURS for one in board.all_sent)

    def test_a_holder_that_did_not_tell_in_time_changes_nothing(self, board: Board) -> None:
        board.guards["node-2"].hold(THEIRS)
        board.quorum.lead(1)
        outcomes = board.propose(OURS)
        board.run("node-0", "node-1")
        assert outcomes == [Granted(OURS)]

    def test_the_most_held_is_adopted(self, five: Board) -> None:
        for name, held in (("node-0", min(THEIRS, OTHERS)), ("node-1", max(THEIRS, OTHERS))):
            five.guards[name].hold(held)
        five.guards["node-2"].hold(max(THEIRS, OTHERS))
        five.quorum.lead(1)
        five.run("node-0", "node-1", "node-2")
        five.propose(OURS)
        assert five.asked("node-4") == [max(THEIRS, OTHERS)]

    def test_of_equally_held_ones_the_smallest_is_adopted(self, five: Board) -> None:
        five.guards["node-0"].hold(max(THEIRS, OTHERS))
        five.guards["node-1"].hold(min(THEIRS, OTHERS))
        five.quorum.lead(1)
        five.run("node-0", "node-1", "node-2")
        five.propose(OURS)
        assert five.asked("node-4") == [min(THEIRS, OTHERS)]

    def test_the_very_bytes_are_as_good_as_any(self, board: Board) -> None:
        board.guards["node-1"].hold(OURS)
        board.quorum.lead(1)
        outcomes = board.propose(OURS)
        board.run()
        assert outcomes == [Granted(OURS)]

    def test_a_proposal_adopts_nothing(self, board: Board) -> None:
        board.guards["node-1"].hold(proposal(5, at=1))
        board.quorum.lead(1)
        outcomes = board.propose(proposal(5, at=9), adopt=False)
        board.run()
        assert outcomes == [Granted(proposal(5, at=9))]

    @pytest.mark.parametrize("held", [precommit(5, number=2), precommit(4), precommit(6), prevote(5)])
    def test_anything_but_this_vote_at_another_time_is_not_adopted(self, board: Board, held: bytes) -> None:
        board.guards["node-1"].hold(held)
        board.quorum.lead(1)
        board.propose(OURS)
        board.run()
        assert board.asked("node-2") == [OURS]

    def test_a_seal_is_not_adopted(self, board: Board) -> None:
        board.guards["node-1"].seal(hrs(5, 0, 3))
        board.quorum.lead(1)
        outcomes = board.propose(OURS)
        board.run()
        assert outcomes == [Granted(OURS)]

    def test_garbage_at_this_place_is_not_adopted(self, board: Board) -> None:
        board.quorum.lead(1)
        board.hear("node-1", replace(peeked(board, "node-1"), hrs=hrs(5, 0, 3), sign_bytes=b"garbage"))
        board.run(ME)
        board.propose(OURS)
        assert board.asked("node-2") == [OURS]


class TestTheFormerHolder:
    """A guard that has told its watermark to a newer holder ignores what the former one still sends."""

    def test_a_late_accept_of_a_lower_term_does_not_split_the_votes(self, board: Board) -> None:
        board.quorum.lead(1)
        board.run()
        former = board.propose(OURS)
        late = board.accepts
        board.sent.clear()
        board.quorum.rest()
        board.quorum.lead(2)
        board.run()
        board.sent = late
        board.run()
        assert all(guard.accepted == [] for guard in board.guards.values())
        outcomes = board.propose(THEIRS)
        board.run()
        assert (former, outcomes) == ([], [Granted(THEIRS)])

    def test_a_holder_that_was_outranked_is_told_why_it_gets_nothing(self, board: Board) -> None:
        board.quorum.lead(1)
        board.run()
        for name in ("node-1", "node-2"):
            board.services[name].peek(Peek(1, 7, "guarded-1"))
        outcomes = board.propose(OURS)
        board.run()
        assert outcomes == []
        assert "term 7" in board.quorum.waiting_for
