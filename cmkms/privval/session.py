"""A validator's connection as its signer sees it: bytes in, events out.

Pure: the connection shell reads and writes the socket, keeps its deadlines, and does what the events say. A session
never answers by itself, and after an error it is over.

Theory of operation. On tcp a session begins with the handshake of SecretConnection, and requests follow inside its
frames; on a unix socket requests follow at once. `start` gives the first bytes to send. Every `receive` gives the
events that the bytes complete, in order. A node sends one request at a time and waits for its answer, which `reply`
turns into the bytes to send.
"""

from __future__ import annotations

from dataclasses import dataclass

from cmkms.errors import PeerError
from cmkms.privval.errors import FramingError, RequestKind, UndecodableRequestError
from cmkms.privval.framing import MAX_REQUEST_BYTES, MessageReader, delimit
from cmkms.privval.messages import Request, decode_request
from cmkms.privval.secret_connection import SecretConnection

__all__ = [
    "MAX_REQUESTS_AT_ONCE",
    "Event",
    "HandshakeDone",
    "RequestReceived",
    "RequestUndecodable",
    "SendBytes",
    "ValidatorSession",
]


MAX_REQUESTS_AT_ONCE = 8
"""Requests that may arrive in one piece. A node has one on the way; thousands at once would keep every other
connection of this process waiting until they are answered."""


@dataclass(frozen=True, slots=True)
class SendBytes:
    """The handshake has to send these bytes now."""

    data: bytes


@dataclass(frozen=True, slots=True)
class HandshakeDone:
    """The peer has proven this Ed25519 key (32 bytes). `remote_id` is the node id that an address may pin."""

    remote_public_key: bytes
    remote_id: str


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A valid request, to be answered by `reply`."""

    request: Request


@dataclass(frozen=True, slots=True)
class RequestUndecodable:
    """A request that means nothing, to be answered by an error of its kind. The reason may go into it."""

    kind: RequestKind
    reason: str


Event = SendBytes | HandshakeDone | RequestReceived | RequestUndecodable


class ValidatorSession:
    """One connection to one node. Made by `secret` for tcp, by `plain` for a unix socket."""

    __slots__ = ("_failure", "_reader", "_secret")

    def __init__(self, secret: SecretConnection | None) -> None:
        self._secret = secret
        self._reader = MessageReader(MAX_REQUEST_BYTES)
        self._failure: PeerError | None = None

    @classmethod
    def secret(cls, identity_seed: bytes, *, ephemeral_seed: bytes | None = None) -> ValidatorSession:
        """Return a session over SecretConnection. Seeds have 32 bytes; only tests give an ephemeral one."""
        return cls(SecretConnection(identity_seed, ephemeral_seed=ephemeral_seed))

    @classmethod
    def plain(cls) -> ValidatorSession:
        """Return a session without encryption, which has no handshake and thus no HandshakeDone."""
        return cls(None)

    def start(self) -> bytes:
        """Return what to send as soon as the connection stands; nothing on a plain one."""
        return b"" if self._secret is None else self._secret.start()

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes off the wire and return what they complete, in order.

        Raises:
            PeerError: HandshakeError, CipherError, FramingError, or an UndecodableRequestError that no answer fits.
                The connection has to be closed; from then on every call raises the same.
        """
        if self._failure is not None:
            raise self._failure
        try:
            return self._receive(data)
        except PeerError as error:
            self._failure = error
            raise

    def reply(self, message: bytes) -> bytes:
        """Return the bytes to send for an answer, given without its length."""
        framed = delimit(message)
        return framed if self._secret is None else self._secret.seal(framed)

    def _receive(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        secret = self._secret
        if secret is None:
            plaintext = data
        elif secret.remote_public_key is not None:
            plaintext = secret.receive(data)
        else:
            plaintext = self._shake_hands(secret, data, events)
        self._reader.feed(plaintext)
        requests = 0
        while (message := self._reader.next_message()) is not None:
            requests += 1
            if requests > MAX_REQUESTS_AT_ONCE:
                raise FramingError("it asks many things at once; a node asks one and waits for its answer")
            events.append(_decode(message))
        return events

    def _shake_hands(self, secret: SecretConnection, data: bytes, events: list[Event]) -> bytes:
        plaintext = secret.receive(data)
        if outgoing := secret.take_outgoing():
            events.append(SendBytes(outgoing))
        if secret.remote_public_key is not None:
            events.append(HandshakeDone(secret.remote_public_key, secret.remote_id))
        return plaintext


def _decode(message: bytes) -> RequestReceived | RequestUndecodable:
    try:
        return RequestReceived(decode_request(message))
    except UndecodableRequestError as error:
        if error.kind is None:
            raise
        return RequestUndecodable(error.kind, error.reason)
