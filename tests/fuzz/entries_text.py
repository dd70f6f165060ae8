"""What people and programs write: the configuration in its three layers, command lines, status pages, HTTP requests.

Each entry takes one input as bytes, cut up where the real thing comes in pieces, and returns a word for the result.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from starlette.types import ASGIApp, Message

from cmkms.cli.asking import ask
from cmkms.cli.homeset import parse_nodes
from cmkms.cli.reporting import printable
from cmkms.cli.status_page import print_status
from cmkms.config import Flags, HostPort, resolve_config, syntax
from cmkms.config.sample import render_sample
from cmkms.errors import CmkmsError, UnavailableError
from cmkms.http.app import create_app
from cmkms.http.schema import ErrorBody, StatusBody, status_json
from cmkms.telemetry.metrics import MeasuredChain, Metrics
from tests.fuzz.listening import saying
from tests.fuzz.scratch import laid, site
from tests.http.conftest import ADDRESS, node_status
from tests.unit.config.test_load import GOOD, TWO_CHAINS

__all__ = [
    "answer",
    "answer_corpus",
    "configuration",
    "configuration_corpus",
    "environment",
    "environment_corpus",
    "flags",
    "flags_corpus",
    "http",
    "http_corpus",
    "nodes",
    "nodes_corpus",
    "status_page",
    "status_page_corpus",
    "values",
    "values_corpus",
]

_PARSERS: Final = {
    "ttl": syntax.parse_ttl,
    "replica_id": syntax.parse_replica_id,
    "chain_id": syntax.parse_chain_id,
    "host_port": syntax.parse_host_port,
    "listen_addr": syntax.parse_listen_addr,
    "peer": syntax.parse_peer,
    "validator_addr": syntax.parse_validator_addr,
    "path": syntax.parse_path,
    "log_level": syntax.parse_log_level,
    "log_format": syntax.parse_log_format,
    "on_outage": syntax.parse_on_outage,
    "block_rate": syntax.parse_block_rate,
    "switch": syntax.parse_switch,
}
_WRITTEN_AGAIN: Final = ("host_port", "listen_addr", "peer", "validator_addr")
"""Values that are shown as they are written."""
_MAX_SHOWN: Final = 64 * 1024
"""A report of fifty problems, each of which shows a value of at most 80 characters and where it stood."""


def _told(error: CmkmsError) -> None:
    """An error reaches a terminal or a log: it has to be text, short, and drive nothing."""
    shown = printable(str(error))
    shown.encode()
    assert len(shown) < _MAX_SHOWN, f"an error of {len(shown)} characters"
    assert all(char.isprintable() or char == "\n" for char in shown), "an error drives the terminal"


# ------------------------------------------------------------------------------------------------------ configuration


def configuration_corpus() -> Sequence[bytes]:
    """A small file, one of two chains, and the commented sample."""
    return [GOOD.encode(), TWO_CHAINS.encode(), render_sample(Flags()).encode(), b""]


def configuration(data: bytes) -> str:
    """config.toml alone."""
    home = site().home
    laid(home.config_file, data)
    try:
        return _resolved(Flags(home=str(home.path)), {})
    finally:
        home.config_file.unlink()


def _resolved(given: Flags, environ: dict[str, str]) -> str:
    try:
        found = resolve_config(given, environ)
    except CmkmsError as error:
        _told(error)
        raise
    for value in found.values:
        f"{value.key} = {value.value}".encode()
    return f"{len(found.config.chains)} chains, {len(found.config.peers)} peers, {len(found.config.warnings)} warnings"


def environment_corpus() -> Sequence[bytes]:
    """Variables as a process is given them: NAME=VALUE, a NUL between them."""
    good = (
        b"CMKMS_ID=node-0\0CMKMS_PEER=node-0=10.0.0.1:9430\0CMKMS_CHAIN_ID=testnet-1\0"
        b"CMKMS_VALIDATOR_ADDR=tcp://10.0.0.20:26659"
    )
    other = good.replace(b"CMKMS_", b"COMETKMS_")
    every = (
        b"\0CMKMS_HTTP_ADDR=:8080\0CMKMS_DEFAULT_TTL=1s\0CMKMS_LOG_LEVEL=warn\0CMKMS_LOG_FORMAT=json\0"
        b"CMKMS_ALLOW_UNSAFE=yes\0CMKMS_RAFT_ADDR=[::1]:9430\0CMKMS_NEVER_SIGNED=x\0CMKMS_HTTP_ADRR=x\0PATH=/bin\0HOME=/"
    )
    return [good, other, good + every, b"", b"CMKMS_HOME=~nobody-of-this-name"]


def environment(data: bytes) -> str:
    """The environment alone, and a home without a file."""
    environ = dict(_split(data))
    environ.setdefault("CMKMS_HOME", str(site().home.path))
    return _resolved(Flags(), environ)


def flags_corpus() -> Sequence[bytes]:
    """Flags likewise: KEY=VALUE."""
    good = b"id=node-0\0peer=node-0=10.0.0.1:9430\0chain_id=testnet-1\0validator_addr=unix:///run/x.sock"
    return [good, good + b"\0default_ttl=400ms\0log_level=debug\0http_addr=127.0.0.1:0\0allow_unsafe=1", b""]


def flags(data: bytes) -> str:
    """The command line alone, and a home without a file."""
    given: dict[str, Any] = {"home": str(site().home.path)}
    for name, value in _split(data):
        if name in {"peer", "validator_addr"}:
            given[name] = (*given.get(name, ()), value)
        elif name == "allow_unsafe":
            given[name] = bool(value)
        elif name in Flags.__dataclass_fields__:
            given[name] = value
    return _resolved(Flags(**given), {})


def _split(data: bytes) -> list[tuple[str, str]]:
    """Cut up what a process is given. The kernel gives bytes; Python makes text of any of them."""
    pairs = (piece.partition(b"=") for piece in data.split(b"\0"))
    return [(os.fsdecode(name), os.fsdecode(value)) for name, equals, value in pairs if equals]


def values_corpus() -> Sequence[bytes]:
    """Single values of every kind: the name of the parser, and what it reads."""
    good = {
        "ttl": "1m30s",
        "replica_id": "node-0",
        "chain_id": "testnet-1",
        "host_port": "[::1]:9430",
        "listen_addr": ":0",
        "peer": f"node-0=node-0.example.org:9430#{'ab' * 32}",
        "validator_addr": f"tcp://{'cd' * 20}@10.0.0.20:26659",
        "path": "priv/key.json",
        "log_level": "warn",
        "log_format": "plain",
        "on_outage": "refuse",
        "block_rate": "0.5",
        "switch": "yes",
    }
    more = (
        "validator_addr unix:///run/node.sock",
        "host_port 1.2.3.4:65535",
        "listen_addr [fe80::1%eth0]:1",
        "ttl .5h",
    )
    return [*(f"{name} {value}".encode() for name, value in good.items()), *(one.encode() for one in more)]


def values(data: bytes) -> str:
    """One value: understood, and written again the same; or the second half of a sentence."""
    name, _, text = os.fsdecode(data).partition(" ")
    parse = _PARSERS.get(name)
    if parse is None:
        return "nothing"
    found = parse(text)
    if name in _WRITTEN_AGAIN:
        assert parse(str(found)) == found, "written again, it says something else"
    return name


def nodes_corpus() -> Sequence[bytes]:
    """The `--node` flags of `cmkms cluster init`, a NUL between them."""
    return [b"node-0=10.0.0.10:9430\0node-1=10.0.0.11:9430\0node-2=10.0.0.12:9430", b"a=b:1,c=d:2", b"..=h:1\0x=h:1"]


def nodes(data: bytes) -> str:
    """Replicas named on a command line."""
    try:
        found = parse_nodes([os.fsdecode(one) for one in data.split(b"\0")])
    except CmkmsError as error:
        _told(error)
        raise
    return f"{min(len(found), 9)} nodes"


# --------------------------------------------------------------------------------------------- HTTP, from both sides


def status_page_corpus() -> Sequence[bytes]:
    """A status as a replica serves it."""
    return [status_json(node_status()).encode()]


def status_page(data: bytes) -> str:
    """What claims to be a status, on the operator's terminal."""
    body = StatusBody.model_validate_json(data)
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen):
        print_status(body)
    shown = screen.getvalue()
    assert all(char.isprintable() or char == "\n" for char in shown), "a status drives the terminal"
    body.obstacles()
    return "a page"


