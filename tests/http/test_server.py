from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import uvloop

from cmkms.config import HostPort
from cmkms.errors import OperatorError
from cmkms.http.address import bind
from cmkms.http.app import create_app
from cmkms.http.server import MAX_CONNECTIONS, MAX_HEADER_BYTES, HttpServer
from tests.patience import within

if TYPE_CHECKING:
    from .conftest import Served

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the other side ends the connection, by whatever means."""
    received = bytearray()
    while True:
        try:
            piece = await reader.read(65536)
        except ConnectionError:
            return bytes(received)
        if not piece:
            return bytes(received)
        received += piece


async def test_a_connection_serves_many_requests(served: Served) -> None:
    reader, writer = await served.connect()
    for _ in range(3):
        writer.write(REQUEST)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_client_that_says_nothing_is_let_go(fast_exchange: float, served: Served) -> None:
    reader, _ = await served.connect()
    started = time.monotonic()
    assert await asyncio.wait_for(ended(reader), 3) == b""
    assert time.monotonic() - started == pytest.approx(fast_exchange, abs=0.3)


async def test_a_connection_in_use_lives_longer_than_one_exchange_may_take(
    fast_exchange: float, served: Served
) -> None:
    reader, writer = await served.connect()
    for _ in range(6):
        writer.write(REQUEST)
        await asyncio.wait_for(reader.readuntil(b"ok"), 3)
        await asyncio.sleep(fast_exchange / 4)


async def test_a_request_sent_byte_by_byte_is_ended_in_time(fast_exchange: float, served: Served) -> None:
    reader, writer = await served.connect()
    end = asyncio.create_task(ended(reader))
    started = time.monotonic()
    for byte in REQUEST[:-1] * 10:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)
        if end.done():
            break
    assert time.monotonic() - started < fast_exchange + within(0.5)


async def test_a_body_that_never_ends_is_ended_in_time(fast_exchange: float, served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
    end = asyncio.create_task(ended(reader))
    started = time.monotonic()
    while not end.done() and time.monotonic() - started < 3:
        writer.write(b"x" * 1000)
        await asyncio.sleep(0.02)
    assert time.monotonic() - started < fast_exchange * 2 + within(0.5)
    assert b" 405 " in await end


async def ask_without_reading(served: Served) -> socket.socket:
    """A connection whose answers fill all buffers on the way."""
    served.running().servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(0)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (served.address.host, served.address.port))
    await loop.sock_sendall(sock, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    return sock


async def test_answers_that_nobody_reads_are_ended_in_time(fast_exchange: float, served: Served) -> None:
    sock = await ask_without_reading(served)
    assert served.open_connections() == 1
    for _ in range(50):
        await asyncio.sleep(fast_exchange / 4)
        if not served.open_connections():
            break
    sock.close()
    assert not served.open_connections()


async def test_answers_are_sent_without_nagles_delay(served: Served) -> None:
    assert (await served.client.get("/healthz")).text == "ok"
    [connection] = served.running().server_state.connections
    sock = connection.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_slow_clients_delay_nobody_else(served: Served) -> None:
    slow = [await served.connect() for _ in range(MAX_CONNECTIONS - 2)]
    for _, writer in slow:
        writer.write(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
    waits: list[float] = []
    for _ in range(50):
        started = time.monotonic()
        assert (await served.client.get("/healthz")).text == "ok"
        waits.append(time.monotonic() - started)
    assert sorted(waits)[25] < 0.2


async def test_oversized_headers_are_refused(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: " + b"x" * (2 * MAX_HEADER_BYTES))
    assert (await asyncio.wait_for(ended(reader), 3)).startswith(b"HTTP/1.1 400 ")


async def test_an_endless_request_line_is_refused(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(b"GET /" + b"x" * (2 * MAX_HEADER_BYTES))
    assert (await asyncio.wait_for(ended(reader), 3)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # a TLS client
        b"\x00" * 100 + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /health z HTTP/9.9\r\n\r\n",
    ],
)
async def test_noise_ends_its_own_connection_only(served: Served, noise: bytes) -> None:
    reader, writer = await served.connect()
    writer.write(noise)
    assert (await asyncio.wait_for(ended(reader), 3)).startswith(b"HTTP/1.1 4")
    assert (await served.client.get("/healthz")).text == "ok"


async def test_a_websocket_upgrade_is_not_followed(served: Served) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x", "Sec-WebSocket-Version": "13"}
    assert (await served.client.get("/status", headers=headers)).status_code == 200


async def test_connections_are_bounded_and_the_newest_is_served(served: Served) -> None:
    idle = [await served.connect() for _ in range(5 * MAX_CONNECTIONS)]
    assert (await served.client.get("/healthz")).text == "ok"
    assert served.open_connections() <= MAX_CONNECTIONS
    reader, _ = idle[0]
    assert await asyncio.wait_for(ended(reader), 3) == b""


async def test_stopping_is_fast_with_idle_and_slow_clients(served: Served) -> None:
    idle_reader, idle_writer = await served.connect()
    idle_writer.write(REQUEST)
    await idle_reader.readuntil(b"ok")
    slow_reader, slow_writer = await served.connect()
    slow_writer.write(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
    unread = await ask_without_reading(served)
    await asyncio.sleep(0.3)
    started = time.monotonic()
    await served.server.stop()
    assert time.monotonic() - started < within(0.7)  # 0.45 by its own limits
    await asyncio.sleep(0)
    assert served.open_connections() == 0
    unread.close()
    await asyncio.wait_for(ended(idle_reader), within(1))
    await asyncio.wait_for(ended(slow_reader), within(1))


async def test_after_a_stop_the_port_is_free(served: Served) -> None:
    await served.server.stop()
    again = HttpServer(create_app(served.snapshot, served.metrics))
    assert await again.start(await bind(served.address)) == served.address
    await again.stop()


async def test_stopping_twice_is_fine(served: Served) -> None:
    await served.server.stop()
    await served.server.stop()


async def test_a_server_that_never_started_can_be_stopped(served: Served) -> None:
    await HttpServer(create_app(served.snapshot, served.metrics)).stop()


async def test_a_taken_port_is_an_error_with_the_address_and_what_to_do(served: Served) -> None:
    with pytest.raises(OperatorError, match=rf"{served.address}: cannot listen: another process .*--http-addr"):
        await bind(served.address)


async def test_all_interfaces_serve_both_families(served: Served) -> None:
    server = HttpServer(create_app(served.snapshot, served.metrics))
    bound = await server.start(await bind(HostPort("", 0)))
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{bound.port}/healthz")).text == "ok"
        if bound.host == "::":
            assert (await client.get(f"http://[::1]:{bound.port}/healthz")).text == "ok"
    await server.stop()


async def test_signals_stay_with_the_node(served: Served) -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert (await served.client.get("/healthz")).text == "ok"


def test_it_serves_in_the_loop_of_the_daemon() -> None:
    async def serve_once() -> str:
        from .conftest import Served as Server  # noqa: PLC0415 - the class is only for types above

        server = Server()
        await server.start()
        text = (await server.client.get("/healthz")).text
        await server.connect()
        started = time.monotonic()
        await server.stop()
        assert time.monotonic() - started < within(0.7)  # 0.45 by its own limits
        return text

    assert uvloop.run(serve_once()) == "ok"


def test_the_packages_import_nothing_heavy_by_themselves() -> None:
    code = (
        "import sys, cmkms.http, cmkms.telemetry; print(sorted({'fastapi', 'uvicorn', 'structlog'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert shown.stdout.strip() == "[]"


async def test_a_flood_of_pages_is_turned_away_and_health_is_answered_all_the_same(served: Served) -> None:
    asking = [await served.connect() for _ in range(MAX_CONNECTIONS - 1)]
    for _, writer in asking:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    started = time.monotonic()
    assert (await served.client.get("/healthz")).text == "ok"
    assert time.monotonic() - started < within(1)
    answers = [(await reader.readline()).split()[1] for reader, _ in asking]
    assert set(answers) == {b"200", b"503"}
