"""One member's pysyncobj behind a small interface: what elects, carries heartbeats and replicates changes of the view.

Guards what goes in: what pysyncobj would believe and should not (acknowledgements of another term, indices beyond its
log, a second vote of one member) is dropped here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pysyncobj import _RAFT_STATE, FAIL_REASON

from cmkms.cluster.codec import (
    Acknowledge,
    AppendEntries,
    GrantVote,
    InstallView,
    Message,
    RequestVote,
    TimeoutNow,
)
from cmkms.cluster.elections import LogEnd
from cmkms.cluster.journal import MemoryJournal
from cmkms.cluster.merging import MemberNode, MergingSyncObj, configuration, running_on
from cmkms.cluster.snapshots import ViewSnapshots
from cmkms.cluster.terms import TermStore
from cmkms.cluster.timing import Timing
from cmkms.cluster.transport import EngineTransport
from cmkms.errors import BrokenInvariantError

__all__ = ["Engine", "EngineOwner"]

_MAX_LOG: Final = 1024
"""Entries that may wait for a majority; beyond, nothing new is proposed until they are through."""

_MAX_FOLLOWED: Final = 2 * _MAX_LOG
"""Entries that a follower's log may have: those that wait, those that are not yet compacted, and one message more."""

_PATIENCE_WITH_RESETS: Final = 2
"""Rejections in a row after which a follower gets the whole view, instead of one earlier entry a heartbeat."""


@dataclass(frozen=True, slots=True)
class EngineOwner:
    """What an engine calls: `deliver` sends to a member, `led` hears of leadership won or lost, in the midst of a call.

    `apply` and `install` take a committed change and a received view; neither raises for bytes of any kind. `view`
    returns the present view.
    """

    deliver: Callable[[str, Message], bool]
    led: Callable[[bool], None]
    apply: Callable[[bytes], None]
    install: Callable[[bytes], object]
    view: Callable[[], bytes]


