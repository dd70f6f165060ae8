"""The node's end of a connection, made of the very protocol that both sides share, and a wire between the two ends."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cmkms.privval import HandshakeDone, SendBytes, ValidatorSession
from cmkms.privval.framing import delimit
from cmkms.privval.secret_connection import SecretConnection

__all__ = ["NODE_PUBLIC_KEY", "NODE_SEED", "SIGNER_SEED", "Joined", "join"]

NODE_SEED = b"\x0e" * 32
SIGNER_SEED = b"\x51" * 32
NODE_PUBLIC_KEY = Ed25519PrivateKey.from_private_bytes(NODE_SEED).public_key().public_bytes_raw()


@dataclass
class Joined:
    """A signer's session and a node that have shaken hands."""

    session: ValidatorSession
    node: SecretConnection

    def sealed(self, message: bytes) -> bytes:
        """The frames that carry a message from the node."""
        return self.node.seal(delimit(message))


def join(signer_ephemeral: bytes | None = None, node_ephemeral: bytes | None = None) -> Joined:
    """Shake hands over a wire that loses nothing."""
    session = ValidatorSession.secret(SIGNER_SEED, ephemeral_seed=signer_ephemeral)
    node = SecretConnection(NODE_SEED, ephemeral_seed=node_ephemeral)
    from_signer, from_node = session.start(), node.start()
    [send] = session.receive(from_node)
    assert isinstance(send, SendBytes)
    assert node.receive(from_signer + send.data) == b""
    [done] = session.receive(node.take_outgoing())
    assert isinstance(done, HandshakeDone)
    return Joined(session, node)
