"""A lease holder whose guard is no member any more: the next change of generation goes on all the same.

Found with real processes: five became three without the holder's guard, and one of the three waited for its word.
"""

from __future__ import annotations

from pathlib import Path

from cmkms.replica.operating import operate
from tests.sim.cluster.cluster import Cluster
from tests.unit.signing.messages import CHAIN, prevote


def become(cluster: Cluster, driver: str, *members: str) -> None:
    """`cmkms cluster change --member ...` on this replica, to its end."""
    replica = cluster.process(driver).replica
    wanted = {"chain": CHAIN, "members": list(members)}
    plan = operate(replica, {"do": "plan", **wanted})
    assert plan["ok"], plan
    cluster.judge.expect(bytes.fromhex(plan["to_hash"]), members)
    begun = operate(replica, {"do": "change", **wanted, "to_hash": plan["to_hash"]})
    assert begun["ok"], begun
    cluster.run(2.0)
    chain = cluster.process(driver).chain
    assert chain.electorate is not None
    assert [member.id for member in chain.electorate.members] == sorted(members), chain.changing.forgotten


def test_the_next_change_does_not_wait_for_it_in_vain(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 5, seed=3).up()
    holder = cluster.holder
    assert holder
    driver, *others = (name for name in cluster.hosts if name != holder)
    become(cluster, driver, driver, *others[:2])
    assert cluster.holder == holder
    become(cluster, driver, driver)
    asked = cluster.sentries[0].ask(prevote(1000))
    cluster.run(2.0)
    assert asked.signed