class Engine:
    """Not re-entrant: nothing may be handed in while a call is under way. An exception ends the process."""

    def __init__(
        self,
        me: str,
        members: tuple[str, ...],
        timing: Timing,
        clock: Callable[[], float],
        terms: TermStore,
        owner: EngineOwner,
    ) -> None:
        self._me = me
        self._clock = clock
        self._owner = owner
        self._nodes = {member: MemberNode(member) for member in members}
        self._resets: dict[str, int] = {}
        self._votes: set[str] = set()
        self._journal = MemoryJournal(terms)
        self._transport = EngineTransport(owner.deliver, self._journal.settle, clock)
        others = [node for member, node in self._nodes.items() if member != me]
        conf = configuration(timing, self._state_changed)
        with running_on(clock):
            self._raft = MergingSyncObj(self._nodes[me], others, conf, self._transport, self._journal, owner.apply)
        self._raft.take_snapshots_by(ViewSnapshots(self._journal, owner.view, owner.install))
        self.rewound = 0

    @property
    def term(self) -> int:
        """The newest term that this member knows."""
        return self._raft.raftCurrentTerm

    @property
    def leads(self) -> bool:
        """Whether this member was elected in the present term. No permission to do anything: see the lease."""
        return self._raft._isLeader()  # noqa: SLF001

    @property
    def leader(self) -> str | None:
        """Whom this member follows in the present term, itself included; None if nobody is known."""
        node = self._raft._getLeader()  # noqa: SLF001
        return None if node is None else node.id

    @property
    def end(self) -> LogEnd:
        """How far this member's log reaches."""
        return self._journal.end

    @property
    def has_room(self) -> bool:
        """Whether the log takes proposals: too many may be waiting for a majority."""
        return len(self._journal) < _MAX_LOG

    def has_room_for(self, message: AppendEntries) -> bool:
        """Whether the log takes these entries: an honest leader has no more of them than it may leave uncommitted."""
        first, end = self._journal.first_index, self._journal.end.index
        if not first <= message.previous_index <= end:
            return True  # they are not put into the log
        return message.previous_index - first + len(message.entries) < _MAX_FOLLOWED

    def tick(self) -> None:
        """Let time pass: heartbeats, commits, compaction."""
        with running_on(self._clock):
            self._raft.doTick(0.0)
        self._journal.settle()

    def connect(self, member: str) -> None:
        """There is a link to this member."""
        self._resets.pop(member, None)
        self._transport.connected(self._nodes[member])

    def disconnect(self, member: str) -> None:
        """The link to this member has ended."""
        self._transport.disconnected(self._nodes[member])

    def propose(self, delta: bytes) -> None:
        """Put a change into the log at the next tick, if this member leads."""
        self._raft.propose(delta)

    def stand(self, *, transfer: bool = False) -> None:
        """Become a candidate in the next term, at once. `transfer`: because the leader asked for it.

        pysyncobj stands when its leader says so, and "no leader" counts as one where none is known (syncobj.py:904).
        """
        self._votes.clear()
        self._transport.transfer = transfer
        with running_on(self._clock):
            self._transport.hand_in(self._raft._getLeader(), TimeoutNow(self.term))  # noqa: SLF001
        self.tick()
        self._transport.transfer = False

    def vote(self, member: str, request: RequestVote) -> bool:
        """Decide on a request for a vote by Raft's own rules. Returns whether it was given."""
        self._transport.take_sent()
        self._hand_in(member, request)
        return self._transport.take_sent() == (member, GrantVote(request.term))

    def count_vote(self, member: str, vote: GrantVote) -> None:
        """Count a vote of the present term, once per member (audit S12)."""
        if vote.term == self.term and member not in self._votes:
            self._votes.add(member)
            self._hand_in(member, vote)

    def follow(self, leader: str, message: AppendEntries | InstallView) -> None:
        """Take what a leader of this or a newer term says, and acknowledge it."""
        self._hand_in(leader, message)
        if isinstance(message, InstallView) and self._journal.end.index != message.first_index + 1:
            # pysyncobj only logs a failure, and acknowledges all the same (audit S8).
            raise BrokenInvariantError("a received view was not installed")
        index = self._journal.take_rewound_to()
        if index is not None:
            self._raft.rewind(index)
            self.rewound += 1

    def acknowledged(self, member: str, message: Acknowledge) -> None:
        """Take a follower's acknowledgement; one of another term counts for nothing (audit S11)."""
        if message.term != self.term or not self.leads:
            return
        beyond = message.next_index > self._journal.end.index + 1
        if message.success:
            if beyond:
                return  # it cannot have what this leader has not
            self._resets.pop(member, None)
        elif message.reset:
            self._resets[member] = self._resets.get(member, 0) + 1
            if beyond or self._resets[member] >= _PATIENCE_WITH_RESETS:
                # Its log and ours have nothing in common any more, as after a restart. "From the very beginning" makes
                # pysyncobj send the view.
                message = Acknowledge(message.term, message.sent, self._journal.first_index, reset=True, success=False)
        self._hand_in(member, message)

    def hand_over(self, to: str | None) -> str | None:
        """Ask a follower, or the most advanced one, to take over, and lead no more. None: it lacks an entry yet."""
        self._transport.take_sent()
        results: list[int] = []
        with running_on(self._clock):
            self._raft.transferLeadership(self._nodes[to] if to else None, lambda _, reason: results.append(reason))
        sent = self._transport.take_sent()
        if results != [FAIL_REASON.SUCCESS] or sent is None:
            return None
        successor, _ = sent
        self.outrank(self.term + 1)
        return successor

    def outrank(self, term: int) -> None:
        """Take over a newer term, leading no more, with no vote given in it."""
        other = next(node for member, node in self._nodes.items() if member != self._me)
        with running_on(self._clock):
            self._transport.outrank(other, term)
        self._journal.settle()

    def _hand_in(self, member: str, message: Message) -> None:
        with running_on(self._clock):
            self._transport.hand_in(self._nodes[member], message)
        self._journal.settle()

    def _state_changed(self, before: int, after: int) -> None:
        if _RAFT_STATE.LEADER in {before, after}:
            self._resets.clear()
            self._owner.led(after == _RAFT_STATE.LEADER)
