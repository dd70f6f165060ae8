"""One member's part in choosing who coordinates: ties elections, lease and view to pysyncobj and to the peer link.

It runs on the event loop, holds no thread, socket or timer, and is told everything: links, messages, time. Nothing of
safety rests on it; whatever it raises, other than PeerError for a message, is a bug and ends the process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from cmkms.cluster.audited import check_audited
from cmkms.cluster.codec import (
    Acknowledge,
    AnswerPreVote,
    AppendEntries,
    GrantVote,
    InstallView,
    Message,
    NewerTerm,
    RequestPreVote,
    RequestVote,
    ShareView,
    TermMessage,
    TimeoutNow,
    decode,
    encode,
)
from cmkms.cluster.elections import Elections
from cmkms.cluster.engine import Engine, EngineOwner
from cmkms.cluster.lease import Lease, Mandate
from cmkms.cluster.sharing import Sharing
from cmkms.cluster.terms import TermStore
from cmkms.cluster.timing import Timing
from cmkms.cluster.view import LeaseTaken, View
from cmkms.errors import BrokenInvariantError, PeerError

__all__ = ["Coordination", "Lease"]

_HAND_OVER_PATIENCE: Final = 0.25
"""Seconds for a follower to catch up, when asked to take over: it lacks one entry at most, that is a round trip."""

_MAX_TERM_JUMP: Final = 2**32
"""More elections than there ever are while a member is away: whoever took such a term over would run out of them."""

_MAX_WAITING: Final = 1024
"""Calls that may wait for the one under way: there are none, unless a handler is called where it should not be."""


class _Shown(NamedTuple):
    """What the owner is told of when it changes. `holder` is empty while no lease is known."""

    term: int
    holder: str
    lease_term: int


class Coordination:
    """The interface to the rest of the replica. Times are seconds of `clock` (CLOCK_BOOTTIME).

    `send(member, data)` sends over the member's link and never calls back before it returns; `changed()` is called
    after the holder, the term or `holds` changed. Raises OperatorError if pysyncobj is not the audited one.
    """

    def __init__(  # noqa: PLR0913
        self,
        me: str,
        members: tuple[str, ...],
        timing: Timing,
        *,
        clock: Callable[[], float],
        send: Callable[[str, bytes], bool],
        terms: TermStore,
        view: View,
        changed: Callable[[], None],
        random: Random,
    ) -> None:
        check_audited()
        if me not in members or len(set(members)) != len(members):
            raise BrokenInvariantError(f"{me} is not once among the members {members}")
        self._others = frozenset(members) - {me}
        self._me, self._timing, self._clock, self._send = me, timing, clock, send
        self._view, self._changed = view, changed
        self._sharing = Sharing(view, clock())
        self._heard: Lease | None = None
        self._followed: tuple[str, int] | None = None
        self._handing_over_until: float | None = None
        self._successor: str | None = None
        self._aside = False
        self._heir: str | None = None
        owner = EngineOwner(self._say, self._led, self._sharing.apply, view.merge, view.encode)
        self._mandate = Mandate(me, members, timing)
        self._engine = Engine(me, members, timing, clock, terms, owner)
        restarted = self._engine.term > 0
        self._elections = Elections(me, members, timing, random.random, clock(), restarted=restarted)
        self._waiting: deque[Callable[[], None]] = deque()
        self._at_work = False
        self._shown = self._show()

    # ------------------------------------------------------------------------------------------------ what is known

    @property
    def term(self) -> int:
        """The newest term that this member knows."""
        return self._engine.term

    @property
    def lease(self) -> Lease | None:
        """Who is known to hold the lease now: this member itself, or the leader that it hears."""
        now = self._clock()
        if self._mandate.term is not None:
            return self._mandate.lease(now)
        return self._heard if self._heard is not None and now < self._heard.until else None

    @property
    def holds(self) -> bool:
        """Whether this member holds the lease at this very moment."""
        return self._mandate.lease(self._clock()) is not None

    @property
    def skipped(self) -> int:
        """How many committed changes could not be read here: another release wrote them."""
        return self._sharing.skipped

    @property
    def view(self) -> View:
        """The replicated view, as far as this member knows it."""
        return self._view

    # --------------------------------------------------------------------------------------------- what it is told

    def peer_up(self, member: str) -> None:
        """There is a link to this member. It is told at once what is known here."""
        self._enter(lambda: self._link_up(member))

    def peer_down(self, member: str, *, goodbye: bool = False) -> None:
        """The link to this member has ended; `goodbye`: it said that it stops."""
        self._enter(lambda: self._link_down(member, goodbye=goodbye))

    def peer_refused(self, member: str) -> None:
        """Nobody listens at this member's port."""
        self._enter(lambda: self._refused(member))

    def received(self, member: str, data: bytes) -> None:
        """Take a message from a member's link. Raises PeerError for what no member of this release would send."""
        if member not in self._others:
            raise PeerError(f"{member}: is not a member of this cluster")
        message = decode(data)
        if isinstance(message, ShareView):
            news = View.decode(message.view)
            self._enter(lambda: self._sharing.learn(news))
            return
        self._check(member, message)
        self._enter(lambda: self._handle(member, message))

    def tick(self) -> None:
        """Let time pass; to be called every `Timing.tick` seconds. Any exception ends the process."""
        self._enter(self._tick)

    def release(self, news: View) -> None:
        """Merge what was released here now, and everywhere within a moment."""
        self._enter(lambda: self._sharing.learn(news))

    def hand_over(self, to: str | None = None) -> bool:
        """Give the leadership to a connected follower, the most advanced one if it is all the same.

        False if this member does not lead, or has no link to it.

        True means that it is tried, for a quarter of a second at most, and that the lease is given up as the follower
        is asked; `changed` tells.
        """
        linked = self._elections.linked
        if not self._engine.leads or not linked or (to is not None and to not in linked):
            return False
        self._successor = to
        self._handing_over_until = self._clock() + _HAND_OVER_PATIENCE
        self._enter(self._try_hand_over)
        return True

    def stand_aside(self, *, aside: bool, to: str | None = None) -> None:
        """Coordinate no more while this is set: a lease held is handed over, best to `to`, and none is sought.

        With `to`, one that is handed over to this member is taken all the same: its holder may know better by then.
        """
        self._aside = aside
        self._heir = to

    @property
    def stands_aside(self) -> bool:
        """Whether `stand_aside` is set."""
        return self._aside

    # -------------------------------------------------------------------------------------------------- one at a time

    def _enter(self, work: Callable[[], None]) -> None:
        """Do the work, now or after what is under way: pysyncobj must never be called from inside itself."""
        if len(self._waiting) >= _MAX_WAITING:
            raise BrokenInvariantError("calls come from inside of calls, without end")
        self._waiting.append(work)
        if self._at_work:
            return
        self._at_work = True
        try:
            while self._waiting:
                self._waiting.popleft()()
        finally:
            self._at_work = False
        shown = self._show()
        if shown == self._shown:
            return
        self._shown = shown
        if shown.holder == self._me:
            self._sharing.learn(View(taken=[LeaseTaken(shown.lease_term, self._me)]))
        self._changed()

    def _show(self) -> _Shown:
        lease = self.lease
        return _Shown(self.term, "", 0) if lease is None else _Shown(self.term, lease.holder, lease.term)

    # ---------------------------------------------------------------------------------------------------- links, time

    def _link_up(self, member: str) -> None:
        self._elections.link_up(member, self._clock())
        self._engine.connect(member)
        if self._view:
            self._say(member, ShareView(self._view.encode()))

    def _link_down(self, member: str, *, goodbye: bool) -> None:
        self._engine.disconnect(member)
        self._elections.link_down(member, self._clock(), goodbye=goodbye)
        self._forget_the_gone()
        self._stand_if_due()

    def _refused(self, member: str) -> None:
        self._elections.refuse(member, self._clock())
        self._forget_the_gone()
        self._stand_if_due()

    def _forget_the_gone(self) -> None:
        if self._heard is not None and self._heard.holder == self._elections.gone:
            self._heard = None

    def _tick(self) -> None:
        if self._aside and self._handing_over_until is None:
            self.hand_over(self._heir if self._heir in self._elections.linked else None)
        self._try_hand_over()
        self._share()
        self._engine.tick()
        self._stand_if_due()

    def _stand_if_due(self) -> None:
        now = self._clock()
        if self._aside or self._engine.leads or not self._elections.due(now):
            return
        term = self._engine.term + 1
        if self._elections.ask(term, now):
            self._engine.stand()
            return
        request = RequestPreVote(term, self._engine.end, self._elections.gone)
        for member in self._elections.linked:
            self._say(member, request)

    # ------------------------------------------------------------------------------------------------------- messages

    def _check(self, member: str, message: TermMessage) -> None:
        """Refuse what is well formed, and still nothing that a member would say. Raises PeerError."""
        if isinstance(message, InstallView):
            View.decode(message.view)
        if isinstance(message, AppendEntries) and not self._engine.has_room_for(message):
            raise PeerError(f"{member}: fills the log with what it never commits")
        newest = message.term
        if isinstance(message, AnswerPreVote):
            newest = max(newest, message.own_term)
        if newest > self._engine.term + _MAX_TERM_JUMP:
            raise PeerError(f"{member}: speaks of term {newest}, where {self._engine.term} is the newest known here")

    def _say(self, member: str, message: Message) -> bool:
        return self._send(member, encode(message))

    def _handle(self, member: str, message: TermMessage) -> None:
        match message:
            case AppendEntries() | InstallView():
                self._follow(member, message)
            case Acknowledge():
                self._mandate.acknowledge(member, message.term, message.sent, self._clock())
                self._engine.acknowledged(member, message)
                self._try_hand_over()
            case RequestVote():
                self._asked_for_vote(member, message)
            case GrantVote():
                self._engine.count_vote(member, message)
            case TimeoutNow():
                self._asked_to_take_over(member, message)
            case RequestPreVote():
                self._asked_for_pre_vote(member, message)
            case AnswerPreVote():
                self._answered(member, message)
            case NewerTerm():
                self._told_of_newer_term(message)

    def _follow(self, leader: str, message: AppendEntries | InstallView) -> None:
        if message.term < self._engine.term:
            self._say(leader, NewerTerm(self._engine.term))
            return
        if self._followed != (leader, message.term):
            self._followed = leader, message.term
            self._sharing.start_over(self._clock())
        self._engine.follow(leader, message)
        now = self._clock()
        self._elections.hear(leader, now)
        self._heard = Lease(leader, message.term, now + self._timing.lease)

    def _asked_for_vote(self, candidate: str, request: RequestVote) -> None:
        now = self._clock()
        # A transfer is of the very next term: an old one, come late, is a candidacy like any other.
        transfer = request.transfer and request.term == self._engine.term + 1
        if self._mandate.defended(now) or not self._elections.admits(candidate, now, transfer=transfer):
            return
        if self._engine.vote(candidate, request):
            self._elections.voted(now)
        if transfer:
            self._heard = None

    def _asked_to_take_over(self, leader: str, request: TimeoutNow) -> None:
        if (self._aside and self._heir is None) or self._engine.leader != leader or request.term != self._engine.term:
            return
        self._heard = None
        self._engine.stand(transfer=True)

    def _asked_for_pre_vote(self, candidate: str, request: RequestPreVote) -> None:
        now, ours = self._clock(), self._engine.end
        granted = (
            not self._mandate.defended(now)
            and self._elections.grants(candidate, request.end, ours, request.refused, now)
            and request.term > self._engine.term
        )
        self._forget_the_gone()
        self._say(candidate, AnswerPreVote(request.term, granted, self._engine.term))

    def _answered(self, member: str, answer: AnswerPreVote) -> None:
        now = self._clock()
        if self._engine.leads or self._elections.hears_leader(now):
            return
        if answer.own_term > self._engine.term:
            self._engine.outrank(answer.own_term)
        elif (
            answer.granted
            and answer.term == self._engine.term + 1
            and self._elections.granted(member, answer.term, now)
        ):
            self._engine.stand()

    def _told_of_newer_term(self, message: NewerTerm) -> None:
        if self._engine.leads and message.term > self._engine.term:
            self._engine.outrank(message.term)
            self._elections.overtaken(self._clock())

    # ------------------------------------------------------------------------------------------------------ leadership

    def _led(self, leads: bool) -> None:
        """Leadership was won or lost; pysyncobj is in the midst of it, so only take note."""
        now = self._clock()
        self._handing_over_until = None
        if leads:
            self._mandate.begin(self._engine.term, now)
            self._elections.won(now)
            self._heard = None
            self._sharing.start_over(now)
        else:
            self._mandate.end()
            self._elections.lost(now)

    def _try_hand_over(self) -> None:
        now = self._clock()
        if self._handing_over_until is None:
            return
        if now >= self._handing_over_until:
            self._handing_over_until = None
            return
        successor = self._engine.hand_over(self._successor)
        if successor is not None:
            self._elections.handed_over(successor, now)

    # ------------------------------------------------------------------------------------------------------------ view

    def _share(self) -> None:
        """Put what is new into the log, or tell the leader of it. It waits where neither is possible."""
        now = self._clock()
        if not self._sharing.due(now) or self._handing_over_until is not None:
            return
        leader = self._engine.leader
        if self._engine.leads and self._engine.has_room:
            for part in self._sharing.take(now).parts():
                self._engine.propose(part)
        elif leader is not None and leader in self._elections.linked:
            news = self._sharing.take(now)
            if not self._say(leader, ShareView(news.encode())):
                self._sharing.put_back(news)
