"""What a change of generation feeds: its note beside the guard, and the control socket from both sides.

Each entry takes one input, checks what its module promises of the result, and returns a word for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cmkms.control.client import control
from cmkms.control.lines import encode_line, parse_line
from cmkms.control.server import ControlServer
from cmkms.errors import CmkmsError
from cmkms.guard.change import Change
from cmkms.guard.change_file import change_path, last_change, parse_change, read_change, render_change
from cmkms.guard.generation import NO_GENERATION, Member
from cmkms.replica.operating import operate
from tests.fuzz.listening import saying
from tests.fuzz.scratch import laid, site
from tests.sim.cluster.cluster import Cluster
from tests.unit.guard.world import CHAIN, IDENTITY, KEY_HASH, NONCE, hrs, prevote
from tests.unit.guard.world import record as record_at

__all__ = [
    "change",
    "change_file",
    "change_file_corpus",
    "control_answer",
    "control_answer_corpus",
    "control_request",
    "control_request_corpus",
    "line",
    "line_corpus",
]


def change() -> Change:
    """A guard's file is replaced: one of three members has another nonce afterwards."""
    members = tuple(Member(name, IDENTITY, NONCE) for name in ("node-0", "node-1", "node-2"))
    fresh = (replace(members[0], nonce=bytes(16)), *members[1:])
    return Change(CHAIN, KEY_HASH, 1, NO_GENERATION.hash, members, fresh)


def change_file_corpus() -> Sequence[bytes]:
    """The note as it is written, one of another chain, and JSON that is none."""
    other = replace(change(), chain_id="another-chain", number=2**40)
    return [render_change(change()), render_change(other), b"{}", b"[]", b"null"]


def change_file(data: bytes) -> str:
    """The note beside a guard that moved: of use, or as if it were not there."""
    found = parse_change(data)
    if found is None:
        return "nothing"
    assert parse_change(render_change(found)) == found, "written again, it says something else"
    moved = replace(record_at(hrs(9, 0, 2), prevote(9)), generation=change().after, armed=False)
    laid(change_path(site()), data)
    told, last = read_change(site(), moved), last_change(site())
    change_path(site()).unlink()
    assert last == found or (found.chain_id, found.key_hash) != (CHAIN, KEY_HASH)
    return "a change" if told is None else "the change"


# -------------------------------------------------------------------------------------------------- the control socket


def control_request_corpus() -> Sequence[bytes]:
    """What commands ask of a running replica."""
    requests: tuple[object, ...] = (
        {"do": "progress"},
        {"do": "progress", "chain": CHAIN},
        {"do": "plan", "members": ["node-0", "node-1"]},
        {"do": "plan"},
        {"do": "change", "members": ["node-0", "node-1", "node-2"], "to_hash": "00" * 32},
        {"do": None, "chain": 1},
        [],
    )
    return [json.dumps(request).encode() + b"\n" for request in requests]


@functools.cache
def _served() -> tuple[Path, asyncio.AbstractEventLoop, list[BaseException]]:
    """A control socket before a real replica, one of three that were born in a simulation."""
    folder = site().home.path.parent / "cluster"
    folder.mkdir()
    replica = Cluster(folder, 3).up().process("node-0").replica
    bugs: list[BaseException] = []
    path, loop = folder / "control.sock", asyncio.new_event_loop()
    server = ControlServer(path, lambda request: operate(replica, request), bugs.append)
    loop.run_until_complete(server.start())
    return path, loop, bugs


def line_corpus() -> Sequence[bytes]:
    """Requests and answers."""
    return [*control_request_corpus(), *control_answer_corpus()]


def line(data: bytes) -> str:
    """A line of the control socket: an object, or none; what was read is written and read again."""
    found = parse_line(data)
    if found is None:
        return "nothing"
    again = parse_line(encode_line(found))
    assert again is not None
    # Through its text: a number that is none is not equal to itself.
    assert encode_line(again) == encode_line(found), "written again, it says something else"
    return "an object"


def control_request(data: bytes) -> str:
    """A line on the control socket: answered in JSON, or hung up on."""
    path, loop, bugs = _served()
    said = loop.run_until_complete(_exchange(path, data))
    assert not bugs, f"a bug: {bugs.pop()!r}"
    if not said:
        return "hung up"
    told: dict[str, Any] = json.loads(said)
    assert set(told) >= ({"ok"} if told["ok"] else {"ok", "why"})
    return "done" if told["ok"] else "refused"


async def _exchange(path: Path, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
    try:
        writer.write(data)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            return await reader.readline()
        return b""
    finally:
        writer.close()


def control_answer_corpus() -> Sequence[bytes]:
    """Answers as a replica gives them, and as whoever else listens might."""
    answers: tuple[object, ...] = ({"ok": True, "why": ""}, {"ok": False, "why": "no"}, {"ok": False}, [], None, "ok")
    return [*(json.dumps(answer).encode() + b"\n" for answer in answers), b""]


def control_answer(data: bytes) -> str:
    """What a command is told by whoever listens where its replica should."""
    path = site().home.path / "answer.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    try:
        with saying(data, listener):
            control(path, {"do": "progress"})
    except CmkmsError as error:
        str(error)
        raise
    finally:
        path.unlink()
    return "done"
