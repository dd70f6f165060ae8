"""When guards hold something else already: what is asked for in its place, when, and when it ends for good."""

from __future__ import annotations

import pytest

from cmkms.guard.decide import Conflict, Held, Refused, RefusedBecause, Regression, Sealed, Verdict
from cmkms.guard.quorum import Granted, Split
from tests.unit.guard.board import ACCEPTED, ME, Board
from tests.unit.guard.world import hrs, precommit, prevote, proposal

OURS = precommit(5, at=9)
THEIRS = precommit(5, at=1)
OTHERS = precommit(5, at=2)
FOREIGN = precommit(5, number=2)
ABOVE = hrs(6, 0, 3)


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


class TestPatience:
    """A coordinator keeps its bytes while they can still win, and changes to held ones only then."""

    def test_one_holder_of_three_changes_nothing(self, board: Board) -> None:
        outcomes = board.propose(OURS)
        board.say("node-1", Held(THEIRS))
        assert board.asked("node-2") == [OURS]
        board.say("node-2", ACCEPTED)
        board.say(ME, ACCEPTED)
        assert outcomes == [Granted(OURS)]

    def test_two_holders_of_three_change_it(self, board: Board) -> None:
        outcomes = board.propose(OURS)
        board.say("node-1", Held(THEIRS))
        board.say("node-2", Held(THEIRS))
        assert outcomes == []
        assert {board.asked(name)[-1] for name in board.names} == {THEIRS}

    def test_two_holders_of_five_change_nothing(self, five: Board) -> None:
        """The first HELD of g2 turned a hasty coordinator, whose own guard then made the split 2/2 (safety review)."""
        outcomes = five.propose(OURS)
        five.say("node-1", Held(THEIRS))
        five.say("node-2", Held(THEIRS))
        assert {len(five.asked(name)) for name in five.names} == {1}
        for name in ("node-3", "node-4", ME):
            five.say(name, ACCEPTED)
        assert outcomes == [Granted(OURS)]

    def test_three_holders_of_five_change_it(self, five: Board) -> None:
        five.propose(OURS)
        for name in ("node-1", "node-2", "node-3"):
            five.say(name, Held(THEIRS))
        assert {five.asked(name)[-1] for name in five.names} == {THEIRS}

    def test_what_others_hold_is_granted_with_their_timestamp(self, board: Board) -> None:
        for name in ("node-1", "node-2"):
            board.guards[name].hold(THEIRS)
        outcomes = board.propose(OURS)
        board.run("node-1", "node-2")
        assert outcomes == [Granted(THEIRS)]

    def test_after_the_change_acceptances_of_the_former_bytes_do_not_count(self, board: Board) -> None:
        outcomes = board.propose(OURS)
        late = board.echo(ME, board.question(ME), ACCEPTED)
        board.say("node-1", Held(THEIRS))
        board.say("node-2", Held(THEIRS))
        board.hear(ME, late)
        board.say("node-1", ACCEPTED)
        assert outcomes == []

    def test_after_the_change_whoever_had_accepted_the_former_bytes_is_known_to_hold_them(self, five: Board) -> None:
        outcomes = five.propose(OURS)
        five.say(ME, ACCEPTED)
        for name in ("node-1", "node-2", "node-3"):
            five.say(name, Held(THEIRS))
        five.sent = [one for one in five.sent if one.sign_bytes == THEIRS]
        for name in ("node-1", "node-2"):
            five.say(name, ACCEPTED)
        for name in ("node-3", "node-4"):
            assert outcomes == []
            five.say(name, Regression(ABOVE))
        assert outcomes == [Regression(ABOVE)]

    def test_held_and_never_to_be_had_guards_together_take_the_own_chance_away(self, board: Board) -> None:
        """node-1 holds a variant; node-2 stands above. Ours cannot win any more, theirs can: with our own guard."""
        outcomes = board.propose(OURS)
        board.say("node-1", Held(THEIRS))
        board.say("node-2", Regression(ABOVE))
        board.say("node-1", ACCEPTED)
        board.sent = [one for one in board.sent if one.sign_bytes == THEIRS]
        board.say(ME, ACCEPTED)
        assert outcomes == [Granted(THEIRS)]


