from __future__ import annotations

import os
import resource
import socket
import tempfile
import time
from pathlib import Path

from cmkms.telemetry.lines import MAX_LINE_BYTES, LineWriter
from tests.patience import within


def lost_line(lost: int) -> str:
    return f"lost {lost}"


def drain(fd: int) -> bytes:
    os.set_blocking(fd, False)
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(fd, 1 << 20)
        except BlockingIOError:
            return b"".join(pieces)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def test_a_line_is_written_with_its_newline() -> None:
    reader, writer = os.pipe()
    LineWriter(writer, lost_line).write("hello")
    assert drain(reader) == b"hello\n"


def test_a_full_pipe_loses_lines_instead_of_waiting() -> None:
    reader, fd = os.pipe()
    writer = LineWriter(fd, lost_line)
    started = time.monotonic()
    for _ in range(5000):
        writer.write("x" * 100)
    assert time.monotonic() - started < within(2)
    assert writer.lost > 0
    drain(reader)


def test_the_number_of_lost_lines_is_told_once_lines_get_through() -> None:
    reader, fd = os.pipe()
    writer = LineWriter(fd, lost_line)
    while not writer.lost:
        writer.write("x" * 1000)
    writer.write("y")
    drain(reader)
    writer.write("z")
    assert drain(reader).decode().splitlines()[-2:] == ["lost 2", "z"]
    assert writer.lost == 0


def test_a_line_torn_by_a_full_pipe_does_not_run_into_the_next_one() -> None:
    reader, fd = os.pipe()
    writer = LineWriter(fd, lost_line)
    for _ in range(15):
        writer.write("x" * 4095)  # 15 of the 16 pages of a pipe
    writer.write("t" * 10_000)  # fits only in part
    drain(reader)
    writer.write("next")
    assert drain(reader).decode().splitlines()[-2:] == ["lost 1", "next"]


def test_a_stalled_socket_as_journald_gives_it_loses_lines_instead_of_waiting() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = LineWriter(ours.fileno(), lost_line)
        started = time.monotonic()
        for _ in range(20_000):
            writer.write("x" * 100)
        assert time.monotonic() - started < within(5)
        assert writer.lost > 0


def test_a_reader_that_went_away_is_survived() -> None:
    reader, fd = os.pipe()
    writer = LineWriter(fd, lost_line)
    os.close(reader)
    writer.write("nobody hears this")
    assert writer.lost == 1


def test_a_closed_descriptor_is_survived() -> None:
    _, fd = os.pipe()
    writer = LineWriter(fd, lost_line)
    os.close(fd)
    writer.write("nowhere to go")
    assert writer.lost == 1


def test_a_full_disk_is_survived() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(fd, lost_line)
    writer.write("no space left")
    os.close(fd)
    assert writer.lost == 1


def test_a_file_at_its_size_limit_is_survived() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with tempfile.TemporaryFile() as file:
        writer = LineWriter(file.fileno(), lost_line)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            writer.write("more than ten bytes")
            writer.write("and more")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert writer.lost == 2


def test_an_endless_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    LineWriter(fd, lost_line).write("x" * (2 * MAX_LINE_BYTES))
    os.close(fd)
    written = path.read_bytes()
    assert len(written) == MAX_LINE_BYTES + 1
    assert written.endswith(b"... (cut)\n")


def test_text_that_is_no_unicode_is_written_escaped() -> None:
    reader, fd = os.pipe()
    LineWriter(fd, lost_line).write("bad \udcff end")
    assert drain(reader) == b"bad \\udcff end\n"
