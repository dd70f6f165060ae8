"""Between pysyncobj's messages (dicts) and ours (values with a strict codec): its `Transport` over the peer link.

Only the closed set of `codec.py` passes. Term and vote are made durable before anything leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pysyncobj.node import Node
from pysyncobj.transport import Transport

from cmkms.cluster.codec import (
    MAX_ENTRIES,
    Acknowledge,
    AppendEntries,
    Entry,
    GrantVote,
    InstallView,
    Message,
    RequestVote,
    TimeoutNow,
)
from cmkms.cluster.elections import LogEnd
from cmkms.cluster.snapshots import Snapshot
from cmkms.errors import BrokenInvariantError

__all__ = ["EngineTransport"]


class EngineTransport(Transport):
    """What one pysyncobj instance speaks through. `deliver(member, message)` sends; `settle` runs before that."""

    def __init__(
        self, deliver: Callable[[str, Message], bool], settle: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        super().__init__(None, None, ())
        self._deliver = deliver
        self._settle = settle
        self._clock = clock
        self.transfer = False
        self.answering: AppendEntries | InstallView | None = None
        self._sent: tuple[str, Message] | None = None

    # ---------------------------------------------------------------------------------------------------- outwards

    def take_sent(self) -> tuple[str, Message] | None:
        """Return, once, what was sent last, and to whom."""
        sent, self._sent = self._sent, None
        return sent

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        """Send one of pysyncobj's messages. False: not sent, which pysyncobj takes as lost."""
        translated = self._outwards(message)
        if translated is None:
            return False
        self._settle()
        self._sent = node.id, translated
        return self._deliver(node.id, translated)

    def _outwards(self, message: dict[str, Any]) -> Message | None:
        match message:
            case {"type": "append_entries", "term": term, "serialized": (Snapshot() as snapshot, True, True)}:
                first, second = snapshot.first, snapshot.second
                commit, sent = message["commit_index"], self._clock()
                ends = Entry(first[2], first[0]), Entry(second[2], second[0])
                return InstallView(term, sent, commit, first[1], *ends, snapshot.view)
            case {"type": "append_entries", "term": term, "prevLogIdx": int(previous), "entries": entries}:
                # What is left out is sent again: the follower acknowledges only up to what it has got.
                said = tuple(Entry(entry[2], entry[0]) for entry in entries[:MAX_ENTRIES])
                commit, sent = message["commit_index"], self._clock()
                return AppendEntries(term, sent, commit, previous, message["prevLogTerm"], said)
            case {"type": "next_node_idx", "next_node_idx": index, "reset": reset, "success": success}:
                if self.answering is None:
                    raise BrokenInvariantError("pysyncobj acknowledges what nobody sent")
                return Acknowledge(self.answering.term, self.answering.sent, index, reset, success)
            case {"type": "request_vote", "term": term, "last_log_index": index, "last_log_term": last}:
                return RequestVote(term, LogEnd(last, index), self.transfer)
            case {"type": "response_vote", "term": term}:
                return GrantVote(term)
            case {"type": "timeout_now", "term": term}:
                return TimeoutNow(term)
            case {"type": "apply_command"}:
                return None  # a proposal that outlived the leadership: the view has it, and tells it otherwise
            case _:
                raise BrokenInvariantError(f"pysyncobj says {message.get('type')}, for which there is no form")

    # ----------------------------------------------------------------------------------------------------- inwards

    def hand_in(self, node: Node | None, message: Message) -> None:
        """Give a decoded message to pysyncobj."""
        self.answering = message if isinstance(message, AppendEntries | InstallView) else None
        try:
            self._onMessageReceived(node, _inwards(message))
        finally:
            self.answering = None

    def outrank(self, node: Node, term: int) -> None:
        """Have pysyncobj take over `term` and lead no more, without a vote.

        A request for a vote in a new term does just that, if its log is behind every other (syncobj.py:921-935).
        """
        self._onMessageReceived(node, {"type": "request_vote", "term": term, "last_log_index": 0, "last_log_term": -1})

    def connected(self, node: Node) -> None:
        """Tell pysyncobj of a link."""
        self._onNodeConnected(node)

    def disconnected(self, node: Node) -> None:
        """Tell pysyncobj of the end of a link."""
        self._onNodeDisconnected(node)


def _inwards(message: Message) -> dict[str, Any]:
    match message:
        case AppendEntries(term, _, commit_index, previous_index, previous_term, entries):
            numbered = enumerate(entries, previous_index + 1)
            return {
                "type": "append_entries",
                "term": term,
                "commit_index": commit_index,
                "prevLogIdx": previous_index,
                "prevLogTerm": previous_term,
                "entries": [(entry.command, index, entry.term) for index, entry in numbered],
            }
        case InstallView(term, _, commit_index, index, first, second, view):
            ends = (first.command, index, first.term), (second.command, index + 1, second.term)
            serialized = (Snapshot(view, *ends), True, True)
            return {"type": "append_entries", "term": term, "commit_index": commit_index, "serialized": serialized}
        case Acknowledge(_, _, next_index, reset, success):
            return {"type": "next_node_idx", "next_node_idx": next_index, "reset": reset, "success": success}
        case RequestVote(term, end, _):
            last = {"last_log_index": end.index, "last_log_term": end.term}
            return {"type": "request_vote", "term": term, **last}
        case GrantVote(term):
            return {"type": "response_vote", "term": term}
        case TimeoutNow(term):
            return {"type": "timeout_now", "term": term}
        case _:
            raise BrokenInvariantError(f"{type(message).__name__} is not pysyncobj's business")
