"""A quorum of several guards with every message in the test's hand: nothing arrives before the test says so.

The guards decide by the real rules, in memory. A test may also speak for a guard itself, word by word.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Final

from cmkms.guard.accepting import GuardService
from cmkms.guard.decide import Accepted, AcceptRequest, Refused, RefusedBecause, Verdict, decide
from cmkms.guard.generation import NO_GENERATION, Electorate, GenerationId, Member, next_generation
from cmkms.guard.hrs import HRS, NEVER
from cmkms.guard.majority import MajorityQuorum
from cmkms.guard.quorum import Outcome
from cmkms.guard.record import GuardRecord
from cmkms.guard.rpc import Accept, Answered, Outranked, Peek, Peeked, digest_of
from tests.unit.guard.world import CHAIN, KEY_HASH, NOW, request
from tests.unit.signing.delayed_quorum import StillClock

__all__ = [
    "ACCEPTED",
    "ME",
    "Board",
    "MemoryGuard",
    "Sent",
    "electorate_of",
    "generation_of",
    "member",
    "members_of",
    "record_of",
]

ME: Final = "node-0"
ACCEPTED: Final = Accepted(advances=True)


def member(number: int) -> Member:
    """Member `number` of every generation of these tests."""
    name = f"node-{number}"
    return Member(name, hashlib.sha256(f"identity of {name}".encode()).digest(), bytes([number + 1]) * 16)


def members_of(size: int) -> tuple[Member, ...]:
    return tuple(member(number) for number in range(size))


def generation_of(size: int) -> GenerationId:
    return next_generation(CHAIN, KEY_HASH, NO_GENERATION, members_of(size))


def electorate_of(size: int) -> Electorate:
    return Electorate(CHAIN, KEY_HASH, generation_of(size), members_of(size))


def record_of(one: Member, size: int, at: HRS = NEVER, sign_bytes: bytes | None = None) -> GuardRecord:
    return GuardRecord(
        chain_id=CHAIN,
        member_id=one.id,
        key_hash=KEY_HASH,
        nonce=one.nonce,
        generation=generation_of(size),
        sequence=1,
        armed=True,
        hrs=at,
        sign_bytes=sign_bytes,
        accepted_at=NOW,
    )


@dataclass(slots=True)
class MemoryGuard:
    """Implements `ServiceGuard`: the real decision over a record that is durable as soon as it is made."""

    record: GuardRecord
    blown: str = ""
    accepted: list[bytes] = field(default_factory=list[bytes])

    def accept(self, asked: AcceptRequest) -> Verdict:
        if self.blown:
            return Refused(RefusedBecause.FUSE, self.blown)
        verdict = decide(self.record.state(ceiling=None), asked)
        if isinstance(verdict, Accepted) and verdict.advances:
            self.accepted.append(asked.sign_bytes)
            self.record = self.record.advanced(asked.hrs, asked.sign_bytes, NOW)
        return verdict

    def hold(self, sign_bytes: bytes) -> None:
        """Have accepted something before, for somebody else."""
        self.record = self.record.advanced(request(sign_bytes).hrs, sign_bytes, NOW)

    def seal(self, at: HRS) -> None:
        self.record = self.record.advanced(at, None, NOW)


@dataclass(frozen=True, slots=True)
class Sent:
    """One question under way to a guard."""

    to: str
    message: Accept | Peek

    @property
    def sign_bytes(self) -> bytes:
        """What is asked for; empty for a peek."""
        return self.message.sign_bytes if isinstance(self.message, Accept) else b""


class Board:
    """`quorum` is that of node-0. Implements `GuardPort`."""

    def __init__(self, size: int = 3) -> None:
        self.members = members_of(size)
        self.names = tuple(one.id for one in self.members)
        self.guards = {one.id: MemoryGuard(record_of(one, size)) for one in self.members}
        self.services = {name: GuardService(CHAIN, guard) for name, guard in self.guards.items()}
        self.clock = StillClock()
        self.sent: list[Sent] = []
        self.all_sent: list[Sent] = []
        self.unreachable: set[str] = set()
        self.quorum = MajorityQuorum(ME, electorate_of(size), self, self.clock.later, first_rpc=1000)

    # -------------------------------------------------------------------------------------------- what the quorum asks

    def ask(self, member: str, message: Accept | Peek) -> bool:
        if member in self.unreachable:
            return False
        self.sent.append(Sent(member, message))
        self.all_sent.append(Sent(member, message))
        return True

    def asked(self, name: str) -> list[bytes]:
        """The sign-bytes that a guard was ever asked to accept, in order."""
        return [one.sign_bytes for one in self.all_sent if one.to == name and isinstance(one.message, Accept)]

    @property
    def accepts(self) -> list[Sent]:
        return [one for one in self.sent if isinstance(one.message, Accept)]

    @property
    def peeks(self) -> list[Sent]:
        return [one for one in self.sent if isinstance(one.message, Peek)]

    # --------------------------------------------------------------------------------------------------- what happens

    def all_up(self) -> None:
        for name in self.names:
            if name != ME:
                self.quorum.peer_up(name)

    def lead(self, term: int = 1) -> None:
        """Connect everybody, take the lease, and let every guard answer the peek."""
        self.all_up()
        self.quorum.lead(term)
        self.run()

    def propose(self, sign_bytes: bytes, *, adopt: bool = True) -> list[Outcome]:
        outcomes: list[Outcome] = []
        self.quorum.propose(sign_bytes, adopt_held=adopt, decided=outcomes.append)
        return outcomes

    def run(self, *only: str) -> None:
        """Let the guards (`only` these, if any are named) answer what was asked, until nothing is asked any more."""
        while ready := [one for one in self.sent if not only or one.to in only]:
            self.deliver(ready[0])

    def deliver(self, one: Sent) -> None:
        """Let a guard answer one question, and the answer arrive."""
        self.sent.remove(one)
        self.hear(one.to, self.answer(one))

    def answer(self, one: Sent) -> Answered | Peeked:
        """Let a guard answer one question; the answer stays on its way."""
        service = self.services[one.to]
        if isinstance(one.message, Accept):
            return service.accept(one.message)
        return service.peek(one.message)

    def hear(self, name: str, message: Answered | Peeked, *, identity: bytes | None = None) -> None:
        """Let a message arrive over the channel of `name`, by the identity that it has proven."""
        known = next((one.identity for one in self.members if one.id == name), b"")
        self.quorum.answered(name, known if identity is None else identity, message)

    # ------------------------------------------------------------------------------------------------- word by word

    def question(self, name: str) -> Accept:
        """The oldest accept that `name` has not answered yet; it counts as answered from now on."""
        one = next(one for one in self.accepts if one.to == name)
        self.sent.remove(one)
        assert isinstance(one.message, Accept)
        return one.message

    def echo(self, name: str, question: Accept, verdict: Verdict | Outranked) -> Answered:
        """A faultless answer of `name` to a question."""
        record = self.guards[name].record
        return Answered(
            question.rpc,
            question.chain_id,
            question.generation,
            request(question.sign_bytes).hrs,
            digest_of(question.sign_bytes),
            record.nonce,
            record.sequence,
            verdict,
        )

    def say(self, name: str, verdict: Verdict | Outranked) -> None:
        """Speak for a guard: answer its oldest question faultlessly by this verdict."""
        self.hear(name, self.echo(name, self.question(name), verdict))

    def pause(self, name: str, *, paused: bool) -> None:
        guard = self.guards[name]
        guard.record = replace(guard.record, paused=paused)
