"""When a member stands for election, and whom it lets be elected. Pure: time and chance are passed in.

pysyncobj only counts votes; when to ask for them is decided here, in two stages. A **pre-vote** asks, without changing
anything anywhere, whether a majority would vote; only then does a real candidacy raise the term. So a member that was
cut off, or that alone does not hear the leader, disturbs nobody.

The rules, which also keep two members from holding a lease at one time (design section 4):

1. No vote and no pre-vote while a leader is heard: something came from it less than the shortest election timeout ago,
   which is longer than any lease that the last acknowledgement can have given.
2. Unless that leader is gone (its link has ended *and* its port refuses, seen here or by the candidate; or it said
   goodbye), or is itself the one who asks, or has asked the candidate to take over.
3. After a restart the memory of rule 1 is lost: as if a leader had been heard at the start.
4. Attempts are spread: by rank when all learn of a death together, by chance otherwise, and later where a vote was
   just given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cmkms.cluster.timing import Timing

__all__ = ["Elections", "LogEnd"]

_VOTE_STEPS: Final = 2
"""Stagger steps that a given vote has to show its effect; a pre-vote has one."""

_CANDIDACY_STEPS: Final = 2
"""Stagger steps that a candidacy has before the next attempt, and as many again by chance."""

_HANDED_OVER_STEPS: Final = 34
"""Stagger steps (1 s at a lease of 400 ms) in which a member that handed over does not stand itself."""


@dataclass(frozen=True, slots=True, order=True)
class LogEnd:
    """How far a member's log reaches: ordered as Raft compares logs (term first, Raft section 5.4.1)."""

    term: int
    index: int


