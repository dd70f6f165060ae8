"""SecretConnection: Go's own handshake byte for byte, and everything that a peer can do wrong in it."""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from cmkms.errors import BrokenInvariantError
from cmkms.privval import CipherError, FramingError, HandshakeError
from cmkms.privval.framing import delimit
from cmkms.privval.pb import conn_pb2, types_pb2
from cmkms.privval.secret_connection import (
    DATA_BYTES,
    MAX_AUTH_BYTES,
    MAX_FRAMES,
    SEALED_FRAME_BYTES,
    FrameOpener,
    FrameSealer,
    SecretConnection,
    derive_session_keys,
)
from tests.unit.privval.node_side import NODE_PUBLIC_KEY, NODE_SEED, SIGNER_SEED
from tests.unit.privval.vectors import HANDSHAKE, HKDF

KEY = bytes(range(32))


def shake_hands() -> tuple[SecretConnection, SecretConnection]:
    """Two ends that trust each other's bytes."""
    ours, theirs = SecretConnection(SIGNER_SEED), SecretConnection(NODE_SEED)
    our_start, their_start = ours.start(), theirs.start()
    assert ours.receive(their_start) == theirs.receive(our_start) == b""
    our_proof, their_proof = ours.take_outgoing(), theirs.take_outgoing()
    assert ours.receive(their_proof) == theirs.receive(our_proof) == b""
    return ours, theirs


class HalfwayNode:
    """A node that has exchanged ephemeral keys honestly and may now prove whatever it likes."""

    def __init__(self) -> None:
        self.victim = SecretConnection(SIGNER_SEED, ephemeral_seed=HANDSHAKE["ephemeral_seed_a"])
        self.victim.start()
        self.victim.receive(b"\x22\x0a\x20" + HANDSHAKE["ephemeral_b"])
        # Seen from A, as in the vectors; what A receives, this node sends.
        self.sealer = FrameSealer(HANDSHAKE["receive_a"])

    def prove(self, proof: bytes) -> None:
        self.victim.receive(self.sealer.seal(delimit(proof)))


def proof(public_key: types_pb2.PublicKey | None = None, signature: bytes | None = None) -> bytes:
    """The proof of the node's key over the challenge of the vectors, with parts of it replaced."""
    key = Ed25519PrivateKey.from_private_bytes(NODE_SEED)
    return conn_pb2.AuthSigMessage(
        pub_key=types_pb2.PublicKey(ed25519=NODE_PUBLIC_KEY) if public_key is None else public_key,
        sig=key.sign(HANDSHAKE["challenge"]) if signature is None else signature,
    ).SerializeToString()


# ------------------------------------------------------------------------------------------------------ Go's vectors


@pytest.mark.parametrize("line", HKDF, ids=["least", "not least"])
def test_keys_are_derived_as_go_derives_them(line: dict[str, str]) -> None:
    keys = derive_session_keys(bytes.fromhex(line["shared_secret"]), local_is_least=bool(line["local_is_least"]))

    assert (keys.receive.hex(), keys.send.hex()) == (line["receive"], line["send"])


def test_the_keys_of_gos_handshake_follow_from_its_shared_secret() -> None:
    private = X25519PrivateKey.from_private_bytes(HANDSHAKE["ephemeral_seed_a"])
    remote = X25519PrivateKey.from_private_bytes(HANDSHAKE["ephemeral_seed_b"]).public_key()

    keys = derive_session_keys(private.exchange(remote), local_is_least=False)

    assert private.exchange(remote) == HANDSHAKE["shared_secret"]
    assert (keys.receive, keys.send) == (HANDSHAKE["receive_a"], HANDSHAKE["send_a"])


def test_the_first_bytes_are_gos() -> None:
    connection = SecretConnection(HANDSHAKE["identity_seed_a"], ephemeral_seed=HANDSHAKE["ephemeral_seed_a"])

    assert connection.start() == bytes.fromhex("220a20") + HANDSHAKE["ephemeral_a"]


