"""A second opinion on what a guard must answer: the design's table and CometBFT's CheckHRS, written from the texts.

Shares nothing with the guard: it never parses bytes, but remembers *what* was asked as plain words, and it remembers
everything that was ever accepted, not only the last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Asked", "Oracle"]

STEPS = {"proposal": 1, "prevote": 2, "precommit": 3}


class Asked(NamedTuple):
    """One request in words. `block` 0 is nil; `pol` is a proposal's POL round, None for votes."""

    kind: str
    height: int
    round: int
    block: int
    time: int
    pol: int | None = None

    @property
    def point(self) -> tuple[int, int, int]:
        return self.height, self.round, STEPS[self.kind]


@dataclass
class Oracle:
    """What one guard has seen. `last` None and a point above zero: sealed there."""

    point: tuple[int, int, int] = (0, 0, 0)
    last: Asked | None = None
    accepted: dict[tuple[int, int, int], Asked] = field(default_factory=dict[tuple[int, int, int], Asked])

    def expect(self, asked: Asked) -> str:
        """Say what the answer has to be, in the words of the design's table."""
        height, round_, step = self.point
        if asked.height < height:
            return "REGRESSION"  # height regression
        if asked.height == height:
            if asked.round < round_:
                return "REGRESSION"  # round regression
            if asked.round == round_:
                if STEPS[asked.kind] < step:
                    return "REGRESSION"  # step regression
                if STEPS[asked.kind] == step:
                    return self._same(asked)
        return "ACCEPTED"

    def take(self, asked: Asked) -> None:
        """Note that `asked` was ACCEPTED."""
        assert self.accepted.setdefault(asked.point, asked) == asked, "two different messages at one height/round/step"
        assert asked.point >= self.point, "an acceptance below the watermark"
        self.point, self.last = asked.point, asked

    def _same(self, asked: Asked) -> str:
        held = self.last
        if held is None:
            return "SEALED"  # "no SignBytes found"
        if asked == held:
            return "ACCEPTED"
        if asked._replace(time=held.time) == held:
            return "HELD"
        return "CONFLICT"
