"""Bugs of a coordinator: what it counts as a majority of guards that accepted exactly these bytes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cmkms.guard import decide
from cmkms.guard.accepting import GuardService
from cmkms.guard.ballot import Ballot
from cmkms.guard.decide import Accepted, AcceptRequest, GuardState, Held, Refused, Verdict
from cmkms.guard.majority import MajorityQuorum
from cmkms.guard.quorum import Granted, Outcome
from cmkms.guard.rpc import Accept, Answered, Peek, Peeked, digest_of
from cmkms.replica.chain import ReplicaChain
from cmkms.replica.rollback import Rollback, RollbackWatch
from tests.sim.mutations.bug import SeededBug, swapped
from tests.sim.mutations.profiles import CUT_LINKS, FIVE, LOST_HOMES, ROLLED_BACK, STARVED

__all__ = ["COUNTING"]

EXACTLY = "a signature over B leaves only when a majority of the generation's guards has ACCEPTED exactly B"


@contextmanager
def own_guard_is_not_asked() -> Generator[None]:
    def take_its_word(chain: ReplicaChain, message: Accept | Peek) -> None:
        answer: Answered | Peeked = chain.service.peek(Peek(message.rpc, message.term, message.chain_id))
        if isinstance(message, Accept):
            hrs = AcceptRequest.of(message.key_hash, message.generation, message.sign_bytes).hrs
            answer = Answered(message.rpc, message.chain_id, message.generation, hrs, digest_of(message.sign_bytes),
                              answer.nonce, answer.sequence, Accepted(advances=False))  # fmt: skip
        chain.answered(chain._around.me, chain._around.identity, answer)

    with swapped(ReplicaChain, "_ask_own_guard", take_its_word):
        yield


@contextmanager
def signed_before_the_quorum() -> Generator[None]:
    propose = MajorityQuorum.propose

    def hasty(
        quorum: MajorityQuorum, sign_bytes: bytes, *, adopt_held: bool, decided: Callable[[Outcome], None]
    ) -> None:
        propose(quorum, sign_bytes, adopt_held=adopt_held, decided=decided)
        decided(Granted(sign_bytes))

    with swapped(MajorityQuorum, "propose", hasty):
        yield


@contextmanager
def minority_is_enough() -> Generator[None]:
    begin = MajorityQuorum.__init__

    def with_less(quorum: MajorityQuorum, *args: Any, **kwargs: Any) -> None:
        begin(quorum, *args, **kwargs)
        quorum._quorum = len(quorum._members) // 2

    with swapped(MajorityQuorum, "__init__", with_less):
        yield


@contextmanager
def non_member_is_counted() -> Generator[None]:
    """Of two locks both are open: the guard does not ask for its generation, the coordinator not for its file."""
    answered, refusal, peek = MajorityQuorum.answered, decide._refusal, GuardService.peek

    def whoever(quorum: MajorityQuorum, member: str, identity: bytes, message: Answered | Peeked) -> None:
        known = quorum._members.get(member)
        if known is not None:
            message = replace(message, nonce=known.nonce, generation=quorum._generation)
        answered(quorum, member, identity, message)

    def of_any_generation(state: GuardState, request: AcceptRequest) -> Refused | None:
        return refusal(replace(state, generation=request.generation, armed=True), request)

    def usable(service: GuardService, request: Peek) -> Peeked:
        return replace(peek(service, request), usable=True)

    with (
        swapped(MajorityQuorum, "answered", whoever),
        swapped(decide, "_refusal", of_any_generation),
        swapped(GuardService, "peek", usable),
    ):
        yield


class _Counter(set[str]):
    """What a coordinator would have that counts up, instead of keeping who it was: it knows of nobody any more."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def add(self, member: str) -> None:
        super().add(member)
        self._count += 1

    def clear(self) -> None:
        super().clear()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, member: object) -> bool:
        return False


@contextmanager
def one_peer_is_counted_twice() -> Generator[None]:
    begin = Ballot.__init__

    def counting(ballot: Any, *args: Any, **kwargs: Any) -> None:
        begin(ballot, *args, **kwargs)
        ballot.accepted = _Counter()

    with swapped(Ballot, "__init__", counting):
        yield


@contextmanager
def held_counts_as_accepted() -> Generator[None]:
    take = MajorityQuorum._take_answer

    def obliging(quorum: MajorityQuorum, member: str, answer: Answered) -> None:
        if isinstance(answer.verdict, Held):
            answer = replace(answer, verdict=Accepted(advances=False))
        take(quorum, member, answer)

    with swapped(MajorityQuorum, "_take_answer", obliging):
        yield