def test_the_proof_is_gos_to_the_last_byte() -> None:
    connection = SecretConnection(HANDSHAKE["identity_seed_a"], ephemeral_seed=HANDSHAKE["ephemeral_seed_a"])
    connection.start()
    connection.receive(bytes.fromhex("220a20") + HANDSHAKE["ephemeral_b"])

    frame = connection.take_outgoing()

    assert len(frame) == SEALED_FRAME_BYTES == 1044
    assert frame[:32] == HANDSHAKE["proof_frame_a_begins"]
    assert frame[-16:] == HANDSHAKE["proof_frame_a_tag"]
    assert sha256(frame).digest() == HANDSHAKE["proof_frame_a_sha256"]


def test_the_proof_holds_the_key_and_its_signature_over_gos_challenge() -> None:
    connection = SecretConnection(HANDSHAKE["identity_seed_a"], ephemeral_seed=HANDSHAKE["ephemeral_seed_a"])
    connection.start()
    connection.receive(bytes.fromhex("220a20") + HANDSHAKE["ephemeral_b"])

    plaintext = FrameOpener(HANDSHAKE["send_a"]).open(connection.take_outgoing())

    signed = b"\x0a\x22\x0a\x20" + HANDSHAKE["identity_a"] + b"\x12\x40" + HANDSHAKE["signature_a"]
    assert plaintext == b"\x66" + signed


# -------------------------------------------------------------------------------------------------------- handshake


def test_both_sides_learn_each_others_key() -> None:
    ours, theirs = shake_hands()

    assert ours.remote_public_key == NODE_PUBLIC_KEY
    assert theirs.remote_public_key == Ed25519PrivateKey.from_private_bytes(SIGNER_SEED).public_key().public_bytes_raw()


def test_the_peers_id_is_that_of_a_node() -> None:
    ours, _ = shake_hands()

    assert ours.remote_id == sha256(NODE_PUBLIC_KEY).hexdigest()[:40]


def test_every_connection_has_its_own_ephemeral_key() -> None:
    assert SecretConnection(SIGNER_SEED).start() != SecretConnection(SIGNER_SEED).start()


def test_what_is_sealed_is_received() -> None:
    ours, theirs = shake_hands()

    assert theirs.receive(ours.seal(b"to the node")) == b"to the node"
    assert ours.receive(theirs.seal(b"to the signer")) == b"to the signer"


def test_what_follows_the_proof_in_one_piece_is_received() -> None:
    ours, theirs = SecretConnection(SIGNER_SEED), SecretConnection(NODE_SEED)
    theirs.receive(ours.start())
    opening = theirs.start() + theirs.take_outgoing()
    ours.receive(opening)
    theirs.receive(ours.take_outgoing())

    assert ours.receive(theirs.seal(b"first")) == b"first"


def test_what_shares_a_frame_with_the_proof_is_received() -> None:
    node = HalfwayNode()

    assert node.victim.receive(node.sealer.seal(delimit(proof()) + b"and more")) == b"and more"
    assert node.victim.remote_public_key == NODE_PUBLIC_KEY


def test_a_proof_may_span_frames() -> None:
    node = HalfwayNode()
    whole = delimit(proof())

    assert node.victim.receive(node.sealer.seal(whole[:50])) == b""
    assert node.victim.remote_public_key is None
    assert node.victim.receive(node.sealer.seal(whole[50:])) == b""
    assert node.victim.remote_public_key == NODE_PUBLIC_KEY


@pytest.mark.parametrize(
    "opening",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x21\x0a\x1f" + bytes(31),
        b"\x23\x0a\x21" + bytes(33),
        b"\x22\x12\x20" + bytes(32),
        b"\x02\x3a\x00",
        b"\xff",
    ],
    ids=["http", "31 bytes", "33 bytes", "another field", "a plain node's ping", "garbage"],
)
def test_an_opening_that_is_not_gos_is_refused(opening: bytes) -> None:
    connection = SecretConnection(SIGNER_SEED)
    connection.start()

    with pytest.raises(HandshakeError, match="priv_validator_laddr"):
        connection.receive(opening)


def test_a_wrong_opening_is_refused_at_its_first_byte() -> None:
    connection = SecretConnection(SIGNER_SEED)
    connection.start()

    with pytest.raises(HandshakeError):
        connection.receive(b"H")


