"""A member whose guard is honest and whose mouth is not, in the simulated cluster of the real code, by seeds.

Whatever it says, the judge of the simulation holds the whole promise against every signature and answer: one message
for each place, a majority of disks behind it. Once it falls silent, the next height is signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import pytest

from cmkms.cluster import codec as raft
from cmkms.cluster.elections import LogEnd
from cmkms.cluster.view import View
from cmkms.guard.accepting import GuardService
from cmkms.guard.ceiling import MARGIN_HEIGHTS, height_ceiling
from cmkms.guard.change import Change
from cmkms.guard.claims import GuardPhase
from cmkms.guard.decide import Accepted, Conflict, Held, Regression, Verdict
from cmkms.guard.generation import GenerationId
from cmkms.guard.hrs import HRS, NEVER, Step
from cmkms.guard.record import GuardRecord
from cmkms.guard.rpc import Accept, Answered, Peek, Peeked, digest_of
from cmkms.guard.state_file import SignState
from cmkms.peers.messages import Blow, Message, Propose, Raft, Status
from cmkms.signing.answers import Rejected, RejectedBecause
from cmkms.signing.forwarding import Forward, Forwarded, ForwardedSignature, NotHolder
from cmkms.signing.signer import canonical
from tests.sim.cluster.cluster import Cluster
from tests.unit.signing.messages import CHAIN, prevote

pytestmark = pytest.mark.proof

LIAR: Final = "node-2"
HONEST: Final = ("node-0", "node-1")
PAUSE: Final = 0.004
"""Simulated seconds between two things that it says."""
HEALING_SECONDS: Final = 20.0


class Mouth:
    """Says one thing after the other, as the replica on `node-2`, whose own words go on beside it."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self._cluster = cluster
        self._random = random
        self.open = True
        self.said = 0
        self._kinds: tuple[Callable[[GuardRecord], Message], ...] = (
            self._election, self._election, self._view, self._status, self._accept, self._accept, self._peek,
            self._verdict, self._watermark, self._forward, self._answer,
        )  # fmt: skip

    def begin(self) -> None:
        if not self.open:
            return
        process = self._cluster.hosts[LIAR].process
        guard = process.chain.guard if process is not None else None
        record = guard.record if guard is not None else None
        if process is not None and record is not None:
            message = self._random.choice(self._kinds)(record)
            for name in self._random.sample(HONEST, self._random.randint(1, 2)):
                self._cluster.links.send(process, name, message)
            self.said += 1
        self._cluster.events.later(self._random.expovariate(1 / PAUSE), self.begin)

    # ------------------------------------------------------------------------------------------------- what it says

    def _term(self) -> int:
        process = self._cluster.hosts[LIAR].process
        known = process.replica.coordination.term if process is not None else 0
        return max(0, known + self._random.choice((-1, 0, 0, 1, 1, 2, 1000)))

    def _place(self, record: GuardRecord) -> HRS:
        height = max(1, record.hrs.height + self._random.choice((-1, 0, 0, 0, 1, 2)))
        return HRS(height, self._random.randrange(2), Step(self._random.randrange(1, 4)))

    def _bytes(self, record: GuardRecord) -> bytes:
        place = self._place(record)
        block = hashlib.sha256(bytes([self._random.randrange(3)])).digest()
        request = prevote(place.height, place.round)
        changed = replace(request.vote, block_id=replace(request.vote.block_id, hash=block))
        return canonical(replace(request, vote=changed))[1]

    def _election(self, _: GuardRecord) -> Message:
        random, term = self._random, self._term()
        end = LogEnd(random.choice((0, term)), random.choice((0, 1, 50, 2**40)))
        message: raft.Message = random.choice(
            (
                raft.NewerTerm(term),
                raft.RequestVote(term, end, transfer=random.random() < 0.5),
                raft.GrantVote(term),
                raft.RequestPreVote(term, end, random.choice(("", *HONEST))),
                raft.AnswerPreVote(term, granted=True, own_term=term),
                raft.Acknowledge(term, random.uniform(0, 1e9), random.randint(1, 60), reset=False, success=True),
                raft.Acknowledge(term, 1.0, random.randint(1, 60), reset=True, success=False),
                raft.TimeoutNow(term),
                raft.AppendEntries(term, 1.0, random.randint(0, 60), random.randint(1, 60), term, ()),
                raft.AppendEntries(term, 1.0, 2**40, 1, 0, (raft.Entry(term, b"\x01"),) * random.randint(1, 9)),
                raft.InstallView(term, 1.0, 99, 98, raft.Entry(0, b"\x01"), raft.Entry(0, b"\x01"), View().encode()),
            )
        )
        return Raft(raft.encode(message))

    def _view(self, record: GuardRecord) -> Message:
        state = SignState(self._place(record), self._bytes(record), self._random.randbytes(64))
        return Raft(raft.encode(raft.ShareView(View({CHAIN: state}).encode())))

    def _status(self, record: GuardRecord) -> Message:
        process = self._cluster.hosts[LIAR].process
        assert process is not None
        # Its own guard's number and nonce stay as they are: a guard that goes back is not counted any more, for good.
        claim = replace(
            process.chain.claim,
            phase=self._random.choice((GuardPhase.ARMED, GuardPhase.BOUND, GuardPhase.UNBOUND, GuardPhase.FUSED)),
            reason="because",
        )
        term, holder = self._term(), self._random.choice(("", LIAR, *HONEST))
        return Status(term, holder, HONEST, self._random.randrange(3), (record.chain_id,), (claim,))

    def _accept(self, record: GuardRecord) -> Message:
        generation = record.generation
        if self._random.random() < 0.2:
            generation = GenerationId(generation.number + 1, self._random.randbytes(32))
        rpc = self._random.getrandbits(40)
        return Accept(rpc, self._term(), record.chain_id, record.key_hash, generation, self._bytes(record))

    def _peek(self, record: GuardRecord) -> Message:
        return Peek(self._random.getrandbits(40), self._random.choice((self._term(), 2**63)), record.chain_id)

    def _verdict(self, record: GuardRecord) -> Message:
        """To a question that nobody asked it: numbers begin at random, and these are drawn at random."""
        data, place = self._bytes(record), self._place(record)
        verdict: Verdict = self._random.choice((Accepted(advances=True), Held(data), Conflict(data), Regression(place)))
        rpc, sequence = self._random.getrandbits(60), record.sequence
        return Answered(rpc, CHAIN, record.generation, place, digest_of(data), record.nonce, sequence, verdict)

    def _watermark(self, record: GuardRecord) -> Message:
        rpc, term = self._random.getrandbits(60), self._term()
        generation, nonce = record.generation, record.nonce
        held, at = record.sign_bytes, record.hrs
        return Peeked(rpc, term, CHAIN, generation, nonce, record.sequence, usable=True, hrs=at, sign_bytes=held)

    def _forward(self, _: GuardRecord) -> Message:
        request = self._random.choice((b"", b"\x3a\x00", b"\xff" * 50, b"\x1a\x02\x0a\x00"))
        target = self._random.choice(("", "node-9", *HONEST))
        return Forward(self._random.getrandbits(40), CHAIN, target, self._random.randrange(4), 5000, request)

    def _answer(self, record: GuardRecord) -> Message:
        signature = ForwardedSignature(self._bytes(record), self._random.randbytes(64), b"", replayed=False)
        answers = (signature, Rejected(RejectedBecause.CONFLICT, "no"), NotHolder(HONEST[0], self._term()))
        return Forwarded(self._random.getrandbits(60), CHAIN, self._random.choice(answers))


