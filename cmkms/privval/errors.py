"""What can be wrong with the bytes of a validator, and with bytes that claim to be sign-bytes.

Whatever a peer sends ends in one of these: they close its connection (or, with a kind, answer it) and nothing else.
"""

from __future__ import annotations

from enum import IntEnum, unique

from cmkms.errors import CmkmsError, PeerError

__all__ = [
    "CipherError",
    "FramingError",
    "HandshakeError",
    "RequestKind",
    "SignBytesError",
    "UndecodableRequestError",
    "WireFormatError",
]


@unique
class RequestKind(IntEnum):
    """What a node can ask; each number is the tag of its field in the oneof of privval's `Message`."""

    PUB_KEY = 1
    SIGN_VOTE = 3
    SIGN_PROPOSAL = 5
    PING = 7


class HandshakeError(PeerError):
    """The peer does not speak SecretConnection as CometBFT does, or could not prove its identity."""


class FramingError(PeerError):
    """The stream of length-prefixed messages is broken or a message is too long; what follows cannot be read."""


class CipherError(PeerError):
    """An encrypted frame did not open, or carries a length that no frame can have."""


class UndecodableRequestError(PeerError):
    """A well framed message that is no valid request.

    With a `kind` it is to be answered by an error of that kind, and the connection stays. Without one there is no
    way to answer that the node would understand: the connection has to be closed.
    """

    def __init__(self, kind: RequestKind | None, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class WireFormatError(PeerError):
    """Bytes that are no protobuf message at all. Callers turn it into the error that says whose bytes they were."""


class SignBytesError(CmkmsError):
    """Bytes that are not the canonical sign-bytes of a vote or proposal. Who must act is known to the caller alone."""
