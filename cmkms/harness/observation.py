"""What was seen at the wire: one request and its reply, as raw bytes, with times. Recorder and oracle share it."""

from __future__ import annotations

import json
from dataclasses import dataclass

__all__ = ["Observation"]


@dataclass(frozen=True, slots=True)
class Observation:
    """One answered sign request. Times are CLOCK_MONOTONIC seconds, comparable between processes of one machine.

    `request` and `reply` are the undelimited privval messages as they went over the wire; `pub_key` is the key the
    validator is known by, not what this signer says.
    """

    node: str
    connection: int
    asked_at: float
    answered_at: float
    pub_key: bytes
    request: bytes
    reply: bytes

    def to_json(self) -> str:
        """One line of JSON, without a line break."""
        return json.dumps(
            {
                "node": self.node,
                "connection": self.connection,
                "asked_at": self.asked_at,
                "answered_at": self.answered_at,
                "pub_key": self.pub_key.hex(),
                "request": self.request.hex(),
                "reply": self.reply.hex(),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, line: str) -> Observation:
        """Read such a line back. Raises ValueError or KeyError for anything else."""
        data = json.loads(line)
        return cls(
            node=str(data["node"]),
            connection=int(data["connection"]),
            asked_at=float(data["asked_at"]),
            answered_at=float(data["answered_at"]),
            pub_key=bytes.fromhex(data["pub_key"]),
            request=bytes.fromhex(data["request"]),
            reply=bytes.fromhex(data["reply"]),
        )
