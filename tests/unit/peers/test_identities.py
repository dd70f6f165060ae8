"""What a certificate proves, and what leaves no trace of the keys behind it."""

from __future__ import annotations

import copy
import pickle
import ssl
import subprocess
import sys
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cmkms.errors import PeerError
from cmkms.keys.certificate import anchor_for, issuer_of, make_leaf
from cmkms.peers.tls import Credentials
from tests.unit.peers.replica import identity


def certificate_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


def test_a_leaf_proves_the_identity_that_issued_it() -> None:
    one = identity()
    assert issuer_of(certificate_of(make_leaf(one).pem)) == one.public_key


def test_a_leaf_that_names_another_identity_proves_nothing() -> None:
    forged = make_leaf(replace(identity(), public_key=identity().public_key))
    with pytest.raises(PeerError, match="its signature is not the issuer's"):
        issuer_of(certificate_of(forged.pem))


def test_an_anchor_is_no_proof() -> None:
    with pytest.raises(PeerError, match="its signature is not the issuer's"):
        issuer_of(anchor_for(identity().public_key))


@pytest.mark.parametrize("data", [b"", b"\x30\x00", bytes(500)])
def test_what_is_no_certificate_is_a_peers_fault(data: bytes) -> None:
    with pytest.raises(PeerError) as refused:
        issuer_of(data)
    # And not what a parser says to a programmer.
    assert str(refused.value) == (
        "the certificate is none of a cmkms replica: it is damaged, or its issuer's name is no public key"
    )


def test_each_process_has_a_key_of_its_own() -> None:
    one = identity()
    assert make_leaf(one).pem != make_leaf(one).pem


def test_a_private_key_is_neither_shown_nor_copied() -> None:
    leaf = make_leaf(identity())
    assert "PRIVATE" not in repr(leaf)
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled or copied"):
            copying(leaf)


def test_two_replaced_identities_are_trusted_side_by_side() -> None:
    context = Credentials(identity()).accepting([identity().public_key for _ in range(4)])
    assert len(context.get_ca_certs()) == 4


def test_nothing_older_than_tls_1_3_is_spoken() -> None:
    one = Credentials(identity())
    for context in (one.accepting([]), one.dialling(identity().public_key), one.asking_who()):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_only_a_look_at_an_identity_trusts_anybody() -> None:
    one = Credentials(identity())
    assert one.accepting([]).verify_mode is ssl.CERT_REQUIRED
    assert one.dialling(identity().public_key).verify_mode is ssl.CERT_REQUIRED
    assert one.asking_who().verify_mode is ssl.CERT_NONE


def test_a_process_that_is_closed_to_debuggers_can_use_its_key() -> None:
    """Its /proc/self belongs to root then; the key is handed over by way of it."""
    script = (
        "from cmkms.hardening import harden_process; harden_process()\n"
        "from cmkms.keys.identity import Identity; from cmkms.peers.tls import Credentials\n"
        "Credentials(Identity.from_seed(bytes(32))).accepting([])"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
