"""The form of what goes over the control socket: one JSON object on one line, both ways. Pure."""

from __future__ import annotations

import json
from typing import Any, cast

__all__ = ["Fields", "encode_line", "parse_line"]

Fields = dict[str, Any]


def encode_line(fields: Fields) -> bytes:
    """Return the line of an object."""
    return json.dumps(fields).encode() + b"\n"


def parse_line(line: bytes) -> Fields | None:
    """Return the object on a line; None for anything else."""
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("Fields", found) if isinstance(found, dict) else None
