"""Whatever befalls the cluster: one message for each place, every answer true, and service again once it is healed.

A seed that fails names itself, and repeats itself exactly: `survive(tmp_path, SEED)`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cmkms.guard.accepting import GuardService
from cmkms.guard.decide import Accepted
from cmkms.guard.majority import MajorityQuorum
from cmkms.guard.rpc import Accept, Answered
from cmkms.signing import Signer
from tests.sim.cluster.chaos import survive
from tests.sim.cluster.cluster import Cluster
from tests.sim.guard.disk import SimulatedFile


def size_of(seed: int) -> int:
    """Every fourth cluster is one of five."""
    return 5 if seed % 4 == 3 else 3


@pytest.mark.parametrize("seed", range(1, 41))
def test_a_short_life(tmp_path: Path, seed: int) -> None:
    survive(tmp_path, seed, size=size_of(seed), seconds=12.0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(1000, 1200, 20))
def test_long_lives(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        survive(folder, seed, size=size_of(seed), seconds=30.0, sentries=1 + seed % 3)


def test_a_seed_repeats_itself_exactly(tmp_path: Path) -> None:
    lives: list[Cluster] = []
    for attempt in ("first", "second"):
        folder = tmp_path / attempt
        folder.mkdir()
        lives.append(survive(folder, 5, seconds=5.0))
    first, second = lives
    assert first.lines == second.lines
    assert first.judge.signed == second.judge.signed
    assert [(one.at, one.answered_at) for one in first.sentries[0].asked] == [
        (one.at, one.answered_at) for one in second.sentries[0].asked
    ]


class TestTheJudgeCanFail:
    """What these seeds say of a cluster in which one sentence of the promise is broken on purpose."""

    def condemn(self, tmp_path: Path, why: str) -> None:
        for seed in range(1, 13):
            folder = tmp_path / str(seed)
            folder.mkdir()
            try:
                survive(folder, seed)
            except AssertionError as error:
                if why in str(error):
                    return
                raise
        pytest.fail("nobody noticed")

    def test_a_minority_is_enough(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Minority(MajorityQuorum):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self._quorum = 1

        monkeypatch.setattr("cmkms.replica.chain.MajorityQuorum", Minority)
        self.condemn(tmp_path, "disks behind it")

    def test_an_answer_leaves_before_it_is_on_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def forget_to(_file: SimulatedFile) -> None:
            pass

        monkeypatch.setattr(SimulatedFile, "sync", forget_to)
        self.condemn(tmp_path, "disks behind it")

    def test_a_guard_accepts_whatever_it_is_asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Obliging(GuardService):
            def accept(self, request: Accept) -> Answered:
                return replace(super().accept(request), verdict=Accepted(advances=False))

        monkeypatch.setattr("cmkms.replica.chain.GuardService", Obliging)
        self.condemn(tmp_path, "signed at")

    def test_a_replica_signs_what_was_asked_and_not_what_was_granted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Asked(Signer):
            def _sign(self, flight: Any, granted: bytes) -> tuple[bytes, bool]:
                super()._sign(flight, granted)
                return self._key.sign(flight.sign_bytes), False

        monkeypatch.setattr("cmkms.replica.chain.Signer", Asked)
        self.condemn(tmp_path, "two messages are signed")
