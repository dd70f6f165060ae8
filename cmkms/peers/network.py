"""The connections to all other members, for ever: who dials, who listens, which session counts, and what went wrong.

Of two members the one with the smaller id dials. It decides nothing about signing or elections, and what any peer or
stranger sends never harms another session.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from cmkms.config import HostPort, Peer
from cmkms.errors import PeerError
from cmkms.keys.identity import Identity
from cmkms.peers.codec import encode
from cmkms.peers.dialling import call, dial_trouble, is_listening, learn
from cmkms.peers.frames import with_length
from cmkms.peers.links import PeerLink
from cmkms.peers.listening import Door, Listener
from cmkms.peers.messages import Goodbye, Hello, Message
from cmkms.peers.observation import LinkState, PeerLinkStatus, PeerObserver
from cmkms.peers.session import Session
from cmkms.peers.sockets import is_loopback, listen
from cmkms.peers.tls import Credentials

__all__ = ["PeerHandlers", "PeerNetwork"]

REDIAL_SECONDS: Final = (0.05, 0.15)
"""Drawn anew each time, and never growing: a replica that is back must be found at once."""
PROBE_AFTER_SECONDS: Final = (0.0, 0.01, 0.04)
"""When a peer's port is tried after its session ended. A killed process' sockets close one after the other, so the
listening one may outlive the session's by a moment."""
STOP_SECONDS: Final = 0.15
"""How long a stop waits for the last words to leave."""


class PeerHandlers(Protocol):
    """What the replica does with what its peers do. Called on the event loop: must return at once."""

    def hello(self) -> Hello:
        """Make this replica's hello; anew for each session."""
        ...

    def peer_up(self, member: str, identity: bytes, hello: Hello) -> None:
        """Messages may go. `identity`: SHA-256 of the public key that TLS has proven. An earlier session has ended."""
        ...

    def peer_down(self, member: str, why: str) -> None:
        """The session is over: exactly once after each `peer_up`."""
        ...

    def peer_refused(self, member: str) -> None:
        """Its machine answers, and nobody listens at its port: the process is gone."""
        ...

    def received(self, member: str, message: Message) -> None:
        """A message, in the order sent; never a Hello. Raises PeerError for what makes no sense: ends the session."""
        ...

    def twin(self, member: str, boot: bytes) -> None:
        """A life of this member that another had followed speaks again: two processes have its identity."""
        ...


