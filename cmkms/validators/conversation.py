"""One connection to one validator, from the first byte to the last: bytes to the session, requests to the signer.

It answers strictly in order, one request at a time, and it must never let anything that a peer sends harm another
connection: whatever goes wrong here closes this socket and no more.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from cmkms.config import ValidatorAddress
from cmkms.errors import BrokenInvariantError, PeerError
from cmkms.keys.consensus import ConsensusKey
from cmkms.privval import (
    HandshakeError,
    PingRequest,
    PubKeyRequest,
    RequestKind,
    SignProposalRequest,
    SignVoteRequest,
    encode_error_response,
    encode_ping_response,
    encode_pub_key_response,
)
from cmkms.privval.session import (
    Event,
    HandshakeDone,
    RequestReceived,
    RequestUndecodable,
    SendBytes,
    ValidatorSession,
)
from cmkms.signing import Answer, Dispatch, RejectedBecause, Waiter
from cmkms.telemetry.events import ConnectionEvent, SignEvent
from cmkms.validators.reply import ERROR_CODE, asked_for, encode_answer, sign_event
from cmkms.validators.trouble import Trouble, TroubleKind, from_lost_connection

__all__ = ["Conversation", "Desk", "Observer"]

HANDSHAKE_SECONDS: Final = 5.0
"""From the node's first byte to its proof of identity; CometBFT allows its side 5 s a read. Before the first byte there
is no deadline: a node that serves another signer leaves us in its backlog for as long as that lasts."""
SILENCE_SECONDS: Final = 15.0
"""A node pings every 3.3 s while it asks nothing. Longer silence on a connection that was in use is a dead one."""
MAX_QUEUED_EVENTS: Final = 8
"""A node asks one thing at a time. A peer that asks this much ahead of the answers is no node."""

_LINGER_RESET: Final = struct.pack("ii", 1, 0)
"""Closing sends RST."""
_OPTIONS: Final = (
    # From the first moment: a replica that is killed, too, must end with RST. After a FIN the node keeps the dead
    # connection, and loses a second try of 0.1 s on it.
    (socket.SO_LINGER, _LINGER_RESET, socket.SOL_SOCKET),
    (socket.SO_KEEPALIVE, 1, socket.SOL_SOCKET),
    # Dead peers are found after 5 + 3 * 2 seconds, also in a backlog, where nothing is ever read.
    (socket.TCP_KEEPIDLE, 5, socket.IPPROTO_TCP),
    (socket.TCP_KEEPINTVL, 2, socket.IPPROTO_TCP),
    (socket.TCP_KEEPCNT, 3, socket.IPPROTO_TCP),
    (socket.TCP_USER_TIMEOUT, 10_000, socket.IPPROTO_TCP),
    (socket.TCP_NODELAY, 1, socket.IPPROTO_TCP),
)


class Observer(Protocol):
    """Is told what happens, after it has happened."""

    def signed(self, event: SignEvent) -> None:
        """A sign request was answered, or its node is gone."""
        ...

    def connection(self, event: ConnectionEvent) -> None:
        """A connection changed."""
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """What a conversation needs to answer: chain, key, who takes requests, who watches, whom to tell of a bug."""

    chain_id: str
    key: ConsensusKey
    dispatch: Dispatch
    observer: Observer
    identity_seed: bytes
    fatal: Callable[[BaseException], None]

    def __repr__(self) -> str:
        return f"Desk({self.chain_id!r})"


class Conversation(asyncio.Protocol):
    """The protocol object of one connection. `ended` is set, with the trouble, when it is over."""

    def __init__(self, address: ValidatorAddress, desk: Desk, changed: Callable[[Conversation], None]) -> None:
        self._address = address
        self._desk = desk
        self._changed = changed
        self._who = str(address)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._session = (
            ValidatorSession.plain() if address.scheme == "unix" else ValidatorSession.secret(desk.identity_seed)
        )
        self._queue: deque[Event] = deque()
        self._waiter: Waiter | None = None
        self._received_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._last_heard = 0.0
        self._trouble: Trouble | None = None
        self.ended: asyncio.Future[Trouble] = self._loop.create_future()
        self.state = "waiting"
        self.since = time.time()
        self.remote_id = ""
        self.requests = 0

    # ------------------------------------------------------------------------------------------ called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the handshake's first bytes go out at once, the node's come when it takes us from its backlog."""
        # uvloop's transports are stream transports that do not say so.
        self._transport = stream = cast("asyncio.Transport", transport)
        if self._address.scheme != "unix":
            connection = stream.get_extra_info("socket")
            for option, value, level in _OPTIONS:
                connection.setsockopt(level, option, value)
        if first := self._session.start():
            stream.write(first)
        self._enter("waiting")

    def data_received(self, data: bytes) -> None:
        """Take bytes. A peer's fault ends this connection, a bug of ours the process; nothing else ever happens."""
        self._received_at = time.perf_counter()
        self._last_heard = self._loop.time()
        if self.state == "waiting":
            self._node_spoke()
        try:
            for event in self._session.receive(data):
                self._take(event)
        except HandshakeError as error:
            self._end(Trouble(TroubleKind.PROTOCOL, f"the handshake failed: {error}"))
        except PeerError as error:
            self._end(Trouble(TroubleKind.PROTOCOL, str(error)))
        except Exception as error:  # noqa: BLE001 - the event loop would swallow it
            self._end(Trouble(TroubleKind.PROTOCOL, "an error in cmkms itself"))
            self._desk.fatal(error)

    def pause_writing(self) -> None:
        """Give up on a peer that asks and does not read the answers."""
        self._end(Trouble(TroubleKind.NOT_READING, "the node asks, but does not read the answers"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the request that waited, if one did, and tell how it ended."""
        if not self.ended.done():
            self.ended.set_result(self._trouble or from_lost_connection(exc, spoke=self._received_at > 0))
        self._stop_timer()
        self._queue.clear()
        if self._waiter is not None:
            self._guarded(self._gone, self._waiter)

    # ------------------------------------------------------------------------------------------- called by the owner

    def hang_up(self) -> None:
        """Close at once with a reset: the node then turns to its next signer in 0.1 s (FIN takes it 0.2 s)."""
        self._end(Trouble(TroubleKind.CLOSED, "closed by us"))

    @property
    def busy(self) -> bool:
        """Whether the node waits for an answer of ours."""
        return self._waiter is not None

    def _send_elsewhere(self) -> None:
        self._end(Trouble(TroubleKind.CUT_OFF, "cut off from the other replicas: one of them may serve the node"))

    # ----------------------------------------------------------------------------------------------------- requests

    def _take(self, event: Event) -> None:
        match event:
            case SendBytes(data=data):
                self._write(data)
            case HandshakeDone(remote_id=remote_id):
                self._identified(remote_id)
            case _ if self._waiter is None:
                self._ask(event)
            case _ if len(self._queue) < MAX_QUEUED_EVENTS:
                self._queue.append(event)
            case _:
                self._end(Trouble(TroubleKind.PROTOCOL, "it asks many things at once; a node asks one at a time"))

    def _ask(self, event: Event) -> None:
        if self._trouble is not None:
            return
        self.requests += 1
        if self.state != "connected":
            self._enter("connected")
            self._watch_silence()
        match event:
            case RequestReceived(request=PingRequest()):
                self._reply(encode_ping_response())
            case RequestReceived(request=PubKeyRequest(chain_id=chain_id)):
                self._reply(self._pub_key(chain_id))
            case RequestReceived(request=(SignVoteRequest() | SignProposalRequest()) as request):
                waiter = Waiter(request, lambda answer: self._answered(waiter, answer), self._send_elsewhere)
                self._waiter = waiter
                self._desk.dispatch.submit(waiter)
            case RequestUndecodable(kind=kind, reason=reason):
                self._reply(encode_error_response(kind, ERROR_CODE, reason))
                self._observe(RejectedBecause.UNDECODABLE, reason)
            case _:
                raise BrokenInvariantError(f"no request: {type(event).__name__}")

    def _pub_key(self, chain_id: str) -> bytes:
        if chain_id != self._desk.chain_id:
            self._observe(RejectedBecause.UNKNOWN_CHAIN, asked_for(chain_id, self._desk.chain_id))
            return encode_error_response(RequestKind.PUB_KEY, ERROR_CODE, "this connection signs for another chain")
        return encode_pub_key_response(self._desk.key.type_name, self._desk.key.pub_key)

    def _answered(self, waiter: Waiter, answer: Answer) -> None:
        if self._waiter is not waiter:
            raise BrokenInvariantError("an answer to a request that is not the one in hand")
        self._waiter = None
        self._reply(encode_answer(waiter.request, answer))
        # The loop sends what was written before it runs what was asked for soon: the node does not wait for our log.
        self._loop.call_soon(self._guarded, self._desk.observer.signed, self._event(waiter, answer))
        while self._queue and self._waiter is None:
            self._ask(self._queue.popleft())

    def _gone(self, waiter: Waiter) -> None:
        self._waiter = None
        self._desk.dispatch.withdraw(waiter)
        self._desk.observer.signed(self._event(waiter, None))

    def _reply(self, message: bytes) -> None:
        self._write(self._session.reply(message))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # -------------------------------------------------------------------------------------------------------- states

    def _node_spoke(self) -> None:
        if self._address.scheme == "unix":
            return
        self._enter("handshaking")
        late = Trouble(TroubleKind.HANDSHAKE_TIMEOUT, f"the handshake was not done within {HANDSHAKE_SECONDS:.0f} s")
        self._timer = self._loop.call_later(HANDSHAKE_SECONDS, self._guarded, self._end, late)

    def _identified(self, remote_id: str) -> None:
        self._stop_timer()
        self.remote_id = remote_id
        expected = self._address.node_id
        if expected is not None and expected != remote_id:
            self._end(
                Trouble(
                    TroubleKind.WRONG_ID,
                    f"the node is {remote_id}, the address pins {expected}: somebody else answers there, or the node "
                    f"was restarted (CometBFT makes a new key for tcp:// at each start; then leave the pin out)",
                )
            )

    def _watch_silence(self) -> None:
        """End a connection that was in use and has gone quiet; a request of ours to answer is no silence."""
        quiet = self._loop.time() - self._last_heard
        if self._waiter is None and quiet >= SILENCE_SECONDS:
            self._end(Trouble(TroubleKind.SILENT, f"not even a ping for {quiet:.0f} s"))
            return
        delay = max(1.0, SILENCE_SECONDS - quiet)
        self._timer = self._loop.call_later(delay, self._guarded, self._watch_silence)

    def _enter(self, state: str) -> None:
        self.state = state
        self.since = time.time()
        self._changed(self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, trouble: Trouble) -> None:
        """Close this connection for `trouble`; the first one counts."""
        if self._trouble is not None:
            return
        self._trouble = trouble
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------------------------------------------- telling

    def _event(self, waiter: Waiter, answer: Answer | None) -> SignEvent:
        seconds = time.perf_counter() - self._received_at
        return sign_event(waiter.request, answer, self._desk.chain_id, self._who, seconds)

    def _observe(self, reason: RejectedBecause, detail: str) -> None:
        event = ConnectionEvent(self._desk.chain_id, self._who, self.state, reason.value, detail)
        self._desk.observer.connection(event)

    def _guarded(self, callback: Callable[..., None], *args: object) -> None:
        """Run what the loop calls: it would swallow a bug of ours, and a swallowed bug signs on."""
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001 - see above
            self._desk.fatal(error)
