"""Five replicas become three by a change of generation, amid requests that contradict each other, or across a cut.

Only where the guards become fewer do the acceptances of a minority of the old generation make a majority of the new
one: what keeps the two apart is looked at here.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

from cmkms.replica.operating import operate
from cmkms.signing.signer import SignRequest
from tests.sim.cluster.cluster import Cluster
from tests.sim.mutations.adversity import SETTLED_SECONDS, Adversity
from tests.sim.mutations.confused import ConfusedNode, contradicted
from tests.unit.signing.messages import BLOCK_A, CHAIN, precommit, prevote

__all__ = ["Fewer"]

ACCEPTED_SECONDS = 0.03
"""A request, and the answers of those guards that can hear of it."""
TAKEN_OVER_SECONDS = 3.0
GONE_SECONDS = 2.0
"""Sessions that are cut have ended: nobody waits for who is on the other side."""
CHANGED_SECONDS = 1.0
WITHIN_SECONDS = 0.4
"""Longer than until the next heartbeat, with which a replica tells its peers of a change that has begun."""
LATE_SECONDS = (0.04, 0.1)
"""Seconds, at least and at most: to the bridge and back well within a lease of 0.4 s."""


class Fewer:
    """`nodes` ask; the change is begun as `cmkms cluster change --members` does it."""

    def __init__(self, cluster: Cluster, adversity: Adversity, nodes: list[ConfusedNode], random: Random) -> None:
        self._cluster = cluster
        self._adversity = adversity
        self._nodes = nodes
        self._random = random

    def halved(self) -> list[tuple[str, ...]]:
        """The holder and a second one keep one block; the other three sign another. Then those two and one are left.

        Returns who is up together when the last questions are asked.
        """
        cluster = self._cluster
        self._settle()
        kept, left = self._sides()
        self._adversity.tell(f"{kept} are cut off, and asked for what {left} do not sign")
        ways = self._cut(kept, left)
        height = max((hrs.height for hrs in cluster.judge.signed), default=1) + 1
        block = self._random.choice((prevote, precommit))(height, 0, BLOCK_A)
        self._ask(kept[0], contradicted(block, 0.45), ACCEPTED_SECONDS)
        cluster.run(TAKEN_OVER_SECONDS, until=lambda: cluster.holder in left)
        self._ask(left[0], block, TAKEN_OVER_SECONDS)
        cluster.links.unblock(ways)
        cluster.run(SETTLED_SECONDS)
        return self._become(left[0], (left[0], *kept))

    def bridged(self, *, late: bool = False) -> list[tuple[str, ...]]:
        """The holder and one more are to leave. Of those who stay only one hears them, and signs with them until then.

        `late`: it moves as soon as it hears of the change, and learns a while later that others have moved.
        Returns who is up together when the last questions are asked.
        """
        cluster = self._cluster
        self._settle()
        leaving, staying = self._sides()
        bridge, *apart = staying
        ways = self._cut(leaving, apart)
        cluster.run(GONE_SECONDS)
        self._adversity.tell(f"{leaving} sign with {bridge}, and do not hear {apart}")
        if late:
            # It knows of one that has moved, and what tells it of the others comes late.
            for name in (*leaving, apart[1]):
                cluster.links.slow[name, bridge] = LATE_SECONDS
        for node in self._nodes:
            node.connect(leaving[0])
            node.begin()
        cluster.run(self._random.uniform(0.05, 0.3))
        groups = self._become(apart[0], tuple(staying), WITHIN_SECONDS)
        self._adversity.quieten()
        cluster.links.unblock(ways)
        cluster.links.slow.clear()
        cluster.run(SETTLED_SECONDS)
        return groups

    # ----------------------------------------------------------------------------------------------------------- parts

    def _settle(self) -> None:
        self._adversity.mend()
        self._cluster.run(SETTLED_SECONDS)
        self._adversity.quieten()
        self._cluster.run(SETTLED_SECONDS, until=lambda: bool(self._cluster.holder))

    def _sides(self) -> tuple[list[str], list[str]]:
        """The lease holder with one other, and the rest."""
        holder = self._cluster.holder
        others = [name for name in self._cluster.hosts if name != holder]
        self._random.shuffle(others)
        return [holder, others[0]], others[1:]

    def _cut(self, ones: list[str], others: list[str]) -> list[tuple[str, str]]:
        links = self._cluster.links
        ways = [way for one in ones for other in others for way in links.ways(one, other)]
        links.block(ways)
        return ways

    def _ask(self, name: str, request: SignRequest, seconds: float) -> None:
        node = self._nodes[0]
        node.connect(name)
        asked = node.ask(request)
        self._cluster.run(seconds, until=lambda: asked.answer is not None)
        node.give_up()

    def _become(self, name: str, members: tuple[str, ...], seconds: float = CHANGED_SECONDS) -> list[tuple[str, ...]]:
        """The operator of `name` asks for a change to these members, of whom the first knows most of what is signed.

        Those who leave stay up: they have their votes in elections as long as they are in the peer lists.
        """
        self._cluster.process(name).run(partial(self._change, name, members))
        self._cluster.run(seconds)
        for member in sorted(members):
            guard = self._cluster.process(member).chain.guard
            if guard is not None:
                status = guard.status()
                self._adversity.tell(f"the guard of {member} is {status.state} in generation {status.generation}")
        return [tuple(one for one in self._cluster.hosts if one != away) for away in members]

    def _change(self, name: str, members: tuple[str, ...]) -> None:
        replica = self._cluster.process(name).replica
        wanted: dict[str, Any] = {"chain": CHAIN, "members": list(members)}
        told = operate(replica, {"do": "plan", **wanted})
        if told["ok"]:
            self._cluster.judge.expect(bytes.fromhex(told["to_hash"]), members)
            told = operate(replica, {"do": "change", **wanted, "to_hash": told["to_hash"]})
        self._adversity.tell(f"the operator of {name} asks for {members}: {told.get('why') or 'it begins'}")
