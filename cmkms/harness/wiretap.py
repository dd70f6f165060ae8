"""A recorder between a real node and its signers: they dial it, it dials the node, and it writes down what passes.

It passes on every byte as it comes, decides nothing and answers nothing by itself. Both ends take it for the other, so
it reads SecretConnections in plain: something for tests, never for the node of a real validator.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cmkms.harness import sockets
from cmkms.harness.errors import BadReplyError, NodeSideError, SignerClosedError
from cmkms.harness.node import Witness
from cmkms.harness.observation import Observation
from cmkms.harness.protobuf import read_uvarint
from cmkms.harness.recorder import Recorder
from cmkms.harness.secret_connection import SecretConnection
from cmkms.harness.wire import PubKeyReply, SignProposalRequest, SignVoteRequest, decode_reply, decode_request

__all__ = ["Wiretap", "main"]

_FOR_EVER: Final = 86_400.0
"""Seconds without a byte before a connection is given up. A signer in a node's backlog waits as long as it likes."""

_LATE_SECONDS: Final = 1.0
"""How long a signer is listened to when its node has hung up: what it was about to say is written down, too."""

_REDIAL_SECONDS: Final = 0.05
"""A node that does not listen yet, or anew after a restart, is dialled so often."""

_MESSAGE_LIMIT: Final = 1 << 20
"""What says that it is longer is no message of privval: nothing behind it can be told apart."""

