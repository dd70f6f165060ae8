"""TLS between replicas: TLS 1.3 and nothing older, both sides proven by their identity keys, by pin.

Each process makes a key of its own for its connections, with a certificate issued by its identity key; what a peer is
trusted by is its identity's public key alone. No private key touches a disk on its way to OpenSSL.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from typing import Protocol, cast

from cmkms.errors import PeerError
from cmkms.keys.certificate import Leaf, anchor_for, issuer_of, make_leaf
from cmkms.keys.identity import Identity

__all__ = ["Credentials", "proven_key"]


class Credentials:
    """Makes the contexts of this process' connections. Peers are named by their public keys of 32 bytes."""

    def __init__(self, identity: Identity) -> None:
        self._leaf = make_leaf(identity)

    def accepting(self, trusted: Iterable[bytes]) -> ssl.SSLContext:
        """Return a context in which any of these may call."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER, trusted)
        # Sessions are not resumed: each proves its identity anew.
        context.num_tickets = 0
        return context

    def dialling(self, trusted: bytes) -> ssl.SSLContext:
        """Return a context in which just this one may answer."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT, (trusted,))

    def asking_who(self) -> ssl.SSLContext:
        """Return a context in which anybody may answer, and is told nothing: to learn an identity, not to talk."""
        return _bare(ssl.PROTOCOL_TLS_CLIENT, ssl.CERT_NONE)

    def _context(self, side: int, trusted: Iterable[bytes]) -> ssl.SSLContext:
        context = _bare(side, ssl.CERT_REQUIRED)
        _load(context, self._leaf)
        for public_key in sorted(set(trusted)):
            context.load_verify_locations(cadata=anchor_for(public_key))
        return context


class _HasCertificate(Protocol):
    def getpeercert(self, binary_form: bool, /) -> bytes | None: ...


def proven_key(connection: object) -> bytes:
    """Return the identity's public key that the other side of a finished handshake has proven.

    `connection` is what the transport has as `ssl_object`. Raises PeerError if there is no such proof.
    """
    certificate = cast("_HasCertificate", connection).getpeercert(True)  # noqa: FBT003 - positional in `ssl`
    if certificate is None:
        raise PeerError("it has shown no certificate")
    return issuer_of(certificate)


def _bare(side: int, verify: ssl.VerifyMode) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Names are not what a replica is known by. First this: CERT_NONE is refused while names are checked.
    context.check_hostname = False
    context.verify_mode = verify
    return context


def _load(context: ssl.SSLContext, leaf: Leaf) -> None:
    # OpenSSL is only given private keys by way of files: this one is memory, closed before anyone else sees it.
    descriptor = os.memfd_create("cmkms", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, leaf.pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
