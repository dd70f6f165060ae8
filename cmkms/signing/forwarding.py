"""What replicas say to each other about one sign request: the one that a node asked, and the lease holder. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cmkms.signing.answers import Rejected

__all__ = ["Forward", "Forwarded", "ForwardedSignature", "NotHolder"]


@dataclass(frozen=True, slots=True)
class Forward:
    """A sign request of a node that is connected to another replica than the lease holder.

    `request` is the privval message as the node framed it (without its length prefix). `target` is the replica meant
    to sign; a replica that is not the target passes it on while `hops` (2 at first) allows. `budget_ms`: how long the
    answer is of any use.
    """

    rpc: int
    chain_id: str
    target: str
    hops: int
    budget_ms: int
    request: bytes


@dataclass(frozen=True, slots=True)
class ForwardedSignature:
    """The granted sign-bytes with the timestamp that was signed, and the signatures, which the receiver verifies."""

    sign_bytes: bytes
    signature: bytes
    extension_signature: bytes
    replayed: bool


@dataclass(frozen=True, slots=True)
class NotHolder:
    """The target does not hold the lease, or cannot be reached from where the request got to."""

    holder: str
    term: int


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The answer to a `Forward`."""

    rpc: int
    chain_id: str
    answer: ForwardedSignature | Rejected | NotHolder
