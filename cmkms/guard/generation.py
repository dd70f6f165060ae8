"""Generations: which guards answer for a chain and key, named by a number and a hash over every member.

Two sets of guards that could disagree never share a generation, because each member's file nonce is part of the hash
(design section 2). Pure values; how a generation changes is not decided here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cmkms.guard.hrs import HRS

__all__ = [
    "FIRST_GENERATION",
    "NONCE_BYTES",
    "NO_GENERATION",
    "Electorate",
    "GenerationId",
    "Member",
    "birth_digest",
    "first_generation",
    "generation_hash",
    "key_hash",
    "lowered_link",
    "next_generation",
]

NONCE_BYTES: Final = 16
"""128 random bits name one guard file; two files never share a nonce."""
_HASH_BYTES: Final = 32
_DOMAIN: Final = b"cmkms generation v1"
_KEY_DOMAIN: Final = b"cmkms consensus key v1"
_BIRTH_DOMAIN: Final = b"cmkms birth v1"
_LOWERED_DOMAIN: Final = b"cmkms lowered v1"


@dataclass(frozen=True, slots=True)
class GenerationId:
    """What every accept and every answer carries. `hash` has 32 bytes."""

    number: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.number}:{self.hash[:4].hex()}"


NO_GENERATION: Final = GenerationId(0, bytes(_HASH_BYTES))
FIRST_GENERATION: Final = 1
"""The number of every generation that guards are born into; only a change makes a higher one."""


@dataclass(frozen=True, slots=True)
class Member:
    """One guard of a generation: the replica's id, the SHA-256 of its identity key, its guard file's nonce."""

    id: str
    identity: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Electorate:
    """The guards of one chain and key that are asked: all of one generation."""

    chain_id: str
    key_hash: bytes
    generation: GenerationId
    members: tuple[Member, ...]


def key_hash(key_type: str, pub_key: bytes) -> bytes:
    """Return the 32 bytes by which a guard knows its consensus key, whatever the key's type and size."""
    return _digest(_KEY_DOMAIN, key_type.encode(), pub_key)


def generation_hash(chain_id: str, key: bytes, previous: bytes, members: tuple[Member, ...]) -> bytes:
    """Return the 32-byte hash of a generation: chain, key hash, the generation before it, members in order of id."""
    parts = [chain_id.encode(), key, previous]
    for member in sorted(members, key=lambda one: one.id):
        parts += [member.id.encode(), member.identity, member.nonce]
    return _digest(_DOMAIN, *parts)


def first_generation(chain_id: str, key: bytes, *members: Member) -> GenerationId:
    """Return the generation into which these members are born."""
    return next_generation(chain_id, key, NO_GENERATION, members)


def next_generation(chain_id: str, key: bytes, before: GenerationId, members: tuple[Member, ...]) -> GenerationId:
    """Return the generation of these members that follows `before`."""
    return GenerationId(before.number + 1, generation_hash(chain_id, key, before.hash, members))


def lowered_link(before: GenerationId, hrs: HRS) -> bytes:
    """Return what stands for `before` in the hash of a generation that begins at `hrs`, by the word of its operator.

    So it never is the generation that the same members would make without that word.
    """
    return _digest(_LOWERED_DOMAIN, before.hash, b"%d/%d/%d" % (hrs.height, hrs.round, hrs.step))


def birth_digest(generation: GenerationId, hrs: HRS, sign_bytes: bytes | None, accepted_at: int) -> bytes:
    """Return the 32 bytes that name a birth: who is born, and where each of them begins.

    A guard's own record tells it again after a restart, so a bound guard never has to remember what it agreed to.
    """
    point = b"%d/%d/%d at %d" % (hrs.height, hrs.round, hrs.step, accepted_at)
    seal = b"seal" if sign_bytes is None else b"bytes"
    return _digest(_BIRTH_DOMAIN, b"%d" % generation.number, generation.hash, point, seal, sign_bytes or b"")


def _digest(*parts: bytes) -> bytes:
    # Length prefixes: no two different lists of parts hash the same bytes.
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.digest()
