"""What was seen at the wire: one request and its reply, as raw bytes, with times. Recorder and oracle share it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace

__all__ = ["Observation"]


@dataclass(frozen=True, slots=True)
class Observation:
    """One sign request and what came of it. Times are seconds of the clock that `clock` names.

    `request` and `reply` are the undelimited privval messages as they went over the wire; `reply` is None where none
    came, and `answered_at` is then when the node gave up. `pub_key` is the key the validator is known by, not what this
    signer says. `replica` tells the signers of one validator apart: `key:` and the identity key its connection has
    proven, or `pid:` and the process behind a Unix socket. `clock` is a recorder's name for its CLOCK_MONOTONIC, empty
    inside one process: times of one clock can be compared, whoever took them.
    """

    node: str
    connection: int
    asked_at: float
    answered_at: float
    pub_key: bytes
    request: bytes
    reply: bytes | None
    replica: str = ""
    clock: str = field(default="", compare=False)

    def to_json(self) -> str:
        """One line of JSON, without a line break and without the clock, which is the recording's."""
        return json.dumps(self.fields(), separators=(",", ":"))

    def fields(self) -> dict[str, object]:
        """What stands in a line of a recording, bytes in hex."""
        return {
            "node": self.node,
            "replica": self.replica,
            "connection": self.connection,
            "asked_at": self.asked_at,
            "answered_at": self.answered_at,
            "pub_key": self.pub_key.hex(),
            "request": self.request.hex(),
            "reply": None if self.reply is None else self.reply.hex(),
        }

    @classmethod
    def from_json(cls, line: str) -> Observation:
        """Read such a line back; what else stands in it is not looked at.

        Raises:
            ValueError, KeyError, TypeError: anything else, or a reply that came before its request.
        """
        data = json.loads(line)
        asked_at, answered_at, reply = float(data["asked_at"]), float(data["answered_at"]), data["reply"]
        if not (math.isfinite(asked_at) and math.isfinite(answered_at) and asked_at <= answered_at):
            raise ValueError(f"asked at {asked_at} and answered at {answered_at}")
        return cls(
            node=str(data["node"]),
            connection=int(data["connection"]),
            asked_at=asked_at,
            answered_at=answered_at,
            pub_key=bytes.fromhex(data["pub_key"]),
            request=bytes.fromhex(data["request"]),
            reply=None if reply is None else bytes.fromhex(reply),
            replica=str(data.get("replica", "")),
        )

    def on(self, clock: str) -> Observation:
        """The same, by this clock."""
        return replace(self, clock=clock)
