"""What stands in for a compacted log: the view itself, taken when it is asked for, never stored.

Replaces pysyncobj's serializer, which pickles. Because a merge may be repeated, the present view serves as the state
after any entry before it; a received one is complete and checked before pysyncobj hears of it (audit S8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pysyncobj import SERIALIZER_STATE
from pysyncobj.node import Node

from cmkms.cluster.journal import LogEntry, MemoryJournal
from cmkms.errors import BrokenInvariantError

__all__ = ["Snapshot", "ViewSnapshots"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A view, and the two log entries that follow on what it stands for."""

    view: bytes
    first: LogEntry
    second: LogEntry


class ViewSnapshots:
    """pysyncobj's `Serializer`, as far as it is called. Names and meanings are those of pysyncobj/serializer.py."""

    def __init__(self, journal: MemoryJournal, encode: Callable[[], bytes], install: Callable[[bytes], object]) -> None:
        self._journal = journal
        self._encode = encode
        self._install = install
        self._compacted_to: int | None = None
        self._received: Snapshot | None = None

    def checkSerializing(self) -> tuple[int, int | None]:  # noqa: N802
        """Tell, once, that the log may be cut off before the entry given to `serialize`."""
        index, self._compacted_to = self._compacted_to, None
        return (SERIALIZER_STATE.NOT_SERIALIZING if index is None else SERIALIZER_STATE.SUCCESS), index

    def serialize(self, data: object, id: int) -> None:  # noqa: A002, ARG002
        """Take note that all before entry `id` is applied, and so in the view."""
        self._compacted_to = id

    def getTransmissionData(self, transmissionID: Node) -> tuple[Snapshot, bool, bool]:  # noqa: N802, N803, ARG002
        """Return the whole snapshot that goes with the log as it begins now: its first piece and its last."""
        first, second = self._journal.beginning
        return Snapshot(self._encode(), first, second), True, True

    def setTransmissionData(self, data: tuple[Snapshot, bool, bool]) -> bool:  # noqa: N802
        """Take a received snapshot, whole and already checked."""
        self._received = data[0]
        return True

    def deserialize(self) -> tuple[None, LogEntry, LogEntry, tuple[()]]:
        """Merge the received snapshot, and return the entries that the log goes on from: the later one first."""
        if self._received is None:
            raise BrokenInvariantError("pysyncobj installs a snapshot that nobody sent")
        received, self._received = self._received, None
        self._install(received.view)
        return None, received.second, received.first, ()

    def cancelTransmisstion(self, id: Node) -> None:  # noqa: N802, A002
        """Nothing is ever half sent."""
