"""The log that pysyncobj is given: entries in memory, term and vote durable.

The entries are changes of a view that merges (docs/adr/0009): losing them costs freshness. Term and vote are written
before anything leaves that rests on them, which `settle` is for.
"""

from __future__ import annotations

from pysyncobj.journal import Journal

from cmkms.cluster.elections import LogEnd
from cmkms.cluster.terms import TermStore, TermVote

__all__ = ["MemoryJournal"]

LogEntry = tuple[bytes, int, int]
"""Command, index, term: pysyncobj's own form."""


class MemoryJournal(Journal):
    """pysyncobj's `Journal` with the entries in a list. Names and meanings are those of pysyncobj/journal.py."""

    def __init__(self, terms: TermStore) -> None:
        self._terms = terms
        self._kept = self._stored = terms.load()
        self._entries: list[LogEntry] = []
        self._rewound_to: int | None = None

    @property
    def end(self) -> LogEnd:
        """Return term and index of the last entry."""
        _, index, term = self._entries[-1]
        return LogEnd(term, index)

    @property
    def first_index(self) -> int:
        """Return the index of the oldest entry that is still here."""
        return self._entries[0][1]

    @property
    def beginning(self) -> tuple[LogEntry, LogEntry]:
        """Return the two oldest entries: pysyncobj never leaves fewer in a leader's log."""
        return self._entries[0], self._entries[1]

    def take_rewound_to(self) -> int | None:
        """Return, once, after which index entries were cut off at the end; None if none were."""
        index, self._rewound_to = self._rewound_to, None
        return index

    def settle(self) -> None:
        """Make term and vote durable, if they changed."""
        if self._kept is not self._stored:
            self._stored = self._kept
            self._terms.store(self._kept)

    # ------------------------------------------------------------------------------- what pysyncobj calls, and how

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append one entry."""
        self._entries.append((command, idx, term))

    def clear(self) -> None:
        """Drop all entries: others follow at once."""
        self._entries.clear()

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803
        """Drop the entry at this position, and all after it."""
        if entryFrom < len(self._entries):
            self._rewound_to = self._entries[entryFrom][1] - 1
        del self._entries[entryFrom:]

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803
        """Drop all entries before this position."""
        del self._entries[:entryTo]

    def __getitem__(self, item: int | slice) -> LogEntry | list[LogEntry]:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def _destroy(self) -> None:
        self.settle()

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        """Forget it: a log that starts empty has nothing committed."""

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        """Return what is committed at the start: the entry that every log begins with."""
        return 1

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803
        """Take note; `settle` makes it durable, once for a term and the vote in it."""
        kept = TermVote(term, votedForNodeId)
        if kept != self._kept:
            self._kept = kept

    def getCurrentTerm(self) -> int:  # noqa: N802
        """Return the newest term."""
        return self._kept.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802
        """Return whom this member voted for in that term."""
        return self._kept.voted_for
