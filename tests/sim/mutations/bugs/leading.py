"""Bugs of births, leases and elections: who may begin, who coordinates, and what a new coordinator looks at first."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from cmkms.cluster.coordination import Coordination
from cmkms.cluster.elections import Elections
from cmkms.cluster.lease import Mandate
from cmkms.guard.accepting import GuardService
from cmkms.guard.founding import FoundingStep, _Founding
from cmkms.guard.majority import MajorityQuorum
from cmkms.guard.rpc import Peek, Peeked
from tests.sim.mutations.bug import Harmless, SeededBug, swapped
from tests.sim.mutations.profiles import BIRTHS, CUT_LINKS, LATE, LEASES, TAKEOVERS

__all__ = ["HARMLESS", "LEADING"]


@contextmanager
def arms_before_all_are_bound() -> Generator[None]:
    def at_once(founding: _Founding) -> FoundingStep:
        return founding._arm(founding._mine.claim.generation)

    with swapped(_Founding, "bound", at_once):
        yield


@contextmanager
def does_not_peek() -> Generator[None]:
    def at_once(quorum: MajorityQuorum) -> bool:
        return quorum._term is not None

    def nothing_seen(quorum: MajorityQuorum, member: str, peeked: Peeked) -> None:
        quorum._peeks.pop(peeked.rpc, None)

    with (
        swapped(MajorityQuorum, "_may_write", property(at_once)),
        swapped(MajorityQuorum, "_take_peek", nothing_seen),
    ):
        yield


@contextmanager
def former_holders_are_answered() -> Generator[None]:
    peek = GuardService.peek

    def forgetful(service: GuardService, request: Peek) -> Peeked:
        answer = peek(service, request)
        service._term = 0
        return answer

    with swapped(GuardService, "peek", forgetful):
        yield


@contextmanager
def lease_from_the_acknowledgement() -> Generator[None]:
    acknowledge = Mandate.acknowledge

    def late(mandate: Mandate, member: str, term: int, _sent: float, now: float) -> None:
        acknowledge(mandate, member, term, now, now)

    with swapped(Mandate, "acknowledge", late):
        yield


@contextmanager
def votes_while_a_leader_is_heard() -> Generator[None]:
    def never(_elections: Elections, _now: float, _candidate: str = "") -> bool:
        return False

    def undefended(_mandate: Mandate, _now: float) -> bool:
        return False

    with swapped(Elections, "hears_leader", never), swapped(Mandate, "defended", undefended):
        yield


@contextmanager
def stands_without_a_pre_vote() -> Generator[None]:
    def stand(coordination: Coordination) -> None:
        now = coordination._clock()
        if coordination._aside or coordination._engine.leads or not coordination._elections.due(now):
            return
        coordination._elections.ask(coordination._engine.term + 1, now)
        coordination._engine.stand()

    with swapped(Coordination, "_stand_if_due", stand):
        yield


LEADING = (
    SeededBug("arm before all are bound", "a guard arms as soon as it is bound itself",
              "all n files bind durably; a guard arms when all n are known bound", arms_before_all_are_bound, BIRTHS,
              pinned=4),
    SeededBug("do not peek", "a new lease holder writes before it has asked what the former one left",
              "until a majority answered a peek, own included, write none", does_not_peek, TAKEOVERS),
    SeededBug("count the lease from the acknowledgement", "a lease lasts from when its acknowledgement came",
              "counted from the send time of what was acknowledged", lease_from_the_acknowledgement, LATE),
    SeededBug("vote while a leader is heard", "a vote is given to whoever asks, whoever leads",
              "no vote while the leader is heard", votes_while_a_leader_is_heard, LEASES, pinned=2),
)  # fmt: skip

HARMLESS = (
    Harmless("stand without a pre-vote", "a replica that hears no leader stands for election at once",
             "Votes are refused while a leader is heard; a needless term costs an election at most",
             stands_without_a_pre_vote, CUT_LINKS),
    Harmless("answer former holders", "a guard answers accepts of lower terms after a peek of a higher one",
             "It is a hint that saves split votes; guards accept one message for each place, whoever asks",
             former_holders_are_answered, TAKEOVERS),
)  # fmt: skip
