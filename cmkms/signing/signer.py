"""Signs for one chain and key at the replica that holds the lease: one flight for each height/round/step.

Theory of operation
-------------------
A request becomes canonical sign-bytes and joins the **flight** of its height/round/step: one proposal to the quorum,
and whoever waits for it. Several sentries that ask for one vote with different timestamps share a flight and get the
same signature. A request for something else at that HRS stands behind the flight: its error has to come from a guard
that has accepted something, never from a flight that may yet come to nothing.

The quorum's outcome ends the flight. After `Granted`, and at no other time, the granted bytes are signed, and each
waiter gets its own answer: a vote with the granted timestamp; a proposal only if its very bytes were granted (a node
keeps its own timestamp for a proposal, so another one would be a signature that does not verify).

Trouble that passes is no answer (design section 2): the waiters wait until the quorum decides, they are gone, or the
lease is, and whoever holds it next takes them over (`dispatch.py`).

Pure: the quorum and the key are passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cmkms.errors import BrokenInvariantError
from cmkms.guard.decide import Conflict, Held, Refused, RefusedBecause, Regression, Sealed
from cmkms.guard.hrs import HRS, NEVER, Step
from cmkms.guard.quorum import Granted, Outcome, Quorum, Split
from cmkms.guard.state_file import SignState
from cmkms.keys.consensus import ConsensusKey
from cmkms.privval import (
    SignedMsgType,
    SignProposalRequest,
    SignVoteRequest,
    differ_only_in_timestamp,
    extension_sign_bytes,
    parse_sign_bytes,
    proposal_sign_bytes,
    vote_sign_bytes,
)
from cmkms.signing.answers import Answer, Rejected, RejectedBecause, SignedProposal, SignedVote

__all__ = ["SignRequest", "Signer", "Waiter", "canonical", "wants_extension"]

SignRequest = SignVoteRequest | SignProposalRequest


def _nothing() -> None:
    """Hang up on nobody."""


@dataclass(eq=False, slots=True)
class Waiter:
    """One request that waits for its answer. `answer` is called at most once, perhaps before `submit` returns.

    `hang_up` closes the connection of whoever asked, who then asks another replica. `sign_bytes` are the canonical ones
    of the request, and `hrs` their place: worked out by the signer where they are not given.
    """

    request: SignRequest
    answer: Callable[[Answer], None]
    hang_up: Callable[[], None] = _nothing
    hrs: HRS = NEVER
    sign_bytes: bytes = b""
    flight: _Flight | None = None


@dataclass(eq=False, slots=True)
class _Flight:
    hrs: HRS
    sign_bytes: bytes
    is_vote: bool
    waiters: list[Waiter] = field(default_factory=list)
    behind: list[Waiter] = field(default_factory=list)


class Signer:
    """Signs for one chain and key, with one flight for each height/round/step."""

    def __init__(
        self,
        chain_id: str,
        key: ConsensusKey,
        quorum: Quorum,
        *,
        released: SignState | None = None,
    ) -> None:
        self._chain_id = chain_id
        self._key = key
        self.quorum = quorum
        """Who is asked. Set anew at birth, when nothing is under way."""
        self._flights: dict[HRS, _Flight] = {}
        self.released = released
        """The last released signature and its bytes. A byte-identical repeat is answered from it, even at a seal."""
        self.generation = 0
        """The number of the generation of guards that is asked."""

    def submit(self, waiter: Waiter) -> None:
        """Take a request. Its answer comes at once where the quorum decides at once, later otherwise, or never."""
        request = waiter.request
        if request.chain_id != self._chain_id:
            # The text reaches whoever asks: it must not carry on what they sent, nor name what else is signed here.
            waiter.answer(Rejected(RejectedBecause.UNKNOWN_CHAIN, "this connection signs for another chain"))
            return
        if not waiter.sign_bytes:
            waiter.hrs, waiter.sign_bytes = canonical(request)
        self._enter(waiter)

    def withdraw(self, waiter: Waiter) -> None:
        """Forget a waiter whose connection is gone: nothing is ever sent to it."""
        flight = waiter.flight
        if flight is None:
            return
        _leave(waiter)
        if not flight.waiters and self._flights.get(flight.hrs) is flight:
            # An outcome that comes all the same finds no flight; the guards keep what they accepted, for the repeat.
            del self._flights[flight.hrs]
            self.quorum.forget(flight.hrs)
            self._let_follow(flight)

    def abandon(self) -> list[Waiter]:
        """Forget every flight without an answer; returns who waited, for whoever may ask for them elsewhere."""
        waiters = [waiter for flight in self._flights.values() for waiter in (*flight.waiters, *flight.behind)]
        for flight in self._flights.values():
            self.quorum.forget(flight.hrs)
        self._flights.clear()
        for waiter in waiters:
            waiter.flight = None
        return waiters

    def repeat(self, request: SignRequest, sign_bytes: bytes) -> Answer | None:
        """Answer a byte-identical repeat of what was released last; None for anything else. Nothing new is signed."""
        released = self.released
        if released is None or released.sign_bytes != sign_bytes or released.signature is None:
            return None
        return self._signed(request, sign_bytes, sign_bytes, released.signature, replayed=True)

    def learn(self, released: SignState) -> None:
        """Take what another replica released, its signature verified, if it is newer."""
        if self.released is None or released.order > self.released.order:
            self.released = released

    @property
    def flights(self) -> int:
        """How many heights/rounds/steps are waited for."""
        return len(self._flights)

    def _enter(self, waiter: Waiter) -> None:
        """Answer a repeat, join the flight at this HRS or stand behind it, or begin one."""
        repeat = self.repeat(waiter.request, waiter.sign_bytes)
        if repeat is not None:
            _settle(waiter, repeat)
            return
        flight = self._flights.get(waiter.hrs)
        if flight is None:
            self._begin(waiter)
        else:
            waiter.flight = flight
            (flight.waiters if _shares(flight, waiter) else flight.behind).append(waiter)

    def _begin(self, waiter: Waiter) -> None:
        flight = _Flight(waiter.hrs, waiter.sign_bytes, isinstance(waiter.request, SignVoteRequest), [waiter])
        waiter.flight = flight
        self._flights[flight.hrs] = flight
        self._propose(flight)

    def _let_follow(self, flight: _Flight) -> None:
        """Let those who asked for something else at this HRS ask now: only a guard may tell that it is too late."""
        while flight.behind:
            waiter = flight.behind.pop(0)
            waiter.flight = None
            self._enter(waiter)

    def _propose(self, flight: _Flight) -> None:
        self.quorum.propose(
            flight.sign_bytes, adopt_held=flight.is_vote, decided=lambda outcome: self._decided(flight, outcome)
        )

    def _decided(self, flight: _Flight, outcome: Outcome) -> None:
        if self._flights.get(flight.hrs) is not flight:
            return
        del self._flights[flight.hrs]
        if not isinstance(outcome, Granted):
            rejected = _rejected(outcome, flight.hrs)
            _answer_all(flight, lambda _: rejected)
        else:
            granted = outcome.sign_bytes
            signature, replayed = self._sign(flight, granted)
            _answer_all(
                flight,
                lambda one: self._signed(one.request, one.sign_bytes, granted, signature, replayed=replayed),
            )
        self._let_follow(flight)

    def _sign(self, flight: _Flight, granted: bytes) -> tuple[bytes, bool]:
        """Sign what a majority accepted. The one place where the consensus key signs a vote or proposal."""
        if granted != flight.sign_bytes and not (
            flight.is_vote and differ_only_in_timestamp(granted, flight.sign_bytes)
        ):
            raise BrokenInvariantError(f"the quorum granted other bytes at {flight.hrs} than were asked for")
        released = self.released
        if released is not None and released.sign_bytes == granted and released.signature is not None:
            return released.signature, True
        signature = self._key.sign(granted)
        signed = SignState(flight.hrs, granted, signature, self.generation)
        if released is None or signed.order >= released.order:
            self.released = signed
        return signature, False

    def _signed(
        self, request: SignRequest, asked: bytes, granted: bytes, signature: bytes, *, replayed: bool
    ) -> Answer:
        if isinstance(request, SignProposalRequest):
            return SignedProposal(request.proposal, signature, replayed)
        vote = request.vote
        extension_signature = b""
        if wants_extension(request):
            extension = extension_sign_bytes(request.chain_id, vote.height, vote.round, vote.extension)
            extension_signature = self._key.sign(extension)
        if asked != granted:
            vote = replace(vote, timestamp=parse_sign_bytes(granted).timestamp)
        return SignedVote(vote, signature, extension_signature, replayed)


def canonical(request: SignRequest) -> tuple[HRS, bytes]:
    """Return the height/round/step of a request, and the sign-bytes that it asks a signature for."""
    if isinstance(request, SignVoteRequest):
        vote = request.vote
        return HRS(vote.height, vote.round, Step.of(vote.type)), vote_sign_bytes(request.chain_id, vote)
    proposal = request.proposal
    hrs = HRS(proposal.height, proposal.round, Step.PROPOSE)
    return hrs, proposal_sign_bytes(request.chain_id, proposal)


def wants_extension(request: SignRequest) -> bool:
    """Tell whether an extension signature belongs to the answer: to a precommit for a block, unless it is waived."""
    if not isinstance(request, SignVoteRequest):
        return False
    vote = request.vote
    return vote.type is SignedMsgType.PRECOMMIT and not vote.block_id.is_nil and not request.skip_extension_signing


def _answer_all(flight: _Flight, answer: Callable[[Waiter], Answer]) -> None:
    """Answer whoever waits, in the order of asking. One answer may make another waiter withdraw: it stays silent."""
    for waiter in tuple(flight.waiters):
        if waiter.flight is flight:
            _settle(waiter, answer(waiter))


def _shares(flight: _Flight, waiter: Waiter) -> bool:
    """Tell whether what the flight gets signed answers this waiter, too."""
    if waiter.sign_bytes == flight.sign_bytes:
        return True
    return flight.is_vote and differ_only_in_timestamp(waiter.sign_bytes, flight.sign_bytes)


def _settle(waiter: Waiter, answer: Answer) -> None:
    _leave(waiter)
    waiter.answer(answer)


def _leave(waiter: Waiter) -> None:
    flight = waiter.flight
    if flight is not None:
        (flight.waiters if waiter in flight.waiters else flight.behind).remove(waiter)
        waiter.flight = None


def _rejected(outcome: Outcome, asked: HRS) -> Rejected:
    """Say why a request will never be signed, in words that a node's log shows to its operator."""
    match outcome:
        case Conflict():
            return Rejected(RejectedBecause.CONFLICT, f"conflicting data: something else was signed at {asked}")
        case Held():
            because = f"a proposal with another timestamp was signed at {asked}"
            return Rejected(RejectedBecause.HELD, because)
        case Sealed(hrs=hrs):
            return Rejected(RejectedBecause.SEALED, f"nothing is signed at {hrs} or below any more: sealed there")
        case Regression(hrs=hrs):
            return Rejected(RejectedBecause.REGRESSION, f"regression: {asked} is below {hrs}, which is signed")
        case Split(detail=detail):
            because = f"no variant of this vote can get a majority of the guards any more ({detail})"
            return Rejected(RejectedBecause.SPLIT, because)
        case Refused(because=RefusedBecause.MAX_HEIGHT, detail=detail):
            return Rejected(RejectedBecause.MAX_HEIGHT, detail)
        case Refused(because=RefusedBecause.CEILING, detail=detail):
            hint = f"{detail}; if the chain is really there, see `cmkms chain allow-height --help`"
            return Rejected(RejectedBecause.CEILING, hint)
        case Refused(because=because, detail=detail):
            return Rejected(RejectedBecause.INTERNAL, f"the guard refuses: {because.value} {detail}")
        case Granted():
            raise BrokenInvariantError("a granted proposal is not rejected")
