"""SecretConnection, the encryption between a node and its signer on tcp: bytes in, plaintext out, no socket.

It keeps others from reading along and proves each side's static key. It does not say that the key is the right one:
nodes make a new one at every start, so that pinning it is the caller's choice. No key ever shows in a repr or an error.

How a connection opens, the same on both sides:

1. each sends its ephemeral X25519 key in the clear, without waiting for the other's;
2. both derive one key per direction from the shared secret, and a challenge from a transcript of the exchange;
3. each sends, encrypted, its static Ed25519 key and that key's signature over the challenge.

Source: CometBFT p2p/conn/secret_connection.go, the same protocol in every version.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from google.protobuf.message import DecodeError

from cmkms.errors import BrokenInvariantError
from cmkms.privval.errors import CipherError, HandshakeError
from cmkms.privval.framing import MessageReader, delimit
from cmkms.privval.merlin import Transcript
from cmkms.privval.pb import conn_pb2, types_pb2

__all__ = [
    "DATA_BYTES",
    "MAX_AUTH_BYTES",
    "MAX_FRAMES",
    "SEALED_FRAME_BYTES",
    "FrameOpener",
    "FrameSealer",
    "SecretConnection",
    "SessionKeys",
    "derive_session_keys",
]

DATA_BYTES = 1024
"""How much of a stream one frame carries at most (dataMaxSize)."""

_LENGTH = struct.Struct("<I")
_FRAME_BYTES = _LENGTH.size + DATA_BYTES
_TAG_BYTES = 16

SEALED_FRAME_BYTES = _FRAME_BYTES + _TAG_BYTES
"""Every frame on the wire is as long as the longest."""

MAX_FRAMES = (1 << 64) - 1
"""A direction ends before its 64-bit nonce could repeat (incrNonce)."""

MAX_AUTH_BYTES = 1024 * 1024
"""What Go accepts for the message of step 3, which has 103 bytes."""

_KEY_BYTES = 32
_NODE_ID_BYTES = 20
_ALL_ZERO = bytes(_KEY_BYTES)
_EPHEMERAL_PREFIX = bytes([2 + _KEY_BYTES, 0x0A, _KEY_BYTES])
"""Of a delimited google.protobuf.BytesValue that holds 32 bytes."""

_EPHEMERAL_MESSAGE_BYTES = len(_EPHEMERAL_PREFIX) + _KEY_BYTES
_KEY_DERIVATION_INFO = b"TENDERMINT_SECRET_CONNECTION_KEY_AND_CHALLENGE_GEN"
_TRANSCRIPT_LABEL = b"TENDERMINT_SECRET_CONNECTION_TRANSCRIPT_HASH"


@dataclass(frozen=True, slots=True, repr=False)
class SessionKeys:
    """One symmetric key per direction, 32 bytes each, seen from our side."""

    receive: bytes
    send: bytes


def derive_session_keys(shared_secret: bytes, *, local_is_least: bool) -> SessionKeys:
    """Return both directions' keys (deriveSecrets). `local_is_least`: our ephemeral key is the smaller one."""
    # 96 bytes as in Go, of which the last third was a challenge once and is unused since the transcript.
    derived = HKDF(SHA256(), length=3 * _KEY_BYTES, salt=None, info=_KEY_DERIVATION_INFO).derive(shared_secret)
    first, second = derived[:_KEY_BYTES], derived[_KEY_BYTES : 2 * _KEY_BYTES]
    return SessionKeys(receive=first, send=second) if local_is_least else SessionKeys(receive=second, send=first)


class FrameSealer:
    """Encrypts our direction, frame by frame."""

    __slots__ = ("_cipher", "_frames")

    def __init__(self, key: bytes, *, frames_so_far: int = 0) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._frames = frames_so_far

    def seal(self, plaintext: bytes) -> bytes:
        """Return as many sealed frames as the plaintext needs; none for none.

        Raises:
            CipherError: the direction has used up its nonces.
        """
        if len(plaintext) <= DATA_BYTES:
            return self._seal_frame(plaintext) if plaintext else b""
        return b"".join(
            self._seal_frame(plaintext[start : start + DATA_BYTES]) for start in range(0, len(plaintext), DATA_BYTES)
        )

    def _seal_frame(self, data: bytes) -> bytes:
        nonce = _nonce(self._frames)
        self._frames += 1
        frame = _LENGTH.pack(len(data)) + data
        return self._cipher.encrypt(nonce, frame.ljust(_FRAME_BYTES, b"\0"), None)


