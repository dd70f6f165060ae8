"""Where the lease had better be: with a replica whose guards are sound, and best with the one that holds the nodes.

A request that comes to another replica than the lease holder costs a hop. All this only offers the lease to another, or
leaves it to the others: elections decide. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from cmkms.guard.change import majority
from cmkms.guard.claims import GuardPhase
from cmkms.replica.chain import ReplicaChain
from cmkms.replica.neighbours import Neighbour, Neighbours

__all__ = ["GIVE_AWAY_SECONDS", "Placement"]

GIVE_AWAY_SECONDS: Final = 10.0
"""The lease is offered to a better placed replica at most this often: a hand-over costs a round trip or two."""
MIN_ASKED: Final = 4
"""Requests from one replica, and none of one's own, until it is taken for the one that holds the nodes."""


class Placement:
    """Looks whether another replica is better placed to hold the lease, and leaves it to that one."""

    def __init__(self, chains: Iterable[ReplicaChain], neighbours: Neighbours, clock: Callable[[], float]) -> None:
        self._chains = {chain.chain_id: chain for chain in chains}
        self._neighbours = neighbours
        self._clock = clock
        self._looked = clock()
        self._resigned = False

    # ------------------------------------------------------------------------------------------ what is done about it

    def resign(self) -> bool:
        """Never lead again in this life; returns whether a lease held is being handed over."""
        self._resigned = True
        self.stand_aside()
        coordination = self._neighbours.coordination
        return coordination.holds and coordination.hand_over(self.fitter() or None)

    def stand_aside(self) -> None:
        """Leave the lease to the others where that is better, and only then: somebody has to hold it."""
        # In the middle of a change every replica looks unfit for a moment.
        changing = any(chain.changing.under_way for chain in self._chains.values())
        fitter = "" if changing else self.fitter()
        self._neighbours.coordination.stand_aside(
            aside=self._resigned or bool(fitter), to=None if self._resigned else fitter or None
        )

    def look_again(self) -> None:
        """Look whether there is still a reason to stand aside, if this replica does: something was heard.

        What was known may have been out of date. Until they next beat two replicas would push the lease to and fro.
        """
        if self._neighbours.coordination.stands_aside:
            self.stand_aside()

    def offer(self) -> str:
        """Offer a lease that is held here to a replica that is better placed, if there is one; returns which."""
        coordination = self._neighbours.coordination
        better = self.better() if coordination.holds else ""
        return better if better and coordination.hand_over(better) else ""

    # -------------------------------------------------------------------------------------------------- who would be it

    def fitter(self) -> str:
        """Return a replica that is to lead rather than this one; empty if this one is as fit as any.

        First counts for how many chains a replica reaches a majority of guards, then whether its own ones answer.
        """
        heard = [one for one in self._neighbours if self._clock() - one.heard <= self._neighbours.quiet]
        wanted = self._signed_for(heard)
        able = sum(chain.is_able for chain in self._chains.values())
        sound = wanted <= self._chains.keys() and all(chain.healthy for chain in self._chains.values())
        ranks = {one.member: (_able(one, wanted), _is_sound(one, wanted)) for one in heard}
        best = max(ranks, key=lambda member: ranks[member], default="")
        return best if best and ranks[best] > (able, sound) else ""

    def _signed_for(self, heard: Iterable[Neighbour]) -> set[str]:
        """The chains that the lease is for: those here, and those whose guards the most have, where this one has none.

        A chain that could not be opened here must not wait for ever for a holder who does not know it. One replica's
        word is not enough: with chains that it made up a liar would be the fittest of all.
        """
        armed = Counter(
            chain_id
            for one in heard
            for chain_id, claim in one.guards.items()
            if claim.phase is GuardPhase.ARMED and chain_id not in self._chains
        )
        quorum = majority(len(self._neighbours.members))
        return {*self._chains, *(chain_id for chain_id, count in armed.items() if count >= quorum)}

    def better(self) -> str:
        """Return the replica that the lease is to be offered to now; empty if it is best here, or not yet time."""
        now = self._clock()
        if now - self._looked < GIVE_AWAY_SECONDS:
            return ""
        self._looked = now
        asked = [chain.dispatch.take_asked() for chain in self._chains.values()]
        if any(here for here, _ in asked):
            return ""
        fit = (len(self._chains), True)
        own = self._chains.keys()
        sound = (one.member for one in self._neighbours if (_able(one, own), _is_sound(one, own)) == fit)
        counts = {member: sum(by.get(member, 0) for _, by in asked) for member in sound}
        most = max(counts, key=lambda member: counts[member], default="")
        return most if most and counts[most] >= MIN_ASKED else ""


def _able(neighbour: Neighbour, chains: Iterable[str]) -> int:
    told = neighbour.status.able if neighbour.status is not None else ()
    return sum(chain_id in told for chain_id in chains)


def _is_sound(neighbour: Neighbour, chains: Iterable[str]) -> bool:
    claims = (neighbour.guards.get(chain_id) for chain_id in chains)
    return all(claim is not None and claim.phase is GuardPhase.ARMED for claim in claims)
