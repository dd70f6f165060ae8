"""Seeds that have found something, each with the sentence that says what. They run with every change."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["REGRESSIONS", "Regression"]


@dataclass(frozen=True, slots=True)
class Regression:
    """A seed as it was when it failed; `sentence` says what was wrong then."""

    name: str
    sentence: str
    seed: int
    seconds: float = 30.0
    replicas: int | None = None
    without: tuple[str, ...] = ()


REGRESSIONS: tuple[Regression, ...] = ()
