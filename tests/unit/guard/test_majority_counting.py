"""What is counted: members of the generation that ACCEPTED exactly these bytes, each once, by the channel's word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmkms.guard.decide import Accepted, Conflict, Held
from cmkms.guard.generation import GenerationId
from cmkms.guard.quorum import Granted
from cmkms.guard.rpc import Answered, digest_of
from tests.unit.guard.board import ACCEPTED, ME, Board
from tests.unit.guard.world import hrs, precommit, prevote

ASKED = precommit(5)


@pytest.fixture
def board() -> Board:
    board = Board(3)
    board.lead()
    return board


@pytest.fixture
def five() -> Board:
    board = Board(5)
    board.lead()
    return board


class TestMajority:
    def test_every_guard_is_asked_at_once_the_own_one_included(self, board: Board) -> None:
        board.propose(ASKED)
        assert sorted(one.to for one in board.accepts) == ["node-0", "node-1", "node-2"]

    def test_before_the_own_guard_as_many_others_as_it_takes_so_that_they_work_beside_it(
        self, board: Board, five: Board
    ) -> None:
        for one, order in ((board, [1, 0, 2]), (five, [1, 2, 0, 3, 4])):
            one.propose(ASKED)
            assert [sent.to for sent in one.accepts] == [f"node-{number}" for number in order]

    def test_whoever_was_quickest_is_asked_first_from_then_on(self, board: Board) -> None:
        board.propose(ASKED)
        for name in ("node-2", ME, "node-1"):
            board.say(name, ACCEPTED)
        board.sent.clear()
        board.propose(precommit(6))
        assert [sent.to for sent in board.accepts] == ["node-2", ME, "node-1"]

    def test_every_question_has_a_number_of_its_own(self, board: Board) -> None:
        board.propose(ASKED)
        board.propose(precommit(6))
        assert len({one.message.rpc for one in board.all_sent}) == len(board.all_sent)

    def test_nothing_is_granted_by_asking(self, board: Board) -> None:
        assert board.propose(ASKED) == []

    @pytest.mark.parametrize("pair", [("node-0", "node-1"), ("node-1", "node-2"), ("node-2", "node-0")])
    def test_any_two_of_three_grant(self, board: Board, pair: tuple[str, str]) -> None:
        outcomes = board.propose(ASKED)
        board.say(pair[0], ACCEPTED)
        assert outcomes == []
        board.say(pair[1], ACCEPTED)
        assert outcomes == [Granted(ASKED)]

    def test_three_of_five_grant_and_two_do_not(self, five: Board) -> None:
        outcomes = five.propose(ASKED)
        five.say("node-4", ACCEPTED)
        five.say("node-2", ACCEPTED)
        assert outcomes == []
        five.say("node-0", ACCEPTED)
        assert outcomes == [Granted(ASKED)]

    @pytest.mark.parametrize(("size", "needed"), [(2, 2), (3, 2), (4, 3), (5, 3)])
    def test_a_majority_is_more_than_half_of_all_members(self, size: int, needed: int) -> None:
        board = Board(size)
        board.lead()
        outcomes = board.propose(ASKED)
        for name in board.names[: needed - 1]:
            board.say(name, ACCEPTED)
        assert outcomes == []
        board.say(board.names[needed - 1], ACCEPTED)
        assert outcomes == [Granted(ASKED)]

    def test_a_repeat_that_a_guard_knows_counts_like_the_first_time(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        board.say("node-1", Accepted(advances=False))
        board.say("node-2", Accepted(advances=False))
        assert outcomes == [Granted(ASKED)]

    def test_what_comes_after_the_majority_changes_nothing(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        for name in board.names:
            board.say(name, ACCEPTED)
        assert outcomes == [Granted(ASKED)]

    def test_heights_are_counted_apart(self, board: Board) -> None:
        fifth, sixth = board.propose(ASKED), board.propose(precommit(6))
        board.say("node-1", ACCEPTED)
        board.sent.remove(next(one for one in board.accepts if one.to == "node-2"))
        board.say("node-2", ACCEPTED)
        assert (fifth, sixth) == ([], [])

    def test_the_real_guards_have_it_on_disk_before_it_is_granted(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        board.run("node-1", "node-2")
        assert outcomes == [Granted(ASKED)]
        assert [guard.record.sign_bytes for guard in board.guards.values()] == [None, ASKED, ASKED]


class TestNotCounted:
    """Each answer here would make a majority if it counted; one honest answer more must still be needed."""

    @pytest.fixture
    def asked(self, board: Board) -> Board:
        self.outcomes = board.propose(ASKED)
        board.say("node-1", ACCEPTED)
        return board

    def still_open(self, board: Board) -> None:
        assert self.outcomes == []
        board.say("node-0", ACCEPTED)
        assert self.outcomes == [Granted(ASKED)]

    def answer(self, board: Board, name: str = "node-2") -> Answered:
        return board.echo(name, board.question(name), ACCEPTED)

    def test_one_member_twice(self, board: Board) -> None:
        self.outcomes = board.propose(ASKED)
        answer = self.answer(board, "node-1")
        board.hear("node-1", answer)
        board.hear("node-1", answer)
        self.still_open(board)

    def test_one_member_twice_under_two_questions(self, asked: Board) -> None:
        asked.quorum.peer_down("node-1")
        asked.quorum.peer_up("node-1")
        for one in [one for one in asked.accepts if one.to == "node-1"]:
            asked.deliver(one)
        self.still_open(asked)

    def test_a_member_that_answers_a_question_to_another(self, asked: Board) -> None:
        """node-1 speaks with node-2's question and all that node-2 would say."""
        asked.hear("node-1", self.answer(asked))
        self.still_open(asked)

    def test_a_member_that_repeats_what_another_has_said(self, board: Board) -> None:
        self.outcomes = board.propose(ASKED)
        answer = self.answer(board, "node-1")
        board.hear("node-1", answer)
        board.hear("node-2", answer)
        self.still_open(board)

    def test_somebody_who_is_no_member(self, asked: Board) -> None:
        asked.hear("node-9", self.answer(asked), identity=b"9" * 32)
        self.still_open(asked)

    def test_a_members_name_with_another_identity(self, asked: Board) -> None:
        """The machine was replaced, and this replica still holds a connection to the old one."""
        asked.hear("node-2", self.answer(asked), identity=b"?" * 32)
        self.still_open(asked)

    def test_another_guard_file_than_the_generations(self, asked: Board) -> None:
        """The file was lost, and made anew with another nonce: it has forgotten what it accepted."""
        asked.hear("node-2", replace(self.answer(asked), nonce=bytes(16)))
        self.still_open(asked)

    def test_another_generation(self, asked: Board) -> None:
        asked.hear("node-2", replace(self.answer(asked), generation=GenerationId(2, bytes(32))))
        self.still_open(asked)

    def test_another_digest(self, asked: Board) -> None:
        asked.hear("node-2", replace(self.answer(asked), digest=digest_of(precommit(5, number=2))))
        self.still_open(asked)

    def test_another_height_round_or_step(self, asked: Board) -> None:
        asked.hear("node-2", replace(self.answer(asked), hrs=hrs(5, 0, 2)))
        self.still_open(asked)

    def test_another_chain(self, asked: Board) -> None:
        asked.hear("node-2", replace(self.answer(asked), chain_id="other-1"))
        self.still_open(asked)

    @pytest.mark.parametrize("rpc", [0, 1, 2**63])
    def test_a_question_that_was_never_asked(self, asked: Board, rpc: int) -> None:
        asked.hear("node-2", replace(self.answer(asked), rpc=rpc))
        self.still_open(asked)

    def test_the_answer_to_an_earlier_proposal_of_other_bytes_at_this_place(self, board: Board) -> None:
        board.propose(precommit(5, number=2))
        old = self.answer(board)
        self.outcomes = board.propose(ASKED)
        board.sent = [one for one in board.sent if one.sign_bytes == ASKED]
        board.say("node-1", ACCEPTED)
        board.hear("node-2", old)
        self.still_open(board)

    def test_the_answer_to_a_question_about_another_place(self, asked: Board) -> None:
        asked.propose(prevote(6))
        other = next(one for one in asked.accepts if one.to == "node-2" and one.sign_bytes == prevote(6))
        asked.hear("node-2", replace(self.answer(asked), rpc=other.message.rpc))
        self.still_open(asked)

    def test_everything_that_was_not_counted_is_told_to_those_who_watch(self, asked: Board) -> None:
        before = asked.quorum.strays
        asked.hear("node-9", self.answer(asked))
        assert asked.quorum.strays == before + 1


