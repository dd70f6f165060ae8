"""One connection to one peer after its TLS handshake, from hello to end: bytes in, messages out, in order.

Whatever a peer sends harms this session and nothing else. A bug of ours goes to `fatal`, never into the event loop,
which would swallow it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol, cast

from cmkms.errors import PeerError
from cmkms.peers.codec import MAX_FRAME_BYTES, MAX_HELLO_BYTES, decode, encode, versions_of
from cmkms.peers.frames import FrameReader, with_length
from cmkms.peers.greeting import hello_objection, version_objection
from cmkms.peers.messages import Declined, Frame, Goodbye, Hello, Message, Status
from cmkms.peers.tls import proven_key
from cmkms.peers.wire import PeerProtocolError

__all__ = ["HELLO_SECONDS", "SILENCE_SECONDS", "Session", "SessionOwner"]

HELLO_SECONDS: Final = 3.0
"""From the end of the TLS handshake to the whole hello. Takes milliseconds; a stranger must not hold a place longer."""
SILENCE_SECONDS: Final = 1.0
"""Heartbeats come every 100 ms: ten are missing."""
MAX_UNSENT_BYTES: Final = 4 * 1024 * 1024
"""Three of the longest messages. A peer that leaves more unread is stuck, and would get old news."""
CLOSE_SECONDS: Final = 0.5
"""How long the last words may take to leave."""

_TICKS: Final = 4
_TICK_SECONDS: Final = SILENCE_SECONDS / _TICKS


class SessionOwner(Protocol):
    """What a session asks and tells."""

    def hello(self) -> Hello:
        """Make this replica's hello."""
        ...

    def recognise(self, key: bytes) -> str:
        """Return the member with this public key. Raises PeerError if it is none."""
        ...

    def objection(self, session: Session, hello: Hello) -> str:
        """Return why this session cannot be, or an empty string."""
        ...

    def greeted(self, session: Session, hello: Hello) -> None:
        """Hellos are exchanged: messages may go."""
        ...

    def received(self, session: Session, message: Message) -> None:
        """A message has come. Raises PeerError for what makes no sense."""
        ...

    def ended(self, session: Session) -> None:
        """It is over: `why` says it."""
        ...

    def fatal(self, error: BaseException, /) -> None:
        """A bug was found."""
        ...


