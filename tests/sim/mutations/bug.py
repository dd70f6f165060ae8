"""A bug on purpose: what is broken, how it is switched on, and what has to befall a cluster to show it. Values only.

A seeded bug changes the product in this process, for as long as its context lasts; it must never touch what judges.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.sim.mutations.profiles import CAMPAIGN, Profile

__all__ = ["Harmless", "NotYet", "SeededBug", "Switch", "swapped"]

Switch = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class SeededBug:
    """`sentence` says what is broken, `rule` which sentence of the promise that is; `budget` is in seeds.

    `profile` is what befalls the cluster; `switch` puts the bug in. `pinned` is a seed that is known to show it: where
    the code has moved on since, the search goes on from the first seed.
    """

    name: str
    sentence: str
    rule: str
    switch: Switch
    profile: Profile = CAMPAIGN
    budget: int = 40
    pinned: int = 1


@dataclass(frozen=True, slots=True)
class Harmless:
    """Something that is broken, and that nobody sees: what is promised does not rest on it. `why` says on what."""

    name: str
    sentence: str
    why: str
    switch: Switch
    profile: Profile = CAMPAIGN


@dataclass(frozen=True, slots=True)
class NotYet:
    """A bug in something that is not built. Its place is kept, so that it is not forgotten."""

    name: str
    sentence: str


@contextmanager
def swapped(owner: object, name: str, value: Any) -> Generator[None]:
    """Put `value` in the place of something that is there: a bug in what is gone would prove nothing."""
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
