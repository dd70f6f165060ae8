"""The replicated view: what every replica shows of the cluster, and answers byte-identical repeats from. Pure.

A join-semilattice: merging is idempotent, commutative and associative, so that a change that is lost, repeated or
reordered on its way costs freshness and nothing else. Nothing of safety may ever rest on it: it is what others said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cmkms.cluster.octets import Octets, number, sized
from cmkms.guard.hrs import HRS, Step
from cmkms.guard.state_file import SignState

__all__ = ["MAX_CHAINS", "MAX_DELTA_BYTES", "MAX_TERMS", "MAX_VIEW_BYTES", "LeaseTaken", "View"]

MAX_CHAINS: Final = 256
"""More chains than one replica is meant to sign for; beyond, those that come first by name are kept."""

MAX_TERMS: Final = 16
"""Holders of the lease that are remembered, the newest: enough to read an evening's trouble from."""

MAX_DELTA_BYTES: Final = 16 * 1024
"""A change as it goes through the log, well below what pysyncobj sends in one piece."""

MAX_VIEW_BYTES: Final = 240 * 1024
"""What a whole view can come to, by the limits of its parts."""

_VERSION: Final = 1
_MAX_NAME: Final = 64
"""Chain ids have at most 50 characters (CometBFT `types/genesis.go`); member ids are as short."""
_MAX_SIGN_BYTES: Final = 512
"""Canonical votes and proposals have at most 232 (`guard/record.py`)."""
_MAX_SIGNATURE: Final = 256
"""Ed25519 has 64."""


@dataclass(frozen=True, slots=True)
class LeaseTaken:
    """A member held the lease in this term."""

    term: int
    holder: str


class View:
    """What is known at one replica: the last released sign-state of each chain, and who held the lease when.

    `risen(chain_id)` is called after a merge that raised that chain's sign-state. `admits(chain_id, state)` tells
    whether a sign-state may be taken in at all: what others say is to be verified first.
    """

    def __init__(
        self,
        released: Mapping[str, SignState] | None = None,
        taken: Iterable[LeaseTaken] = (),
        *,
        risen: Callable[[str], None] | None = None,
        admits: Callable[[str, SignState], bool] | None = None,
    ) -> None:
        self._released: dict[str, SignState] = {}
        self._holders: dict[int, str] = {}
        self._risen = risen
        self._admits: Callable[[str, SignState], bool] | None = None
        for chain_id, state in (released or {}).items():
            self._join_released(chain_id, state)
        for entry in taken:
            self._join_holder(entry)
        # What it begins with is this replica's own.
        self._admits = admits

    def __eq__(self, other: object) -> bool:
        """Two views are equal if they know the same."""
        if not isinstance(other, View):
            return NotImplemented
        return self._released == other._released and self._holders == other._holders

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __bool__(self) -> bool:
        """Whether anything at all is known."""
        return bool(self._released or self._holders)

    @property
    def chains(self) -> tuple[str, ...]:
        """The chains of which something was released, in order."""
        return tuple(sorted(self._released))

    @property
    def leases(self) -> tuple[LeaseTaken, ...]:
        """Who held the lease, newest first."""
        return tuple(LeaseTaken(term, self._holders[term]) for term in sorted(self._holders, reverse=True))

    def released(self, chain_id: str) -> SignState | None:
        """Return what was released last on this chain, as far as is known here."""
        return self._released.get(chain_id)

    def states(self) -> tuple[tuple[str, SignState], ...]:
        """Return each chain with what was released last on it, in order of chains."""
        return tuple(sorted(self._released.items(), key=lambda item: item[0]))

    def merge(self, delta: View | bytes) -> bool:
        """Take in what another view knows. Returns whether anything is new. Raises PeerError for undecodable bytes."""
        other = delta if isinstance(delta, View) else View.decode(delta)
        risen = [chain for chain, state in other.states() if self._join_released(chain, state)]
        told = [entry for entry in other.leases if self._join_holder(entry)]
        if self._risen is not None:
            for chain_id in risen:
                self._risen(chain_id)
        return bool(risen or told)

    def encode(self) -> bytes:
        """Return the one form of this view in bytes."""
        return _encode(self.states(), self.leases)

    def parts(self) -> tuple[bytes, ...]:
        """Return the view in deltas of at most `MAX_DELTA_BYTES`, which together make it up. Empty: nothing."""
        parts: list[bytes] = []
        part: list[tuple[str, SignState]] = []
        taken, size = self.leases, len(_encode([], self.leases))
        for chain_id, state in self.states():
            piece = len(_encode_chain(chain_id, state))
            if size + piece > MAX_DELTA_BYTES:
                parts.append(_encode(part, taken))
                part, taken, size = [], (), len(_encode([], ()))
            part.append((chain_id, state))
            size += piece
        if part or taken:
            parts.append(_encode(part, taken))
        return tuple(parts)

    @staticmethod
    def decode(data: bytes) -> View:
        """Read what `encode` wrote, and nothing else. Raises PeerError."""
        octets = Octets(data, "a view")
        if len(data) > MAX_VIEW_BYTES:
            raise octets.wrong(f"{len(data)} bytes, at most {MAX_VIEW_BYTES} are possible")
        if (version := octets.byte()) != _VERSION:
            raise octets.wrong(f"version {version} is not known")
        view = View()
        for _ in range(_count(octets, MAX_CHAINS)):
            chain_id, state = _decode_chain(octets)
            view._released[chain_id] = state
        for _ in range(_count(octets, MAX_TERMS)):
            term, holder = octets.number(), octets.text(_MAX_NAME)
            view._holders[term] = holder
        octets.end()
        if view.encode() != data:
            raise octets.wrong("it is not in its one form")
        return view

    def _join_released(self, chain_id: str, state: SignState) -> bool:
        known = self._released.get(chain_id)
        if known is not None and _order(state) <= _order(known):
            return False
        _check(chain_id, state)
        if self._admits is not None and not self._admits(chain_id, state):
            return False
        self._released[chain_id] = state
        if len(self._released) > MAX_CHAINS:
            last = max(self._released)
            del self._released[last]
            return last != chain_id
        return True

    def _join_holder(self, taken: LeaseTaken) -> bool:
        known = self._holders.get(taken.term)
        if known is not None and taken.holder <= known:
            return False
        self._holders[taken.term] = taken.holder
        if len(self._holders) > MAX_TERMS:
            oldest = min(self._holders)
            del self._holders[oldest]
            return oldest != taken.term
        return True


