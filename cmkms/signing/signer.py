"""The path of one request: from a decoded request to an answer, for one chain and key.

Theory of operation
-------------------
A request becomes canonical sign-bytes and joins the **flight** of its height/round/step: one proposal to the quorum,
and whoever waits for it. Several sentries that ask for one vote with different timestamps share a flight and get the
same signature. A request for something else at that HRS stands behind the flight: its error has to come from a guard
that has accepted something, never from a flight that may yet come to nothing.

The quorum's outcome ends the flight. After `Granted`, and at no other time, the granted bytes are signed, and each
waiter gets its own answer: a vote with the granted timestamp; a proposal only if its very bytes were granted (a node
keeps its own timestamp for a proposal, so another one would be a signature that does not verify).

Trouble that passes is no answer (design section 2): the waiters wait until the quorum decides or they are gone. A chain
with `on_outage = "refuse"` gives each waiter an error after its patience instead.

Pure: the quorum, the timer and the key are passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from cmkms.errors import BrokenInvariantError
from cmkms.guard.decide import Conflict, Held, Refused, RefusedBecause, Regression, Sealed
from cmkms.guard.hrs import HRS, NEVER, Step
from cmkms.guard.quorum import Granted, Outcome, Quorum
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

__all__ = ["REFUSE_AFTER_SECONDS", "Handle", "Signer", "Timer", "Waiter"]

REFUSE_AFTER_SECONDS: Final = 2.5
"""Patience under `on_outage = "refuse"`: outlasts an election, and leaves half of the node's 5 s to answer in."""

SignRequest = SignVoteRequest | SignProposalRequest


class Handle(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> None:
        """Call it off; harmless once it has run."""
        ...


class Timer(Protocol):
    """Runs a function later; asyncio's `loop.call_later` is one."""

    def __call__(self, delay: float, callback: Callable[[], None], /) -> Handle:
        """Run `callback` after `delay` seconds."""
        ...


@dataclass(eq=False, slots=True)
class Waiter:
    """One request that waits for its answer. `answer` is called at most once, perhaps before `submit` returns."""

    request: SignRequest
    answer: Callable[[Answer], None]
    hrs: HRS = NEVER
    sign_bytes: bytes = b""
    patience: Handle | None = None
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
        timer: Timer,
        *,
        refuse_after: float | None = None,
        released: SignState | None = None,
    ) -> None:
        """`refuse_after`: seconds until a waiter is refused in an outage; None holds it for as long as it takes."""
        self._chain_id = chain_id
        self._key = key
        self._quorum = quorum
        self._timer = timer
        self._refuse_after = refuse_after
        self._flights: dict[HRS, _Flight] = {}
        self.released = released
        """The last released signature and its bytes. A byte-identical repeat is answered from it, even at a seal."""

    def submit(self, waiter: Waiter) -> None:
        """Take a request. Its answer comes at once where the quorum decides at once, later otherwise, or never."""
        request = waiter.request
        if request.chain_id != self._chain_id:
            # The text reaches whoever asks: it must not carry on what they sent, nor name what else is signed here.
            waiter.answer(Rejected(RejectedBecause.UNKNOWN_CHAIN, "this connection signs for another chain"))
            return
        waiter.hrs, waiter.sign_bytes = self._canonical(request)
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
            self._let_follow(flight)

    @property
    def flights(self) -> int:
        """How many heights/rounds/steps are waited for."""
        return len(self._flights)

    def _canonical(self, request: SignRequest) -> tuple[HRS, bytes]:
        if isinstance(request, SignVoteRequest):
            vote = request.vote
            return HRS(vote.height, vote.round, Step.of(vote.type)), vote_sign_bytes(request.chain_id, vote)
        proposal = request.proposal
        hrs = HRS(proposal.height, proposal.round, Step.PROPOSE)
        return hrs, proposal_sign_bytes(request.chain_id, proposal)

    def _enter(self, waiter: Waiter) -> None:
        """Answer a repeat, join the flight at this HRS or stand behind it, or begin one."""
        released = self.released
        if released is not None and released.sign_bytes == waiter.sign_bytes and released.signature is not None:
            _settle(waiter, self._signed(waiter, waiter.sign_bytes, released.signature, replayed=True))
            return
        flight = self._flights.get(waiter.hrs)
        if flight is None:
            self._begin(waiter)
        else:
            waiter.flight = flight
            (flight.waiters if _shares(flight, waiter) else flight.behind).append(waiter)
        self._grow_impatient(waiter)

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
        self._quorum.propose(
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
            _answer_all(flight, lambda waiter: self._signed(waiter, granted, signature, replayed=replayed))
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
        if released is None or flight.hrs >= released.hrs:
            self.released = SignState(flight.hrs, granted, signature)
        return signature, False

    def _signed(self, waiter: Waiter, granted: bytes, signature: bytes, *, replayed: bool) -> Answer:
        request = waiter.request
        if isinstance(request, SignProposalRequest):
            return SignedProposal(request.proposal, signature, replayed)
        vote = request.vote
        extension_signature = b""
        if vote.type is SignedMsgType.PRECOMMIT and not vote.block_id.is_nil and not request.skip_extension_signing:
            extension = extension_sign_bytes(request.chain_id, vote.height, vote.round, vote.extension)
            extension_signature = self._key.sign(extension)
        if waiter.sign_bytes != granted:
            vote = replace(vote, timestamp=parse_sign_bytes(granted).timestamp)
        return SignedVote(vote, signature, extension_signature, replayed)

    def _grow_impatient(self, waiter: Waiter) -> None:
        if self._refuse_after is not None and waiter.flight is not None and waiter.patience is None:
            waiter.patience = self._timer(self._refuse_after, lambda: self._give_up(waiter))

    def _give_up(self, waiter: Waiter) -> None:
        if waiter.flight is None:
            return
        why = self._quorum.waiting_for or "no majority answered in time"
        self.withdraw(waiter)
        waiter.answer(Rejected(RejectedBecause.OUTAGE, why))


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
    if waiter.patience is not None:
        waiter.patience.cancel()
        waiter.patience = None
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
        case Refused(because=RefusedBecause.MAX_HEIGHT, detail=detail):
            return Rejected(RejectedBecause.MAX_HEIGHT, detail)
        case Refused(because=RefusedBecause.CEILING, detail=detail):
            hint = f"{detail}; if the chain is really there, see `cmkms chain allow-height --help`"
            return Rejected(RejectedBecause.CEILING, hint)
        case Refused(because=because, detail=detail):
            return Rejected(RejectedBecause.INTERNAL, f"the guard refuses: {because.value} {detail}")
        case Granted():
            raise BrokenInvariantError("a granted proposal is not rejected")