class FrameOpener:
    """Decrypts the peer's direction, frame by frame."""

    __slots__ = ("_cipher", "_frames")

    def __init__(self, key: bytes, *, frames_so_far: int = 0) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._frames = frames_so_far

    def open(self, frame: bytes) -> bytes:
        """Return what one sealed frame of 1044 bytes carries; that may be nothing.

        The rest of a frame is not looked at: Go leaves there what its buffer held before.

        Raises:
            CipherError: the frame was not sealed by the peer for this place, or announces more than fits.
        """
        nonce = _nonce(self._frames)
        try:
            plaintext = self._cipher.decrypt(nonce, frame, None)
        except InvalidTag:
            raise CipherError(
                f"encrypted frame {self._frames} did not open: it was altered, or is out of order"
            ) from None
        self._frames += 1
        length: int = _LENGTH.unpack_from(plaintext)[0]
        if length > DATA_BYTES:
            raise CipherError(f"an encrypted frame announces {length} bytes of data; {DATA_BYTES} fit")
        return plaintext[_LENGTH.size : _LENGTH.size + length]


def _nonce(frames: int) -> bytes:
    if frames >= MAX_FRAMES:
        raise CipherError("this direction of the connection has used up its nonces")
    return bytes(4) + frames.to_bytes(8, "little")


