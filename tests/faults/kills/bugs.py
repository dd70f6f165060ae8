"""Bugs that are planted in a running replica on purpose, to see that the campaign of kills condemns them.

Each is a sentence of the promise that is dropped, and each needs a death to show: while nobody dies, all of them sign
as if nothing were wrong.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from cmkms.guard.file import GuardFile
from cmkms.guard.majority import MajorityQuorum
from cmkms.guard.quorum import Granted
from cmkms.guard.record import GuardRecord

__all__ = ["Bug", "plant"]


class Bug(StrEnum):
    """What is dropped."""

    QUORUM_OF_ONE = "one guard is enough"
    SIGNS_FIRST = "it signs when it has asked the guards, and does not wait for them"
    WRITES_LATER = "the guard answers first, and writes when it is asked for the next step"


def plant(bug: Bug) -> None:
    """Put the bug into this process."""
    match bug:
        case Bug.QUORUM_OF_ONE:
            _quorum_of_one()
        case Bug.SIGNS_FIRST:
            _signs_first()
        case Bug.WRITES_LATER:
            _writes_later()


def _quorum_of_one() -> None:
    plain = MajorityQuorum.__init__

    def init(self: MajorityQuorum, *arguments: Any, **named: Any) -> None:
        plain(self, *arguments, **named)
        self._quorum = 1

    MajorityQuorum.__init__ = init  # type: ignore[method-assign]


def _signs_first() -> None:
    plain = MajorityQuorum._ask_all

    def ask_all(self: MajorityQuorum, ballot: Any) -> None:
        plain(self, ballot)
        ballot.decided(Granted(ballot.sign_bytes))

    MajorityQuorum._ask_all = ask_all  # type: ignore[method-assign]


def _writes_later() -> None:
    plain = GuardFile.write
    on_disk: dict[GuardFile, GuardRecord] = {}
    pending: dict[GuardFile, GuardRecord] = {}

    def write(self: GuardFile, record: GuardRecord) -> None:
        if self in pending:
            self._record = on_disk[self]
            plain(self, pending.pop(self))
        if record.hrs == self._record.hrs:  # births and starts are written at once: what is at stake is what is signed
            plain(self, record)
            return
        on_disk[self], pending[self] = self._record, record
        self._record = record

    GuardFile.write = write  # type: ignore[method-assign]