class Elections:
    """One member's view of who leads and who may. `chance()` returns numbers from 0 to 1; `now` is in seconds."""

    def __init__(
        self,
        me: str,
        members: tuple[str, ...],
        timing: Timing,
        chance: Callable[[], float],
        now: float,
        *,
        restarted: bool,
    ) -> None:
        self._me = me
        self._members = tuple(sorted(members))
        self._majority = len(members) // 2 + 1
        self._timing = timing
        self._chance = chance
        self._linked: set[str] = set()
        self._refused: set[str] = set()
        self._leader: str | None = None
        self._gone: str | None = None
        self._heard_at = 0.0
        self._quiet_until = now + timing.election_min if restarted else now
        self._due_at: float | None = None
        self._not_before = now
        self._asked_term = 0
        self._asked_at = float("-inf")
        self._granted: dict[str, float] = {}
        self._successor: str | None = None
        if self._connected():
            self._start(now)

    @property
    def linked(self) -> tuple[str, ...]:
        """The other members to whom there is a link, in order."""
        return tuple(sorted(self._linked))

    @property
    def gone(self) -> str:
        """The leader that was last seen to be gone; empty once another is heard or it is back."""
        return self._gone or ""

    # ------------------------------------------------------------------------------------------------------- facts

    def link_up(self, member: str, now: float) -> None:
        """There is a link to this member."""
        self._linked.add(member)
        self._refused.discard(member)
        if self._gone == member:
            self._gone = None
        if self._due_at is None and self._connected():
            self._start(now)

    def link_down(self, member: str, now: float, *, goodbye: bool) -> None:
        """The link to this member has ended; after a goodbye, nobody answers there any more."""
        self._linked.discard(member)
        if member == self._successor:
            self._successor = None
            self._not_before = now
        if goodbye:
            self._refused.add(member)
        self._note_gone_leader(now)

    def refuse(self, member: str, now: float) -> None:
        """This member's port refuses: its process has ended."""
        if member not in self._linked:
            self._refused.add(member)
            self._note_gone_leader(now)

    def hear(self, leader: str, now: float) -> None:
        """A leader of the present term has spoken."""
        self._leader, self._heard_at = leader, now
        self._gone = None
        self._refused.discard(leader)
        self._quiet_until = now
        self._granted.clear()
        self._due_at = now + self._between(self._timing.election_min, self._timing.election_max)

    def voted(self, now: float) -> None:
        """A vote was given: its candidate comes first."""
        self._wait(now, _VOTE_STEPS)

    def won(self, now: float) -> None:
        """This member leads: it hears nobody else."""
        self._leader = self._gone = None
        self._quiet_until = now
        self._granted.clear()

    def lost(self, now: float) -> None:
        """This member leads no longer, without having heard another: it may stand again, a little later."""
        self._due_at = now + self._retry()

    def overtaken(self, now: float) -> None:
        """This member led, and somebody had a newer term without leading: it stands again at once."""
        self._due_at = now

    def handed_over(self, successor: str, now: float) -> None:
        """This member gave its leadership to `successor`: it stands back, unless that one goes away."""
        self._successor = successor
        self._not_before = now + _HANDED_OVER_STEPS * self._timing.stagger
        self._due_at = now + self._between(self._timing.election_min, self._timing.election_max)

    # --------------------------------------------------------------------------------------------------- questions

    def hears_leader(self, now: float, candidate: str = "") -> bool:
        """Whether a leader, other than `candidate`, is or may be there by rule 1 and 3."""
        if now < self._quiet_until:
            return True
        if self._leader is None or self._leader == candidate:
            return False
        return now < self._heard_at + self._timing.election_min

    def due(self, now: float) -> bool:
        """Whether to ask for pre-votes now. To be asked only while this member does not lead."""
        if self._due_at is None or now < self._due_at or now < self._not_before or not self._connected():
            return False
        return not self.hears_leader(now)

    def grants(self, candidate: str, theirs: LogEnd, ours: LogEnd, refused: str, now: float) -> bool:
        """Decide on a pre-vote that `candidate` asks for, who saw the port of `refused` refuse (empty: none)."""
        if refused and refused == self._leader:
            self.refuse(refused, now)
        if self.hears_leader(now, candidate) or theirs < ours:
            return False
        # Two who ask each other at one time, equal in all else, would split the vote: the first by id goes on.
        asking = now < self._asked_at + self._timing.stagger
        if asking and theirs == ours and candidate > self._me:
            return False
        self._wait(now, 1)
        return True

    def admits(self, candidate: str, now: float, *, transfer: bool) -> bool:
        """Whether a real request for a vote is to be looked at; `transfer`: the leader itself asked for it."""
        return transfer or not self.hears_leader(now, candidate)

    # ------------------------------------------------------------------------------------------------------ rounds

    def ask(self, term: int, now: float) -> bool:
        """Begin to ask for pre-votes for a candidacy in `term`. Returns True if none is needed (one member)."""
        if term != self._asked_term:
            self._granted.clear()
        self._asked_term, self._asked_at = term, now
        self._due_at = now + self._retry()
        return self._has_won(now)

    def granted(self, member: str, term: int, now: float) -> bool:
        """Count a pre-vote, once per member. Returns True if that makes a majority: stand now.

        Pre-votes of earlier attempts at the same term count while no election timeout has passed: on a slow network an
        answer comes after the next attempt has begun.
        """
        if term != self._asked_term or member not in self._members or self.hears_leader(now):
            return False
        self._granted[member] = now
        return self._has_won(now)

    def _has_won(self, now: float) -> bool:
        fresh = {member for member, at in self._granted.items() if now < at + self._timing.election_min}
        if len(fresh - {self._me}) + 1 < self._majority:
            return False
        self._granted.clear()
        self._asked_term = 0
        self._due_at = now + _CANDIDACY_STEPS * self._timing.stagger * (1 + self._chance())
        return True

    # ------------------------------------------------------------------------------------------------------- times

    def _connected(self) -> bool:
        return len(self._linked) + 1 >= self._majority

    def _start(self, now: float) -> None:
        self._due_at = max(now, self._quiet_until) + self._members.index(self._me) * self._timing.stagger

    def _note_gone_leader(self, now: float) -> None:
        leader = self._leader
        if leader is None or leader in self._linked or leader not in self._refused:
            return
        self._leader, self._gone = None, leader
        rank = [member for member in self._members if member != leader].index(self._me)
        at_once = now + rank * self._timing.stagger
        self._due_at = at_once if self._due_at is None else min(self._due_at, at_once)

    def _wait(self, now: float, steps: int) -> None:
        self._not_before = max(self._not_before, now + steps * self._timing.stagger)

    def _retry(self) -> float:
        return self._between(self._timing.stagger, 3 * self._timing.stagger)

    def _between(self, least: float, most: float) -> float:
        return least + (most - least) * self._chance()
