"""The ways that a sign request can go, and what is needed to go them. Pure values and protocols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cmkms.signing.forwarding import Forward, Forwarded

__all__ = ["ALONE", "Here", "Link", "Nowhere", "Route", "Routes", "Through", "Ways"]


@dataclass(frozen=True, slots=True)
class Here:
    """This replica holds the lease."""


@dataclass(frozen=True, slots=True)
class Through:
    """`holder` holds the lease in `term`, and is reached through `member`: itself, or a third replica."""

    member: str
    holder: str
    term: int


@dataclass(frozen=True, slots=True)
class Nowhere:
    """Nobody is known to hold the lease, or nobody reaches them. `cut_off`: it is us who hear no majority."""

    why: str
    cut_off: bool


Route = Here | Through | Nowhere


class Routes(Protocol):
    """Knows where requests go at this moment."""

    def route(self) -> Route:
        """Return the way to the lease holder."""
        ...

    def reaches(self, member: str) -> bool:
        """Tell whether there is a direct link to a member."""
        ...


class Link(Protocol):
    """Sends to another replica."""

    def __call__(self, member: str, message: Forward | Forwarded, /) -> bool:
        """Send; False if there is no link now. Never answers before it returns."""
        ...


class _AlwaysHere:
    """The routes of a replica alone."""

    def route(self) -> Route:
        """See `Routes.route`."""
        return Here()

    def reaches(self, member: str) -> bool:  # noqa: ARG002 - see `Routes.reaches`
        """There is nobody to reach."""
        return False


@dataclass(frozen=True, slots=True)
class Ways:
    """What a chain's requests go by: routes, link, and `verify(sign_bytes, signature)` by this chain's key."""

    routes: Routes
    link: Link
    verify: Callable[[bytes, bytes], bool]


ALONE: Ways = Ways(_AlwaysHere(), lambda _member, _message: False, lambda _sign_bytes, _signature: False)
"""The ways of a replica that is the only one."""
