"""Members of a generation in JSON, as the born marker and the change beside a guard have them. Pure."""

from __future__ import annotations

from typing import Any

from cmkms.guard.generation import Member

__all__ = ["name_of", "parse_members", "render_members"]


def render_members(members: tuple[Member, ...]) -> list[dict[str, str]]:
    """Return members as JSON has them, in their order."""
    return [{"id": one.id, "identity": one.identity.hex(), "nonce": one.nonce.hex()} for one in members]


def parse_members(fields: list[dict[str, Any]]) -> tuple[Member, ...]:
    """Read members back. Raises ValueError, KeyError or TypeError for what is none."""
    return tuple(
        Member(name_of(one["id"]), bytes.fromhex(one["identity"]), bytes.fromhex(one["nonce"])) for one in fields
    )


def name_of(value: object) -> str:
    """Return a name. Raises UnicodeEncodeError, a ValueError, for one that no hash can be made of."""
    name = str(value)
    name.encode()
    return name
