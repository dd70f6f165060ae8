"""What two replicas must agree on before they talk, and the sentence that says on what they do not. Pure.

Only what would make a cluster of two minds is refused here: versions, ids, members and their pins, the lease's length.
What differs in one chain is that chain's affair. The sentences are read on both sides: they name both.
"""

from __future__ import annotations

from typing import Final

from cmkms.peers.messages import Hello

__all__ = ["NEWEST_VERSION", "OLDEST_VERSION", "hello_objection", "version_objection"]

OLDEST_VERSION: Final = 1
NEWEST_VERSION: Final = 1


def version_objection(ours: Hello, versions: tuple[int, int], member: str) -> str:
    """Return why there is no protocol version in common with `member`, or an empty string."""
    oldest, newest = versions
    if max(oldest, ours.oldest_version) <= min(newest, ours.newest_version):
        return ""
    return (
        f"no protocol version in common: {member} speaks {_range(oldest, newest)}, "
        f"{ours.member_id} speaks {_range(ours.oldest_version, ours.newest_version)}; "
        f"upgrade one release at a time, one replica after the other"
    )


def hello_objection(ours: Hello, theirs: Hello, member: str) -> str:
    """Return why this replica does not talk to the one that said `theirs`, or an empty string.

    `member` is whose identity TLS has proven.
    """
    return _id_objection(ours, theirs, member) or _members_objection(ours, theirs) or _ttl_objection(ours, theirs)


def _id_objection(ours: Hello, theirs: Hello, member: str) -> str:
    named = theirs.member_id
    if named == member:
        return ""
    if named == ours.member_id:
        return f"the replica with the identity of {member} calls itself {named}, which is this replica's own id"
    if named not in {one.id for one in ours.members}:
        known = ", ".join(one.id for one in ours.members)
        return f"the replica with the identity of {member} calls itself {named!r}; {ours.member_id} knows {known}"
    return f"the replica with the identity of {member} calls itself {named}: ids or pins are mixed up in a peer list"


def _members_objection(ours: Hello, theirs: Hello) -> str:
    our_ids, their_ids = [one.id for one in ours.members], [one.id for one in theirs.members]
    if sorted(our_ids) != sorted(their_ids):
        return (
            f"the peer lists differ: {theirs.member_id} has {_listed(their_ids)}, "
            f"{ours.member_id} has {_listed(our_ids)}; make them the same on every replica"
        )
    our_pins = {one.id: one.pin for one in ours.members}
    for one in theirs.members:
        pin = our_pins[one.id]
        if pin and one.pin and pin != one.pin:
            return (
                f"the pins of {one.id} differ: {theirs.member_id} has {one.pin}, {ours.member_id} has {pin}; "
                f"`cmkms identity show` on {one.id} prints the right one"
            )
    return ""


def _ttl_objection(ours: Hello, theirs: Hello) -> str:
    if ours.ttl_ms == theirs.ttl_ms:
        return ""
    return (
        f"default_ttl differs: {theirs.member_id} has {theirs.ttl_ms} ms, {ours.member_id} has {ours.ttl_ms} ms; "
        f"make it the same on every replica"
    )


def _range(oldest: int, newest: int) -> str:
    return str(oldest) if oldest == newest else f"{oldest} to {newest}"


def _listed(ids: list[str]) -> str:
    return ", ".join(sorted(ids)) or "nobody"
