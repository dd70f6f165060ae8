"""Who had better hold the lease: whoever reaches the guards of the most chains, of those that the cluster signs for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from cmkms.guard.claims import GuardPhase
from cmkms.replica.placement import Placement


def neighbour(member: str, *armed: str, able: tuple[str, ...] | None = None) -> Any:
    status = SimpleNamespace(able=armed if able is None else able)
    guards = {chain_id: SimpleNamespace(phase=GuardPhase.ARMED) for chain_id in armed}
    return SimpleNamespace(member=member, heard=0.0, status=status, guards=guards)


def fitter(own: tuple[str, ...], *others: Any, healthy: bool = True) -> str:
    """Whom a replica that signs for `own` leaves the lease to."""

    class Known(list[Any]):
        quiet = 1.0
        members = ("node-0", "node-1", "node-2")

    chains = [SimpleNamespace(chain_id=chain_id, is_able=True, healthy=healthy) for chain_id in own]
    return Placement(cast("Any", chains), cast("Any", Known(others)), lambda: 0.0).fitter()


def test_among_equals_the_lease_stays() -> None:
    assert fitter(("a",), neighbour("node-1", "a"), neighbour("node-2", "a")) == ""


def test_a_replica_with_an_unsound_guard_leaves_it() -> None:
    assert fitter(("a",), neighbour("node-1", "a"), neighbour("node-2", "a"), healthy=False) == "node-1"


def test_a_replica_that_could_not_open_a_chain_leaves_it_to_one_that_signs_for_it() -> None:
    """The chain was refused at its start; the lease holder did not know it, and the others waited for ever."""
    assert fitter(("b",), neighbour("node-1", "a", "b"), neighbour("node-2", "a", "b")) == "node-1"


def test_chains_that_one_replica_makes_up_do_not_count() -> None:
    assert fitter(("a",), neighbour("node-1", "a", "b", "c"), neighbour("node-2", "a")) == ""
