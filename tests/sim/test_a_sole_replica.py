"""A sole replica through many lives: whatever is asked, and whenever it dies, it signs one message for each place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from cmkms.guard.hrs import HRS, Step
from cmkms.privval import BlockID, SignBytesError, parse_sign_bytes
from cmkms.signing import Rejected
from cmkms.signing.signer import SignRequest
from tests.sim.sole_replica import SoleReplica, new_home
from tests.unit.signing.messages import BLOCK_A, BLOCK_B, NIL, precommit, prevote, proposal

MAKERS: dict[Step, Callable[[int, int, BlockID, int], SignRequest]] = {
    Step.PROPOSE: proposal,
    Step.PREVOTE: prevote,
    Step.PRECOMMIT: precommit,
}


class Lives(RuleBasedStateMachine):
    """Requests around a moving height, restarts, and at the end of some lives a broken disk."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.replica = SoleReplica(new_home(self.folder / "home"))
        self.height = 10
        self.highest = HRS(0, 0, Step.NONE)
        self.first: dict[HRS, bytes] = {}
        self.answered: dict[HRS, set[bytes]] = {}

    @rule(
        step=st.sampled_from(sorted(MAKERS)),
        back=st.integers(0, 2),
        round_=st.integers(0, 2),
        block=st.sampled_from([BLOCK_A, BLOCK_A, BLOCK_B, NIL]),
        seconds=st.integers(0, 2),
    )
    def a_validator_asks(self, *, step: Step, back: int, round_: int, block: BlockID, seconds: int) -> None:
        asked = self.replica.ask(MAKERS[step](self.height - back, round_, block, seconds))
        broken = self.replica.disk.writes_fail or self.replica.disk.syncs_fail or self.replica.guard.fuse.blown
        assert asked.answers or broken
        for answer in asked.answers:
            if not isinstance(answer, Rejected):
                place = HRS(self.height - back, round_, step)
                self.answered.setdefault(place, set()).add(answer.signature)

    @rule()
    def the_chain_goes_on(self) -> None:
        self.height += 1

    @rule()
    def the_released_signature_reaches_the_disk(self) -> None:
        self.replica.store_released()

    @rule()
    def it_is_killed_and_starts_again(self) -> None:
        self.replica.restart()

    @precondition(lambda self: self.height > 13)
    @rule(write=st.booleans())
    def the_disk_breaks(self, *, write: bool) -> None:
        self.replica.disk.writes_fail = write
        self.replica.disk.syncs_fail = not write

    @rule()
    def the_disk_is_mended(self) -> None:
        self.replica.disk.writes_fail = self.replica.disk.syncs_fail = False

    @invariant()
    def one_message_is_signed_for_each_place_and_places_only_go_forward(self) -> None:
        for sign_bytes in self.replica.key.signed:
            try:
                message = parse_sign_bytes(sign_bytes)
            except SignBytesError:
                continue  # a vote extension, which nothing protects
            place = HRS(message.height, message.round, Step.of(message.type))
            assert place >= self.highest
            assert self.first.setdefault(place, sign_bytes) == sign_bytes
            self.highest = place
        self.replica.key.signed.clear()

    @invariant()
    def one_signature_is_given_for_each_place(self) -> None:
        assert all(len(signatures) == 1 for signatures in self.answered.values())

    def teardown(self) -> None:
        self.replica.guard.close()
        shutil.rmtree(self.folder)


def test_a_sole_replica_signs_one_message_for_each_place() -> None:
    run_state_machine_as_test(Lives, settings=settings(max_examples=60, stateful_step_count=40))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sole_replica_signs_one_message_for_each_place_in_long_lives() -> None:
    run_state_machine_as_test(Lives, settings=settings(max_examples=500, stateful_step_count=100))
