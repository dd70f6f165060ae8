"""What the campaign says of a cluster in which one sentence of the promise is broken on purpose.

Each break is caught by what comes of it, seen from outside; the many bugs of `tests/sim/mutations` go the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cmkms.cluster.coordination import Coordination
from cmkms.guard.accepting import GuardService
from cmkms.guard.decide import Accepted
from cmkms.guard.majority import MajorityQuorum
from cmkms.guard.rpc import Accept, Answered
from cmkms.signing import Rejected, RejectedBecause, Signer
from tests.sim.campaign.plan import plan_of
from tests.sim.campaign.run import Outcome
from tests.sim.campaign.shrinking import Case, shrink
from tests.sim.campaign.sweep import run_alone
from tests.sim.guard.disk import SimulatedFile

STRANGE = 0.8
SEEDS = [seed for seed in range(1001, 1101) if sum(plan_of(seed, 1.0, ()).strange) >= STRANGE][:8]
"""Nodes that ask for conflicting things often: what is lax here comes to light soon."""


def condemned(why: str, seconds: float = 6.0) -> Outcome:
    """Return the first of a few seeds that is condemned for this."""
    said: list[str] = []
    for seed in SEEDS:
        outcome = run_alone(seed, seconds=seconds)
        if any(why in one for one in outcome.violations):
            return outcome
        said += outcome.violations
    pytest.fail(f"nobody noticed; what was said: {said}")


def test_a_minority_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    real = MajorityQuorum.__init__

    def begin(quorum: MajorityQuorum, *args: Any, **kwargs: Any) -> None:
        real(quorum, *args, **kwargs)
        quorum._quorum = 1

    monkeypatch.setattr(MajorityQuorum, "__init__", begin)
    condemned("disks behind it")


def test_an_answer_leaves_before_it_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget_to(_file: SimulatedFile) -> None: ...

    monkeypatch.setattr(SimulatedFile, "sync", forget_to)
    outcome = condemned("disks behind it")
    assert any("VIOLATION" in line for line in outcome.story)


def test_a_guard_accepts_whatever_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    real = GuardService.accept

    def oblige(service: GuardService, request: Accept) -> Answered:
        return replace(real(service, request), verdict=Accepted(advances=False))

    monkeypatch.setattr(GuardService, "accept", oblige)
    condemned("two messages are signed")


def test_a_replica_signs_what_was_asked_and_not_what_was_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Signer._sign

    def sign(signer: Signer, flight: Any, granted: bytes) -> tuple[bytes, bool]:
        real(signer, flight, granted)
        return signer._key.sign(flight.sign_bytes), False

    monkeypatch.setattr(Signer, "_sign", sign)
    condemned("two messages are signed", seconds=15.0)


def test_a_node_is_refused_what_could_be_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Signer.submit

    def submit(signer: Signer, waiter: Any) -> None:
        if waiter.request.chain_id and signer.quorum.waiting_for:
            waiter.answer(Rejected(RejectedBecause.REGRESSION, "no majority just now"))
        else:
            real(signer, waiter)

    monkeypatch.setattr(Signer, "submit", submit)
    condemned("which could still be signed", seconds=15.0)


def test_nobody_is_ever_elected_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first leader is elected, and nobody after it: a majority is up, and no request is answered."""
    real = Coordination._stand_if_due

    def stand(coordination: Coordination) -> None:
        if coordination.term < 2:
            real(coordination)

    monkeypatch.setattr(Coordination, "_stand_if_due", stand)
    condemned("have been up and connected", seconds=15.0)


class TestShrinking:
    """A case is a value, and how it runs is passed in: here, by rules that say when it fails."""

    def run_by(self, fails: Callable[[Case], bool]) -> Callable[[Case], Outcome]:
        faults = {"kill": 3, "cut": 2, "stop": 1}

        def run(case: Case) -> Outcome:
            left = {kind: count for kind, count in faults.items() if kind not in case.without}
            return Outcome(case.seed, ["broken"] if fails(case) else [], simulated=12.0, faults=left)

        return run

    def test_what_it_does_not_need_to_fail_is_left_out(self) -> None:
        small = shrink(Case(7), run=self.run_by(lambda case: "cut" not in case.without))
        assert small.without == ("conflicts", "kill", "stop")

    def test_it_is_no_longer_than_until_it_fails(self) -> None:
        small = shrink(Case(7), run=self.run_by(lambda case: case.seconds >= 8.5))
        assert small.seconds == pytest.approx(9.1, abs=0.2)

    def test_the_command_repeats_it(self) -> None:
        small = shrink(Case(7, replicas=5), run=self.run_by(lambda case: "kill" not in case.without))
        assert small.command.startswith("make sim SEED=7 REPLICAS=5 SECONDS=")
        assert small.command.endswith(" WITHOUT=conflicts,cut,stop")

    def test_what_does_not_fail_stays_as_it_is(self) -> None:
        assert shrink(Case(7), run=self.run_by(lambda _: False)) == Case(7)