class SecretConnection:
    """One side of a SecretConnection, which is the same for both sides.

    Send what `start` returns, feed what arrives to `receive`, and send what `take_outgoing` returns after it. When
    `remote_public_key` is known the peer has proven that key, and `seal` may be used.

    Args:
        identity_seed: 32 bytes, the Ed25519 seed of our static key.
        ephemeral_seed: 32 bytes, the scalar of our ephemeral key; for tests alone, a fresh one is made without.
    """

    __slots__ = (
        "_auth_reader",
        "_challenge",
        "_ephemeral",
        "_ephemeral_public",
        "_identity",
        "_incoming",
        "_opener",
        "_outgoing",
        "_sealer",
        "_started",
        "remote_public_key",
    )

    def __init__(self, identity_seed: bytes, *, ephemeral_seed: bytes | None = None) -> None:
        self._identity = Ed25519PrivateKey.from_private_bytes(identity_seed)
        self._ephemeral: X25519PrivateKey | None = (
            X25519PrivateKey.generate()
            if ephemeral_seed is None
            else X25519PrivateKey.from_private_bytes(ephemeral_seed)
        )
        self._ephemeral_public = self._ephemeral.public_key().public_bytes_raw()
        self._started = False
        self._incoming = bytearray()
        self._outgoing = b""
        self._challenge = b""
        self._opener: FrameOpener | None = None
        self._sealer: FrameSealer | None = None
        self._auth_reader = MessageReader(MAX_AUTH_BYTES)
        self.remote_public_key: bytes | None = None

    @property
    def remote_id(self) -> str:
        """The peer's node id: the first 20 bytes of its key's SHA-256 in lower-case hex (p2p/key.go)."""
        if self.remote_public_key is None:
            raise BrokenInvariantError("the peer's id was asked for before the handshake was done")
        return sha256(self.remote_public_key).digest()[:_NODE_ID_BYTES].hex()

    def start(self) -> bytes:
        """Return what has to be sent first."""
        if self._started:
            raise BrokenInvariantError("a SecretConnection was started twice")
        self._started = True
        return _EPHEMERAL_PREFIX + self._ephemeral_public

    def receive(self, data: bytes) -> bytes:
        """Take bytes off the wire, and return the plaintext that follows the handshake; often there is none yet.

        Raises:
            HandshakeError: the peer does not speak this protocol or did not prove its key.
            FramingError: the peer's proof is longer than MAX_AUTH_BYTES.
            CipherError: a frame did not open.
        """
        opener = self._opener
        if opener is None:
            self._incoming += data
            opener = self._opener = self._read_ephemeral()
            if opener is None:
                return b""
            data = b""
        plaintext = self._open_frames(opener, data)
        if self.remote_public_key is not None:
            return plaintext
        self._auth_reader.feed(plaintext)
        message = self._auth_reader.next_message()
        if message is None:
            return b""
        self.remote_public_key = self._verify(message)
        return self._auth_reader.take_rest()

    def take_outgoing(self) -> bytes:
        """Return what the handshake has to send now, once; often nothing."""
        outgoing, self._outgoing = self._outgoing, b""
        return outgoing

    def seal(self, plaintext: bytes) -> bytes:
        """Return the frames that carry this plaintext to the peer."""
        if self._sealer is None or self.remote_public_key is None:
            raise BrokenInvariantError("something was to be sent before the handshake was done")
        return self._sealer.seal(plaintext)

    def _open_frames(self, opener: FrameOpener, data: bytes) -> bytes:
        if len(data) == SEALED_FRAME_BYTES and not self._incoming:  # a request and its answer are one frame each
            return opener.open(data)
        incoming = self._incoming
        incoming += data
        end = len(incoming) - len(incoming) % SEALED_FRAME_BYTES
        plaintext = b"".join(
            opener.open(bytes(incoming[start : start + SEALED_FRAME_BYTES]))
            for start in range(0, end, SEALED_FRAME_BYTES)
        )
        del incoming[:end]
        return plaintext

    def _read_ephemeral(self) -> FrameOpener | None:
        """Agree on keys as soon as the peer's ephemeral key is there; say at the first wrong byte that it is none."""
        prefix = bytes(self._incoming[: len(_EPHEMERAL_PREFIX)])
        if not _EPHEMERAL_PREFIX.startswith(prefix):
            raise HandshakeError(
                f"the peer opened with {prefix.hex()} and not with {_EPHEMERAL_PREFIX.hex()}, as a CometBFT node does "
                "on tcp; check that the address is the node's priv_validator_laddr"
            )
        if len(self._incoming) < _EPHEMERAL_MESSAGE_BYTES:
            return None
        remote = bytes(self._incoming[len(_EPHEMERAL_PREFIX) : _EPHEMERAL_MESSAGE_BYTES])
        del self._incoming[:_EPHEMERAL_MESSAGE_BYTES]
        return self._agree(remote)

    def _agree(self, remote: bytes) -> FrameOpener:
        """Derive both keys and the challenge, and answer it."""
        if self._ephemeral is None:
            raise BrokenInvariantError("an ephemeral key was used twice")
        local = self._ephemeral_public
        if remote == local:
            raise HandshakeError("the peer sent our own ephemeral key back: is this an echo of ourselves?")
        try:
            shared = self._ephemeral.exchange(X25519PublicKey.from_public_bytes(remote))
        except ValueError:
            shared = _ALL_ZERO
        if shared == _ALL_ZERO:
            raise HandshakeError("the peer's ephemeral key is a point of low order")
        self._ephemeral = None
        least, greatest = min(local, remote), max(local, remote)
        transcript = Transcript(_TRANSCRIPT_LABEL)
        transcript.append_message(b"EPHEMERAL_LOWER_PUBLIC_KEY", least)
        transcript.append_message(b"EPHEMERAL_UPPER_PUBLIC_KEY", greatest)
        transcript.append_message(b"DH_SECRET", shared)
        self._challenge = transcript.challenge_bytes(b"SECRET_CONNECTION_MAC", _KEY_BYTES)
        keys = derive_session_keys(shared, local_is_least=local == least)
        self._sealer = FrameSealer(keys.send)
        self._outgoing = self._sealer.seal(delimit(self._proof()))
        return FrameOpener(keys.receive)

    def _proof(self) -> bytes:
        public_key = types_pb2.PublicKey(ed25519=self._identity.public_key().public_bytes_raw())
        return conn_pb2.AuthSigMessage(pub_key=public_key, sig=self._identity.sign(self._challenge)).SerializeToString()

    def _verify(self, message: bytes) -> bytes:
        """Return the peer's static key, which its signature over the challenge proves."""
        try:
            proof = conn_pb2.AuthSigMessage.FromString(message)
        except DecodeError as error:
            raise HandshakeError("the peer's proof of its identity is not valid protobuf") from error
        kind = proof.pub_key.WhichOneof("sum")
        if kind != "ed25519":
            raise HandshakeError(f"the peer's identity is a key of type {kind or 'unknown'}, not ed25519")
        public_key = proof.pub_key.ed25519
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(proof.sig, self._challenge)
        except (InvalidSignature, ValueError):  # a wrong length of either is one of these too
            raise HandshakeError(
                "the peer did not prove its identity: its signature over the challenge is wrong"
            ) from None
        return public_key