class PeerNetwork:
    """The peer link of one replica. Everything but `start` and `stop` is called on the loop and returns at once."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a replica is, whom it knows, and whom it tells
        self,
        me: str,
        identity: Identity,
        peers: tuple[Peer, ...],
        listen: HostPort,
        boot: bytes,
        handlers: PeerHandlers,
        observer: PeerObserver,
        fatal: Callable[[BaseException], None],
    ) -> None:
        """Take what it needs; nothing is done yet. `peers` may hold this replica, too. `boot`: 16 random bytes."""
        self._me = me
        self._own_key = identity.public_key
        self._address = listen
        self._boot = boot
        self._handlers = handlers
        self._observer = observer
        self._credentials = Credentials(identity)
        self._links = {peer.id: PeerLink(peer, dials=me < peer.id) for peer in peers if peer.id != me}
        self._accepting: ssl.SSLContext | None = None
        self._listener: Listener | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._skipped = 0
        # What is said to several members is encoded once.
        self._written: Message | None = None
        self._framed = b""
        # Spreads redials; nothing secret.
        self._random = random.Random()  # noqa: S311
        self.fatal = fatal

    # ------------------------------------------------------------------------------------------- called by the replica

    async def start(self) -> None:
        """Listen, and begin to dial. Raises OperatorError or UnavailableError where the address cannot be had."""
        door = Door(self._accepting_context, self._incoming, self._turned_away, self.fatal)
        self._listener = Listener(await listen(self._address), door)
        for link in self._links.values():
            if link.dials:
                self._spawn(self._keep_dialling(link))
            elif not link.pinned:
                self._spawn(self._keep_learning(link))

    async def stop(self) -> None:
        """Say goodbye and close everything, within 0.2 s."""
        self._stopping = True
        # First the port, then the sessions: who looks after us then sees that nobody is there any more.
        if self._listener is not None:
            self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        ending = [link.session for link in self._links.values() if link.session is not None]
        for session in ending:
            session.leave("this replica stops", Goodbye())
        waiting = {*self._tasks, *(session.over for session in ending)}
        if waiting:
            await asyncio.wait(waiting, timeout=STOP_SECONDS)
        for session in ending:
            session.abort()

    def send(self, member: str, message: Message) -> bool:
        """Write a message to a member at once, in order. False where there is no session; never raises."""
        link = self._links.get(member)
        if link is None or link.session is None:
            return False
        try:
            if message is not self._written:
                self._written, self._framed = message, with_length(encode(message))
            return link.session.write(self._framed)
        except Exception as error:  # noqa: BLE001 - a message that cannot be written is a bug of ours
            self.fatal(error)
            return False

    def statuses(self) -> tuple[PeerLinkStatus, ...]:
        """Return the state of the connection to each other member, in the order of the peer list."""
        now = asyncio.get_running_loop().time()
        return tuple(link.status(now) for link in self._links.values())

    @property
    def skipped(self) -> int:
        """Optional messages of newer releases that were received and not understood."""
        return self._skipped + sum(link.session.skipped for link in self._links.values() if link.session is not None)

    @property
    def port(self) -> int:
        """The TCP port listened on; 0 before `start`."""
        return 0 if self._listener is None else self._listener.port

    # ------------------------------------------------------------------------------------------ called by the sessions

    def hello(self) -> Hello:
        """Make this replica's hello."""
        return self._handlers.hello()

    def recognise(self, key: bytes) -> str:
        """Return the member with this public key. Raises PeerError if it is none."""
        for link in self._links.values():
            if link.key == key:
                return link.id
        raise PeerError(f"the identity {key.hex()} is pinned for no other member of this cluster")

    def objection(self, session: Session, hello: Hello) -> str:
        """Return why this session cannot be: the member's identity is in use by a later process, or by this one."""
        link = self._links[session.member]
        if hello.boot == self._boot:
            return f"the identity of {link.id} is this replica's own: its pin in the peer list is wrong"
        if not link.is_superseded(hello.boot):
            return ""
        why = (
            f"two processes have the identity of {link.id}: the one at {session.address} was followed by another and "
            f"speaks again. Stop one; a home that was copied must never be started"
        )
        self._observer.connection(link.id, LinkState.TWIN, why)
        self._handlers.twin(link.id, hello.boot)
        return why

    def greeted(self, session: Session, hello: Hello) -> None:
        """Let the new session take the old one's place."""
        link = self._links[session.member]
        if link.session is not None:
            link.session.end("superseded by a new connection")
        link.connected(session, hello.boot, hello.release)
        self._observer.connection(link.id, LinkState.CONNECTED, session.address)
        self._handlers.peer_up(link.id, hashlib.sha256(session.key).digest(), hello)

    def received(self, session: Session, message: Message) -> None:
        """Hand a message on."""
        self._handlers.received(session.member, message)

    def ended(self, session: Session) -> None:
        """Tell that a session is over, and look whether its peer still listens."""
        link = self._links.get(session.member)
        if link is None:
            self._observer.stranger(session.address, session.why)
            return
        if link.session is not session:
            self._trouble(link, LinkState.REFUSED if session.declined else LinkState.UNREACHABLE, session.why)
            return
        self._skipped += session.skipped
        link.disconnected(session.why)
        self._observer.connection(link.id, self._end_of(session), session.why)
        self._handlers.peer_down(link.id, session.why)
        if not self._stopping:
            self._spawn(self._probe(link))

    def _end_of(self, session: Session) -> LinkState:
        if session.declined:
            return LinkState.REFUSED
        return LinkState.LEFT if session.departing or self._stopping else LinkState.ENDED

    # --------------------------------------------------------------------------------------------------------- dialling

    async def _keep_dialling(self, link: PeerLink) -> None:
        while True:
            try:
                if link.doubted.is_set():
                    await self._learn(link)
                await self._talk(link)
            except (OSError, UnicodeError) as error:
                self._unreachable(link, error)
            except PeerError as error:
                self._trouble(link, LinkState.UNREACHABLE, str(error))
            await asyncio.sleep(self._random.uniform(*REDIAL_SECONDS))

    async def _talk(self, link: PeerLink) -> None:
        """Call a peer and stay until the session is over."""
        session = await call(link, self._credentials, lambda: Session(self, str(link.peer.addr), dialled=True))
        try:
            await session.over
        finally:
            session.end("this replica stops")

    async def _keep_learning(self, link: PeerLink) -> None:
        """Learn the key of a peer without a pin that dials us, so that it can be let in."""
        while True:
            await link.doubted.wait()
            try:
                await self._learn(link)
            except (OSError, UnicodeError) as error:
                self._unreachable(link, error)
            except PeerError as error:
                self._trouble(link, LinkState.UNREACHABLE, str(error))
            await asyncio.sleep(self._random.uniform(*REDIAL_SECONDS))

    async def _learn(self, link: PeerLink) -> None:
        key = await learn(link, self._credentials)
        if key == self._own_key:
            raise PeerError(f"at {link.peer.addr} this replica itself answers: the address is another's")
        if any(other.key == key for other in self._links.values() if other is not link):
            raise PeerError(f"what answers at {link.peer.addr} has the identity of another member")
        link.doubted.clear()
        if link.key != key and link.session is None:
            link.learned(key)
            self._accepting = None

    def _unreachable(self, link: PeerLink, error: OSError | UnicodeError) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            link.doubt()
        self._trouble(link, LinkState.UNREACHABLE, dial_trouble(error, link))
        if isinstance(error, ConnectionRefusedError):
            self._handlers.peer_refused(link.id)

    async def _probe(self, link: PeerLink) -> None:
        """See whether the process behind a session that ended is gone."""
        for pause in PROBE_AFTER_SECONDS:
            await asyncio.sleep(pause)
            if link.session is not None:
                return
            if await is_listening(link) is False:
                self._handlers.peer_refused(link.id)
                return

    def _trouble(self, link: PeerLink, state: LinkState, detail: str) -> None:
        if link.session is None:
            link.detail = detail
        self._observer.connection(link.id, state, detail)

    # -------------------------------------------------------------------------------------------------------- listening

    def _accepting_context(self) -> ssl.SSLContext:
        if self._accepting is None:
            known = (link.key for link in self._links.values())
            self._accepting = self._credentials.accepting(key for key in known if key is not None)
        return self._accepting

    def _incoming(self, host: str) -> Session:
        return Session(self, host, dialled=False)

    def _turned_away(self, host: str, why: str, error: ssl.SSLError | None) -> None:
        """Tell of a caller that did not get through TLS; where pins are missing, it may be a peer with a new key."""
        if error is None:
            self._observer.stranger(host, why)
            return
        unproven = (
            isinstance(error, ssl.SSLCertVerificationError) or error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        )
        learning = any(not link.pinned for link in self._links.values()) and is_loopback(host)
        if unproven and learning:
            for link in self._links.values():
                link.doubt()
            return
        self._observer.stranger(host, _tls_trouble(error))

    # ------------------------------------------------------------------------------------------------------------ tasks

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fatal(error)


def _tls_trouble(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate proves no identity that is pinned here: another cluster's replica, or a wrong pin"
    if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "it shows no certificate: no replica"
    return f"it does not speak TLS 1.3: {error.reason or error}"
