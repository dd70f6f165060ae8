"""What a coordinator and a guard say to each other, wherever the guard lives. Pure values.

Every answer echoes what it answers (request number, height/round/step, hash of the bytes, generation) and carries the
guard's nonce and sequence number, so that a stale or foreign answer is never counted and a guard that goes backwards is
seen (design section 2).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cmkms.guard.decide import Verdict
from cmkms.guard.generation import GenerationId
from cmkms.guard.hrs import HRS

__all__ = ["Accept", "Answered", "Outranked", "Peek", "Peeked", "digest_of"]


def digest_of(sign_bytes: bytes) -> bytes:
    """Return the SHA-256 by which an answer names the bytes that were asked for."""
    return hashlib.sha256(sign_bytes).digest()


@dataclass(frozen=True, slots=True)
class Accept:
    """A coordinator of lease term `term` asks a guard to accept `sign_bytes`. `rpc` is used once by a process."""

    rpc: int
    term: int
    chain_id: str
    key_hash: bytes
    generation: GenerationId
    sign_bytes: bytes


@dataclass(frozen=True, slots=True)
class Outranked:
    """The guard has answered a peek of a higher term, and ignores lower ones: a hint, no part of safety."""

    term: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A guard's answer to an `Accept`. `digest` is that of the bytes asked for; `sequence` is the durable one."""

    rpc: int
    chain_id: str
    generation: GenerationId
    hrs: HRS
    digest: bytes
    nonce: bytes
    sequence: int
    verdict: Verdict | Outranked


@dataclass(frozen=True, slots=True)
class Peek:
    """A new lease holder asks for a guard's watermark before it writes any."""

    rpc: int
    term: int
    chain_id: str


@dataclass(frozen=True, slots=True)
class Peeked:
    """A guard's durable watermark. `sign_bytes` None is a seal. Unarmed or fused, it is not `usable`."""

    rpc: int
    term: int
    chain_id: str
    generation: GenerationId
    nonce: bytes
    sequence: int
    usable: bool
    hrs: HRS
    sign_bytes: bytes | None
