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
from tests.unit.guard.world import precommit, prevote, proposal, request

steps = st.sampled_from([("proposal", 0), ("prevote", 0), ("precommit", 0), ("proposal", 1), ("prevote", 1)])
"""Kind and round."""
blocks = st.integers(0, 1)
times = st.integers(7, 8)
seeds = st.integers(0, 99)
"""Of a coin, see `chance`: 0 never, 1 always."""
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
        self.last = Asked("prevote", 1, 0, 1, 7)
        """What was asked last, in any life, whatever became of it: what a node would repeat."""
        self.healthy = True
        """Whether nothing but processes and power has failed in this guard's life."""

        self.faults = 0
        """How many more times the disk may fail: a fuse ends the interesting part of a life."""

    @initialize(height=st.integers(0, 2), faults=st.sampled_from([0, 0, 1, 2]))
    def begins_at_a_seal(self, height: int, faults: int) -> None:
        self.faults = faults
        self.lives = Lives(HRS(height, 0, Step.PREVOTE) if height else NEVER)
        self.oracle = Oracle((height, 0, 2) if height else (0, 0, 0))

    def alive(self) -> bool:
        return self.lives.guard is not None

    def dead(self) -> bool:
        return self.lives.guard is None

    def answers(self) -> bool:
        return self.alive() and not self.lives.fused

    def fused(self) -> bool:
        return self.alive() and self.lives.fused

    def answers_and_may_fail(self) -> bool:
        return self.answers() and self.faults > 0

    def dead_and_may_fail(self) -> bool:
        return self.dead() and self.faults > 0

    # -------------------------------------------------------------------------------------------------------- requests

    @precondition(answers)
    @rule(asked=st.lists(st.tuples(st.integers(-1, 2), steps, blocks), min_size=1, max_size=3))
    def is_asked_elsewhere(self, asked: list[tuple[int, tuple[str, int], int]]) -> None:
        for further, step, block in asked:
            self.ask(self.message(further, step, block))

    @precondition(answers)
    @rule(asked=st.lists(st.tuples(blocks, times), min_size=1, max_size=3))
    def is_asked_there_again(self, asked: list[tuple[int, int]]) -> None:
        for block, time in asked:
            self.ask(self.last._replace(block=block, time=time))

    @precondition(fused)
    @rule(further=st.integers(0, 2), step=steps)
    def is_asked_behind_its_fuse(self, further: int, step: tuple[str, int]) -> None:
        self.ask(self.message(further, step, 1))

    @precondition(answers)
    @rule(step=steps, after=st.integers(1, 5), seed=seeds, then=st.sampled_from(["kill", "cut", "nothing"]))
    def dies_while_it_is_asked(self, step: tuple[str, int], after: int, seed: int, then: str) -> None:
        self.lives.disk.kill_at = self.lives.disk.operations + after
        self.ask(self.message(1, step, 1))
        self.lives.disk.kill_at = 0
        if self.dead() and then != "nothing":
            if then == "cut":
                self.lives.disk.cut_power(chance(seed))
            self.lives.start()
            self.ask(self.last)

    @precondition(answers_and_may_fail)
    @rule(step=steps, number=error_numbers, reached=st.sampled_from([0, 512, 4096, 4608, 8192]))
    def a_write_fails(self, step: tuple[str, int], number: int, reached: int) -> None:
        self.lives.disk.write_error, self.lives.disk.written_before_error = disk_error(number), reached
        self.an_error_comes(self.message(1, step, 1))

    @precondition(answers_and_may_fail)
    @rule(step=steps, number=error_numbers, seed=st.integers(0, 9))
    def a_sync_fails(self, step: tuple[str, int], number: int, seed: int) -> None:
        self.lives.disk.sync_error = disk_error(number)
        self.lives.disk.flushed_before_error = chance(seed)
        self.an_error_comes(self.message(1, step, 1))

    def message(self, further: int, step: tuple[str, int], block: int) -> Asked:
        """Ask at a height near the last one that was asked at."""
        kind, round_ = step
        height = max(1, self.last.height + further)
        return Asked(kind, height, round_, block, 7, -1 if kind == "proposal" else None)

    def ask(self, asked: Asked) -> None:
        self.last = asked
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

    def an_error_comes(self, asked: Asked) -> None:
        disk = self.lives.disk
        self.ask(asked)
        if disk.write_error is None and disk.sync_error is None:
            self.certain = self.healthy = False
            self.faults -= 1
            assert self.lives.fused
        disk.write_error = disk.sync_error = None

    @precondition(answers)
    @rule(further=st.sampled_from([-1, 0, 0, 1]), sealed=st.booleans())
    def is_raised_by_the_operator(self, further: int, *, sealed: bool) -> None:
        """To a point near the last one; at that very point, by its bytes of another block or none."""
        guard = self.lives.guard
        assert guard is not None
        other = self.last._replace(height=max(1, self.last.height + further), block=2)
        point = request(sign_bytes(other)).hrs
        before = self.lives.watermark
        try:
            moved = guard.raise_to(point, None if sealed or point > before else sign_bytes(other))
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

    @precondition(answers)
    @rule(how=st.sampled_from(["kill", "stop", "cut"]), seed=seeds, pages=st.booleans(), again=blocks)
    def restarts_and_is_asked_there_again(self, how: str, seed: int, again: int, *, pages: bool) -> None:
        self.lives.stop() if how == "stop" else self.lives.kill()
        if how == "cut":
            self.lives.disk.cut_power(chance(seed), pages=pages)
        self.lives.start()
        self.ask(self.last._replace(block=again))

    @rule(seed=seeds, pages=st.booleans())
    def the_power_is_cut(self, seed: int, *, pages: bool) -> None:
        self.lives.guard = None
        self.lives.disk.cut_power(chance(seed), pages=pages)

    @rule(seed=seeds, pages=st.booleans())
    def the_kernel_writes_back(self, seed: int, *, pages: bool) -> None:
        self.lives.disk.write_back(chance(seed), pages=pages)

    @rule()
    def the_disk_is_full_or_has_room_again(self) -> None:
        self.lives.disk.full = not self.lives.disk.full

    @precondition(dead_and_may_fail)
    @rule(slot=st.integers(0, 1), copy=st.integers(0, 1), at=st.integers(0, 511))
    def a_copy_rots(self, slot: int, copy: int, at: int) -> None:
        self.healthy = False
        self.faults -= 1
        self.lives.disk.rot(GUARD, (2 * slot + copy) * 4096 + at)

    @precondition(dead_and_may_fail)
    @rule(slot=st.integers(0, 1), at=st.integers(0, 511))
    def a_slot_rots(self, slot: int, at: int) -> None:
        self.healthy = False
        self.faults -= 1
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

    @precondition(dead_and_may_fail)
    @rule(number=error_numbers)
    def starts_on_a_failing_disk(self, number: int) -> None:
        self.lives.disk.sync_error = disk_error(number)
        self.lives.start()
        self.healthy = False
        self.faults -= 1
        self.lives.disk.sync_error = None

    @rule(further=st.integers(0, 1))
    def is_replaced(self, further: int) -> None:
        if self.answers():
            return
        height = max(1, self.lives.highest.height + further)
        if self.lives.disk.full:
            return
        self.lives.kill()
        self.lives.replace(HRS(height, MAX_ROUND, Step.PRECOMMIT))
        self.oracle = Oracle((height, MAX_ROUND, 3), None, self.oracle.accepted)
        self.certain = self.healthy = True
        self.lives.start()

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
    run_state_machine_as_test(GuardMachine, settings=settings(max_examples=250, stateful_step_count=40))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_long_lives_of_a_guard() -> None:
    run_state_machine_as_test(GuardMachine, settings=settings(max_examples=1200, stateful_step_count=60))
