"""Two processes with one identity: a copied home, or a former life that was still in a socket's queue."""

from __future__ import annotations

import pytest

from cmkms.peers.messages import Blow
from tests.unit.replica.lone import Lone

BOOT, OTHER_BOOT = b"t" * 16, b"u" * 16


@pytest.fixture
def lone() -> Lone:
    lone = Lone()
    lone.meet("node-1")
    return lone


def told(lone: Lone) -> list[float]:
    """When node-1 was told to blow its fuse."""
    assert all(to == "node-1" for _, to, _ in lone.of_kind(Blow))
    return [at for at, _, _ in lone.of_kind(Blow)]


def test_a_former_life_that_speaks_once_is_no_twin(lone: Lone) -> None:
    lone.replica.twin("node-1", BOOT)
    lone.clock.advance(600)
    assert told(lone) == []


def test_nor_are_several_former_lives_that_speak_once_each(lone: Lone) -> None:
    for number in range(40):
        lone.replica.twin("node-1", bytes([number]) * 16)
        lone.clock.advance(0.1)
    assert told(lone) == []


def test_what_is_left_in_a_queue_is_none_for_a_second(lone: Lone) -> None:
    lone.every(0.1, lambda: lone.replica.twin("node-1", BOOT), times=9)
    assert told(lone) == []


def test_one_that_keeps_speaking_for_a_second_is_told_once_a_minute(lone: Lone) -> None:
    lone.every(0.1, lambda: lone.replica.twin("node-1", BOOT), times=1300)
    assert told(lone) == pytest.approx([1.0, 61.0, 121.0], abs=0.25)
    assert {message for _, _, message in lone.of_kind(Blow)} == {Blow("", BOOT, 0)}
    assert len([line for line in lone.lines if "two live processes" in line[2]]) == 3


def test_twins_of_two_replicas_are_told_of_one_by_one(lone: Lone) -> None:
    lone.meet("node-2")

    def both() -> None:
        lone.replica.twin("node-1", BOOT)
        lone.replica.twin("node-2", OTHER_BOOT)

    lone.every(0.1, both, times=20)
    assert sorted(to for _, to, _ in lone.of_kind(Blow)) == ["node-1", "node-2"]
