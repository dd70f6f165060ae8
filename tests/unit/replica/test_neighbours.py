"""What is known of the other replicas' guards: how many of them would answer, and be counted, now."""

from __future__ import annotations

from typing import Any, cast

import pytest

from cmkms.guard.claims import NO_FLOOR, GuardClaim, GuardPhase
from cmkms.guard.generation import Electorate, Member, first_generation
from cmkms.peers.messages import Hello
from cmkms.replica.neighbours import Neighbours
from tests.unit.guard.world import CHAIN, KEY_HASH, hrs

NAMES = ("node-0", "node-1", "node-2")
MEMBERS = tuple(Member(name, bytes([at]) * 32, bytes([at]) * 16) for at, name in enumerate(NAMES))
GUARDS = Electorate(CHAIN, KEY_HASH, first_generation(CHAIN, KEY_HASH, *MEMBERS), MEMBERS)
QUIET = 0.4


class World:
    """node-0, and what it has heard of the two others."""

    def __init__(self) -> None:
        self.now = 100.0
        self.distrusted: set[str] = set()
        self.known = Neighbours("node-0", NAMES, cast("Any", None), lambda: self.now, QUIET, self.trusts)
        for member in MEMBERS[1:]:
            self.known.up(member.id, member.identity, self.hello(member))

    def trusts(self, member: str, _chain_id: str, _nonce: bytes) -> bool:
        return member not in self.distrusted

    def claim(self, member: Member) -> GuardClaim:
        generation = GUARDS.generation
        return GuardClaim(CHAIN, KEY_HASH, GuardPhase.ARMED, generation, member.nonce, 3, hrs(9, 0, 3), NO_FLOOR)

    def hello(self, member: Member) -> Hello:
        return Hello(1, 1, "0", member.id, member.nonce, 400, (), (self.claim(member),))

    def answering(self) -> int:
        return self.known.answering(GUARDS, self.claim(MEMBERS[0]))


@pytest.fixture
def world() -> World:
    return World()


def test_all_that_are_heard_and_armed_answer(world: World) -> None:
    assert world.answering() == len(NAMES)


def test_one_that_is_gone_does_not(world: World) -> None:
    world.known.down("node-1")
    assert world.answering() == 2


def test_one_that_is_silent_does_not(world: World) -> None:
    world.now += 2 * QUIET
    assert world.answering() == 1


def test_one_that_went_backwards_is_not_counted_whatever_it_says(world: World) -> None:
    world.distrusted.add("node-2")
    assert world.answering() == 2