class TestWhichOfThem:
    """Every coordinator makes the same choice: the most held, then the smallest."""

    def test_the_most_held(self, five: Board) -> None:
        five.propose(OURS)
        five.say("node-1", Held(max(THEIRS, OTHERS)))
        five.say("node-2", Held(min(THEIRS, OTHERS)))
        five.say("node-3", Held(max(THEIRS, OTHERS)))
        assert five.asked(ME)[-1] == max(THEIRS, OTHERS)

    def test_of_equally_held_ones_the_smallest(self) -> None:
        board = Board(4)
        board.lead()
        board.propose(OURS)
        board.say("node-1", Held(max(THEIRS, OTHERS)))
        board.say("node-2", Held(min(THEIRS, OTHERS)))
        assert board.asked(ME)[-1] == min(THEIRS, OTHERS)

    def test_bytes_that_cannot_win_any_more_are_no_choice(self, five: Board) -> None:
        """node-1 holds the smaller variant, two others another one: only that can still be had by three."""
        five.propose(OURS)
        smaller, larger = sorted((THEIRS, OTHERS))
        five.say(ME, ACCEPTED)
        five.say("node-1", Held(smaller))
        five.say("node-2", Held(larger))
        five.say("node-3", Held(larger))
        assert five.asked("node-4")[-1] == larger


class TestSplit:
    """So many variants are held that none can win: said at once, and with who holds what."""

    def test_three_guards_with_three_variants(self, board: Board) -> None:
        outcomes = board.propose(OURS)
        board.say(ME, ACCEPTED)
        board.say("node-1", Held(THEIRS))
        board.say("node-2", Held(OTHERS))
        (split,) = outcomes
        assert isinstance(split, Split)
        assert all(name in split.detail for name in board.names)

    def test_five_guards_as_two_two_and_one(self, five: Board) -> None:
        for name, held in zip(five.names, (THEIRS, THEIRS, OTHERS, OTHERS, OURS), strict=True):
            five.guards[name].hold(held)
        outcomes = five.propose(OURS)
        five.run()
        assert [type(outcome) for outcome in outcomes] == [Split]

    def test_two_of_five_each_and_a_silent_one_are_no_split_yet(self) -> None:
        """The peek has shown what is held: the silent guard is never asked for a third variant, and decides."""
        five = Board(5)
        for name, held in zip(five.names, (THEIRS, THEIRS, OTHERS, OTHERS), strict=False):
            five.guards[name].hold(held)
        five.lead()
        outcomes = five.propose(OURS)
        five.run("node-0", "node-1", "node-2", "node-3")
        assert outcomes == []
        five.run()
        assert outcomes == [Granted(min(THEIRS, OTHERS))]

    def test_a_split_shows_no_bytes_and_no_timestamps(self, board: Board) -> None:
        outcomes = board.propose(OURS)
        board.say(ME, ACCEPTED)
        board.say("node-1", Held(THEIRS))
        board.say("node-2", Held(OTHERS))
        (split,) = outcomes
        assert isinstance(split, Split)
        assert OURS.hex() not in split.detail


class TestProposals:
    """A node keeps its own timestamp for a proposal: what others hold is of no use to it."""

    def test_a_proposal_never_takes_on_another_timestamp(self, board: Board) -> None:
        for name in ("node-1", "node-2"):
            board.guards[name].hold(proposal(5, at=1))
        outcomes = board.propose(proposal(5, at=9), adopt=False)
        board.run()
        assert outcomes == [Held(proposal(5, at=1))]
        assert {tuple(board.asked(name)) for name in board.names} == {(proposal(5, at=9),)}

    def test_one_holder_does_not_end_it(self, board: Board) -> None:
        board.guards["node-1"].hold(proposal(5, at=1))
        outcomes = board.propose(proposal(5, at=9), adopt=False)
        board.run()
        assert outcomes == [Granted(proposal(5, at=9))]

    def test_identical_bytes_are_granted_again(self, board: Board) -> None:
        for name in ("node-1", "node-2"):
            board.guards[name].hold(proposal(5, at=1))
        outcomes = board.propose(proposal(5, at=1), adopt=False)
        board.run()
        assert outcomes == [Granted(proposal(5, at=1))]


