"""The judge as a command: what it says of recordings, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from cmkms.harness.judge import main
from cmkms.harness.observation import Observation
from cmkms.harness.recorder import Recorder
from tests.unit.harness.guard_file import Record, guard_file
from tests.unit.harness.hand_made import CHAIN, exchange, precommit, prevote, sign_bytes, unanswered
from tests.unit.harness.test_faulty_recordings import FAULTY

GOOD = [exchange((0, 1), prevote(5)), replace(exchange((2, 3), precommit(5)), replica="pid:7")]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return record(tmp_path / "recording", GOOD)


def record(path: Path, observations: Iterable[Observation]) -> Path:
    with Recorder(path) as recorder:
        for observation in observations:
            recorder(observation)
    return path


def test_a_good_recording_ends_with_zero(recording: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cmkms.harness.judge", str(recording), "--chain", CHAIN],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "2 signed, 0 double signs" in done.stdout
    assert "pid:7: 1" in done.stdout
    assert done.stdout.endswith("every promise kept\n")


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_one_ends_with_one_and_says_in_words_what_was_broken(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule, observations = FAULTY[name]
    by_clock = {seen.clock for seen in observations}
    files = [record(tmp_path / f"host-{n}", [s for s in observations if s.clock == c]) for n, c in enumerate(by_clock)]

    assert main([*map(str, files), "--chain", CHAIN, "--at-least", "0"]) == 1
    said = capsys.readouterr().out
    assert f"broken: {rule.name}" in said
    assert rule.value in said
    assert said.endswith("NOT GOOD\n")


def test_files_of_several_validators_are_judged_together(tmp_path: Path) -> None:
    _, (first, second) = FAULTY["two sentries at the same time"]
    one, other = record(tmp_path / "one", [first]), record(tmp_path / "other", [second])

    assert main([str(one)]) == main([str(other)]) == 0
    assert main([str(one), str(other)]) == 1


def test_torn_lines_are_counted_and_condemn_nobody(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with recording.open("a") as file:
        file.write('{"node":')

    assert main([str(recording)]) == 0
    assert "1 torn lines" in capsys.readouterr().out


def test_a_recording_that_cannot_be_read_ends_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_text("?\n")

    assert main([str(damaged)]) == main([str(tmp_path / "missing")]) == 2
    assert "line 1" in capsys.readouterr().err


def test_too_few_signatures_prove_nothing(recording: Path, tmp_path: Path) -> None:
    silent = record(tmp_path / "silent", [unanswered((0, 1), prevote(5))])

    assert main([str(silent)]) == 1
    assert main([str(recording), "--at-least", "2"]) == 0
    assert main([str(recording), "--at-least", "3"]) == 1


def test_answers_that_cannot_be_read_are_no_good_ones(recording: Path) -> None:
    record(recording, [replace(GOOD[0], reply=b"\xff")])

    assert main([str(recording)]) == 1


def test_a_chain_that_is_not_configured_is_foreign_only_where_the_chains_are_named(recording: Path) -> None:
    assert main([str(recording)]) == 0
    assert main([str(recording), "--chain", "another-1"]) == 1


def test_liveness_is_judged_where_it_is_told_when_all_was_healed(recording: Path) -> None:
    assert main([str(recording), "--liveness", "2", "--healed-at", "1.5"]) == 0
    assert main([str(recording), "--liveness", "1", "--healed-at", "1.5"]) == 1
    assert main([str(recording), "--liveness", "2", "--healed-at", "1.5", "--healed-at", "10"]) == 1
    assert main([str(recording), "--liveness", "1"]) == 2


def test_a_moment_means_nothing_to_several_clocks(recording: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(recording.read_text().replace("of boot", "of another boot"))

    assert main([str(recording), str(other), "--liveness", "2", "--healed-at", "1.5"]) == 2


def test_guards_are_judged_where_their_files_are_given(recording: Path, tmp_path: Path) -> None:
    holds = Record(height=5, step=3, sign_bytes=sign_bytes(precommit(5)), chain=CHAIN.encode())
    files = [tmp_path / f"guard-{number}" for number in range(3)]
    for number, file in enumerate(files[:2]):
        file.write_bytes(guard_file(replace(holds, nonce=bytes([number] * 16))))
    flags = [flag for file in files for flag in ("--guard", str(file))]

    assert main([str(recording), *flags]) == 0
    files[1].unlink()
    assert main([str(recording), *flags]) == 1


def test_without_extensions_none_is_missed(tmp_path: Path) -> None:
    path = record(tmp_path / "old", FAULTY["an extension left unsigned"][1])

    assert main([str(path)]) == 1
    assert main([str(path), "--no-extensions"]) == 0