@contextmanager
def answers_are_not_compared() -> Generator[None]:
    take = MajorityQuorum._take_answer

    def by_place(quorum: MajorityQuorum, member: str, answer: Answered) -> None:
        ballot = quorum._ballots.get(answer.hrs)
        if ballot is not None and ballot.digest and member in ballot.questions:
            answer = replace(answer, rpc=ballot.questions[member], digest=ballot.digest)
        take(quorum, member, answer)

    with swapped(MajorityQuorum, "_take_answer", by_place):
        yield


@contextmanager
def flights_outlive_their_lease() -> Generator[None]:
    propose = MajorityQuorum.propose

    def rest(quorum: MajorityQuorum) -> None:
        quorum._term = None

    def forget(quorum: MajorityQuorum, hrs: Any) -> None:
        pass

    def open_anew(quorum: MajorityQuorum, ballot: Any) -> None:
        ballot.begun = False

    def onto_the_former(
        quorum: MajorityQuorum, sign_bytes: bytes, *, adopt_held: bool, decided: Callable[[Outcome], None]
    ) -> None:
        former = {hrs: set(ballot.accepted) for hrs, ballot in quorum._ballots.items()}
        propose(quorum, sign_bytes, adopt_held=adopt_held, decided=decided)
        ballot = next(reversed(quorum._ballots.values()), None)
        if ballot is not None and ballot.asked == sign_bytes:
            ballot.accepted |= former.get(ballot.hrs, set())

    with (
        swapped(MajorityQuorum, "rest", rest),
        swapped(MajorityQuorum, "forget", forget),
        swapped(MajorityQuorum, "_open_anew", open_anew),
        swapped(MajorityQuorum, "propose", onto_the_former),
    ):
        yield


@contextmanager
def rollback_is_not_seen() -> Generator[None]:
    def blind(watch: RollbackWatch, *args: Any) -> Rollback | None:
        return None

    with swapped(RollbackWatch, "see", blind):
        yield


@contextmanager
def refusal_counts_as_accepted() -> Generator[None]:
    take = MajorityQuorum._take_answer

    def obliging(quorum: MajorityQuorum, member: str, answer: Answered) -> None:
        verdict: Any = answer.verdict
        if isinstance(verdict, Verdict):
            answer = replace(answer, verdict=Accepted(advances=False))
        take(quorum, member, answer)

    with swapped(MajorityQuorum, "_take_answer", obliging):
        yield


COUNTING = (
    SeededBug("skip a guard", "the own guard's answer is taken for ACCEPTED without asking it", EXACTLY,
              own_guard_is_not_asked),
    SeededBug("sign before the quorum", "a signature is made as soon as the guards are asked", EXACTLY,
              signed_before_the_quorum),
    SeededBug("a minority is enough", "one guard fewer than a majority is enough", EXACTLY, minority_is_enough),
    SeededBug("any answer counts", "every answer counts as ACCEPTED, whatever it says", EXACTLY,
              refusal_counts_as_accepted),
    SeededBug("count a non-member", "a guard made anew answers, and is counted for the one it replaced",
              "a coordinator counts only answers of its own generation; an empty guard answers nothing",
              non_member_is_counted, LOST_HOMES),
    SeededBug("count one peer twice", "answers are counted, not those who gave them",
              "one per authenticated member: a set of ids from the channel, never a counter",
              one_peer_is_counted_twice, FIVE),
    SeededBug("ignore HELD", "HELD counts as ACCEPTED", EXACTLY, held_counts_as_accepted, CUT_LINKS),
    SeededBug("count late answers", "an answer to an earlier question about a place counts for the present one",
              "answers echo chain, HRS, hash of bytes, generation", answers_are_not_compared, CUT_LINKS,
              budget=120, pinned=13),
    SeededBug("sign by a stale flight", "what guards accepted for a flight that is over counts for other bytes there",
              "a lost lease drops its flights; exactly B", flights_outlive_their_lease, STARVED, budget=120, pinned=7),
    SeededBug("overlook a rolled back guard", "nobody compares what a guard tells with what it told before",
              "a peer that sees a guard go backwards refuses it and trips its fuse", rollback_is_not_seen,
              ROLLED_BACK),
)  # fmt: skip
