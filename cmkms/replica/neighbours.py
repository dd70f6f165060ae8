"""The other replicas, as this one knows them: who is connected, what they said of themselves, and who holds the lease.

Finds the way to the lease holder, through a third replica where the direct link is down. Pure; the clock is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cmkms.cluster.coordination import Coordination
from cmkms.guard.claims import GuardClaim, GuardPhase
from cmkms.guard.founding import Candidate
from cmkms.guard.generation import Electorate
from cmkms.peers.messages import Hello, Status
from cmkms.signing import Here, Nowhere, Route, Through

__all__ = ["Neighbour", "Neighbours", "differences"]


_COUNTED: Final = {GuardPhase.BOUND, GuardPhase.ARMED}
"""Guards in these phases count for births and changes."""


@dataclass(slots=True)
class Neighbour:
    """Another replica with a session. `identity` is what its channel has proven; times are CLOCK_BOOTTIME seconds."""

    member: str
    identity: bytes
    release: str
    heard: float
    guards: dict[str, GuardClaim]
    status: Status | None = None
    differences: tuple[str, ...] = ()


@dataclass(slots=True)
class Neighbours:
    """All other replicas. `quiet` is the silence (s) after which a connected one does not count as heard."""

    me: str
    members: tuple[str, ...]
    coordination: Coordination
    clock: Callable[[], float]
    quiet: float
    trusts: Callable[[str, str, bytes], bool] = lambda _member, _chain_id, _nonce: True
    """Whether a replica's guard file, by its nonce, has never been seen to go backwards."""
    _connected: dict[str, Neighbour] = field(default_factory=dict[str, Neighbour])
    _seen: set[str] = field(default_factory=set[str])

    def __iter__(self) -> Iterator[Neighbour]:
        return iter(tuple(self._connected.values()))

    def get(self, member: str) -> Neighbour | None:
        """Return a connected replica, None if it is not."""
        return self._connected.get(member)

    def up(self, member: str, identity: bytes, hello: Hello) -> Neighbour:
        """A session began."""
        guards = {claim.chain_id: claim for claim in hello.guards}
        neighbour = Neighbour(member, identity, hello.release, self.clock(), guards)
        self._connected[member] = neighbour
        self._seen.add(member)
        return neighbour

    def down(self, member: str) -> None:
        """A session ended."""
        self._connected.pop(member, None)

    @property
    def names(self) -> tuple[str, ...]:
        """The connected replicas, in order."""
        return tuple(sorted(self._connected))

    def absent(self) -> dict[str, str]:
        """Say of every member that is not connected how it stands with it."""
        missing = [member for member in self.members if member != self.me and member not in self._connected]
        return {member: "not connected any more" if member in self._seen else "never seen" for member in missing}

    @property
    def heard(self) -> int:
        """How many replicas, this one included, have said something a moment ago."""
        now = self.clock()
        return 1 + sum(now - one.heard <= self.quiet for one in self._connected.values())

    @property
    def cut_off(self) -> bool:
        """Whether this replica hears no majority: others may be able to serve its node."""
        return self.heard <= len(self.members) // 2

    def candidates(self, chain_id: str) -> dict[str, Candidate]:
        """Return the connected replicas' guards of a chain, as their replicas tell of them.

        One that went backwards is left out until its replica says so itself: it counts for nothing that is agreed on.
        """
        return {
            one.member: Candidate(one.member, one.identity, claim)
            for one in self._connected.values()
            if (claim := one.guards.get(chain_id)) is not None
            and (claim.phase not in _COUNTED or self.trusts(one.member, chain_id, claim.nonce))
        }

    def answering(self, guards: Electorate, mine: GuardClaim) -> int:
        """How many guards of a generation would answer now and be counted, by their replicas' word; `mine`: our own."""
        now = self.clock()
        ids = {member.id for member in guards.members}
        count = int(self.me in ids and mine.answers_for(guards.generation))
        for one in self._connected.values():
            claim = one.guards.get(guards.chain_id)
            count += (
                one.member in ids
                and claim is not None
                and now - one.heard <= self.quiet
                and claim.answers_for(guards.generation)
                and self.trusts(one.member, guards.chain_id, claim.nonce)
            )
        return count

    def is_able(self, member: str, chain_id: str) -> bool | None:
        """Tell whether another replica says that it reaches enough guards of a chain; None if it says nothing."""
        neighbour = self._connected.get(member)
        if neighbour is None or neighbour.status is None:
            return None
        return chain_id in neighbour.status.able

    def reaches(self, member: str) -> bool:
        """See `Routes.reaches`."""
        return member in self._connected

    def route(self) -> Route:
        """See `Routes.route`: by own knowledge of the lease first, by what the others say of it then."""
        if self.coordination.holds:
            return Here()
        lease = self.coordination.lease
        if lease is not None and lease.holder in self._connected:
            return Through(lease.holder, lease.holder, lease.term)
        told = self._told()
        if told is not None:
            return told
        if self.cut_off:
            return Nowhere(f"cut off: {self.heard} of {len(self.members)} replicas are heard", cut_off=True)
        return Nowhere("no replica holds the lease: an election is on its way", cut_off=False)

    def holder(self) -> tuple[str, int]:
        """Return who is known to hold the lease, and in which term; empty and 0 if nobody is."""
        match self.route():
            case Here():
                return self.me, self.coordination.term
            case Through(holder=holder, term=term):
                return holder, term
            case Nowhere():
                return "", 0

    def _told(self) -> Through | None:
        """The way to a holder that others name: directly if we reach it, else through one who does."""
        now = self.clock()
        found: Through | None = None
        for one in sorted(self._connected.values(), key=lambda neighbour: neighbour.member):
            status = one.status
            if status is None or now - one.heard > self.quiet or status.holder in {"", self.me}:
                continue
            holder = status.holder
            if found is not None and status.term <= found.term:
                continue
            if holder in self._connected:
                found = Through(holder, holder, status.term)
            elif holder in status.hears:
                found = Through(one.member, holder, status.term)
        return found


def differences(hello: Hello, ours: Mapping[str, bytes]) -> tuple[str, ...]:
    """Say plainly what of another's chains is not as ours, which are given with the hashes of their keys.

    Members and times were compared by the link.
    """
    other = hello.member_id
    theirs = {claim.chain_id: claim.key_hash for claim in hello.guards}
    found = [f"chain {chain_id} is not configured at {other}" for chain_id in ours.keys() - theirs.keys()]
    found += [f"chain {chain_id} is configured only at {other}" for chain_id in theirs.keys() - ours.keys()]
    found += [
        f"chain {chain_id} has another consensus key at {other}: every replica needs the same key file"
        for chain_id in ours.keys() & theirs.keys()
        if ours[chain_id] != theirs[chain_id]
    ]
    return tuple(sorted(found))
