"""The network between replicas, in the hands of a test: every replica reaches every other through a small TCP proxy.

Bytes from one replica to another pass a valve of their own, which can be shut and opened: shut, nothing arrives and
nobody is told, as where a cable was pulled. It forwards bytes and looks at none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import permutations
from typing import Final

__all__ = ["PeerProxies"]

_CHUNK_BYTES: Final = 65536
_DIAL_SECONDS: Final = 1.0

_CALL_SECONDS: Final = 5.0
"""The thread of the proxies does nothing that takes long: whoever waits longer waits for a dead one."""

_LINGER_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST."""

_Link = tuple[str, str]
"""Who dials or sends, and whom."""


class PeerProxies:
    """One proxy for each ordered pair of replicas. `addresses`: where each replica listens (host:port), by id.

    Runs in a thread of its own from construction until `close()`; its methods may be called from any other thread.
    A proxy of a dead replica accepts and resets at once, where the replica's own port would refuse.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._targets = {member: _host_port(address) for member, address in addresses.items()}
        links = list(permutations(self._targets, 2))
        self._valves = {link: asyncio.Event() for link in links}
        self._writers: dict[_Link, set[asyncio.StreamWriter]] = {link: set() for link in links}
        self._listeners = {link: _listener() for link in links}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="peer proxies", daemon=True)
        self._thread.start()
        self.heal_all()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(_CALL_SECONDS)

    def address(self, dialler: str, target: str) -> str:
        """Where `dialler` has to dial so as to reach `target`: host:port."""
        host, port = self._listeners[dialler, target].getsockname()[:2]
        return f"{host}:{port}"

    def cut(self, one: str, other: str) -> None:
        """From now on nothing that one of the two sends reaches the other."""
        self._set([(one, other), (other, one)], passing=False)

    def cut_one_way(self, sender: str, receiver: str) -> None:
        """From now on nothing that `sender` sends reaches `receiver`; the other way round all is well."""
        self._set([(sender, receiver)], passing=False)

    def heal(self, one: str, other: str) -> None:
        """Let everything through between the two again. What was sent meanwhile arrives, as TCP repeats it."""
        self._set([(one, other), (other, one)], passing=True)

    def isolate(self, member: str) -> None:
        """Cut one replica off all others."""
        self._set([link for link in self._valves if member in link], passing=False)

    def heal_all(self) -> None:
        """Let everything through between all."""
        self._set(self._valves, passing=True)

    def reset(self, one: str, other: str) -> None:
        """End every connection between the two with RST. Where nothing is cut they may dial again at once."""

        def end() -> None:
            for writer in self._writers[one, other] | self._writers[other, one]:
                _reset(writer)

        self._call(end)

    def close(self) -> None:
        """Close every socket and end the thread. Harmless when repeated."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_CALL_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    def _set(self, links: Iterable[_Link], *, passing: bool) -> None:
        valves = [self._valves[link] for link in links]

        def turn() -> None:
            for valve in valves:
                if passing:
                    valve.set()
                else:
                    valve.clear()

        self._call(turn)

    def _call(self, do: Callable[[], object]) -> None:
        """Do something in the thread of the proxies, and wait until it is done."""

        async def run() -> None:
            do()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(_CALL_SECONDS)

    async def _serve(self) -> None:
        for link, listener in self._listeners.items():
            self._servers.append(await asyncio.start_server(partial(self._accepted, link), sock=listener))

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # closed transports let go of their sockets one turn of the loop later

    async def _accepted(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
            try:
                await self._forward(link, reader, writer)
            finally:
                _reset(writer)

    async def _forward(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = self._valves[link], self._valves[link[1], link[0]]
        if not (there.is_set() and back.is_set()):
            # A dial that no cable would have carried: its maker waits, and has to dial anew once the cable is whole.
            await asyncio.gather(there.wait(), back.wait())
            return
        async with asyncio.timeout(_DIAL_SECONDS):
            target_reader, target_writer = await asyncio.open_connection(*self._targets[link[1]])
        pair = {writer, target_writer}
        self._writers[link] |= pair
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_pump(reader, target_writer, there))
                pumps.create_task(_pump(target_reader, writer, back))
        except* OSError:
            await asyncio.gather(there.wait(), back.wait())  # the news of an end takes the same cable
        finally:
            self._writers[link] -= pair
            _reset(target_writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, valve: asyncio.Event) -> None:
    """Pass on what comes, and at last the end of the stream, whenever the valve is open."""
    while data := await reader.read(_CHUNK_BYTES):
        await valve.wait()
        writer.write(data)
        await writer.drain()
    await valve.wait()
    writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection at once. Where both sides had ended it in order, nobody is left to notice the RST."""
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    writer.transport.abort()


def _listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)  # noqa: FBT003 - the name of the method says what is true
    return listener


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