_LINGER_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST, as the death of either party would."""


class Wiretap:
    """Listens for signers at `listen` and dials the node at `node` once for each of them.

    `pub_key` is the key that the validator is known by; left out, the first one that a signer names is taken for it.
    `witness` is told every sign request and what came of it, as the witness of a simulated node is.
    """

    def __init__(
        self, listen: str, node: str, witness: Witness, *, name: str = "wiretap", pub_key: bytes = b""
    ) -> None:
        self._wanted = sockets.ListenAddress.parse(listen)
        self._node = sockets.ListenAddress.parse(node)
        self._witness = witness
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._trouble: Exception | None = None
        self.name = name
        self.pub_key = pub_key
        self.connections = 0

    @property
    def address(self) -> str:
        """Where signers have to dial, with the port that the kernel gave."""
        return str(self._wanted)

    async def start(self) -> None:
        """Begin to listen."""
        self._listener = sockets.listen(self._wanted)
        if not self._wanted.path:
            host, port = self._listener.getsockname()[:2]
            self._wanted = sockets.ListenAddress(host=host, port=port)
        self._spawn(self._accept(self._listener))

    async def stop(self) -> None:
        """Close every connection. Raises what the witness could not take: the recording is not whole then."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
        if self._trouble is not None:
            raise self._trouble

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def tell(self, observation: Observation) -> None:
        """Hand something to the witness, and keep its trouble for `stop`."""
        try:
            self._witness(observation)
        except Exception as error:  # noqa: BLE001 - whatever it is, signers and node are not to notice
            self._trouble = self._trouble or error

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            sock = await sockets.accept(listener, _FOR_EVER)
            self.connections += 1
            self._spawn(self._serve(sock, self.connections))

    async def _serve(self, sock: socket.socket, number: int) -> None:
        """One signer: as in a node's backlog it waits without a word until the node accepts its connection."""
        signer = _Side(sock, encrypted=not self._wanted.path)
        pid = sockets.peer_pid(sock) if self._wanted.path else 0
        with (
            contextlib.closing(signer),
            contextlib.closing(_Side(await self._dial(), encrypted=not self._node.path)) as node,
            contextlib.suppress(OSError, NodeSideError),
        ):
            await node.handshake()
            await signer.handshake()
            await _Conversation(self, number, signer.replica or f"pid:{pid}").relay(node, signer)

    async def _dial(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        while True:
            sock = socket.socket(socket.AF_UNIX if self._node.path else _family(self._node.host))
            sock.setblocking(False)  # noqa: FBT003 - the name of the method says what is true
            try:
                await loop.sock_connect(sock, self._node.path or (self._node.host, self._node.port))
            except OSError:
                sock.close()
                await asyncio.sleep(_REDIAL_SECONDS)
            else:
                if not self._node.path:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock


class _Side:
    """One end of a relayed connection: plain bytes in and out."""

    def __init__(self, sock: socket.socket, *, encrypted: bool) -> None:
        self._sock = sock
        self._secret = SecretConnection(Ed25519PrivateKey.generate()) if encrypted else None

    @property
    def replica(self) -> str:
        return f"key:{(self._secret.remote_key or b'').hex()}" if self._secret else ""

    async def handshake(self) -> None:
        if self._secret is None:
            return
        await sockets.send_all(self._sock, self._secret.hello(), _FOR_EVER)
        while not self._secret.established:
            data = await sockets.receive(self._sock, _FOR_EVER)
            if not data:
                raise SignerClosedError("closed during the handshake")
            await sockets.send_all(self._sock, self._secret.feed(data), _FOR_EVER)

    async def read(self) -> bytes:
        """What comes next; empty at the end of the stream."""
        while not (plain := self._opened()):
            data = await sockets.receive(self._sock, _FOR_EVER)
            if not data or self._secret is None:
                return data
            self._secret.feed(data)
        return plain

    def arrived(self) -> bytes:
        """What has come and nobody has read yet."""
        data = sockets.arrived(self._sock)
        if self._secret is None:
            return data
        with contextlib.suppress(NodeSideError):
            self._secret.feed(data)
        return self._opened()

    async def write(self, plain: bytes) -> None:
        await sockets.send_all(self._sock, self._secret.seal(plain) if self._secret else plain, _FOR_EVER)

    def end(self) -> None:
        """Nothing more is sent."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """With RST: whoever ended in order has ended before."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._sock.close()

    def _opened(self) -> bytes:
        if self._secret is None or not self._secret.established:
            return b""
        plain = bytes(self._secret.plaintext)
        self._secret.plaintext.clear()
        return plain


class _End(Enum):
    """How one direction came to its end."""

    IN_ORDER = "in order"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class _Asked:
    request: bytes
    asked_at: float
    signs: bool


class _Conversation:
    """What passes between one signer and the node: requests one way, replies the other, in the same order.

    A reply that nobody asked for is written down as one more to the request before it.
    """

    def __init__(self, wiretap: Wiretap, connection: int, replica: str) -> None:
        self._wiretap = wiretap
        self._connection = connection
        self._replica = replica
        self._requests = bytearray()
        self._replies = bytearray()
        self._open: deque[_Asked] = deque()
        self._last: _Asked | None = None

    async def relay(self, node: _Side, signer: _Side) -> None:
        """Pass everything on until one side has ended, and then what the signer still says."""
        asking = asyncio.create_task(_pump(node, signer, self._from_node))
        answering = asyncio.create_task(_pump(signer, node, self._from_signer))
        try:
            await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                signer.end()
                await asyncio.wait({answering}, timeout=_LATE_SECONDS)
            elif answering.result() is _End.IN_ORDER:
                await asking  # as long as the node does not notice
        finally:
            asking.cancel()
            answering.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
            self._from_signer(signer.arrived())
            while self._open:
                self._ended(self._open.popleft(), None)

    def _from_node(self, plain: bytes) -> None:
        self._requests += plain
        now = time.monotonic()
        for message in _messages(self._requests):
            self._open.append(_Asked(message, now, _signs(message)))

    def _from_signer(self, plain: bytes) -> None:
        self._replies += plain
        for message in _messages(self._replies):
            asked = self._open.popleft() if self._open else self._last
            if asked is not None:
                self._last = asked
                self._ended(asked, message)

    def _ended(self, asked: _Asked, reply: bytes | None) -> None:
        if not asked.signs:
            self._learn_key(reply)
            return
        self._wiretap.tell(
            Observation(
                node=self._wiretap.name,
                connection=self._connection,
                asked_at=asked.asked_at,
                answered_at=time.monotonic(),
                pub_key=self._wiretap.pub_key,
                request=asked.request,
                reply=reply,
                replica=self._replica,
            )
        )

    def _learn_key(self, reply: bytes | None) -> None:
        if reply is None or self._wiretap.pub_key:
            return
        with contextlib.suppress(BadReplyError):
            decoded = decode_reply(reply)
            if isinstance(decoded, PubKeyReply):
                self._wiretap.pub_key = decoded.pub_key


async def _pump(source: _Side, target: _Side, heard: Callable[[bytes], None]) -> _End:
    """Note and pass on what comes, and at last an end in order."""
    try:
        while plain := await source.read():
            heard(plain)
            await target.write(plain)
    except (OSError, NodeSideError):
        return _End.BROKEN
    target.end()
    return _End.IN_ORDER


def _messages(buffer: bytearray) -> list[bytes]:
    """Take every whole message out of a buffer; where no length can be, all that is there is one."""
    found: list[bytes] = []
    while buffer:
        try:
            head = read_uvarint(buffer)
        except BadReplyError:
            head = (_MESSAGE_LIMIT + 1, 0)
        if head is not None and head[0] > _MESSAGE_LIMIT:
            head = (len(buffer), 0)
        if head is None or len(buffer) < sum(head):
            break
        found.append(bytes(buffer[head[1] : sum(head)]))
        del buffer[: sum(head)]
    return found


def _signs(message: bytes) -> bool:
    try:
        return isinstance(decode_request(message), SignVoteRequest | SignProposalRequest)
    except BadReplyError:
        return False


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def main(arguments: Sequence[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m cmkms.harness.wiretap", description=__doc__)
    parser.add_argument("listen", help="where signers dial: tcp://host:port or unix:///path")
    parser.add_argument("node", help="where the node listens for its signer")
    parser.add_argument("recording", type=Path, help="file that is appended to")
    parser.add_argument("--pub-key", type=bytes.fromhex, default=b"", metavar="HEX", help="the validator's key")
    asyncio.run(_record(parser.parse_args(arguments)))
    return 0


async def _record(options: argparse.Namespace) -> None:
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    with Recorder(options.recording) as recorder:
        async with Wiretap(options.listen, options.node, recorder, pub_key=options.pub_key) as wiretap:
            sys.stdout.write(f"signers dial {wiretap.address}\n")
            sys.stdout.flush()
            await over.wait()


if __name__ == "__main__":
    sys.exit(main())
