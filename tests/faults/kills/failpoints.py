"""Inside a replica: whether it is to kill or to stop itself at the place where it is.

A place that is not armed costs the look at a file that is not there. It knows nothing of the product: `launcher.py`
says where the places lie.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

from tests.faults.kills.places import Action, Arming, Control, Hit, Place

__all__ = ["Failpoints"]


class Failpoints:
    """The places of this process, armed from outside through `control`."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._told: set[Place] = set()
        self._passes: Counter[tuple[Place, Arming]] = Counter()

    def passed(self, place: Place | None) -> None:
        """The process is at this place: it may be its last."""
        if place is not None and (arming := self.due(place)) is not None:
            self.hit(place, arming.action)

    def soon_passed(self, place: Place) -> None:
        """As `passed`, once what was written to sockets until now has left: the loop sends before it runs callbacks."""
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self.passed, place)

    def due(self, place: Place) -> Arming | None:
        """Count this passing; returns what is to be done here now, None for nothing."""
        if place not in self._told:
            self._told.add(place)
            self._control.tell_passed(place)
        arming = self._control.armed(place)
        if arming is None:
            return None
        self._passes[place, arming] += 1
        return arming if self._passes[place, arming] >= arming.nth else None

    def hit(self, place: Place, action: Action) -> None:
        """Leave a proof, and do it."""
        self._passes.clear()
        self._control.disarm(place)
        self._control.tell_hit(Hit(place, os.getpid(), action))
        os.kill(os.getpid(), signal.SIGKILL if action is Action.KILL else signal.SIGSTOP)