def answer_corpus() -> Sequence[bytes]:
    """Answers to `GET /status` as whoever listens there may send them."""
    body = status_json(node_status()).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return [
        head + body,
        chunked,
        head,
        b"HTTP/1.0 302 Found\r\nlocation: http://10.0.0.1/\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"",
    ]


def answer(data: bytes) -> str:
    """The answer of whoever listens where a replica should."""
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        with saying(data, listener):
            ask(HostPort("127.0.0.1", listener.getsockname()[1]))
    except UnavailableError as error:
        _told(error)
        raise
    return "a status"


def http_corpus() -> Sequence[bytes]:
    """Requests as an HTTP server hands them to an application: a line, headers, a body."""
    paths = ("/healthz", "/livez", "/readyz", "/status", "/metrics", "/", "/%2e%2e/etc/passwd", "/status?x=1&x=2")
    gets = [f"GET {path}\nhost: localhost:8080".encode() for path in paths]
    return [
        *gets,
        b"POST /status\nhost: 127.0.0.1\ncontent-length: 2\n\n{}",
        b"HEAD /metrics\nhost: [::1]:1",
        b"BREW /",
    ]


@functools.cache
def _app() -> tuple[ASGIApp, asyncio.AbstractEventLoop]:
    metrics = Metrics("1.0", [MeasuredChain("testnet-1", (ADDRESS,))])
    return create_app(node_status, metrics, allowed_hosts=("localhost", "127.0.0.1", "::1")), asyncio.new_event_loop()


def http(data: bytes) -> str:
    """One request: answered by what `/status` and its siblings promise, or by an error that says what to do."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, target = first.partition(b" ")
    path, _, query = target.partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method.decode("latin-1"),
        "scheme": "http",
        # As uvicorn does it: unquoted bytes, read as UTF-8 or as latin-1.
        "path": path.decode("latin-1"),
        "raw_path": path,
        "root_path": "",
        "query_string": query,
        "headers": [
            (name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
    }
    app, loop = _app()
    status, content = loop.run_until_complete(_exchange(app, scope, body))
    assert status in {200, 403, 404, 405}, f"answered {status}"
    if status != 200 and scope["method"] != "HEAD":
        assert ErrorBody.model_validate_json(content).error, "an error that says nothing"
    if status == 200 and scope["path"] == "/status" and scope["method"] == "GET":
        assert json.loads(content)["chains"]
    return str(status)


async def _exchange(app: ASGIApp, scope: dict[str, Any], body: bytes) -> tuple[int, bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return sent[0]["status"], content
