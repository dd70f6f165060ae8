"""Any life of a guard: requests, kills, power cuts, failing writes, rot, restarts and replacements, in any order.

Held at every step: no two different sign-bytes ACCEPTED at one height/round/step over all lives, acceptances never go
back, the watermark of a start is never below anything ACCEPTED, and after the fuse nothing is accepted until an
operator has put another guard in the place (checked in `Lives`). Where only processes and power failed, the guard comes
back without a fuse.
"""

from __future__ import annotations

import errno
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cmkms.guard.decide import Accepted, Conflict, Held, Regression, Sealed
from cmkms.guard.file import FILE_BYTES
from cmkms.guard.guard import LowersWatermarkError
from cmkms.guard.hrs import HRS, MAX_ROUND, NEVER, Step
from tests.sim.guard.disk import Chance
from tests.sim.guard.lives import FUSE, GUARD, Lives, disk_error
from tests.unit.guard.oracle import Asked, Oracle
from tests.unit.guard.world import precommit, prevote, proposal

points = (st.integers(1, 4), st.integers(0, 1), st.integers(0, 2), st.integers(7, 8))
"""Height, round, block, time."""
messages = st.one_of(
    st.builds(Asked, st.sampled_from(["prevote", "precommit"]), *points, st.none()),
    st.builds(Asked, st.just("proposal"), *points, st.integers(-1, 1)),
)
error_numbers = st.sampled_from([errno.EIO, errno.ENOSPC, errno.EROFS])


def sign_bytes(asked: Asked) -> bytes:
    if asked.pol is not None:
        return proposal(asked.height, asked.round, asked.block, asked.time, asked.pol)
    make = prevote if asked.kind == "prevote" else precommit
    return make(asked.height, asked.round, asked.block, asked.time)


class GuardMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.lives = Lives()
        self.oracle = Oracle()
        self.certain = True
        """Whether the oracle knows the durable state: a death in a write leaves that open."""
        self.healthy = True
        """Whether nothing but processes and power has failed in this guard's life."""

    @initialize(height=st.integers(0, 2))
    def begins_at_a_seal(self, height: int) -> None:
        self.lives = Lives(HRS(height, 0, Step.PREVOTE) if height else NEVER)
        self.oracle = Oracle((height, 0, 2) if height else (0, 0, 0))

    def alive(self) -> bool:
        return self.lives.guard is not None

    def dead(self) -> bool:
        return self.lives.guard is None

    # -------------------------------------------------------------------------------------------------------- requests

    @precondition(alive)
    @rule(asked=messages)
    def is_asked(self, asked: Asked) -> None:
        fused = self.lives.fused
        verdict = self.lives.ask(sign_bytes(asked))
        if verdict is None:
            self.certain = False
            return
        if fused or self.lives.fused:
            return
        if self.certain:
            assert type(verdict).__name__.upper() == self.oracle.expect(asked), (asked, self.oracle)
        if isinstance(verdict, Accepted):
            self.oracle.take(asked)
            self.certain = True
        elif isinstance(verdict, Held | Conflict):
            assert verdict.sign_bytes != sign_bytes(asked)
        else:
            assert isinstance(verdict, Regression | Sealed)

    @precondition(alive)
    @rule(asked=messages, steps=st.integers(1, 5))
    def dies_while_it_is_asked(self, asked: Asked, steps: int) -> None:
        self.lives.disk.kill_at = self.lives.disk.operations + steps
        self.is_asked(asked)
        self.lives.disk.kill_at = 0

    @precondition(alive)
    @rule(asked=messages, number=error_numbers, reached=st.sampled_from([0, 512, 4096, 4608, 8192]))
    def a_write_fails(self, asked: Asked, number: int, reached: int) -> None:
        self.lives.disk.write_error, self.lives.disk.written_before_error = disk_error(number), reached
        self.an_error_comes(asked)

    @precondition(alive)
    @rule(asked=messages, number=error_numbers, seed=st.integers(0, 9))
    def a_sync_fails(self, asked: Asked, number: int, seed: int) -> None:
        self.lives.disk.sync_error = disk_error(number)
        self.lives.disk.flushed_before_error = chance(seed)
        self.an_error_comes(asked)

    def an_error_comes(self, asked: Asked) -> None:
        disk = self.lives.disk
        self.is_asked(asked)
        if disk.write_error is None and disk.sync_error is None:
            self.certain = self.healthy = False
            assert self.lives.fused
        disk.write_error = disk.sync_error = None

    @precondition(alive)
    @rule(point=st.builds(HRS, st.integers(1, 4), st.integers(0, 1), st.sampled_from(list(Step)[1:])))
    def is_raised_by_the_operator(self, point: HRS) -> None:
        guard = self.lives.guard
        assert guard is not None
        if self.lives.fused:
            return
        before = self.lives.watermark
        try:
            moved = guard.raise_to(point, None)
        except LowersWatermarkError:
            assert point < before
            return
        assert moved or point == before
        assert self.lives.watermark == point
        assert guard.record is not None
        assert guard.record.sign_bytes is None
        self.lives.highest = point
        self.oracle.point, self.oracle.last, self.certain = (point.height, point.round, int(point.step)), None, True

    # ---------------------------------------------------------------------------------------------------------- deaths

    @precondition(alive)
    @rule()
    def is_killed(self) -> None:
        self.lives.kill()

    @precondition(alive)
    @rule()
    def stops(self) -> None:
        self.lives.stop()

    @rule(seed=st.integers(0, 99), pages=st.booleans())
    def the_power_is_cut(self, seed: int, *, pages: bool) -> None:
        self.lives.guard = None
        self.lives.disk.cut_power(chance(seed), pages=pages)

    @rule(seed=st.integers(0, 99), pages=st.booleans())
    def the_kernel_writes_back(self, seed: int, *, pages: bool) -> None:
        self.lives.disk.write_back(chance(seed), pages=pages)

    @rule()
    def the_disk_is_full_or_has_room_again(self) -> None:
        self.lives.disk.full = not self.lives.disk.full

    @precondition(dead)
    @rule(slot=st.integers(0, 1), copy=st.integers(0, 1), at=st.integers(0, 511))
    def a_copy_rots(self, slot: int, copy: int, at: int) -> None:
        self.healthy = False
        self.lives.disk.rot(GUARD, (2 * slot + copy) * 4096 + at)

    @precondition(dead)
    @rule(slot=st.integers(0, 1), at=st.integers(0, 511))
    def a_slot_rots(self, slot: int, at: int) -> None:
        self.healthy = False
        self.lives.disk.rot(GUARD, slot * 8192 + at)
        self.lives.disk.rot(GUARD, slot * 8192 + 4096 + at)

    # --------------------------------------------------------------------------------------------------- the next life

    @precondition(dead)
    @rule()
    def starts(self) -> None:
        self.lives.start()

    @precondition(dead)
    @rule(steps=st.integers(1, 12))
    def starts_and_dies(self, steps: int) -> None:
        self.lives.disk.kill_at = self.lives.disk.operations + steps
        self.lives.start()
        self.lives.disk.kill_at = 0

    @precondition(dead)
    @rule(number=error_numbers)
    def starts_on_a_failing_disk(self, number: int) -> None:
        self.lives.disk.sync_error = disk_error(number)
        self.lives.start()
        self.healthy = False
        self.lives.disk.sync_error = None

    @precondition(dead)
    @rule(further=st.integers(0, 1))
    def is_replaced(self, further: int) -> None:
        height = self.lives.highest.height + further
        if self.lives.disk.full:
            return
        self.lives.replace(HRS(height, MAX_ROUND, Step.PRECOMMIT))
        self.oracle = Oracle((height, MAX_ROUND, 3), None, self.oracle.accepted)
        self.certain = self.healthy = True

    # ------------------------------------------------------------------------------------------------------- invariants

    @invariant()
    def the_file_keeps_its_size(self) -> None:
        assert len(self.lives.disk.media[GUARD].cache) == FILE_BYTES

    @invariant()
    def the_watermark_is_never_below_what_was_accepted(self) -> None:
        if self.alive() and not self.lives.fused:
            assert self.lives.watermark >= self.lives.highest

    @invariant()
    def without_a_failing_disk_there_is_no_fuse(self) -> None:
        if self.healthy:
            assert not self.lives.fused
            assert not self.lives.disk.exists(FUSE)


def chance(seed: int) -> Chance:
    """A coin: 0 never, 1 always, anything else now and then."""
    if seed <= 1:
        return lambda: seed == 1
    generator = random.Random(seed)
    return lambda: generator.random() < 0.5


def test_any_life_of_a_guard() -> None:
    run_state_machine_as_test(GuardMachine, settings=settings(max_examples=150, stateful_step_count=40))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_many_long_lives_of_a_guard() -> None:
    run_state_machine_as_test(GuardMachine, settings=settings(max_examples=1200, stateful_step_count=60))
