"""What a majority is worth when one of three guards lies: it accepts whatever it is asked, always.

Two honest replicas coordinate, each in the belief that it holds the lease; every order and loss of messages is drawn.
What holds and what does not stands in docs/THREAT_MODEL.md, and is shown here by the real quorum and decision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

import pytest

from cmkms.guard.accepting import GuardService
from cmkms.guard.decide import Accepted
from cmkms.guard.hrs import NEVER
from cmkms.guard.majority import MajorityQuorum
from cmkms.guard.quorum import Granted, Outcome
from cmkms.guard.rpc import Accept, Answered, Peek, Peeked, digest_of
from tests.unit.guard.board import MemoryGuard, electorate_of, members_of, record_of
from tests.unit.guard.world import CHAIN, prevote, request
from tests.unit.signing.delayed_quorum import StillClock

LIAR: Final = "node-2"
HONEST: Final = ("node-0", "node-1")
ORDERS: Final = 400


@dataclass
class Cluster:
    """Two honest replicas with their guards, a liar, and the messages between them in the test's hand."""

    random: Random
    lost: Callable[[str, str], bool] = lambda _sender, _to: False
    on_their_way: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    granted: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])

    def __post_init__(self) -> None:
        self.members = {one.id: one for one in members_of(3)}
        self.guards = {name: MemoryGuard(record_of(self.members[name], 3)) for name in HONEST}
        self.services = {name: GuardService(CHAIN, guard) for name, guard in self.guards.items()}
        self.quorums: dict[str, MajorityQuorum] = {}
        clock = StillClock()
        for name in HONEST:
            port = Port(self, name)
            self.quorums[name] = quorum = MajorityQuorum(name, electorate_of(3), port, clock.later, first_rpc=1000)
            self.granted[name] = []
            for other in self.members:
                if other != name:
                    quorum.peer_up(other)

    def answer(self, name: str, message: Accept | Peek) -> Answered | Peeked:
        if name != LIAR:
            service = self.services[name]
            return service.accept(message) if isinstance(message, Accept) else service.peek(message)
        nonce = self.members[LIAR].nonce
        if isinstance(message, Peek):
            generation = electorate_of(3).generation
            return Peeked(
                message.rpc, message.term, CHAIN, generation, nonce, 1, usable=True, hrs=NEVER, sign_bytes=None
            )
        yes, hrs = Accepted(advances=True), request(message.sign_bytes).hrs
        digest = digest_of(message.sign_bytes)
        return Answered(message.rpc, CHAIN, message.generation, hrs, digest, nonce, 1, yes)

    def ask(self, sender: str, to: str, message: Accept | Peek) -> None:
        def arrive() -> None:
            self.on_their_way.append(partial(self.hear, sender, to, self.answer(to, message)))

        if sender == to or not self.lost(sender, to):
            self.on_their_way.append(arrive)

    def hear(self, name: str, source: str, answer: Answered | Peeked) -> None:
        self.quorums[name].answered(source, self.members[source].identity, answer)

    def propose(self, name: str, sign_bytes: bytes) -> None:
        self.quorums[name].propose(sign_bytes, adopt_held=True, decided=partial(self.decided, name))

    def decided(self, name: str, outcome: Outcome) -> None:
        if isinstance(outcome, Granted):
            honest = [guard.record.sign_bytes for guard in self.guards.values()]
            assert outcome.sign_bytes in honest, "granted with no honest guard behind it"
            self.granted[name].append(outcome.sign_bytes)

    def run(self) -> None:
        """Let everything arrive, in an order drawn at random."""
        while self.on_their_way:
            self.on_their_way.pop(self.random.randrange(len(self.on_their_way)))()

    @property
    def all_granted(self) -> set[bytes]:
        return {one for granted in self.granted.values() for one in granted}


@dataclass
class Port:
    """Implements `GuardPort`."""

    cluster: Cluster
    me: str

    def ask(self, member: str, message: Accept | Peek) -> bool:
        self.cluster.ask(self.me, member, message)
        return True


def _both_lead(cluster: Cluster) -> None:
    for term, name in enumerate(HONEST, 1):
        cluster.quorums[name].lead(term)


def _losses(random: Random) -> Callable[[str, str], bool]:
    return lambda sender, to: LIAR not in {sender, to} and random.random() < 0.5


def test_nodes_that_do_not_contradict_each_other_get_one_message() -> None:
    """Whatever the liar says: what is granted is what the nodes asked for."""
    for seed in range(ORDERS):
        random = Random(seed)
        cluster = Cluster(random, _losses(random))
        _both_lead(cluster)
        for name in HONEST:
            cluster.propose(name, prevote(9))
        cluster.run()
        assert cluster.all_granted <= {prevote(9)}, seed


def test_nodes_that_contradict_each_other_get_at_most_as_many_messages_as_there_are_honest_guards() -> None:
    """Each grant has an honest guard behind it, which accepts one message for each place and no other."""
    most = 0
    for seed in range(ORDERS):
        random = Random(seed)
        cluster = Cluster(random, _losses(random))
        _both_lead(cluster)
        for number, name in enumerate(HONEST):
            cluster.propose(name, prevote(9, number=number + 1))
        cluster.run()
        for name in HONEST:
            cluster.propose(name, prevote(9, number=3))
        cluster.run()
        most = max(most, len(cluster.all_granted))
        assert len(cluster.all_granted) <= len(HONEST), seed
    assert most == len(HONEST), "the liar never came to anything: the test says nothing"


def test_where_the_honest_hear_each_other_first_a_contradiction_is_refused() -> None:
    for seed in range(20):
        cluster = Cluster(Random(seed))
        cluster.quorums["node-0"].lead(1)
        cluster.propose("node-0", prevote(9, number=1))
        cluster.run()
        cluster.quorums["node-1"].lead(2)
        cluster.propose("node-1", prevote(9, number=2))
        cluster.run()
        assert cluster.all_granted == {prevote(9, number=1)}, seed


def test_it_is_not_promised_that_two_honest_coordinators_cut_off_from_each_other_grant_one_message() -> None:
    """The limit itself: a liar, no link between the honest, and nodes that ask for two. It has the key, too."""
    cluster = Cluster(Random(1), lambda sender, to: LIAR not in {sender, to})
    _both_lead(cluster)
    for number, name in enumerate(HONEST):
        cluster.propose(name, prevote(9, number=number + 1))
    cluster.run()
    assert cluster.all_granted == {prevote(9, number=1), prevote(9, number=2)}


def test_without_the_liar_not_even_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes the difference is the lie, not the cut."""
    honest_too = GuardService(CHAIN, MemoryGuard(record_of(members_of(3)[2], 3)))
    told = Cluster.answer

    def answer(self: Cluster, name: str, message: Accept | Peek) -> Answered | Peeked:
        if name != LIAR:
            return told(self, name, message)
        return honest_too.accept(message) if isinstance(message, Accept) else honest_too.peek(message)

    monkeypatch.setattr(Cluster, "answer", answer)
    cluster = Cluster(Random(1), lambda sender, to: LIAR not in {sender, to})
    _both_lead(cluster)
    for number, name in enumerate(HONEST):
        cluster.propose(name, prevote(9, number=number + 1))
    cluster.run()
    assert len(cluster.all_granted) <= 1