class Session(asyncio.Protocol):
    """The protocol object of one connection. `member` is known, and proven, from the first moment on."""

    def __init__(self, owner: SessionOwner, address: str, *, dialled: bool) -> None:
        loop = asyncio.get_running_loop()
        self._owner = owner
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._frames = FrameReader(MAX_HELLO_BYTES)
        self._ours: Hello | None = None
        self._beat: tuple[bytes, Status] | None = None
        self._quiet_ticks = 0
        self._timer: asyncio.TimerHandle | None = None
        self.address = address
        self.dialled = dialled
        self.member = ""
        self.key = b""
        self.up = False
        self.greeted_ever = False
        self.why = ""
        self.declined = False
        """Whether it ended because the hellos did not agree."""
        self.departing = False
        """Whether the peer has said goodbye."""
        self.skipped = 0
        """Optional messages of a newer release that this one does not know."""
        self.since = time.time()
        self.heard_at = loop.time()
        self.settled: asyncio.Future[None] = loop.create_future()
        """Done once messages may go, or once it is over before that."""
        self.over: asyncio.Future[None] = loop.create_future()
        """Done when the connection is gone."""

    # ------------------------------------------------------------------------------------------ called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is done: see who it is, and say hello if it was we who called."""
        # uvloop's transports are stream transports that do not say so.
        self._transport = stream = cast("asyncio.Transport", transport)
        self._guarded(self._begin, stream)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        if self.why:
            return
        self._quiet_ticks = 0
        self.heard_at = self._loop.time()
        self._guarded(self._receive, data)

    def pause_writing(self) -> None:
        """Give up on a peer that does not read. Later: this is called amid a `send`, which calls nobody."""
        self._loop.call_soon(self._guarded, self.end, "it does not read what it is sent")

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        if not self.over.done():
            self.over.set_result(None)
        self._guarded(self.end, self._ending(exc))

    # ------------------------------------------------------------------------------------------- called by the owner

    def send(self, message: Frame) -> bool:
        """Write a message at once; False where the session is over. Raises what `encode` raises: a bug of ours."""
        return self.write(with_length(encode(message)))

    def write(self, framed: bytes) -> bool:
        """Write a frame with its length; False where the session is over."""
        transport = self._transport
        if self.why or transport is None or transport.is_closing():
            return False
        transport.write(framed)
        return True

    def end(self, why: str) -> None:
        """End it at once; what is unread or unsent is dropped. The first reason counts."""
        if self._finish(why):
            self.abort()

    def leave(self, why: str, last_word: Frame) -> None:
        """End it with a last message, which is given a moment to leave."""
        self.send(last_word)
        if self._finish(why) and (transport := self._transport) is not None:
            transport.close()
            self._loop.call_later(CLOSE_SECONDS, transport.abort)

    def abort(self) -> None:
        """Close the connection now, whatever its last words."""
        if self._transport is not None:
            self._transport.abort()

    # ---------------------------------------------------------------------------------------------------------- inside

    def _begin(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)
        late = f"no hello within {HELLO_SECONDS:.0f} s"
        self._timer = self._loop.call_later(HELLO_SECONDS, self._guarded, self.end, late)
        self.key = proven_key(transport.get_extra_info("ssl_object"))
        self.member = self._owner.recognise(self.key)
        if self.dialled:
            self._say_hello()

    def _say_hello(self) -> Hello:
        if self._ours is None:
            self._ours = self._owner.hello()
            self.send(self._ours)
        return self._ours

    def _receive(self, data: bytes) -> None:
        self._frames.feed(data)
        while not self.why and (frame := self._frames.next_frame()) is not None:
            if self.up:
                self._take(frame)
            else:
                self._take_hello(frame)

    def _take(self, frame: bytes) -> None:
        message = self._read(frame)
        match message:
            case None:
                self.skipped += 1
            case Hello():
                raise PeerProtocolError("a second hello in one session")
            case Declined(reason=reason):
                self._was_declined(reason)
            case Goodbye():
                self.departing = True
                self._owner.received(self, message)
            case _:
                self._owner.received(self, message)

    def _read(self, frame: bytes) -> Frame | None:
        """Decode a frame; a heartbeat that says the same as the one before is not read again."""
        if self._beat is not None and frame == self._beat[0]:
            return self._beat[1]
        message = decode(frame)
        if isinstance(message, Status):
            self._beat = frame, message
        return message

    def _take_hello(self, frame: bytes) -> None:
        versions = versions_of(frame)
        if versions is None:
            message = decode(frame)
            if not isinstance(message, Declined):
                raise PeerProtocolError("its first message is no hello")
            self._was_declined(message.reason)
            return
        ours = self._ours or self._owner.hello()
        objection = version_objection(ours, versions, self.member)
        hello = None if objection else decode(frame)
        if isinstance(hello, Hello):
            objection = self._owner.objection(self, hello) or hello_objection(ours, hello, self.member)
            if not objection:
                self._greet(hello)
                return
        self.declined = True
        self.leave(objection, Declined(objection))

    def _greet(self, hello: Hello) -> None:
        self._say_hello()
        self._stop_timer()
        self._frames.limit = MAX_FRAME_BYTES
        self.up = self.greeted_ever = True
        self._watch_silence()
        self._settle()
        self._owner.greeted(self, hello)

    def _was_declined(self, reason: str) -> None:
        self.declined = True
        self.end(f"{self.member} declines: {reason}")

    def _watch_silence(self) -> None:
        """End it when nothing comes. Ticks are counted, not seconds: while this process stands still, so do they."""
        self._quiet_ticks += 1
        if self._quiet_ticks > _TICKS:
            self.end(f"silent: nothing received for {SILENCE_SECONDS:.1f} s")
            return
        self._timer = self._loop.call_later(_TICK_SECONDS, self._guarded, self._watch_silence)

    def _finish(self, why: str) -> bool:
        if self.why:
            return False
        self.why = why
        self.up = False
        self._stop_timer()
        self._settle()
        self._guarded(self._owner.ended, self)
        return True

    def _settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ending(self, error: Exception | None) -> str:
        if self.departing:
            return "stopped in good order"
        if not self.greeted_ever:
            return (
                "closed the connection before its hello: it may not know this replica's identity "
                "(`cmkms identity show` prints the pin to give it)"
            )
        if error is None:
            return "closed the connection"
        return f"the connection broke: {getattr(error, 'strerror', None) or error}"

    def _guarded(self, callback: Callable[..., None], *args: object) -> None:
        """Run what the loop calls: a peer's fault ends this session, a bug of ours the process."""
        try:
            callback(*args)
        except PeerError as error:
            self.end(str(error))
        except Exception as error:  # noqa: BLE001 - the event loop would swallow it
            self.end("an error in cmkms itself")
            self._owner.fatal(error)
