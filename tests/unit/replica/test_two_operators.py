"""Two operators begin different changes of one generation at the same time: all guards end in the same one of the two.

Of three guards one is lost, so that each change needs both of the others. What a replica lets go it may still be
believed to agree to, as long as its word is on the way; moved for two changes, neither could ever be finished.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any, Final, cast

import pytest
import structlog

from cmkms.guard.change import Change
from cmkms.guard.claims import NO_FLOOR, GuardClaim, GuardPhase
from cmkms.guard.founding import Candidate
from cmkms.guard.generation import NO_GENERATION, Electorate, Member
from cmkms.guard.hrs import HRS
from cmkms.peers.messages import Propose
from cmkms.replica.changing import Changing
from tests.unit.guard.world import CHAIN, KEY_HASH, hrs

MEMBERS: Final = {name: Member(name, name.encode() * 16, name.encode() * 8) for name in ("g1", "g2", "g3")}
EVERYBODY: Final = tuple(MEMBERS.values())
BEAT: Final = 0.1
MINUTE: Final = 60.0


def change_to(*names: str) -> Change:
    return Change(CHAIN, KEY_HASH, 1, NO_GENERATION.hash, EVERYBODY, tuple(MEMBERS[name] for name in names))


class World:
    """Two replicas, a clock, and a link that delivers in order."""

    def __init__(self, delay: float, offset: float) -> None:
        self.now = 0.0
        self.delay = delay
        self._numbers = count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self.replicas = {"g1": Replica(self, "g1", "g2", 0.0), "g2": Replica(self, "g2", "g1", offset % BEAT)}

    def at(self, when: float, what: Callable[[], object]) -> None:
        heapq.heappush(self._due, (when, next(self._numbers), what))

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] < until:
            self.now, _, what = heapq.heappop(self._due)
            what()


class Replica:
    """What `Changing` is told of its chain, guard and neighbours."""

    def __init__(self, world: World, name: str, other: str, first_beat: float) -> None:
        self.world, self.name, self.other = world, name, other
        self.chain_id = CHAIN
        self.generation, self.phase = change_to().before, GuardPhase.ARMED
        self.electorate = Electorate(CHAIN, KEY_HASH, self.generation, EVERYBODY)
        self.drained = True
        self.change: Change | None = None
        self.guard = self
        self.seen: GuardClaim | None = None
        self.changing: Changing | None = None
        log = structlog.testing.CapturingLogger()
        self.changing = Changing(
            cast("Any", self), cast("Any", self), cast("Any", self.send), lambda: world.now, cast("Any", log)
        )
        world.at(first_beat, self.beat)

    # ------------------------------------------------------------------------------------------- the chain, the guard

    @property
    def candidate(self) -> Candidate:
        agrees = self.changing.agrees if self.changing is not None else b""
        own = MEMBERS[self.name]
        claim = GuardClaim(CHAIN, KEY_HASH, self.phase, self.generation, own.nonce, 1, hrs(5, 0, 2), NO_FLOOR, agrees)
        return Candidate(own.id, own.identity, claim)

    def hold(self, _why: str) -> None:
        pass

    def go_on(self) -> None:
        pass

    def follow(self, change: Change) -> None:
        self.electorate = Electorate(CHAIN, KEY_HASH, change.after, change.members)

    def move(self, change: Change) -> None:
        self.generation, self.phase = change.after, GuardPhase.BOUND

    def seal(self, _change: Change, _hrs: HRS, _accepted_at: int) -> None:
        pass

    def arm_sealed(self) -> None:
        self.phase = GuardPhase.ARMED

    # ------------------------------------------------------------------------------------------------- the neighbours

    def candidates(self, _chain_id: str) -> dict[str, Candidate]:
        if self.seen is None:
            return {}
        return {self.other: Candidate(self.other, MEMBERS[self.other].identity, self.seen)}

    def holder(self) -> tuple[str, int]:
        return "", 0

    def send(self, _member: str, message: Propose) -> bool:
        other = self.world.replicas[self.other]
        self.world.at(self.world.now + self.world.delay, lambda: other.propose(message.change, driver=False))
        return True

    def tell(self) -> None:
        claim, other = self.candidate.claim, self.world.replicas[self.other]
        self.world.at(self.world.now + self.world.delay, lambda: other.hear(claim))

    def hear(self, claim: GuardClaim) -> None:
        news, self.seen = claim != self.seen, claim
        if news:
            self.step()

    # -------------------------------------------------------------------------------------------- as `Replica` drives

    def beat(self) -> None:
        assert self.changing is not None
        self.tell()
        self.changing.tell()
        self.step()
        self.world.at(self.world.now + BEAT, self.beat)

    def step(self) -> None:
        assert self.changing is not None
        if self.changing.step():
            self.world.at(self.world.now, self.tell)

    def propose(self, change: Change, *, driver: bool) -> None:
        assert self.changing is not None
        if not self.changing.propose(change, driver=driver):
            if driver:
                self.changing.tell()
            self.step()


@pytest.mark.parametrize("delay", [0.0002, 0.005, 0.05, 0.2])
@pytest.mark.parametrize("offset", [0.0, 0.0001, 0.003, 0.03, 0.15, 0.5, 1.5, 3.0, 3.2])
@pytest.mark.parametrize("second", [("g1",), ("g2",)], ids=str)
def test_they_end_in_one_generation(delay: float, offset: float, second: tuple[str, ...]) -> None:
    world = World(delay, offset)
    one, other = change_to("g1", "g2"), change_to(*second)
    world.at(1.05, lambda: world.replicas["g1"].propose(one, driver=True))
    world.at(1.05 + offset, lambda: world.replicas["g2"].propose(other, driver=True))
    world.run(MINUTE)
    ended = {replica.generation for replica in world.replicas.values()}
    assert len(ended) == 1, "each moved for another change"
    assert ended <= {one.after, other.after}, "one of them was done"
