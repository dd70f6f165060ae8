"""pysyncobj itself, in the shape in which its known defects cannot hurt (docs/adr/0009).

Everything that touches its module globals or its private names stands here. No thread, no socket, no file, no pickle;
its time is the clock of the instance that runs. It applies deltas of a view that merges, where stock pysyncobj applies
pickled calls.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Final

import pysyncobj.syncobj
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node

from cmkms.cluster.journal import MemoryJournal
from cmkms.cluster.snapshots import ViewSnapshots
from cmkms.cluster.timing import Timing
from cmkms.cluster.transport import EngineTransport
from cmkms.errors import BrokenInvariantError

__all__ = ["MemberNode", "MergingSyncObj", "configuration", "running_on"]

_COMPACT_BEYOND: Final = 256
"""Entries: some 25 s of changes at ten a second, and a few hundred KB at most."""

_NEVER: Final = 1e9
"""Seconds (30 years): a time-out of pysyncobj that is to be without effect."""

_QUEUE: Final = 64
"""Proposals between two ticks: a whole view comes in 16 parts at most."""

_BATCH_BYTES: Final = 2**16
"""pysyncobj's own. A single entry of that size would be pickled; ours have a quarter of it at most."""

_REGULAR: Final = 0


class _Running:
    """Whose clock pysyncobj reads: that of the instance inside of whose call it runs. There is one thread only."""

    def __init__(self) -> None:
        self.clock: Callable[[], float] | None = None


_RUNNING: Final = _Running()


def _time_of_the_running() -> float:
    if _RUNNING.clock is None:
        raise BrokenInvariantError("pysyncobj runs outside of any call to it")
    return _RUNNING.clock() + 1.0  # pysyncobj writes 0 for "long ago", and a simulation may begin there


@contextmanager
def running_on(clock: Callable[[], float]) -> Generator[None]:
    """Let pysyncobj read this clock inside of the block. Every call to it stands in one."""
    before, _RUNNING.clock = _RUNNING.clock, clock
    try:
        yield
    finally:
        _RUNNING.clock = before


# For good, not only while constructing: each is looked up whenever pysyncobj runs, and nobody else in this process uses
# it. (A notifier's pipe would fill up and block: nobody reads it.)
pysyncobj.syncobj.monotonicTime = _time_of_the_running
pysyncobj.syncobj.PIPE_NOTIFIER_ENABLED = False
# Its lines speak of a log that is trusted. Ours is not: that it was cut back is counted, and errors come as exceptions.
logging.getLogger("pysyncobj").addHandler(logging.NullHandler())
logging.getLogger("pysyncobj").propagate = False


class MemberNode(Node):
    """A node whose place in a set is the same in every process, so that a simulation repeats itself exactly."""

    def __init__(self, id: str) -> None:  # noqa: A002  (pysyncobj's name)
        super().__init__(id)
        self._place = zlib.crc32(id.encode())

    def __hash__(self) -> int:
        return self._place

    def __eq__(self, other: object) -> bool:
        """Nodes of one id are one node."""
        return isinstance(other, Node) and self.id == other.id


class _NoPoller:
    """pysyncobj waits for nothing: what there is to read is handed in."""

    def poll(self, timeout: float) -> None:
        """Return at once."""


class MergingSyncObj(SyncObj):
    """pysyncobj with a journal and snapshots of our own. `apply(delta)` is called for each committed change."""

    def __init__(
        self,
        me: Node,
        others: Sequence[Node],
        conf: SyncObjConf,
        transport: EngineTransport,
        journal: MemoryJournal,
        apply: Callable[[bytes], None],
    ) -> None:
        self._apply_delta = apply
        with _made_by_pysyncobj(journal):
            super().__init__(me, others, conf=conf, transport=transport)

    def take_snapshots_by(self, snapshots: ViewSnapshots) -> None:
        """Replace the serializer, which pickles."""
        self._SyncObj__serializer = snapshots

    def rewind(self, index: int) -> None:
        """Apply again whatever comes after `index`: a merge may be repeated, but must not be left out."""
        self._SyncObj__raftLastApplied = min(self._SyncObj__raftLastApplied, index)

    def propose(self, delta: bytes) -> None:
        """Queue a change for the log; the next tick takes it, if this member leads then."""
        self._applyCommand(delta, None, _REGULAR)

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:  # noqa: N802
        if command[0] == _REGULAR:
            self._apply_delta(command[1:])

    def _SyncObj__parseChangeClusterRequest(self, command: bytes) -> None:  # noqa: N802
        """No command changes the members."""


@contextmanager
def _made_by_pysyncobj(journal: MemoryJournal) -> Generator[None]:
    """Have the constructor use this journal and no poller: it has no parameters for them."""
    module = pysyncobj.syncobj
    before = module.createJournal, module.createPoller
    module.createJournal = lambda _: journal
    module.createPoller = lambda _: _NoPoller()
    try:
        yield
    finally:
        module.createJournal, module.createPoller = before


def configuration(timing: Timing, state_changed: Callable[[int, int], None]) -> SyncObjConf:
    """Return pysyncobj's settings: it never begins an election by itself, and writes no file."""
    return SyncObjConf(
        autoTick=False,
        appendEntriesUseBatch=False,
        appendEntriesBatchSizeBytes=_BATCH_BYTES,
        appendEntriesPeriod=timing.heartbeat - timing.tick / 2,  # due at the tick that is nearest
        commandsWaitLeader=False,
        commandsQueueSize=_QUEUE,
        dynamicMembershipChange=False,
        leaderFallbackTimeout=timing.election_max,
        raftMinTimeout=_NEVER,
        raftMaxTimeout=2 * _NEVER,
        connectionTimeout=2 * _NEVER,  # has to exceed the one above; we have no connections of its
        logCompactionMinEntries=_COMPACT_BEYOND,
        logCompactionMinTime=_NEVER,
        journalFile=None,
        fullDumpFile=None,
        password=None,
        useFork=False,
        onStateChanged=state_changed,
    )