class TestDistrusted:
    """A guard was seen to go backwards: whatever it said, it may have forgotten."""

    def test_what_it_accepted_does_not_count(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        board.say("node-1", ACCEPTED)
        board.quorum.distrust("node-1")
        board.say(ME, ACCEPTED)
        assert outcomes == []
        board.say("node-2", ACCEPTED)
        assert outcomes == [Granted(ASKED)]

    def test_what_it_holds_changes_nothing(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        board.say("node-1", Held(precommit(5, at=7)))
        board.quorum.distrust("node-1")
        board.say(ME, Held(precommit(5, at=7)))
        assert outcomes == []
        assert board.asked("node-2") == [ASKED]

    def test_what_it_refused_is_no_word_for_good(self, board: Board) -> None:
        outcomes = board.propose(ASKED)
        board.say("node-1", Conflict(precommit(5, number=2)))
        board.quorum.distrust("node-1")
        board.say("node-2", Conflict(precommit(5, number=2)))
        assert outcomes == []

    def test_its_watermark_is_no_part_of_a_peek(self) -> None:
        board = Board(3)
        board.all_up()
        board.quorum.lead(1)
        board.propose(ASKED)
        board.run("node-1")
        board.quorum.distrust("node-1")
        board.run(ME)
        assert board.accepts == []

    def test_people_are_told(self, board: Board) -> None:
        board.quorum.peer_down("node-2")
        board.quorum.distrust("node-1")
        assert "node-1 went backwards" in board.quorum.waiting_for


def test_an_answer_that_echoes_wrongly_does_not_keep_the_member_from_being_asked_again(board: Board) -> None:
    outcomes = board.propose(ASKED)
    board.unreachable.add("node-1")
    board.hear("node-2", replace(board.echo("node-2", board.question("node-2"), ACCEPTED), digest=bytes(32)))
    board.say(ME, ACCEPTED)
    board.clock.advance(1)
    board.say("node-2", ACCEPTED)
    assert outcomes == [Granted(ASKED)]


def test_a_member_that_answers_for_another_costs_that_one_a_repeat_and_no_more(board: Board) -> None:
    outcomes = board.propose(ASKED)
    board.unreachable.add("node-1")
    board.hear("node-1", board.echo("node-1", board.question("node-2"), ACCEPTED))
    board.say(ME, ACCEPTED)
    board.clock.advance(1)
    board.say("node-2", ACCEPTED)
    assert outcomes == [Granted(ASKED)]