LOW_ORDER_POINTS = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("point", LOW_ORDER_POINTS)
def test_an_ephemeral_key_of_low_order_is_refused(point: str) -> None:
    connection = SecretConnection(SIGNER_SEED)
    connection.start()

    with pytest.raises(HandshakeError, match="low order"):
        connection.receive(bytes.fromhex("220a20" + point))


def test_our_own_ephemeral_key_is_refused() -> None:
    connection = SecretConnection(SIGNER_SEED)

    with pytest.raises(HandshakeError, match="our own"):
        connection.receive(connection.start())


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(proof(signature=b"s" * 64), id="a wrong signature"),
        pytest.param(proof(signature=b""), id="no signature"),
        pytest.param(proof(signature=b"s" * 63), id="a short signature"),
        pytest.param(proof(types_pb2.PublicKey(ed25519=b"k" * 32)), id="another's key"),
        pytest.param(proof(types_pb2.PublicKey(ed25519=b"\xff" * 32)), id="a key that is no point"),
        pytest.param(proof(types_pb2.PublicKey(ed25519=b"k" * 33)), id="a long key"),
        pytest.param(proof(types_pb2.PublicKey(secp256k1=b"k" * 33)), id="a key of another kind"),
        pytest.param(proof(types_pb2.PublicKey()), id="no key"),
        pytest.param(b"\x0a", id="no protobuf"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_proof_that_proves_nothing_is_refused(wrong: bytes) -> None:
    node = HalfwayNode()

    with pytest.raises(HandshakeError, match="identity"):
        node.prove(wrong)
    assert node.victim.remote_public_key is None


def test_a_key_of_another_kind_is_named() -> None:
    with pytest.raises(HandshakeError, match="secp256k1"):
        HalfwayNode().prove(proof(types_pb2.PublicKey(secp256k1=b"k" * 33)))


def test_a_proof_with_unknown_fields_is_accepted() -> None:
    node = HalfwayNode()

    node.prove(proof() + b"\x7a\x01x")

    assert node.victim.remote_public_key == NODE_PUBLIC_KEY


def test_a_proof_is_not_kept_beyond_its_limit() -> None:
    node = HalfwayNode()

    with pytest.raises(FramingError, match=str(MAX_AUTH_BYTES + 1)):
        node.victim.receive(node.sealer.seal(delimit(bytes(MAX_AUTH_BYTES + 1))[:10]))


def test_a_proof_that_was_altered_on_the_way_is_refused() -> None:
    ours, theirs = SecretConnection(SIGNER_SEED), SecretConnection(NODE_SEED)
    ours.receive(theirs.start())
    theirs.receive(ours.start())
    altered = bytearray(theirs.take_outgoing())
    altered[0] ^= 1

    with pytest.raises(CipherError):
        ours.receive(bytes(altered))


def test_starting_twice_is_a_bug() -> None:
    connection = SecretConnection(SIGNER_SEED)
    connection.start()

    with pytest.raises(BrokenInvariantError):
        connection.start()


def test_sending_before_the_handshake_is_done_is_a_bug() -> None:
    with pytest.raises(BrokenInvariantError):
        HalfwayNode().victim.seal(b"too early")


def test_asking_for_the_peers_id_before_the_handshake_is_done_is_a_bug() -> None:
    with pytest.raises(BrokenInvariantError):
        _ = HalfwayNode().victim.remote_id


def test_no_key_shows_in_a_repr() -> None:
    keys = derive_session_keys(bytes(31) + b"\x01", local_is_least=True)

    assert keys.send.hex()[:8] not in repr(keys)
    assert repr(keys.send)[2:-1] not in repr(keys)
    assert SIGNER_SEED.decode() not in repr(SecretConnection(SIGNER_SEED))


# ----------------------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize(("length", "frames"), [(0, 0), (1, 1), (1024, 1), (1025, 2), (2048, 2), (5000, 5)])
def test_a_message_takes_as_many_whole_frames_as_it_needs(length: int, frames: int) -> None:
    sealed = FrameSealer(KEY).seal(bytes(length))

    assert len(sealed) == frames * SEALED_FRAME_BYTES


def test_frames_open_in_order() -> None:
    sealer, opener = FrameSealer(KEY), FrameOpener(KEY)
    sealed = sealer.seal(b"a" * 1024 + b"b")

    assert opener.open(sealed[:SEALED_FRAME_BYTES]) == b"a" * 1024
    assert opener.open(sealed[SEALED_FRAME_BYTES:]) == b"b"


def hand_sealed(plaintext: bytes, frame: int = 0) -> bytes:
    """A frame with a content of our choice."""
    return ChaCha20Poly1305(KEY).encrypt(bytes(4) + frame.to_bytes(8, "little"), plaintext, None)


def test_a_frame_is_filled_up_with_zeros() -> None:
    assert FrameSealer(KEY).seal(b"abc") == hand_sealed(b"\x03\0\0\0abc" + bytes(1021))


def test_what_fills_a_frame_up_is_not_looked_at() -> None:
    assert FrameOpener(KEY).open(hand_sealed(b"\x03\0\0\0abc" + b"stale" * 204 + b"!")) == b"abc"


def test_a_frame_may_carry_nothing() -> None:
    assert FrameOpener(KEY).open(hand_sealed(bytes(1028))) == b""


def test_an_empty_frame_between_two_others_changes_nothing() -> None:
    ours, theirs = shake_hands()
    sealer = theirs._sealer
    assert sealer is not None

    assert ours.receive(theirs.seal(b"a") + sealer._seal_frame(b"") + theirs.seal(b"b")) == b"ab"


@pytest.mark.parametrize("announced", [DATA_BYTES + 1, 0xFFFF_FFFF])
def test_a_frame_that_announces_more_than_fits_is_refused(announced: int) -> None:
    with pytest.raises(CipherError, match=str(announced)):
        FrameOpener(KEY).open(hand_sealed(announced.to_bytes(4, "little") + bytes(1024)))


@pytest.mark.parametrize("position", [0, 3, 500, 1027, 1028, 1043])
def test_an_altered_frame_is_refused(position: int) -> None:
    sealed = bytearray(FrameSealer(KEY).seal(b"abc"))
    sealed[position] ^= 0x80

    with pytest.raises(CipherError, match="did not open"):
        FrameOpener(KEY).open(bytes(sealed))


def test_a_repeated_frame_is_refused() -> None:
    ours, theirs = shake_hands()
    frame = theirs.seal(b"once")
    assert ours.receive(frame) == b"once"

    with pytest.raises(CipherError):
        ours.receive(frame)


def test_a_frame_of_our_own_sent_back_is_refused() -> None:
    ours, _ = shake_hands()

    with pytest.raises(CipherError):
        ours.receive(ours.seal(b"echo"))


def test_a_frame_may_come_in_pieces_and_with_others() -> None:
    ours, theirs = shake_hands()
    wire = theirs.seal(b"a") + theirs.seal(b"b" * 2000) + theirs.seal(b"c")

    assert ours.receive(wire[:1000]) == b""
    assert ours.receive(wire[1000:3000]) == b"a" + b"b" * 1024
    assert ours.receive(wire[3000:]) == b"b" * 976 + b"c"


def test_a_whole_frame_after_half_of_one_is_not_mistaken_for_the_next() -> None:
    ours, theirs = shake_hands()
    wire = theirs.seal(b"a") + theirs.seal(b"b")

    assert ours.receive(wire[:500]) == b""
    assert ours.receive(wire[500 : 500 + SEALED_FRAME_BYTES]) == b"a"
    assert ours.receive(wire[500 + SEALED_FRAME_BYTES :]) == b"b"


def test_a_direction_ends_before_its_nonce_repeats() -> None:
    sealer = FrameSealer(KEY, frames_so_far=MAX_FRAMES - 1)
    opener = FrameOpener(KEY, frames_so_far=MAX_FRAMES - 1)
    assert opener.open(sealer.seal(b"the last")) == b"the last"

    with pytest.raises(CipherError, match="nonces"):
        sealer.seal(b"one more")
    with pytest.raises(CipherError, match="nonces"):
        opener.open(bytes(SEALED_FRAME_BYTES))