def _live_with_it(folder: Path, seed: int, seconds: float) -> Cluster:
    cluster = Cluster(folder, 3, seed=seed, sentries=2).up()
    for sentry in cluster.sentries:
        sentry.pace = 0.05
        sentry.begin()
    mouth = Mouth(cluster, Random(seed))
    mouth.begin()
    cluster.run(seconds)
    mouth.open = False
    for sentry in cluster.sentries:
        sentry.busy = False
    cluster.run(1.0)
    cluster.heal()
    if not cluster.run(HEALING_SECONDS, until=lambda: not any(one.waits for one in cluster.sentries)):
        for sentry in cluster.sentries:
            sentry.give_up()
    height = 10 + max(host.watermark[0].height for host in cluster.hosts.values())
    for number in range(2):
        asked = cluster.ask(prevote(height + number), sentry=number, within=HEALING_SECONDS)
        assert asked.signed, (seed, asked)
    assert mouth.said > seconds / PAUSE / 3
    assert cluster.judge.signed
    return cluster


@pytest.mark.parametrize("seed", range(1, 4))
def test_nothing_that_it_says_breaks_the_promise_and_without_it_the_cluster_signs_on(tmp_path: Path, seed: int) -> None:
    _live_with_it(tmp_path, seed, 5.0)


