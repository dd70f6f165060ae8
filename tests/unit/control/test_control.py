"""The control socket: one line asked, one line answered, for the home's owner only; real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cmkms.control.address import short_name
from cmkms.control.client import control
from cmkms.control.server import MAX_CONNECTIONS, MAX_LINE_BYTES, ControlServer
from cmkms.errors import OperatorError, UnavailableError


class Served:
    """A server that answers with what it was asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[dict[str, Any]] = []
        self.bugs: list[BaseException] = []
        self.server = ControlServer(path, self.answer, self.bugs.append)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        if request.get("do") == "fail":
            raise RuntimeError("a bug")
        return {"ok": request.get("do") != "refuse", "why": "because", "asked": request}

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(control, self.path, request)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    one = Served(tmp_path / "@control")
    await one.server.start()
    yield one
    await one.server.stop()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other side hung up, politely or not."""
    try:
        return await reader.read() == b""
    except OSError:
        return True


async def test_what_is_asked_is_answered(served: Served) -> None:
    answer = await served.ask({"do": "it", "members": ["a", "ü"]})
    assert answer["asked"] == {"do": "it", "members": ["a", "ü"]}


async def test_a_refusal_is_an_error_that_says_why(served: Served) -> None:
    with pytest.raises(OperatorError, match="because"):
        await served.ask({"do": "refuse"})


async def test_it_is_the_owners_alone(served: Served) -> None:
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o600


async def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "@control"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    one = Served(path)
    await one.server.start()
    assert (await one.ask({}))["ok"] is True
    await one.server.stop()
    assert not path.exists()


async def test_a_path_longer_than_a_socket_address_holds(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    one = Served(folder / "@control")
    await one.server.start()
    assert (await one.ask({}))["ok"] is True
    await one.server.stop()


def test_a_short_name_keeps_no_descriptor_whatever_happens_under_it(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    names: list[str] = []

    def fail_under_it() -> None:
        with short_name(folder / "@control") as name:
            names.append(name)
            assert Path(name).parent.samefile(folder)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail_under_it()
    assert not Path(names[0]).parent.exists()


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{\n", b'"x"\n', b"\xff\n", b"[" * 5000 + b"\n"])
async def test_what_is_no_object_is_answered_with_what_was_expected(served: Served, line: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(served.path))
    writer.write(line)
    answer = json.loads(await reader.readline())
    assert answer == {"ok": False, "why": "expected one JSON object on one line"}
    writer.close()
    assert served.asked == []


async def test_a_line_without_end_is_hung_up_on(served: Served) -> None:
    reader, writer = await asyncio.open_unix_connection(str(served.path))
    writer.write(b"x" * (4 * MAX_LINE_BYTES))
    assert await ended(reader)
    writer.close()
    assert (await served.ask({}))["ok"] is True


async def test_idle_connections_keep_nobody_out_for_long(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cmkms.control.server.EXCHANGE_SECONDS", 0.2)
    idle = [await asyncio.open_unix_connection(str(served.path)) for _ in range(MAX_CONNECTIONS)]
    await asyncio.sleep(0.5)
    assert (await served.ask({}))["ok"] is True
    for _, writer in idle:
        writer.close()


async def test_a_bug_ends_the_process(served: Served) -> None:
    with pytest.raises(UnavailableError):
        await served.ask({"do": "fail"})
    assert [str(bug) for bug in served.bugs] == ["a bug"]


async def test_where_no_replica_runs_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no replica runs with this home"):
        control(tmp_path / "@control", {})
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "@control"))
    with pytest.raises(UnavailableError, match="no replica runs with this home"):
        control(tmp_path / "@control", {})


def test_what_the_system_says_is_told_without_its_number(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="the replica could not be asked: Not a directory\\. See its log"):
        control(tmp_path / "file" / "@control", {})


def listening(path: Path) -> socket.socket:
    """Somebody whom the kernel connects, whatever becomes of it."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def test_a_replica_that_does_not_answer_is_told_of_with_what_to_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmkms.control.client.TIMEOUT_SECONDS", 0.1)
    with (
        listening(tmp_path / "@control"),
        pytest.raises(UnavailableError, match=r"did not answer within 0\.1 s: does its disk hang\? Its log says more"),
    ):
        control(tmp_path / "@control", {})


async def test_whoever_else_answers_is_told_of_with_what_to_use(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"SSH-2.0\n")
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / "@control"):
        with pytest.raises(UnavailableError, match="use the cmkms that the replica was started with"):
            await asyncio.to_thread(control, tmp_path / "@control", {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_is_not_answered(served: Served) -> None:
    served.path.chmod(0o666)
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(served.path))
                sock.sendall(b"{}\n")
                got = sock.recv(100)
            except OSError:
                got = b""
        os._exit(1 if got else 0)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert served.asked == []
