"""A recording holds every reply, also when several processes write it and one of them is killed."""

from __future__ import annotations

import json
import multiprocessing
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmkms.harness.chain import block_id
from cmkms.harness.observation import Observation
from cmkms.harness.recorder import LINE_LIMIT_BYTES, Recorder, read_observations, read_recording
from cmkms.harness.signbytes import vote_sign_bytes
from cmkms.harness.values import MessageType, Time, Vote
from cmkms.harness.wire import SignVoteRequest, encode_request
from tests.unit.harness.signer import Signer

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


def write_and_wait(path: Path) -> None:
    recorder = Recorder(path)
    for number in range(EACH):
        recorder(seen(0, number))
    time.sleep(60)


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


def test_the_rest_of_a_killed_writer_is_left_out_where_the_next_one_began(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    for number in range(2):
        with Recorder(path) as recorder:
            recorder(seen(0, number))
        with path.open("a") as file:
            file.write('{"node":"node-')

    recording = read_recording(path)

    assert [one.asked_at for one in recording.observations] == [0, 1]
    assert recording.torn == 2


@pytest.mark.parametrize("end", range(0, 400, 7))
def test_torn_anywhere_in_its_last_line_a_recording_keeps_the_others(tmp_path: Path, end: int) -> None:
    path = tmp_path / "recording.jsonl"
    short = Observation("node-0", 1, 0, 1, b"key", b"request", b"reply")
    with Recorder(path) as recorder:
        recorder(short)
        whole = path.read_bytes()
        recorder(short)
    path.write_bytes(path.read_bytes()[: len(whole) + end])

    recording = read_recording(path)

    rest = len(path.read_bytes()) - len(whole)
    assert len(recording.observations) + recording.torn == (1 if rest == 0 else 2)
    assert len(recording.observations) >= 1


def test_a_damaged_line_between_others_is_no_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    with Recorder(path) as recorder:
        recorder(seen(0, 0))
        with path.open("a") as file:
            file.write('{"node":"node-\n')
        recorder(seen(0, 1))

    with pytest.raises(ValueError, match="line 3: no observation"):
        read_recording(path)


def test_times_of_one_boot_have_one_clock_whoever_recorded_them(tmp_path: Path) -> None:
    for name in ("one", "other"):
        with Recorder(tmp_path / name) as recorder:
            recorder(seen(0, 0))

    clocks = [read_recording(tmp_path / name).clocks for name in ("one", "other")]

    assert clocks[0] == clocks[1]
    assert all("CLOCK_MONOTONIC" in clock for clock in clocks[0])


def test_a_file_that_goes_on_after_a_reboot_has_two_clocks(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    with Recorder(path) as recorder:
        recorder(seen(0, 0))
    before = path.read_text()
    path.write_text(before + re.sub("boot [0-9a-f-]+", "boot another", before))

    assert len(read_recording(path).clocks) == 2


def test_a_file_without_a_head_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    path.write_text(seen(0, 0).to_json() + "\n")

    assert read_recording(path).observations == (seen(0, 0),)


def test_a_recording_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    path.write_text('{"recording":2,"clock":"?"}\n')

    with pytest.raises(ValueError, match="version 2"):
        read_recording(path)


def test_a_line_beyond_the_limit_is_refused_by_writer_and_reader(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    long = Observation("node-0", 1, 0, 1, b"key", bytes(LINE_LIMIT_BYTES // 2), b"reply")
    with Recorder(path) as recorder, pytest.raises(ValueError, match="bytes, a line holds"):
        recorder(long)
    path.write_text(long.to_json() + "\n")

    with pytest.raises(ValueError, match="line 1: longer than"):
        read_recording(path)


@pytest.mark.parametrize(("asked_at", "answered_at"), [("2", "1"), ("NaN", "1"), ("0", "Infinity")])
def test_a_reply_before_its_request_is_no_observation(tmp_path: Path, asked_at: str, answered_at: str) -> None:
    path = tmp_path / "recording.jsonl"
    line = seen(0, 0).to_json().replace('"asked_at":0', f'"asked_at":{asked_at}')
    path.write_text(line.replace('"answered_at":0.5', f'"answered_at":{answered_at}') + "\n")

    with pytest.raises(ValueError, match="asked at"):
        read_recording(path)


def test_lines_say_in_words_what_was_signed(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    signer = Signer("chain-1")
    vote = Vote(MessageType.PRECOMMIT, 5, 1, block_id(5, 1), Time(100), extension=b"extension")
    request = encode_request(SignVoteRequest("chain-1", vote))
    with Recorder(path) as recorder:
        recorder(Observation("node-0", 3, 0, 1, signer.pub_key, request, signer.answer(request), "pid:7"))

    line = json.loads(path.read_text().splitlines()[1])

    assert (line["replica"], line["connection"], line["chain"]) == ("pid:7", 3, "chain-1")
    assert (line["type"], line["hrs"], line["outcome"]) == ("precommit", "5/1/3", "signed")
    assert line["sign_bytes"] == vote_sign_bytes("chain-1", vote).hex()
    assert len(bytes.fromhex(line["signature"])) == len(bytes.fromhex(line["extension_signature"])) == 64


def test_a_recorder_that_is_killed_leaves_every_line_it_was_called_with(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    process = multiprocessing.get_context("spawn").Process(target=write_and_wait, args=(path,))
    process.start()
    while not path.exists() or path.read_bytes().count(b"\n") < EACH + 1:
        time.sleep(0.01)
    process.kill()
    process.join()

    assert len(read_recording(path).observations) == EACH