def test_guards_that_accept_whatever_it_asks_are_condemned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge sees what such a mouth would do to guards that believed it."""

    class Obliging(GuardService):
        def accept(self, request: Accept) -> Answered:
            return replace(super().accept(request), verdict=Accepted(advances=False))

    monkeypatch.setattr("cmkms.replica.chain.GuardService", Obliging)
    with pytest.raises(AssertionError, match="sign"):
        _live_with_it(tmp_path, 1, 5.0)


def test_word_of_a_member_blows_the_fuse_of_another_and_of_one_only_costs_one(tmp_path: Path) -> None:
    """A limit: that its guard went back is taken at a member's word. It costs signatures, never two for one place."""
    cluster = Cluster(tmp_path, 3, seed=7).up()
    for struck, name in enumerate(HONEST, 1):
        cluster.links.send(cluster.process(LIAR), name, Blow("", bytes(16), 0))
        cluster.run(2.0)
        fused = [host for host in HONEST if cluster.process(host).chain.phase is GuardPhase.FUSED]
        assert fused == list(HONEST[:struck])
        asked = cluster.sentries[0].ask(prevote(1000 + struck))
        cluster.run(10.0)
        assert (asked.answer is not None) is (struck == 1)


def test_a_member_can_begin_a_change_that_nobody_asked_for_and_seal_it_where_no_chain_comes(tmp_path: Path) -> None:
    """A limit: that a change has begun, and how far a guard was, is taken at a member's word."""
    cluster = Cluster(tmp_path, 3, seed=7).up()
    process = cluster.process(LIAR)
    electorate, previous = process.chain.electorate, process.chain.previous
    assert electorate is not None
    members, key, number = electorate.members, electorate.key_hash, electorate.generation.number
    change = Change(CHAIN, key, number, previous, members, members)
    far = HRS(2**62, 0, Step.PRECOMMIT)
    claim = replace(process.chain.claim, phase=GuardPhase.BOUND, generation=change.after, hrs=far)
    for _ in range(100):
        for name in HONEST:
            cluster.links.send(process, name, Status(0, "", HONEST, 0, (CHAIN,), (claim,)))
            cluster.links.send(process, name, Propose(change))
        cluster.run(0.005)
    cluster.run(5.0)
    assert [cluster.hosts[name].watermark for name in HONEST] == [(far, None)] * 2
    cluster.sentries[0].ask(prevote(1000))
    cluster.run(5.0)
    assert 1000 not in {hrs.height for hrs in cluster.judge.signed}


def test_no_member_lowers_a_guard_of_another_whatever_it_says_has_begun(tmp_path: Path) -> None:
    """That takes the word of each replica's own operator. Nor does the proposal hold up what is signed."""
    cluster = Cluster(tmp_path, 3, seed=7).up()
    process = cluster.process(LIAR)
    electorate, previous = process.chain.electorate, process.chain.previous
    assert electorate is not None
    cluster.sentries[0].ask(prevote(1000))
    cluster.run(1.0)
    members, key, number = electorate.members, electorate.key_hash, electorate.generation.number
    change = Change(CHAIN, key, number, previous, members, members, NEVER)
    for phase in (GuardPhase.BOUND, GuardPhase.ARMED):
        claim = replace(process.chain.claim, phase=phase, generation=change.after, hrs=NEVER)
        for _ in range(100):
            for name in HONEST:
                cluster.links.send(process, name, Status(0, "", HONEST, 0, (CHAIN,), (claim,)))
                cluster.links.send(process, name, Propose(change))
            cluster.run(0.005)
    asked = cluster.sentries[0].ask(prevote(1001))
    cluster.run(5.0)
    assert asked.signed
    for name in HONEST:
        mark = cluster.hosts[name].watermark
        assert mark is not None
        assert mark[0] >= HRS(1000, 0, Step.PREVOTE)


def test_the_ceiling_stops_one_request_and_not_a_node_that_climbs_in_steps() -> None:
    """A limit: each accepted height raises the ceiling by 2000 more, so a patient node uses up heights all the same."""
    height = 1000
    for _ in range(500):
        ceiling = height_ceiling(height=height, accepted_at=0, now=0.0, max_block_rate=1.0, allowed_height=None)
        assert ceiling is not None
        assert ceiling == height + MARGIN_HEIGHTS
        height = ceiling
    assert height == 1_001_000


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(1000, 1100, 20))
def test_many_lives(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 20):
        (tmp_path / str(seed)).mkdir()
        _live_with_it(tmp_path / str(seed), seed, 20.0)
