"""The order of one key's messages on one chain: none is signed anew below a height, round and step already answered.

Exact whatever order exchanges become known in. It knows places and times and verifies nothing.

A message (place, bytes, signature) stands for all its copies. What counts is when it was asked for *first*: by the
first request that it answered, or by an earlier one for the same bytes to which no reply was seen. It went back if a
higher place had been answered before that. So a copy of what was released before may come at any time: it is nothing
new. A request that was refused is no such beginning: the signer has said no.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from math import inf

from cmkms.harness.answers import Released
from cmkms.harness.values import HRS

__all__ = ["Change", "Order"]


@dataclass(frozen=True, slots=True)
class _Mark:
    """The highest place answered up to a moment."""

    answered_at: float
    highest: HRS


@dataclass(frozen=True, slots=True)
class Change:
    """What one more exchange changes: messages that went back, each with the place above it; and those that did not."""

    condemned: dict[Released, HRS] = field(default_factory=dict)
    excused: tuple[Released, ...] = ()


class Order:
    """Told of exchanges one by one; each says what it changes. Times are of one clock."""

    def __init__(self) -> None:
        self._marks: list[_Mark] = []
        self._asked_at: dict[Released, float] = {}
        self._unanswered: dict[tuple[HRS, bytes], float] = {}
        self._condemned: set[Released] = set()
        self._latest_asked = -inf

    @property
    def highest(self) -> HRS | None:
        """The highest place answered."""
        return self._marks[-1].highest if self._marks else None

    def highest_at(self, moment: float) -> HRS | None:
        """The highest place answered before a moment."""
        before = bisect_left(self._marks, moment, key=lambda mark: mark.answered_at)
        return self._marks[before - 1].highest if before else None

    def first_above(self, moment: float) -> float | None:
        """When, from a moment on, a place was answered that is higher than all before; None if it never was."""
        return next((mark.answered_at for mark in self._marks if mark.answered_at >= moment), None)

    def unanswered(self, hrs: HRS, sign_bytes: bytes, asked_at: float) -> Change:
        """A request to which no reply was seen."""
        key = (hrs, sign_bytes)
        if asked_at >= self._unanswered.get(key, inf):
            return Change()
        self._unanswered[key] = asked_at
        return self._review([message for message in self._condemned if (message.hrs, message.sign_bytes) == key])

    def released(self, message: Released, asked_at: float, answered_at: float) -> Change:
        """A request that was answered with this message."""
        changed: list[Released] = []
        if asked_at < self._asked_at.get(message, inf):
            self._asked_at[message] = asked_at
            changed.append(message)
        self._mark(_Mark(answered_at, message.hrs))
        if answered_at < self._latest_asked:
            changed += [other for other in self._asked_at if other != message and other.hrs < message.hrs]
        self._latest_asked = max(self._latest_asked, asked_at)
        return self._review(changed)

    def _mark(self, mark: _Mark) -> None:
        """Note an answer, unless a place as high was answered no later; forget marks that say less than this one."""
        at = bisect_right(self._marks, mark.answered_at, key=lambda known: known.answered_at)
        if at and self._marks[at - 1].highest >= mark.highest:
            return
        if at and self._marks[at - 1].answered_at == mark.answered_at:
            at -= 1
        end = at
        while end < len(self._marks) and self._marks[end].highest <= mark.highest:
            end += 1
        self._marks[at:end] = [mark]

    def _review(self, messages: list[Released]) -> Change:
        condemned: dict[Released, HRS] = {}
        excused: list[Released] = []
        for message in messages:
            began = min(self._asked_at[message], self._unanswered.get((message.hrs, message.sign_bytes), inf))
            highest = self.highest_at(began)
            went_back = highest is not None and highest > message.hrs
            if highest is not None and went_back and message not in self._condemned:
                self._condemned.add(message)
                condemned[message] = highest
            elif not went_back and message in self._condemned:
                self._condemned.discard(message)
                excused.append(message)
        return Change(condemned, tuple(excused))
