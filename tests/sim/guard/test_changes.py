"""Changes of generation under everything at once: never two messages at one place, whoever counts what was answered.

A seed that fails repeats itself exactly: `World(SEED, ...).live(STEPS)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from cmkms.guard import change as change_module
from cmkms.guard import file as file_module
from cmkms.guard.guard import Guard
from tests.sim.guard.changes import World

STEPS = 150


def world(seed: int) -> World:
    """Of one, three or five members, with some hosts to spare."""
    return World(seed, hosts=5, members=(1, 3, 3, 5)[seed % 4]) if seed % 2 else World(seed, hosts=4, members=3)


def lives(seeds: Iterable[int]) -> tuple[int, int]:
    """Live these lives; returns how many changes came about in them, and how many messages were signed."""
    changes = signed = 0
    for seed in seeds:
        one = world(seed)
        one.live(STEPS)
        changes += len(one.armed_at) - 1
        signed += len(one.released)
    return changes, signed


def test_no_two_messages_are_signed_whatever_befalls_the_guards() -> None:
    changes, signed = lives(range(60))
    assert changes > 10
    assert signed > 10


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_nor_in_many_lives() -> None:
    changes, signed = lives(range(1000, 2000))
    assert changes > 200
    assert signed > 200


@pytest.mark.proof
@pytest.mark.timeout(600)
class TestItCanFail:
    """What these lives say of a change in which one sentence of the rule is broken on purpose."""

    def condemn(self, seeds: int = 1500) -> None:
        for seed in range(seeds):
            try:
                world(seed).live(STEPS)
            except AssertionError as error:
                assert "two messages are signed" in str(error)  # noqa: PT017 - which assertion it is
                return
        pytest.fail("nobody noticed")

    def test_a_minority_of_the_old_guards_is_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def half(count: int) -> int:
            return max(1, count // 2)

        monkeypatch.setattr(change_module, "majority", half)
        self.condemn()

    def test_a_new_guard_begins_where_it_stands(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole: Callable[[Any], Any] = change_module._Look._seal

        def own(self: Any) -> Any:
            return replace(whole(self), hrs=self._mine.claim.hrs)

        monkeypatch.setattr(change_module._Look, "_seal", own)
        self.condemn()

    def test_a_seal_keeps_the_bytes_that_a_guard_held(self, monkeypatch: pytest.MonkeyPatch) -> None:
        strict = Guard.seal
        honest = file_module._not_a_successor

        def nothing_wrong(_older: object, _newer: object) -> str:
            return ""

        def lax(self: Any, *told: Any) -> None:
            before = self._file.record
            strict(self, *told)
            after = self._file.record
            if before.sign_bytes is not None and after.hrs == before.hrs:
                monkeypatch.setattr(file_module, "_not_a_successor", nothing_wrong)
                self._file.write(replace(after, sequence=after.sequence + 1, sign_bytes=before.sign_bytes))
                monkeypatch.setattr(file_module, "_not_a_successor", honest)

        def arm(self: Any) -> None:
            record = self._file.record
            if not record.armed:
                self._arm(record, self._change.before.hash, self._change.members)

        monkeypatch.setattr(Guard, "seal", lax)
        monkeypatch.setattr(Guard, "arm_sealed", arm)
        self.condemn()