def _order(state: SignState) -> tuple[tuple[int, HRS], bytes, bytes]:
    """Order states of one chain. At one HRS of a generation any order will do: the guards granted one at most."""
    return state.order, state.sign_bytes or b"", state.signature or b""


def _check(chain_id: str, state: SignState) -> None:
    if not state.sign_bytes or not state.signature:
        raise ValueError(f"{chain_id}: only what was signed, with its signature, belongs into the view")
    _encode_chain(chain_id, state)


def _encode(chains: Sequence[tuple[str, SignState]], taken: tuple[LeaseTaken, ...]) -> bytes:
    parts = [bytes([_VERSION]), len(chains).to_bytes(2, "big")]
    parts += [_encode_chain(chain_id, state) for chain_id, state in chains]
    parts.append(len(taken).to_bytes(2, "big"))
    for entry in taken:
        parts += [number(entry.term), sized(entry.holder.encode(), _MAX_NAME)]
    return b"".join(parts)


def _encode_chain(chain_id: str, state: SignState) -> bytes:
    name = sized(chain_id.encode(), _MAX_NAME)
    point = number(state.generation) + number(state.hrs.height) + number(state.hrs.round) + bytes([state.hrs.step])
    return (
        name + point + sized(state.sign_bytes or b"", _MAX_SIGN_BYTES) + sized(state.signature or b"", _MAX_SIGNATURE)
    )


def _decode_chain(octets: Octets) -> tuple[str, SignState]:
    chain_id = octets.text(_MAX_NAME)
    generation, height, round_, step = octets.number(), octets.number(), octets.number(), octets.byte()
    try:
        hrs = HRS(height, round_, Step(step))
    except ValueError as error:
        raise octets.wrong(str(error)) from None
    sign_bytes, signature = octets.sized(_MAX_SIGN_BYTES), octets.sized(_MAX_SIGNATURE)
    if not sign_bytes or not signature:
        raise octets.wrong(f"{chain_id}: nothing is signed at {hrs}")
    return chain_id, SignState(hrs, sign_bytes, signature, generation)


def _count(octets: Octets, limit: int) -> int:
    count = int.from_bytes(octets.take(2), "big")
    if count > limit:
        raise octets.wrong(f"{count} entries, at most {limit} are possible")
    return count