class TestAGuardsWordIsNotTaken:
    """A guard that says HELD names bytes that would be signed: the coordinator looks at them itself."""

    @pytest.mark.parametrize(
        "claimed",
        [
            FOREIGN,
            precommit(6, at=1),
            prevote(5, at=1),
            precommit(5, 1, at=1),
            precommit(5, at=1, chain="other-1"),
            b"x",
        ],
        ids=["another block", "another height", "another step", "another round", "another chain", "garbage"],
    )
    def test_bytes_that_differ_in_more_than_the_timestamp_are_never_asked_for(
        self, board: Board, claimed: bytes
    ) -> None:
        outcomes = board.propose(OURS)
        board.say("node-1", Held(claimed))
        board.say("node-2", Held(claimed))
        assert all(one.sign_bytes != claimed for one in board.all_sent)
        assert outcomes == []

    def test_bytes_that_are_not_canonical_are_never_asked_for(self, board: Board) -> None:
        """The same vote with a field spelt out that the canonical form leaves out."""
        padded = bytearray(THEIRS)
        padded[0] += 9
        padded[12:12] = b"\x19" + bytes(8)  # round 0, which is left out
        outcomes = board.propose(OURS)
        board.say("node-1", Held(bytes(padded)))
        board.say("node-2", Held(bytes(padded)))
        assert all(one.sign_bytes != bytes(padded) for one in board.all_sent)
        assert outcomes == []


class TestNeverToBeHad:
    """An error is final for a node, so it takes the word of so many guards that no majority is left."""

    @pytest.mark.parametrize(
        "verdict",
        [
            Conflict(FOREIGN),
            Sealed(hrs(5, 0, 3)),
            Regression(ABOVE),
            Refused(RefusedBecause.MAX_HEIGHT, "height 5 is above max_height 4"),
            Refused(RefusedBecause.CEILING, "height 5 is above the ceiling 4"),
            Refused(RefusedBecause.KEY),
            Refused(RefusedBecause.CHAIN),
        ],
        ids=lambda verdict: type(verdict).__name__,
    )
    def test_one_of_three_is_not_enough_and_two_are(self, board: Board, verdict: Verdict) -> None:
        outcomes = board.propose(OURS)
        board.say("node-1", verdict)
        assert outcomes == []
        board.say("node-2", verdict)
        assert outcomes == [verdict]

    def test_two_of_five_are_not_enough_and_three_are(self, five: Board) -> None:
        outcomes = five.propose(OURS)
        five.say("node-1", Conflict(FOREIGN))
        five.say("node-2", Regression(ABOVE))
        assert outcomes == []
        five.say("node-3", Sealed(hrs(5, 0, 3)))
        assert outcomes == [Conflict(FOREIGN)]

    def test_one_that_refuses_does_not_keep_the_others_from_granting(self, board: Board) -> None:
        board.guards["node-1"].hold(precommit(7))
        outcomes = board.propose(OURS)
        board.run()
        assert outcomes == [Granted(OURS)]

    def test_what_the_guards_really_say_to_another_block(self, board: Board) -> None:
        for name in board.names:
            board.guards[name].hold(FOREIGN)
        outcomes = board.propose(OURS)
        board.run()
        assert outcomes == [Conflict(FOREIGN)]

    def test_what_the_guards_really_say_below_their_watermark(self, board: Board) -> None:
        for name in board.names:
            board.guards[name].hold(precommit(6))
        outcomes = board.propose(OURS)
        board.run()
        assert outcomes == [Regression(ABOVE)]

    def test_what_the_guards_really_say_at_a_seal_even_to_the_bytes_held_before(self, board: Board) -> None:
        for name in board.names:
            board.guards[name].seal(hrs(5, 0, 3))
        outcomes = board.propose(OURS)
        board.run()
        assert outcomes == [Sealed(hrs(5, 0, 3))]
