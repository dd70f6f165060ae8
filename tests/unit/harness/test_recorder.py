"""A recording holds every reply, also when several processes write it and one of them is killed."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmkms.harness.observation import Observation
from cmkms.harness.recorder import Recorder, read_observations

WRITERS, EACH = 4, 100
LONG_REQUEST = 20_000


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    moments = st.floats(allow_nan=False, allow_infinity=False)
    asked_at, answered_at = sorted((draw(moments), draw(moments)))
    return Observation(
        node=draw(st.text(max_size=10)),
        connection=draw(st.integers(0, 2**31)),
        asked_at=asked_at,
        answered_at=answered_at,
        pub_key=draw(st.binary()),
        request=draw(st.binary()),
        reply=draw(st.none() | st.binary()),
        replica=draw(st.text(max_size=10)),
    )


def seen(writer: int, number: int) -> Observation:
    return Observation(f"node-{writer}", 1, number, number + 0.5, bytes(32), bytes(LONG_REQUEST), b"reply")


def write_many(path: Path, writer: int) -> None:
    with Recorder(path) as recorder:
        for number in range(EACH):
            recorder(seen(writer, number))


@given(observations())
def test_an_observation_survives_its_line(observation: Observation) -> None:
    assert Observation.from_json(observation.to_json()) == observation
    assert "\n" not in observation.to_json()


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_many, args=(path, writer)) for writer in range(WRITERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    recorded = list(read_observations(path))

    assert len(recorded) == WRITERS * EACH
    for writer in range(WRITERS):
        own = [observation for observation in recorded if observation.node == f"node-{writer}"]
        assert own == [seen(writer, number) for number in range(EACH)]


def test_a_second_recorder_appends(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    for writer in range(2):
        with Recorder(path) as recorder:
            recorder(seen(writer, 0))

    assert [observation.node for observation in read_observations(path)] == ["node-0", "node-1"]


def test_the_half_line_of_a_killed_writer_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    with Recorder(path) as recorder:
        recorder(seen(0, 0))
    with path.open("a") as file:
        file.write('{"node":"node-')

    assert len(list(read_observations(path))) == 1


def test_a_line_that_is_no_observation_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    path.write_text("{}\n")

    with pytest.raises(ValueError, match=r"recording\.jsonl, line 1"):
        list(read_observations(path))
