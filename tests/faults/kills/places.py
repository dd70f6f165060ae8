"""The named places at which a replica can be hit: on the way of a signature, in an election, a start, a stop, a birth.

Only the names, how one brings a replica there, and the files by which a test arms a place in a process that runs and
reads what was hit: both sides of that know this module, and neither the other.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from typing import Final

__all__ = ["PLACES", "Action", "Arming", "Control", "Hit", "Place", "Way", "places_of"]


class Way(Enum):
    """What brings a replica to a place."""

    HOLDER = "it holds the lease and is asked to sign"
    FOLLOWER = "another replica holds the lease and is asked to sign"
    CONNECTED = "a node is connected to it and asks"
    FORWARDER = "a node is connected to it, and another replica holds the lease"
    FORWARDED_TO = "it holds the lease, and a node is connected to another replica"
    KEEPER = "something was released a second ago"
    VOTER = "the lease holder was killed, and another replica stands"
    ELECTED = "the lease holder was killed, and it stands"
    STOPPED = "it holds the lease and is stopped in good order"
    HEIR = "the lease holder is stopped in good order"
    STARTED = "it is started"
    BORN = "it is started for the first time, with the others"
    CHANGED = "its guard was lost, or another's was, and a change of generation is under way"


class Place(StrEnum):
    """Each is also the name of the file that arms it."""

    ASKING = "holder-before-it-asks-the-guards"
    HALF_ASKED = "holder-between-the-accepts-to-its-two-followers"
    OWN_UNWRITTEN = "holder-before-its-own-write"
    OWN_UNSYNCED = "holder-between-its-own-write-and-fdatasync"
    OWN_SYNCED = "holder-after-its-own-fdatasync"
    QUORUM = "holder-after-the-quorum-before-it-signs"
    SIGNED = "holder-between-signature-and-reply"
    FOLLOWER_UNWRITTEN = "follower-before-its-write"
    FOLLOWER_UNSYNCED = "follower-between-write-and-fdatasync"
    FOLLOWER_SYNCED = "follower-after-fdatasync-before-its-answer"
    FOLLOWER_ANSWERED = "follower-after-its-answer"
    REPLYING = "before-the-reply-to-the-node"
    REPLIED = "after-the-reply-to-the-node"
    FORWARDING = "forwarder-before-it-sends-on"
    FORWARDED = "forwarder-after-it-sent-on"
    FORWARD_TAKEN = "holder-before-it-takes-what-is-sent-on"
    FORWARD_ANSWERING = "holder-before-its-answer-to-a-forwarder"
    FORWARD_ANSWERED = "forwarder-with-the-holders-answer"
    RELEASED_UNSYNCED = "last-released-between-write-and-fsync"
    RELEASED_UNNAMED = "last-released-between-fsync-and-rename"
    RELEASED_NAMED = "last-released-after-rename"
    TERM_UNSYNCED = "voter-between-write-and-fsync-of-its-term"
    VOTE_STORED = "voter-with-its-term-stored-before-its-answer"
    VOTED = "voter-after-its-answer"
    ELECTED = "elected-before-it-peeks"
    PEEKING = "elected-after-its-peeks-have-left"
    PEEKED = "elected-with-an-answer-to-its-peeks"
    STOPPING = "stopping-before-it-hands-over"
    HANDING_OVER = "stopping-after-it-asked-another-to-take-over"
    HANDED_OVER = "stopping-before-it-says-goodbye"
    TAKING_OVER = "asked-to-take-over-before-it-stands"
    START_READ = "start-before-the-guard-is-rewritten"
    START_UNSYNCED = "start-between-rewriting-the-guard-and-fdatasync"
    START_REWRITTEN = "start-after-the-guard-is-rewritten"
    START_JOINING = "start-before-it-joins-the-others"
    BIRTH_FILE_UNNAMED = "birth-between-fsync-and-rename-of-the-guards-file"
    BIRTH_FILE = "birth-after-the-guards-file-is-made"
    FOUNDERS_UNSYNCED = "birth-between-write-and-fsync-of-the-founders"
    FOUNDERS = "birth-after-the-founders-before-binding"
    BIND_UNSYNCED = "birth-between-write-and-fdatasync-of-the-binding"
    BOUND = "birth-bound-before-anybody-is-told"
    MARKER_UNSYNCED = "birth-between-write-and-fsync-of-the-born-marker"
    MARKER_UNNAMED = "birth-between-fsync-and-rename-of-the-born-marker"
    MARKER = "birth-after-the-born-marker-before-arming"
    ARM_UNSYNCED = "birth-between-write-and-fdatasync-of-the-arming"
    ARMED = "birth-armed-before-anybody-is-told"
    CHANGE_TAKEN = "change-with-the-proposal-before-anything-is-done"
    CHANGE_UNSYNCED = "change-between-write-and-fsync-of-what-it-is"
    CHANGE_KEPT = "change-kept-before-the-guard-moves"
    MOVE_UNSYNCED = "change-between-write-and-fdatasync-of-the-move"
    MOVED = "change-moved-before-anybody-is-told"
    SEAL_UNSYNCED = "change-between-write-and-fdatasync-of-the-seal"
    SEALED = "change-sealed-before-arming"
    REARM_UNSYNCED = "change-between-write-and-fdatasync-of-the-arming"
    REARMED = "change-armed-before-anybody-is-told"


_P = Place

_WAYS: Final[dict[Way, tuple[Place, ...]]] = {
    Way.HOLDER: (_P.ASKING, _P.HALF_ASKED, _P.OWN_UNWRITTEN, _P.OWN_UNSYNCED, _P.OWN_SYNCED, _P.QUORUM, _P.SIGNED),
    Way.FOLLOWER: (_P.FOLLOWER_UNWRITTEN, _P.FOLLOWER_UNSYNCED, _P.FOLLOWER_SYNCED, _P.FOLLOWER_ANSWERED),
    Way.CONNECTED: (_P.REPLYING, _P.REPLIED),
    Way.FORWARDER: (_P.FORWARDING, _P.FORWARDED, _P.FORWARD_ANSWERED),
    Way.FORWARDED_TO: (_P.FORWARD_TAKEN, _P.FORWARD_ANSWERING),
    Way.KEEPER: (_P.RELEASED_UNSYNCED, _P.RELEASED_UNNAMED, _P.RELEASED_NAMED),
    Way.VOTER: (_P.TERM_UNSYNCED, _P.VOTE_STORED, _P.VOTED),
    Way.ELECTED: (_P.ELECTED, _P.PEEKING, _P.PEEKED),
    Way.STOPPED: (_P.STOPPING, _P.HANDING_OVER, _P.HANDED_OVER),
    Way.HEIR: (_P.TAKING_OVER,),
    Way.STARTED: (_P.START_READ, _P.START_UNSYNCED, _P.START_REWRITTEN, _P.START_JOINING),
    Way.BORN: (
        *(_P.BIRTH_FILE_UNNAMED, _P.BIRTH_FILE, _P.FOUNDERS_UNSYNCED, _P.FOUNDERS, _P.BIND_UNSYNCED, _P.BOUND),
        *(_P.MARKER_UNSYNCED, _P.MARKER_UNNAMED, _P.MARKER, _P.ARM_UNSYNCED, _P.ARMED),
    ),
    Way.CHANGED: (
        *(_P.CHANGE_TAKEN, _P.CHANGE_UNSYNCED, _P.CHANGE_KEPT, _P.MOVE_UNSYNCED, _P.MOVED),
        *(_P.SEAL_UNSYNCED, _P.SEALED, _P.REARM_UNSYNCED, _P.REARMED),
    ),
}

PLACES: Final[dict[Place, Way]] = {place: way for way, places in _WAYS.items() for place in places}
"""Every place, and what brings a replica there."""


def places_of(*ways: Way) -> tuple[Place, ...]:
    """The places that these bring a replica to."""
    return tuple(place for way in ways for place in _WAYS[way])


class Action(StrEnum):
    """What a process does to itself at an armed place. Whoever arms `STOP` has to send the SIGCONT."""

    KILL = "SIGKILL"
    STOP = "SIGSTOP"


@dataclass(frozen=True, slots=True)
class Arming:
    """Do `action` at the place when it is passed for the `nth` time from now on."""

    nth: int = 1
    action: Action = Action.KILL

    def to_text(self) -> str:
        return f"{self.nth} {self.action}"

    @staticmethod
    def from_text(text: str) -> Arming:
        nth, action = text.split()
        return Arming(int(nth), Action(action))


@dataclass(frozen=True, slots=True)
class Hit:
    """The proof that a process hit itself at a place: its own last words."""

    place: Place
    pid: int
    action: Action


class Control:
    """One replica's directory of armed places, of what was passed, and of what was hit.

    Arming replaces a file in one step; a hit is one write of a line, which the page cache keeps whatever becomes of
    the process. Nothing here outlives a power cut, nor has to.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._hits = directory / "hits"
        self._passed = directory / "passed"
        directory.mkdir(parents=True, exist_ok=True)

    def arm(self, place: Place, arming: Arming) -> None:
        beside = self.directory / f".{place}"
        beside.write_text(arming.to_text())
        beside.rename(self.directory / place)

    def disarm(self, *places: Place) -> None:
        """Disarm these, or all."""
        for place in places or Place:
            (self.directory / place).unlink(missing_ok=True)

    def armed(self, place: Place) -> Arming | None:
        try:
            return Arming.from_text((self.directory / place).read_text())
        except FileNotFoundError:
            return None

    def tell_passed(self, place: Place) -> None:
        _append(self._passed, place)

    def passed(self) -> set[Place]:
        """What any process with this directory has passed."""
        return {Place(line) for line in _lines(self._passed)}

    def tell_hit(self, hit: Hit) -> None:
        _append(self._hits, f"{hit.place} {hit.pid} {hit.action}")

    def hits(self) -> list[Hit]:
        """Every hit so far, in order."""
        words = [line.split() for line in _lines(self._hits)]
        return [Hit(Place(place), int(pid), Action(action)) for place, pid, action in words]


def _append(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line.encode() + b"\n")
    finally:
        os.close(descriptor)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
