"""What can go wrong between a node and its signer, seen from the node.

The classes follow the way a CometBFT node tells its errors apart: which are final, which are asked again, and which
cost the connection. None of them is raised for a broken promise: that is the oracle's business.
"""

from __future__ import annotations

from cmkms.errors import PeerError

__all__ = [
    "AcceptTimeoutError",
    "BadReplyError",
    "ChainHaltedError",
    "ConnectionLostError",
    "HandshakeError",
    "NodeSideError",
    "RemoteSignerError",
    "ReplyTimeoutError",
    "SignerClosedError",
]


class NodeSideError(PeerError):
    """Root of what a simulated node meets at its signer."""


class RemoteSignerError(NodeSideError):
    """The signer answered with an error. Final for that request: a node never asks again."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"signer refused with code {code}: {description}")
        self.code = code
        self.description = description


class AcceptTimeoutError(NodeSideError):
    """No signer was connected within the accept deadline (3 s). Asked again."""


class ReplyTimeoutError(NodeSideError):
    """The signer stayed silent past the read or write deadline (5 s). The node drops the connection and asks again."""


class ConnectionLostError(NodeSideError):
    """The connection was reset or refused a write. The node drops it and asks again."""


class SignerClosedError(NodeSideError):
    """The signer closed its side in order (FIN). The node keeps the dead connection until the next write or read."""


class BadReplyError(NodeSideError):
    """The reply is not what was asked for or cannot be decoded. The connection stays, the node asks again."""


class HandshakeError(NodeSideError):
    """The SecretConnection handshake or a sealed frame is wrong: the connection cannot be used."""


class ChainHaltedError(NodeSideError):
    """A sole validator got no signature for a vote: a real chain would stand still at this height, round and step."""
