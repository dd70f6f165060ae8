"""The signature that was released last: the chains tell the view of theirs, and the view tells the chains of others'.

A view may be told anything by any member: it takes only what this chain's key has signed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cmkms.cluster.view import View
from cmkms.guard.hrs import place_of
from cmkms.guard.state_file import SignState
from cmkms.privval import SignBytesError
from cmkms.replica.chain import ReplicaChain

__all__ = ["Releases"]


class Releases:
    """What was released last in each chain, between the chains of this replica and the view of all."""

    def __init__(self, chains: Mapping[str, ReplicaChain], known: Mapping[str, SignState]) -> None:
        """`chains` may still be empty; `known` is what this replica's disk has."""
        self._chains = chains
        self._told: dict[str, SignState | None] = {}
        self.view: Final = View(known, risen=self._risen, admits=self._admits)

    def tell(self, release: Callable[[View], None]) -> None:
        """Hand on what was released here and is not told of yet."""
        for chain_id, chain in self._chains.items():
            released = chain.signer.released
            if released is not self._told.get(chain_id) and released is not None and released.signature is not None:
                self._told[chain_id] = released
                release(View({chain_id: released}))

    def _admits(self, chain_id: str, state: SignState) -> bool:
        """Verify what the view is told: the point is that of the bytes, and our key has signed them."""
        chain = self._chains.get(chain_id)
        if chain is None or state.sign_bytes is None or state.signature is None:
            return False
        try:
            place = place_of(state.sign_bytes)
        except SignBytesError:
            return False
        if place != (chain_id, state.hrs):
            return False
        # No signature holds the generation. Of one that is not in force here yet it is told again soon enough.
        newest = chain.electorate.generation.number if chain.electorate is not None else 0
        return state.generation <= newest and chain.verify(state.sign_bytes, state.signature)

    def _risen(self, chain_id: str) -> None:
        """The view has learnt of a newer signature: a repeat is answered from it."""
        state = self.view.released(chain_id)
        if state is not None and state is not self._chains[chain_id].signer.released:
            self._told[chain_id] = state
            self._chains[chain_id].signer.learn(state)
