"""One life of a cluster under a profile: what befalls it, what is checked meanwhile, and the last questions after it.

What a signature or an answer is worth is judged where the simulation judges it (`tests/sim/cluster/judge.py`, the
validator's oracle). Here the rest of the promise is checked: who holds the lease, what a node is told, who is served.
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

from cmkms.guard.claims import GuardPhase
from cmkms.privval import SignProposalRequest, SignVoteRequest
from cmkms.signing import RejectedBecause
from cmkms.signing.signer import SignRequest, canonical
from tests.sim.campaign import Outcome, run_seed
from tests.sim.cluster.cluster import Cluster
from tests.sim.cluster.sentries import Asked, Sentry
from tests.sim.mutations.adversity import Adversity, UnservedError
from tests.sim.mutations.confused import ConfusedNode, contradicted
from tests.sim.mutations.fewer import Fewer
from tests.sim.mutations.profiles import Profile
from tests.unit.signing.messages import prevote

__all__ = ["live"]

CAMPAIGN_SECONDS = 15.0
BORN_SECONDS = 2.0
HEALED_SECONDS = 2.0
LAST_QUESTION_SECONDS = 0.6
"""A refusal takes milliseconds; where nobody answers, nobody signs either."""
SERVED_SECONDS = 5.0
MOST_MAJORITIES = 4
"""Of three replicas all that there are, of five some."""
LEASE_LOOKED_AT_SECONDS = 0.005


class TwoHoldersError(AssertionError):
    """Two replicas held the lease at one moment."""


class ToldOfTroubleError(AssertionError):
    """A node was refused what could have been signed for it."""


class NotBornError(AssertionError):
    """A birth was begun that nobody can finish."""


def live(profile: Profile, seed: int, folder: Path) -> Outcome:
    """Run one seed of a profile in an empty folder. Raises nothing for what the product does."""
    if profile.general:
        return run_seed(seed, folder, seconds=CAMPAIGN_SECONDS)
    life = _Life(profile, seed, folder)
    violations: list[str] = []
    try:
        life.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, a life that ends by it has failed
        violations.append(f"{type(error).__name__}: {error}")
    lines = [f"{at:9.3f}  {name}: {line}" for at, name, line in life.cluster.lines[-40:]]
    return Outcome(seed, violations, len(life.cluster.judge.signed), [*life.adversity.befell, *lines])


class _Life:
    def __init__(self, profile: Profile, seed: int, folder: Path) -> None:
        self._profile = profile
        self._random = Random(seed)
        self.cluster = cluster = Cluster(folder, profile.replicas, seed=seed)
        given = {part.name: getattr(cluster.sentries[0], part.name) for part in fields(Sentry) if part.init}
        self._nodes = [self._node(number, given) for number in range(profile.sentries)]
        for node in self._nodes:
            node.memory = self._nodes[0].memory
        cluster.sentries = list[Sentry](self._nodes)
        self.adversity = Adversity(cluster, profile, Random(self._random.random()))
        self._told = 0

    def _node(self, number: int, given: dict[str, Any]) -> ConfusedNode:
        """A node as the cluster would make it, and confused."""
        own: dict[str, Any] = {
            "name": f"sentry-{number}",
            "random": Random(self._random.random()),
            "unreachable": set[str](),
            "asked": list[Asked](),
            "pace": self._profile.pace,
            "strange": self._profile.strange,
        }
        return ConfusedNode(**given | own)

    def run(self) -> None:
        cluster = self.cluster
        cluster.links.rough = True
        cluster.events.later(LEASE_LOOKED_AT_SECONDS, self._look)
        if self._profile.restless_births:
            self._be_born_restlessly()
        for name in cluster.hosts:
            if cluster.hosts[name].process is None:
                cluster.start(name)
        if not cluster.run(BORN_SECONDS, until=lambda: cluster.born and bool(cluster.holder)):
            raise NotBornError(str({one.host.name: one.chain.waiting_for for one in cluster.running}))
        for node in self._nodes:
            node.begin()
            self._be_impatient(node)
        self.adversity.begin()
        cluster.run(self._profile.seconds, until=self._two_hold)
        self.adversity.end()
        cluster.run(HEALED_SECONDS, until=self._two_hold)  # what was to pass has passed
        groups = self._end()
        self._ask_the_last_questions(groups)

    def _end(self) -> list[tuple[str, ...]]:
        """The last blow; returns who is up together when the last questions are asked."""
        fewer = Fewer(self.cluster, self.adversity, self._nodes, self._random)
        match self._profile.ending:
            case "halved":
                return fewer.halved()
            case "bridged":
                return fewer.bridged()
            case "bridged_late":
                return fewer.bridged(late=True)
            case _:
                self.adversity.end_with_a_laggard()
                return self._majorities()

    # ---------------------------------------------------------------------------------------------------- all the time

    def _look(self) -> None:
        self.cluster.events.later(LEASE_LOOKED_AT_SECONDS, self._look)
        self._see_who_holds()
        told = self.cluster.judge.rejected[self._told :]
        self._told += len(told)
        for answer in told:
            if answer.because in {RejectedBecause.SPLIT, RejectedBecause.OUTAGE}:
                raise ToldOfTroubleError(answer.description)

    def _two_hold(self) -> bool:
        """Looked at between any two events; never so without raising."""
        if self._profile.watches_leases:
            self._see_who_holds()
        return False

    def _see_who_holds(self) -> None:
        holders = [one.host.name for one in self.cluster.running if one.holds]
        if len(holders) > 1:
            raise TwoHoldersError(f"{' and '.join(holders)} hold the lease at {self.cluster.events.now:.3f} s")

    def _be_impatient(self, node: ConfusedNode) -> None:
        if self._profile.impatient:
            wait = node.random.expovariate(self._profile.impatient)
            self.cluster.events.later(wait, partial(self._hang_up, node))

    def _hang_up(self, node: ConfusedNode) -> None:
        node.reconnect()
        self._be_impatient(node)

    # ----------------------------------------------------------------------------------------------------------- birth

    def _be_born_restlessly(self) -> None:
        """Replicas die at some operation of their disk; while a home is bound to nothing, it may be made anew."""
        cluster, random = self.cluster, self._random
        for name, host in cluster.hosts.items():
            host.disk.kill_at = random.randint(1, 30)
            cluster.events.later(random.uniform(0, 0.5), partial(self.adversity.start, name))
        for _ in range(4):
            cluster.run(random.uniform(0.05, 0.6))
            for name, host in cluster.hosts.items():
                if host.process is None and random.random() < 0.5:
                    if self._is_bound_to_nothing(name):
                        self.adversity.make_anew(name)
                        self.adversity.befell.append(f"{cluster.events.now:.3f} the home of {name} is made anew")
                    host.disk.kill_at = host.disk.operations + random.randint(1, 30)
                    self.adversity.start(name)
        for _ in range(3):
            for name, host in cluster.hosts.items():
                host.disk.kill_at = 0
                self.adversity.start(name)
            cluster.run(BORN_SECONDS)
            self._do_as_the_signers_say()

    def _is_bound_to_nothing(self, name: str) -> bool:
        host = self.cluster.hosts[name]
        return not host.site.founders_file.exists() and not host.home.born_marker(host.site.chain_id).exists()

    def _do_as_the_signers_say(self) -> None:
        """`cmkms cluster birth --restart`, on every replica that is not armed, where one of them asks for it."""
        cluster = self.cluster
        if any("cluster birth --restart" in one.chain.waiting_for for one in cluster.running):
            unarmed = [one.host.name for one in cluster.running if one.chain.phase is not GuardPhase.ARMED]
            cluster.kill(*unarmed)
            for name in unarmed:
                self.adversity.make_anew(name)
                cluster.start(name)
            cluster.run(BORN_SECONDS)

    # ---------------------------------------------------------------------------------------------- the last questions

    def _ask_the_last_questions(self, groups: list[tuple[str, ...]]) -> None:
        """Every majority alone, asked for something else at the highest place that is signed; then for what is new."""
        cluster, node = self.cluster, self._nodes[0]
        for number, majority in enumerate(groups):
            for name, host in cluster.hosts.items():
                if host.process is not None and name not in majority:
                    cluster.kill(name)
                elif host.process is None and name in majority:
                    self.adversity.start(name)
            well = not self.adversity.spoiled & set(majority)
            cluster.run(3.0 if well else 1.5, until=lambda: bool(cluster.holder))
            cluster.run(0.2)
            for former in self._highest_asked():
                self._ask(node, contradicted(former, 0.45), LAST_QUESTION_SECONDS)
            height = max((hrs.height for hrs in cluster.judge.signed), default=1) + 1 + number
            signed = self._ask(node, prevote(height), SERVED_SECONDS if well else LAST_QUESTION_SECONDS)
            if well and not signed:
                raise UnservedError(f"{' and '.join(majority)} are up and do not sign at height {height}")
        if not cluster.judge.signed:
            raise UnservedError("nothing was ever signed")

    def _majorities(self) -> list[tuple[str, ...]]:
        """Those who know least come first: what they have signed once, they know."""
        majorities = list(combinations(self.cluster.hosts, len(self.cluster.hosts) // 2 + 1))
        self._random.shuffle(majorities)
        know_least = self.adversity.behind
        majorities.sort(key=lambda majority: -len(know_least & set(majority)))
        return majorities[:MOST_MAJORITIES]

    def _highest_asked(self) -> list[SignRequest]:
        """A request for the highest place that has a signature, and one for the place below it."""
        signed = {(hrs.height, hrs.round, int(hrs.step)) for hrs in self.cluster.judge.signed}
        by_place: dict[tuple[int, int, int], SignRequest] = {}
        for asked in self._nodes[0].memory:
            hrs, _ = canonical(asked.request)
            place = (hrs.height, hrs.round, int(hrs.step))
            if place in signed:
                by_place[place] = asked.request
        return [by_place[place] for place in sorted(by_place, reverse=True)[:2]]

    def _ask(self, node: ConfusedNode, request: SignVoteRequest | SignProposalRequest, seconds: float) -> bool:
        asked = node.ask(request)
        self.cluster.run(seconds, until=lambda: asked.answer is not None)
        node.give_up()
        return asked.signed
