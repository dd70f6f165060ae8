"""The quorum of several guards: counts who ACCEPTED exactly the same bytes, and says when nobody can any more.

Theory of operation
-------------------
A **ballot** is one height/round/step that is asked for. Its bytes go to every guard at once, the own one included, and
every answer comes back through `answered`, with the identity that the channel has proven. What is counted is a set of
members of the generation; an answer that is not the echo of a question of this ballot counts for nothing.

Before the first write of a lease the guards' watermarks are **peeked**; none is written until a majority, the own one
included, has told its own. Where a guard holds the ballot's vote with another timestamp, that one is asked for in its
place. Later, a ballot changes its bytes only when its own can no longer win, that is when more than n - q guards hold
others. With both, no height/round/step stays unsignable when a holder dies (docs/SAFETY.md).

A guard that refuses for now, or is not there, is asked again. A ballot ends with `Granted`, or with the reason why
it can never be granted, which needs the word of more than n - q guards; else it waits. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from cmkms.guard.ballot import Ballot, preferred
from cmkms.guard.decide import Accepted, Held, Refused, RefusedBecause
from cmkms.guard.generation import Electorate
from cmkms.guard.hrs import HRS, place_of
from cmkms.guard.quorum import Granted, Handle, Outcome, Timer
from cmkms.guard.rpc import Accept, Answered, Outranked, Peek, Peeked, digest_of
from cmkms.privval.signbytes import differ_only_in_timestamp

__all__ = ["ASK_AGAIN_SECONDS", "Electorate", "GuardPort", "MajorityQuorum"]

ASK_AGAIN_SECONDS: Final = 0.1
"""How soon a guard that refused for now, or said nothing, is asked again: well within the 5 s that a node waits."""

_FOR_NOW: Final = frozenset(
    {RefusedBecause.NOT_ARMED, RefusedBecause.FUSE, RefusedBecause.PAUSED, RefusedBecause.GENERATION}
)
"""Refusals that may end without anything being asked differently. Never an outcome: the request is held."""


class GuardPort(Protocol):
    """The way to the guards. Never answers before it returns; answers come by `MajorityQuorum.answered`."""

    def ask(self, member: str, message: Accept | Peek) -> bool:
        """Send to a member, which may be this replica itself; False if it cannot be reached now."""
        ...


class MajorityQuorum:
    """The quorum of one chain and key over the guards of one generation. Asks only between `lead` and `rest`."""

    def __init__(
        self,
        me: str,
        guards: Electorate,
        port: GuardPort,
        timer: Timer,
        *,
        first_rpc: int = 1,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`first_rpc` is random for each process: no answer to an earlier life is ever taken for one to this.

        `clock` only measures.
        """
        self._me = me
        self._chain_id = guards.chain_id
        self._key_hash = guards.key_hash
        self._generation = guards.generation
        self._members = {member.id: member for member in guards.members}
        self._quorum = len(self._members) // 2 + 1
        self._order = self._in_order(sorted(self._members))
        self._spare = len(self._members) - self._quorum
        self._port = port
        self._timer = timer
        self._rpc = first_rpc
        self._term: int | None = None
        self._peeked_term = 0
        self._peeked: dict[str, Peeked] = {}
        self._peeks: dict[int, str] = {}
        self._ballots: dict[HRS, Ballot] = {}
        self._by_rpc: dict[int, tuple[Ballot, str]] = {}
        self._away: set[str] = {member for member in self._members if member != me}
        self._refusals: dict[str, str] = {}
        self._again: Handle | None = None
        self._clock = clock
        self.on_granted: Callable[[float], None] | None = None
        """Told the seconds from asking all guards to a majority of them."""
        self.strays = 0
        """Answers that were not counted: of no member, another guard's, or to no question of ours."""

    def _in_order(self, members: list[str]) -> list[str]:
        """Put the own guard behind as many others as make a majority with it, which write beside it. Then the rest."""
        others = [member for member in members if member != self._me]
        own = [self._me] if self._me in self._members else []
        return [*others[: self._quorum - 1], *own, *others[self._quorum - 1 :]]

    # ------------------------------------------------------------------------------------------------- by the lease

    def lead(self, term: int) -> None:
        """This replica took the lease in `term`: ask for the watermarks, then for what was proposed."""
        self._term = term
        if self._peeked_term != term:
            self._peeked_term = term
            self._peeked.clear()
            self._peeks.clear()
            for ballot in self._ballots.values():
                # Somebody else may have led in between: what they left is looked for before more is written.
                self._open_anew(ballot)
        self._refusals.clear()
        self._peek(member for member in self._order if member not in self._peeked)
        self._begin_all()

    def rest(self) -> None:
        """The lease is lost: forget what was proposed; the replica that holds it now is asked for it."""
        self._term = None
        for ballot in tuple(self._ballots.values()):
            self._close(ballot)
        if self._again is not None:
            self._again.cancel()
            self._again = None

    # ----------------------------------------------------------------------------------------------- by the signer

    def propose(self, sign_bytes: bytes, *, adopt_held: bool, decided: Callable[[Outcome], None]) -> None:
        """See `Quorum.propose`. Raises SignBytesError if the bytes are not canonical. One ballot for each HRS."""
        _, hrs = place_of(sign_bytes)
        former = self._ballots.get(hrs)
        if former is not None:
            self._close(former)
        ballot = Ballot(hrs, sign_bytes, adopt_held, decided, sign_bytes)
        self._ballots[hrs] = ballot
        self._begin(ballot)

    def forget(self, hrs: HRS) -> None:
        """See `Quorum.forget`."""
        ballot = self._ballots.get(hrs)
        if ballot is not None:
            self._close(ballot)

    @property
    def term(self) -> int | None:
        """The term in which this replica leads; None while it does not."""
        return self._term

    @property
    def busy(self) -> bool:
        """Whether anything is proposed and not decided."""
        return bool(self._ballots)

    @property
    def waiting_for(self) -> str:
        """See `Quorum.waiting_for`."""
        troubles = dict.fromkeys(self._away, "is not connected") | self._refusals
        if len(troubles) <= self._spare:
            return ""
        them = "; ".join(f"{member} {why}" for member, why in sorted(troubles.items()))
        return f"{self._quorum} of {len(self._members)} guards are needed: {them}"

    # ---------------------------------------------------------------------------------------------------- by the link

    def peer_up(self, member: str) -> None:
        """A member can be reached (again): ask it what is still open."""
        if member not in self._members:
            return
        self._away.discard(member)
        if self._term is None:
            return
        if member not in self._peeked:
            self._peek((member,))
        for ballot in tuple(self._ballots.values()):
            if ballot.begun and member not in ballot.accepted and member not in ballot.against:
                self._ask(ballot, member)

    def peer_down(self, member: str) -> None:
        """A member is gone for now. What it said still counts."""
        if member in self._members:
            self._away.add(member)
            self._refusals.pop(member, None)

    def distrust(self, member: str) -> None:
        """A member's guard has forgotten something: what it said before counts no more."""
        self._peeked.pop(member, None)
        self._refusals[member] = "went backwards"
        for ballot in self._ballots.values():
            ballot.forget(member)

    def answered(self, member: str, identity: bytes, message: Answered | Peeked) -> None:
        """Count an answer of a guard. `member` and `identity` are what the channel has proven, never the message."""
        known = self._members.get(member)
        if known is None or known.identity != identity:
            self.strays += 1
        elif known.nonce != message.nonce:
            self.strays += 1
            self._refusals[member] = "has no guard of this generation"
            self._begin_all()
        elif isinstance(message, Peeked):
            self._take_peek(member, message)
        else:
            self._take_answer(member, message)

    # ----------------------------------------------------------------------------------------------------------- peek

    def _peek(self, members: Iterable[str]) -> None:
        if self._term is None:
            return
        for member in members:
            rpc = self._next_rpc()
            self._peeks[rpc] = member
            self._port.ask(member, Peek(rpc, self._term, self._chain_id))
        self._ask_again_later()

    def _take_peek(self, member: str, peeked: Peeked) -> None:
        if self._peeks.pop(peeked.rpc, None) != member or peeked.term != self._peeked_term:
            self.strays += 1
            return
        if not peeked.usable or peeked.generation != self._generation:
            self._refusals[member] = "does not answer for this generation"
            self._begin_all()
            return
        self._refusals.pop(member, None)
        self._peeked[member] = peeked
        self._begin_all()

    @property
    def _may_write(self) -> bool:
        """Whether a majority has told its watermark in this term, the own guard among them unless it is unusable.

        A replica whose own guard is no member of the generation asks those that are.
        """
        own = self._me in self._peeked or self._me in self._refusals or self._me not in self._members
        return self._term is not None and own and len(self._peeked) >= self._quorum

    # -------------------------------------------------------------------------------------------------------- ballots

    def _begin_all(self) -> None:
        if self._may_write:
            for ballot in tuple(self._ballots.values()):
                if not ballot.begun:
                    self._begin(ballot)

    def _begin(self, ballot: Ballot) -> None:
        if not self._may_write:
            return
        ballot.begun = True
        if ballot.adopt_held:
            variants = (
                peeked.sign_bytes
                for peeked in self._peeked.values()
                if peeked.hrs == ballot.hrs and peeked.sign_bytes is not None
            )
            found = [one for one in variants if one == ballot.asked or differ_only_in_timestamp(one, ballot.asked)]
            if found:
                ballot.sign_bytes = preferred(found)
        self._ask_all(ballot)

    def _ask_all(self, ballot: Ballot) -> None:
        ballot.digest = digest_of(ballot.sign_bytes)
        ballot.asked_at = self._clock()
        for member in self._order:
            self._ask(ballot, member)
        self._ask_again_later()

    def _ask(self, ballot: Ballot, member: str) -> None:
        if self._term is None:
            return
        rpc = ballot.questions.get(member) or self._next_rpc()
        request = Accept(rpc, self._term, self._chain_id, self._key_hash, self._generation, ballot.sign_bytes)
        ballot.questions[member] = rpc
        self._by_rpc[rpc] = (ballot, member)
        self._port.ask(member, request)

    def _take_answer(self, member: str, answer: Answered) -> None:
        ballot, asked = self._by_rpc.get(answer.rpc, (None, ""))
        if ballot is None or asked != member or not self._echoes(ballot, answer):
            self.strays += 1
            return
        match answer.verdict:
            case Accepted():
                ballot.accepted.add(member)
                if member not in {self._me, self._order[0]} and ballot.accepted <= {self._me, member}:
                    # The quickest of the others: it is asked first from now on.
                    self._order = self._in_order([member, *(one for one in self._order if one != member)])
            case Held(sign_bytes=held):
                # The guard's word is not taken for it: these bytes may be signed in the place of those asked.
                if not differ_only_in_timestamp(held, ballot.sign_bytes):
                    self.strays += 1
                    return
                ballot.holds[member] = held
            case Outranked(term=term):
                self._refusals[member] = f"follows another replica, in term {term}"
                return
            case Refused(because=because) as refused if because in _FOR_NOW:
                self._refusals[member] = f"refuses: {because.value}{': ' if refused.detail else ''}{refused.detail}"
                return
            case verdict:
                # It may have accepted, or held a variant, and gone on since: it will never help this ballot again.
                ballot.forget(member)
                ballot.against[member] = verdict
        del self._by_rpc[ballot.questions.pop(member)]
        self._refusals.pop(member, None)
        self._judge(ballot)

    def _echoes(self, ballot: Ballot, answer: Answered) -> bool:
        return (
            answer.digest == ballot.digest
            and answer.hrs == ballot.hrs
            and answer.generation == self._generation
            and answer.chain_id == self._chain_id
        )

    def _judge(self, ballot: Ballot) -> None:
        """Grant, change to what others hold, give up for good, or go on waiting."""
        if len(ballot.accepted) >= self._quorum:
            self._close(ballot)
            ballot.decided(Granted(ballot.sign_bytes))
            if self.on_granted is not None:
                self.on_granted(self._clock() - ballot.asked_at)
            return
        if len(ballot.holds) + len(ballot.against) <= self._spare:
            return
        other = ballot.variant_that_can_win(len(self._members), self._quorum)
        if other is not None:
            self._change(ballot, other)
            return
        self._close(ballot)
        ballot.decided(ballot.why_never())

    def _change(self, ballot: Ballot, sign_bytes: bytes) -> None:
        """Ask for other bytes in this ballot's place."""
        self._forget_questions(ballot)
        ballot.change_to(sign_bytes)
        self._ask_all(ballot)

    def _close(self, ballot: Ballot) -> None:
        self._forget_questions(ballot)
        if self._ballots.get(ballot.hrs) is ballot:
            del self._ballots[ballot.hrs]

    def _forget_questions(self, ballot: Ballot) -> None:
        for rpc in ballot.questions.values():
            self._by_rpc.pop(rpc, None)
        ballot.questions.clear()

    def _open_anew(self, ballot: Ballot) -> None:
        self._forget_questions(ballot)
        ballot.open_anew()

    # ------------------------------------------------------------------------------------------------------ asking on

    def _ask_again_later(self) -> None:
        if self._again is None:
            self._again = self._timer(ASK_AGAIN_SECONDS, self._ask_again)

    def _ask_again(self) -> None:
        """Ask all again whose word is not final. Repeats cost a guard nothing: it knows its answer.

        Who accepted is asked, too: it may have gone on since, and then nobody waits for its majority in vain.
        """
        self._again = None
        if self._term is None:
            return
        missing = [member for member in self._order if member not in self._peeked and member not in self._away]
        if not self._may_write and missing:
            self._peeks = {rpc: member for rpc, member in self._peeks.items() if rpc > self._rpc - _PEEKS_KEPT}
            self._peek(missing)
        for ballot in tuple(self._ballots.values()):
            if ballot.begun:
                for member in self._order:
                    if member not in ballot.against and member not in self._away:
                        self._ask(ballot, member)
        if self._ballots or not self._may_write:
            self._ask_again_later()

    def _next_rpc(self) -> int:
        self._rpc += 1
        return self._rpc


_PEEKS_KEPT: Final = 1000
"""Questions within which a late answer to a peek is still known; older ones are dropped, so that they stay few."""
