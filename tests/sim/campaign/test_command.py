"""What `make sim` says and writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.sim.campaign.__main__ import main
from tests.sim.campaign.plan import ALL_KINDS, plan_of
from tests.sim.guard.disk import SimulatedFile


def test_one_seed_tells_its_story_and_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "1003", "--seconds", "1", "--without", "kill,cut", "--lines", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(" s  " in line for line in lines) == 20
    assert any(line.startswith("make sim SEED=1003 SECONDS=1 WITHOUT=cut,kill: 5 replicas") for line in lines)
    assert lines[-1] == "every promise was kept"


def test_a_broken_promise_is_named_and_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forget_to(_file: SimulatedFile) -> None: ...

    monkeypatch.setattr(SimulatedFile, "sync", forget_to)
    assert main(["--seed", "1001", "--seconds", "1"]) == 1
    assert "VIOLATION: node-" in capsys.readouterr().out


def test_many_seeds_are_summed_up_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "simulation.json"
    assert main(["--seeds", "1001-1002", "--seconds", "1", "--jobs", "1", "--out", str(out)]) == 0
    sums = json.loads(out.read_text(encoding="utf-8"))
    assert sums["command"] == "make sim SEEDS=1001-1002 SECONDS=1"
    assert sums["seeds"] == 2
    assert sums["violations"] == 0
    assert sums["places_signed"] > 0
    assert "2 seeds" in capsys.readouterr().out


def test_an_unknown_kind_of_fault_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "1", "--without", "kill,earthquake"]) == 2
    assert "earthquake" in capsys.readouterr().out


class TestPlans:
    def test_without_a_kind_all_else_strikes_as_before(self) -> None:
        whole, less = plan_of(11, 30.0, ()), plan_of(11, 30.0, ("kill", "cut"))
        assert less.blows == tuple(blow for blow in whole.blows if blow.kind not in {"kill", "cut"})
        assert (less.strange, less.paces) == (whole.strange, whole.paces)

    def test_longer_it_begins_the_same(self) -> None:
        short, long = plan_of(11, 10.0, ()), plan_of(11, 30.0, ())
        assert long.blows[: len(short.blows)] == short.blows

    def test_without_everything_nothing_befalls_anybody(self) -> None:
        assert plan_of(11, 30.0, ALL_KINDS).blows == ()
        assert set(plan_of(11, 30.0, ALL_KINDS).strange) == {0.0}

    def test_the_seeds_of_a_campaign_draw_every_kind(self) -> None:
        drawn = {blow.kind for seed in range(1, 301) for blow in plan_of(seed, 20.0, ()).blows}
        assert drawn == ALL_KINDS - {"conflicts"}
