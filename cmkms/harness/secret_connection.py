"""CometBFT's SecretConnection (`p2p/conn/secret_connection.go`): bytes in, plaintext out, no socket inside.

The protocol is symmetric, so the same object serves a node and, in tests, a signer that is to be judged.
"""

from __future__ import annotations

import struct
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cmkms.harness.errors import BadReplyError, HandshakeError
from cmkms.harness.merlin import Transcript
from cmkms.harness.protobuf import bytes_field, delimited, fields, length_field, read_uvarint
from cmkms.harness.wire import ED25519_TAG

__all__ = ["SEALED_FRAME_BYTES", "SecretConnection"]

CHUNK_BYTES: Final = 1024
"""Most data bytes in one frame."""

FRAME_BYTES: Final = 4 + CHUNK_BYTES
SEALED_FRAME_BYTES: Final = FRAME_BYTES + 16

_HELLO_PREFIX: Final = b"\x22\x0a\x20"
"""`BytesValue` of 32 bytes, delimited: 34, field 1, 32."""
_HELLO_BYTES: Final = len(_HELLO_PREFIX) + 32

_AUTH_LIMIT: Final = 1024
"""An AuthSigMessage takes 103 bytes; far more is somebody else's protocol."""

_TRANSCRIPT_LABEL: Final = b"TENDERMINT_SECRET_CONNECTION_TRANSCRIPT_HASH"
_KEYS_LABEL: Final = b"TENDERMINT_SECRET_CONNECTION_KEY_AND_CHALLENGE_GEN"

_NONCE: Final = struct.Struct("<4xQ")
_LENGTH: Final = struct.Struct("<I")


class SecretConnection:
    """One end of an encrypted connection.

    Send `hello()` first; give every received byte to `feed()` and send what it returns; once `established`, take the
    plaintext from `plaintext` (remove what you have used) and seal your own with `seal()`.
    """

    def __init__(self, identity: Ed25519PrivateKey, ephemeral: X25519PrivateKey | None = None) -> None:
        self._identity = identity
        self._ephemeral = ephemeral or X25519PrivateKey.generate()
        self._wire = bytearray()
        self._send_key: ChaCha20Poly1305 | None = None
        self._receive_key: ChaCha20Poly1305 | None = None
        self._sent = 0
        self._received = 0
        self._challenge = b""
        self.plaintext = bytearray()
        self.remote_key: bytes | None = None

    @property
    def established(self) -> bool:
        """Whether the other side has proven its key."""
        return self.remote_key is not None

    def hello(self) -> bytes:
        """The 35 bytes both sides send in the clear, without waiting for each other."""
        return _HELLO_PREFIX + self._ephemeral.public_key().public_bytes_raw()

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the wire; returns bytes to send (the proof of our key, once), else nothing.

        Raises:
            HandshakeError: a wrong hello, a key of low order, a frame that does not open, a wrong proof.
        """
        self._wire += data
        answer = b""
        if self._receive_key is None:
            if len(self._wire) < _HELLO_BYTES:
                return b""
            answer = self._agree(bytes(self._wire[:_HELLO_BYTES]))
            del self._wire[:_HELLO_BYTES]
        self._open_frames()
        if self.remote_key is None:
            self._read_proof()
        return answer

    def seal(self, data: bytes) -> bytes:
        """Encrypt into frames of at most 1024 data bytes each."""
        if self._send_key is None:
            raise HandshakeError("nothing can be sealed before the keys are agreed on")
        out = bytearray()
        for start in range(0, len(data), CHUNK_BYTES):
            chunk = data[start : start + CHUNK_BYTES]
            frame = (_LENGTH.pack(len(chunk)) + chunk).ljust(FRAME_BYTES, b"\0")
            out += self._send_key.encrypt(_NONCE.pack(self._sent), frame, None)
            self._sent += 1
        return bytes(out)

    def _agree(self, hello: bytes) -> bytes:
        if not hello.startswith(_HELLO_PREFIX):
            raise HandshakeError(f"wrong hello: {hello[:3].hex()}, expected {_HELLO_PREFIX.hex()}")
        theirs = hello[len(_HELLO_PREFIX) :]
        mine = self._ephemeral.public_key().public_bytes_raw()
        try:
            secret = self._ephemeral.exchange(X25519PublicKey.from_public_bytes(theirs))
        except ValueError as error:
            raise HandshakeError("the other side's ephemeral key is of low order") from error
        low, high = sorted((mine, theirs))
        transcript = Transcript(_TRANSCRIPT_LABEL)
        transcript.append(b"EPHEMERAL_LOWER_PUBLIC_KEY", low)
        transcript.append(b"EPHEMERAL_UPPER_PUBLIC_KEY", high)
        transcript.append(b"DH_SECRET", secret)
        self._challenge = transcript.challenge(b"SECRET_CONNECTION_MAC", 32)
        keys = HKDF(algorithm=SHA256(), length=96, salt=None, info=_KEYS_LABEL).derive(secret)
        first, second = ChaCha20Poly1305(keys[:32]), ChaCha20Poly1305(keys[32:64])
        self._receive_key, self._send_key = (first, second) if mine == low else (second, first)
        return self.seal(delimited(self._proof()))

    def _proof(self) -> bytes:
        """AuthSigMessage{pub_key = 1, sig = 2}: our key, and its signature over the challenge."""
        public_key = bytes_field(ED25519_TAG, self._identity.public_key().public_bytes_raw())
        return length_field(1, public_key) + bytes_field(2, self._identity.sign(self._challenge))

    def _open_frames(self) -> None:
        if self._receive_key is None:
            return
        while len(self._wire) >= SEALED_FRAME_BYTES:
            sealed = bytes(self._wire[:SEALED_FRAME_BYTES])
            del self._wire[:SEALED_FRAME_BYTES]
            try:
                frame = self._receive_key.decrypt(_NONCE.pack(self._received), sealed, None)
            except InvalidTag as error:
                raise HandshakeError(f"frame {self._received} does not open") from error
            self._received += 1
            (length,) = _LENGTH.unpack_from(frame)
            if length > CHUNK_BYTES:
                raise HandshakeError(f"a frame says it holds {length} bytes, at most {CHUNK_BYTES} are allowed")
            self.plaintext += frame[4 : 4 + length]

    def _read_proof(self) -> None:
        try:
            self._check_proof()
        except BadReplyError as error:
            raise HandshakeError(f"wrong proof of the other side's key: {error}") from error

    def _check_proof(self) -> None:
        head = read_uvarint(self.plaintext)
        if head is None:
            return
        length, start = head
        if length > _AUTH_LIMIT:
            raise HandshakeError(f"a proof of {length} bytes, at most {_AUTH_LIMIT} are allowed")
        if len(self.plaintext) < start + length:
            return
        parts = {field.number: field.raw() for field in fields(bytes(self.plaintext[start : start + length]))}
        keys = {field.number: field.raw() for field in fields(parts.get(1, b""))}
        if list(keys) != [ED25519_TAG]:
            raise HandshakeError("the other side's key is no Ed25519 key")
        try:
            Ed25519PublicKey.from_public_bytes(keys[ED25519_TAG]).verify(parts.get(2, b""), self._challenge)
        except (InvalidSignature, ValueError) as error:
            raise HandshakeError("the other side has not proven its key") from error
        del self.plaintext[: start + length]
        self.remote_key = keys[ED25519_TAG]
