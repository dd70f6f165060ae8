"""Every message of the election and the replicated view, and its bytes: a closed set, decoded strictly. Pure.

What pysyncobj could also say (forwarded commands, pickled chunks, changes of members and of code version) has no form
here, so no peer can say it. Acknowledgements carry the term and the send time of what they acknowledge, which
pysyncobj's own do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from cmkms.cluster.elections import LogEnd
from cmkms.cluster.octets import Octets, flag, number, seconds, sized
from cmkms.cluster.view import MAX_DELTA_BYTES, MAX_VIEW_BYTES

__all__ = [
    "MAX_ENTRIES",
    "MAX_MESSAGE_BYTES",
    "Acknowledge",
    "AnswerPreVote",
    "AppendEntries",
    "Entry",
    "GrantVote",
    "InstallView",
    "Message",
    "NewerTerm",
    "RequestPreVote",
    "RequestVote",
    "ShareView",
    "TermMessage",
    "TimeoutNow",
    "decode",
    "encode",
]

MAX_MESSAGE_BYTES: Final = 256 * 1024
"""The longest is a whole view, with the two log entries that it stands for."""

MAX_ENTRIES: Final = 1024
"""Log entries in one message; a sender with more says the rest when these are acknowledged."""

MAX_INDEX: Final = 2**62
"""Whatever is counted on from there can still be written."""

MAX_COMMAND_BYTES: Final = MAX_DELTA_BYTES + 1
"""pysyncobj's byte of kind, and a delta of the view."""

_VERSION: Final = 1
_MAX_NAME: Final = 64

_REGULAR: Final = b"\x00"
_NO_OP: Final = b"\x01"
"""pysyncobj's kinds of command that we use. 2 (membership) and 3 (code version) would be unpickled: never."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log; its index goes without saying."""

    term: int
    command: bytes


@dataclass(frozen=True, slots=True)
class RequestVote:
    """A candidate of `term` asks for a vote. `transfer`: the leader asked it to stand."""

    term: int
    end: LogEnd
    transfer: bool


@dataclass(frozen=True, slots=True)
class GrantVote:
    """The vote of `term`."""

    term: int


@dataclass(frozen=True, slots=True)
class AppendEntries:
    """The leader's entries after (`previous_index`, `previous_term`); with none of them, its heartbeat.

    `sent`: the leader's CLOCK_BOOTTIME in seconds, which means something to itself only.
    """

    term: int
    sent: float
    commit_index: int
    previous_index: int
    previous_term: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class InstallView:
    """The leader's view, in place of a log whose first two entries are `first` (at `first_index`) and `second`."""

    term: int
    sent: float
    commit_index: int
    first_index: int
    first: Entry
    second: Entry
    view: bytes


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """A follower's answer to `AppendEntries` or `InstallView` of `term`, sent at `sent`."""

    term: int
    sent: float
    next_index: int
    reset: bool
    success: bool


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """The leader of `term` asks the receiver to take over."""

    term: int


@dataclass(frozen=True, slots=True)
class RequestPreVote:
    """Would the receiver vote for the sender in `term`? The sender saw the port of `refused` refuse (empty: none)."""

    term: int
    end: LogEnd
    refused: str


@dataclass(frozen=True, slots=True)
class AnswerPreVote:
    """The answer, with the receiver's own term."""

    term: int
    granted: bool
    own_term: int


@dataclass(frozen=True, slots=True)
class NewerTerm:
    """Said to a leader whose term is not the newest any more: it would not learn of it otherwise."""

    term: int


@dataclass(frozen=True, slots=True)
class ShareView:
    """What the sender's view knows, or newly knows: no part of any log."""

    view: bytes


TermMessage = (
    RequestVote
    | GrantVote
    | AppendEntries
    | InstallView
    | Acknowledge
    | TimeoutNow
    | RequestPreVote
    | AnswerPreVote
    | NewerTerm
)
"""All that is said in a term."""

Message = TermMessage | ShareView


class _Kind:
    REQUEST_VOTE: Final = 1
    GRANT_VOTE: Final = 2
    APPEND_ENTRIES: Final = 3
    INSTALL_VIEW: Final = 4
    ACKNOWLEDGE: Final = 5
    TIMEOUT_NOW: Final = 6
    REQUEST_PRE_VOTE: Final = 7
    ANSWER_PRE_VOTE: Final = 8
    NEWER_TERM: Final = 9
    SHARE_VIEW: Final = 10


def encode(message: Message) -> bytes:
    """Return a message's bytes. Raises ValueError for what no receiver would take."""
    kind, body = _body(message)
    data = bytes([_VERSION, kind]) + body
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {len(data)} bytes, at most {MAX_MESSAGE_BYTES} are possible")
    return data


def _body(message: Message) -> tuple[int, bytes]:  # noqa: C901  (one row a message)
    match message:
        case AppendEntries():
            return _Kind.APPEND_ENTRIES, _append(message)
        case Acknowledge(term, sent, next_index, reset, success):
            body = number(term) + seconds(sent) + number(next_index) + flag(reset) + flag(success)
            return _Kind.ACKNOWLEDGE, body
        case InstallView():
            return _Kind.INSTALL_VIEW, _install(message)
        case RequestVote(term, end, transfer):
            return _Kind.REQUEST_VOTE, number(term) + _end(end) + flag(transfer)
        case GrantVote(term):
            return _Kind.GRANT_VOTE, number(term)
        case TimeoutNow(term):
            return _Kind.TIMEOUT_NOW, number(term)
        case RequestPreVote(term, end, refused):
            return _Kind.REQUEST_PRE_VOTE, number(term) + _end(end) + sized(refused.encode(), _MAX_NAME)
        case AnswerPreVote(term, granted, own_term):
            return _Kind.ANSWER_PRE_VOTE, number(term) + flag(granted) + number(own_term)
        case NewerTerm(term):
            return _Kind.NEWER_TERM, number(term)
        case ShareView(view):
            return _Kind.SHARE_VIEW, sized(view, MAX_VIEW_BYTES)


