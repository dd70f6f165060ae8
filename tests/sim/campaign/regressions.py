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


REGRESSIONS: tuple[Regression, ...] = (
    Regression(
        "lagging-node",
        "One guard accepts what a lagging node asks for, another is past it, the third is broken; then the first goes "
        "on, too, and nobody asked it again: the node was neither signed for nor refused.",
        seed=224,
        seconds=22.0,
    ),
    Regression(
        "two-lagging-proposals",
        "Two guards hold different proposals of one place, the third is lost; both have gone on since, and nobody "
        "asked them again.",
        seed=5,
        seconds=22.0,
    ),
    Regression(
        "image-of-a-former-generation",
        "A guard put back to an image of a generation that it has left is refused by its own start: found, though the "
        "judge of the simulation thought that nobody had noticed.",
        seed=61,
        seconds=22.0,
    ),
)
