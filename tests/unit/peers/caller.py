"""One end of a peer connection, down to its bytes: it can be anybody, say anything, keep silent and hang up."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cmkms.config import HostPort
from cmkms.keys.certificate import make_leaf
from cmkms.keys.identity import Identity
from cmkms.peers.codec import MAX_FRAME_BYTES, decode, encode
from cmkms.peers.frames import FrameReader, with_length
from cmkms.peers.messages import Frame, Hello
from cmkms.peers.tls import Credentials
from tests.unit.peers.replica import PATIENCE, Replica


class GoneError(Exception):
    """The other side has closed the connection."""


class Caller:
    """Calls a replica's port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader(MAX_FRAME_BYTES)

    @classmethod
    async def plain(cls, replica: Replica) -> Self:
        """Call without TLS."""
        return cls(*await asyncio.open_connection(replica.address.host, replica.address.port))

    @classmethod
    async def by(cls, context: ssl.SSLContext, replica: Replica) -> Self:
        """Call with a TLS context."""
        host, port = replica.address.host, replica.address.port
        return cls(*await asyncio.open_connection(host, port, ssl=context, server_hostname=""))

    @classmethod
    async def being(cls, identity: Identity, replica: Replica) -> Self:
        """Call with an identity, as replicas do."""
        return await cls.at(replica.address, identity, replica.identity.public_key)

    @classmethod
    async def at(cls, address: HostPort, identity: Identity, public_key: bytes) -> Self:
        """Call whoever has this public key, with an identity."""
        context = Credentials(identity).dialling(public_key)
        return cls(*await asyncio.open_connection(address.host, address.port, ssl=context, server_hostname=""))

    @classmethod
    async def greeted(cls, other: Replica, replica: Replica) -> Self:
        """Call as `other`, which does not run, and exchange hellos."""
        caller = await cls.being(other.identity, replica)
        await caller.say(other.hello())
        assert isinstance(await caller.hear(), Hello)
        return caller

    async def say(self, message: Frame) -> None:
        await self.send(with_length(encode(message)))

    async def send(self, data: bytes) -> None:
        """Put bytes into the stream as they are. Raises GoneError."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise GoneError from error

    async def hear(self) -> Frame | None:
        """Return the next message. Raises GoneError."""
        while True:
            frame = self._frames.next_frame()
            if frame is not None:
                return decode(frame)
            self._frames.feed(await self.receive())

    async def receive(self) -> bytes:
        """Take bytes of the stream. Raises GoneError."""
        try:
            async with asyncio.timeout(PATIENCE):
                data = await self._reader.read(1 << 16)
        except ConnectionError as error:
            raise GoneError from error
        except ssl.SSLError as error:
            raise GoneError from error
        if not data:
            raise GoneError
        return data

    async def gone(self) -> None:
        """Wait until the other side has hung up."""
        with suppress(GoneError):
            while True:
                await self.receive()
        self.close()

    def close(self) -> None:
        self._writer.transport.abort()


def issued_by_a_leaf(identity: Identity, folder: Path) -> ssl.SSLContext:
    """A client's context with a certificate that a member's process has issued with its short-lived key."""
    leaf = make_leaf(identity).pem
    key = serialization.load_pem_private_key(leaf, None)
    certificate = x509.load_pem_x509_certificate(leaf)
    assert isinstance(key, Ed25519PrivateKey)
    own = Ed25519PrivateKey.generate()
    forged = (
        x509.CertificateBuilder()
        .issuer_name(certificate.subject)
        .subject_name(x509.Name([]))
        .public_key(own.public_key())
        .serial_number(1)
        .not_valid_before(certificate.not_valid_before_utc)
        .not_valid_after(certificate.not_valid_after_utc)
        .sign(key, None)
    )
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = folder / "chain.pem"
    path.write_bytes(
        own.private_bytes(pem, private, serialization.NoEncryption())
        + forged.public_bytes(pem)
        + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(path)
    return context
