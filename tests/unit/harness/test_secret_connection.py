"""The node's side of SecretConnection against vectors of CometBFT's Go code, and two ends against each other."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from cmkms.harness.errors import HandshakeError
from cmkms.harness.merlin import Transcript, keccak_f1600
from cmkms.harness.secret_connection import SEALED_FRAME_BYTES, SecretConnection

IDENTITY_A = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"A-static").digest())
B_HELLO = bytes.fromhex("220a200faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20")


def end_a() -> SecretConnection:
    return SecretConnection(IDENTITY_A, X25519PrivateKey.from_private_bytes(b"\x11" * 32))


def joined() -> tuple[SecretConnection, SecretConnection]:
    a, b = end_a(), SecretConnection(Ed25519PrivateKey.generate())
    proof_of_a, proof_of_b = a.feed(b.hello()), b.feed(a.hello())
    a.feed(proof_of_b)
    b.feed(proof_of_a)
    return a, b


def test_the_permutation_is_keccak() -> None:
    """SHA3-256 of nothing, by one permutation of its padded block, against the standard library."""
    state = bytearray(200)
    state[0] ^= 0x06
    state[135] ^= 0x80
    keccak_f1600(state)

    assert bytes(state[:32]) == hashlib.sha3_256(b"").digest()


def test_the_transcript_is_merlin() -> None:
    transcript = Transcript(b"test protocol")
    transcript.append(b"some label", b"some data")

    assert transcript.challenge(b"challenge", 32).hex() == (
        "d5a21972d0d5fe320c0d263fac7fffb8145aa640af6e9bca177c03c7efcf0615"
    )


def test_the_hello_is_that_of_cometbft() -> None:
    assert end_a().hello().hex() == "220a207b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13"


def test_the_proof_is_sealed_as_by_cometbft() -> None:
    sealed = end_a().feed(B_HELLO)

    assert len(sealed) == SEALED_FRAME_BYTES
    assert hashlib.sha256(sealed).hexdigest() == "e4092e46894eb68dc49694f618015768298c1970e6044ab8dc7fc2934af8229d"


@given(st.binary(max_size=5000), st.integers(1, 3000))
def test_what_one_end_seals_the_other_opens_however_it_is_cut(data: bytes, size: int) -> None:
    a, b = joined()
    sealed = a.seal(data)
    for start in range(0, len(sealed), size):
        b.feed(sealed[start : start + size])

    assert bytes(b.plaintext) == data


def test_a_handshake_may_arrive_byte_by_byte() -> None:
    a, b = end_a(), SecretConnection(Ed25519PrivateKey.generate())
    to_a = b.hello() + b.feed(a.hello())
    for byte in to_a:
        a.feed(bytes([byte]))

    assert a.established
    assert not a.plaintext


def test_a_frame_changed_on_the_way_is_refused() -> None:
    a, b = joined()
    sealed = bytearray(a.seal(b"vote"))
    sealed[100] ^= 1

    with pytest.raises(HandshakeError, match="does not open"):
        b.feed(bytes(sealed))


def test_a_repeated_frame_is_refused() -> None:
    a, b = joined()
    sealed = a.seal(b"vote")
    b.feed(sealed)

    with pytest.raises(HandshakeError, match="frame 2 does not open"):
        b.feed(sealed)


@pytest.mark.parametrize("hello", [b"GET / HTTP/1.1\r\n" + bytes(30), b"\x22\x0a\x20" + bytes(32)])
def test_a_wrong_hello_is_refused(hello: bytes) -> None:
    with pytest.raises(HandshakeError):
        end_a().feed(hello)
