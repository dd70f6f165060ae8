"""Certificates of replicas: a short-lived key's, issued by the identity key, and the trust anchor made from a pin.

Nothing in them is believed but the signature: names, dates and serial numbers are what X.509 asks for. Clocks play no
part: a certificate is valid from 1971 to 9999.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Final, NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from cmkms.errors import PeerError
from cmkms.keys.identity import Identity

__all__ = ["Leaf", "anchor_for", "issuer_of", "make_leaf"]

_FROM: Final = dt.datetime(1971, 1, 1, tzinfo=dt.UTC)
_UNTIL: Final = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
_LEAF_NAME: Final = "cmkms replica"
_PUBLIC_KEY_BYTES: Final = 32
_NOT_OURS: Final = "the certificate is none of a cmkms replica"


@dataclass(frozen=True, slots=True)
class Leaf:
    """The key of one process for its connections, and its certificate. `pem` holds both, the key unencrypted."""

    pem: bytes = field(repr=False)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: a private key must not end up on a disk or a wire by accident."""
        raise TypeError("a private key is not pickled or copied")


def make_leaf(identity: Identity) -> Leaf:
    """Make a new key and have the identity issue its certificate. The issuer's name is the identity's public key."""
    key = Ed25519PrivateKey.generate()
    certificate = _certificate(identity.public_key.hex(), _LEAF_NAME, key.public_key(), ca=False).sign(
        Ed25519PrivateKey.from_private_bytes(identity.seed), None
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Leaf(private + certificate.public_bytes(serialization.Encoding.PEM))


def anchor_for(public_key: bytes) -> bytes:
    """Return a CA certificate (DER) for an identity's public key, for OpenSSL to build its chain on.

    It is signed by nobody in particular: an anchor's own signature is not checked (RFC 5280, 6.1).
    """
    name = public_key.hex()
    builder = _certificate(name, name, Ed25519PublicKey.from_public_bytes(public_key), ca=True)
    return builder.sign(Ed25519PrivateKey.generate(), None).public_bytes(serialization.Encoding.DER)


def issuer_of(certificate: bytes) -> bytes:
    """Return the public key (32 bytes) of the identity that issued this leaf certificate (DER).

    Raises PeerError unless it names an identity and that very key has signed it.
    """
    try:
        leaf = x509.load_der_x509_certificate(certificate)
        issuer = _named_key(leaf)
        Ed25519PublicKey.from_public_bytes(issuer).verify(leaf.signature, leaf.tbs_certificate_bytes)
    except InvalidSignature:
        raise PeerError(f"{_NOT_OURS}: its signature is not the issuer's") from None
    except (ValueError, x509.InvalidVersion):
        # What the parser says is for whoever wrote the parser.
        raise PeerError(f"{_NOT_OURS}: it is damaged, or its issuer's name is no public key") from None
    return issuer


def _named_key(leaf: x509.Certificate) -> bytes:
    names = leaf.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    key = bytes.fromhex(str(names[0].value)) if names else b""
    if len(key) != _PUBLIC_KEY_BYTES:
        raise ValueError("the issuer's name is no public key")
    return key


def _certificate(issuer: str, subject: str, key: Ed25519PublicKey, *, ca: bool) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(_name(issuer))
        .subject_name(_name(subject))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
