"""The quorum of one: what ends a proposal, and what leaves it pending."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cmkms.errors import BrokenInvariantError
from cmkms.guard.decide import AcceptRequest, Conflict, Held, Refused, RefusedBecause, Regression, Sealed, Verdict
from cmkms.guard.file import GuardFile
from cmkms.guard.fuse import Fuse
from cmkms.guard.generation import GenerationId
from cmkms.guard.guard import Guard
from cmkms.guard.quorum import Granted, NoGuard, Outcome, SoleQuorum
from cmkms.guard.record import GuardRecord
from cmkms.privval import SignBytesError
from tests.sim.guard.disk import SimulatedDisk
from tests.unit.guard.world import CLOCKS, GENERATION, KEY_HASH, hrs, precommit, prevote, proposal, record

GUARD = Path("/simulated/guard")
STORED = precommit(5)
HOLDING = record(hrs(5, 0, 3), STORED)


def never(outcome: Outcome) -> None:
    pytest.fail(f"decided: {outcome}")


def guard_of(first: GuardRecord) -> Guard:
    disk = SimulatedDisk()
    GuardFile.create(disk, GUARD, first)
    return Guard(GUARD, GuardFile.open(disk, GUARD), Fuse(disk, Path("/simulated/fuse.json")), CLOCKS)


def propose(
    first: GuardRecord, sign_bytes: bytes, *, adopt: bool = True, generation: GenerationId = GENERATION
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    SoleQuorum(guard_of(first), KEY_HASH, generation).propose(sign_bytes, adopt_held=adopt, decided=outcomes.append)
    return outcomes


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        (precommit(6), Granted(precommit(6))),
        (STORED, Granted(STORED)),
        (precommit(5, number=2), Conflict(STORED)),
        (prevote(5), Regression(hrs(5, 0, 3))),
        (precommit(9999), Refused(RefusedBecause.CEILING, "height 9999 is above the ceiling 2005")),
        (precommit(6, chain="other-1"), Refused(RefusedBecause.CHAIN)),
    ],
)
def test_a_verdict_that_lasts_ends_the_proposal(asked: bytes, outcome: Outcome) -> None:
    assert propose(HOLDING, asked) == [outcome]


def test_a_seal_ends_it() -> None:
    assert propose(record(hrs(5, 0, 3)), STORED) == [Sealed(hrs(5, 0, 3))]


def test_a_held_vote_is_granted_with_the_bytes_that_are_held_and_no_others() -> None:
    assert propose(HOLDING, precommit(5, at=7)) == [Granted(STORED)]


def test_a_held_proposal_is_not_granted_at_another_time() -> None:
    stored = proposal(5)
    assert propose(record(hrs(5, 0, 1), stored), proposal(5, at=7), adopt=False) == [Held(stored)]


@pytest.mark.parametrize("state", [{"paused": True}, {"armed": False}])
def test_what_passes_leaves_it_pending(state: dict[str, bool]) -> None:
    assert propose(replace(HOLDING, **state), precommit(6)) == []  # type: ignore[arg-type]


def test_another_generation_leaves_it_pending() -> None:
    assert propose(HOLDING, precommit(6), generation=GenerationId(2, bytes(32))) == []


def test_a_blown_fuse_leaves_it_pending_and_says_so() -> None:
    guard = guard_of(HOLDING)
    quorum = SoleQuorum(guard, KEY_HASH, GENERATION)
    assert quorum.waiting_for == ""
    guard.blow_fuse("the disk failed")
    quorum.propose(precommit(6), adopt_held=True, decided=never)
    assert "the disk failed" in quorum.waiting_for


def test_what_is_no_vote_or_proposal_is_an_error() -> None:
    with pytest.raises(SignBytesError):
        propose(HOLDING, b"\x00")


def test_a_guard_that_says_held_of_other_bytes_is_not_believed() -> None:
    class Liar:
        blown = ""

        def accept(self, request: AcceptRequest) -> Verdict:
            assert request.sign_bytes == STORED
            return Held(precommit(5, number=2))

    quorum = SoleQuorum(Liar(), KEY_HASH, GENERATION)
    with pytest.raises(BrokenInvariantError, match="more than the timestamp"):
        quorum.propose(STORED, adopt_held=True, decided=never)


def test_before_birth_everything_is_pending() -> None:
    quorum = NoGuard("a state file")
    quorum.propose(STORED, adopt_held=True, decided=never)
    assert quorum.waiting_for == "a state file"
