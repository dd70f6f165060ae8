"""A lease that lapses for a moment between two looks at it, which nobody is told of: the chain goes on all the same.

Found under real cuts of power, on a machine with no time: three replicas that waited for nothing, and signed nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmkms.cluster.coordination import Coordination
from cmkms.replica.chain import ReplicaChain
from cmkms.replica.member import Replica
from tests.sim.cluster.cluster import Cluster
from tests.unit.signing.messages import prevote


class Lapse:
    """While it lasts, nobody holds the lease, whoever looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lasts = False
        whole: Any = Coordination.holds

        def holds(coordination: Coordination) -> bool:
            return not self.lasts and bool(whole.fget(coordination))

        monkeypatch.setattr(Coordination, "holds", property(holds))

    def during(self, monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> None:
        """Let it last for as long as this method runs, the first time that each one runs it, and no longer."""
        whole: Any = getattr(owner, method)
        told: set[int] = set()

        def lapsed(one: Any, *arguments: Any) -> Any:
            self.lasts = id(one) not in told
            told.add(id(one))
            try:
                return whole(one, *arguments)
            finally:
                self.lasts = False

        monkeypatch.setattr(owner, method, lapsed)


@pytest.mark.parametrize(
    ("owner", "method"),
    [(ReplicaChain, "_ask_from_now_on"), (Replica, "_lease_changed")],
    ids=["at birth", "when it was taken"],
)
def test_in_the_moment_at_which_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    lapse = Lapse(monkeypatch)
    lapse.during(monkeypatch, owner, method)
    cluster = Cluster(tmp_path)
    cluster.start()
    cluster.run(3.0)
    assert cluster.holder
    assert cluster.ask(prevote(1), within=2.0).signed