def _append(message: AppendEntries) -> bytes:
    if len(message.entries) > MAX_ENTRIES:
        raise ValueError(f"{len(message.entries)} entries, at most {MAX_ENTRIES} are possible")
    parts = [number(message.term), seconds(message.sent), number(message.commit_index)]
    parts += [number(message.previous_index), number(message.previous_term), number(len(message.entries))]
    parts += [_entry(entry) for entry in message.entries]
    return b"".join(parts)


def _install(message: InstallView) -> bytes:
    head = number(message.term) + seconds(message.sent) + number(message.commit_index) + number(message.first_index)
    return head + _entry(message.first) + _entry(message.second) + sized(message.view, MAX_VIEW_BYTES)


def _end(end: LogEnd) -> bytes:
    return number(end.term) + number(end.index)


def _entry(entry: Entry) -> bytes:
    return number(entry.term) + sized(entry.command, MAX_COMMAND_BYTES)


def decode(data: bytes) -> Message:
    """Read one message. Raises PeerError for anything that `encode` would not have written."""
    octets = Octets(data, "a message of the election")
    if len(data) > MAX_MESSAGE_BYTES:
        raise octets.wrong(f"{len(data)} bytes, at most {MAX_MESSAGE_BYTES} are possible")
    if (version := octets.byte()) != _VERSION:
        raise octets.wrong(f"version {version} is not known")
    message = _message(octets, octets.byte())
    octets.end()
    return message


def _message(octets: Octets, kind: int) -> Message:  # noqa: C901  (one row a message)
    match kind:
        case _Kind.APPEND_ENTRIES:
            return _read_append(octets)
        case _Kind.ACKNOWLEDGE:
            return _read_acknowledge(octets)
        case _Kind.INSTALL_VIEW:
            return _read_install(octets)
        case _Kind.REQUEST_VOTE:
            return RequestVote(octets.number(), _read_end(octets), octets.flag())
        case _Kind.GRANT_VOTE:
            return GrantVote(octets.number())
        case _Kind.TIMEOUT_NOW:
            return TimeoutNow(octets.number())
        case _Kind.REQUEST_PRE_VOTE:
            return RequestPreVote(octets.number(), _read_end(octets), octets.text(_MAX_NAME))
        case _Kind.ANSWER_PRE_VOTE:
            return AnswerPreVote(octets.number(), octets.flag(), octets.number())
        case _Kind.NEWER_TERM:
            return NewerTerm(octets.number())
        case _Kind.SHARE_VIEW:
            return ShareView(octets.sized(MAX_VIEW_BYTES))
        case _:
            raise octets.wrong(f"kind {kind} is not known")


def _read_append(octets: Octets) -> AppendEntries:
    term, sent, commit_index = octets.number(), octets.seconds(), octets.number()
    previous_index, previous_term = _read_index(octets), octets.number()
    if (count := octets.number()) > MAX_ENTRIES:
        raise octets.wrong(f"{count} entries, at most {MAX_ENTRIES} are possible")
    entries = tuple(_read_entry(octets) for _ in range(count))
    _check_terms(octets, previous_term, *(entry.term for entry in entries), term)
    return AppendEntries(term, sent, commit_index, previous_index, previous_term, entries)


def _read_install(octets: Octets) -> InstallView:
    term, sent, commit_index, first_index = octets.number(), octets.seconds(), octets.number(), _read_index(octets)
    first, second = _read_entry(octets), _read_entry(octets)
    _check_terms(octets, first.term, second.term, term)
    if first_index > commit_index:
        # What is installed was committed: pysyncobj would count up to such an index, one by one.
        raise octets.wrong(f"it begins at {first_index}, above what is committed ({commit_index})")
    return InstallView(term, sent, commit_index, first_index, first, second, octets.sized(MAX_VIEW_BYTES))


def _read_acknowledge(octets: Octets) -> Acknowledge:
    return Acknowledge(octets.number(), octets.seconds(), _read_index(octets), octets.flag(), octets.flag())


def _read_index(octets: Octets) -> int:
    index = octets.number()
    if not 1 <= index <= MAX_INDEX:
        raise octets.wrong(f"{index} is the place of no entry")
    return index


def _read_end(octets: Octets) -> LogEnd:
    return LogEnd(octets.number(), octets.number())


def _read_entry(octets: Octets) -> Entry:
    term, command = octets.number(), octets.sized(MAX_COMMAND_BYTES)
    if command != _NO_OP and command[:1] != _REGULAR:
        raise octets.wrong("a command of a kind that is not used")
    return Entry(term, command)


def _check_terms(octets: Octets, *terms: int) -> None:
    """Terms never fall along a log, nor does one lie above its leader's."""
    if any(later < earlier for earlier, later in pairwise(terms)):
        raise octets.wrong("the terms in it do not rise")
