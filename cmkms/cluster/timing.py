"""The times of elections and leases, all derived from one: how long a lease lasts. Pure values.

Their order carries the lease: heartbeat < lease < shortest election timeout. Whoever changes a factor keeps that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Timing"]

_HEARTBEAT: Final = 1 / 10
"""Ten heartbeats a lease: two or three may be lost or late without costing the lease."""

_ELECTION_MIN: Final = 1.125
"""A follower is silent for longer than the lease that its last acknowledgement gave can last."""

_ELECTION_MAX: Final = 1.75
"""Wide enough that two followers seldom wake together, short enough that a cut costs well under a second."""

_TICK: Final = 1 / 20
"""Two ticks a heartbeat: a tick costs some 30 us, and what has to happen at once does not wait for one."""

_STAGGER: Final = 3 / 40
"""30 ms at the usual 400: several round trips of the network that such a lease is meant for."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `stagger` is what lies between the attempts of two members who learn of a death together."""

    heartbeat: float
    lease: float
    election_min: float
    election_max: float
    tick: float
    stagger: float

    def __post_init__(self) -> None:
        if not 0 < self.tick <= self.heartbeat < self.lease < self.election_min < self.election_max:
            raise ValueError("expected 0 < tick <= heartbeat < lease < election_min < election_max")

    @classmethod
    def of(cls, default_ttl_seconds: float) -> Timing:
        """Return the times that go with a lease of this many seconds (`default_ttl`)."""
        ttl = default_ttl_seconds
        return cls(
            heartbeat=ttl * _HEARTBEAT,
            lease=ttl,
            election_min=ttl * _ELECTION_MIN,
            election_max=ttl * _ELECTION_MAX,
            tick=ttl * _TICK,
            stagger=ttl * _STAGGER,
        )
