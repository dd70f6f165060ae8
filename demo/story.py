"""What has happened so far in a demo: written by whoever drives it, read by whoever shows it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum

from cmkms.harness.latency import Distribution

__all__ = ["Event", "Story", "Tone"]


class Tone(StrEnum):
    """How an event feels; the values are rich styles."""

    PLAIN = "default"
    GOOD = "green"
    BAD = "bold red"
    CRASH = "bold yellow"


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth a line: seconds since the beginning, text, tone."""

    at: float
    text: str
    tone: Tone


@dataclass(slots=True)
class Story:
    """The demo so far.

    `length` is how long the chain shall run (s), from `signing_since` on (CLOCK_MONOTONIC, as all moments here).
    `answered` holds the moments of signatures or blocks, `latencies` the milliseconds they took,
    `gap` the silence (s) that the kill cost, ended by the first signature at height `resumes_at` or above,
    `verified` how many signatures were verified independently.
    """

    title: str
    chain_id: str
    validator: str
    length: float
    began: float = field(default_factory=time.monotonic)
    signing_since: float | None = None
    events: list[Event] = field(default_factory=list[Event])
    answered: list[float] = field(default_factory=list[float])
    latencies: list[float] = field(default_factory=list[float])
    first_height: int = 0
    height: int = 0
    signer: str = "not started"
    last_before_crash: float | None = None
    resumes_at: int = 0
    gap: float | None = None
    unit: str = "signature"
    measured_by: str = "as the node waits"
    verified: int = 0
    refusals: int = 0
    double_signs: int = 0
    broken: list[str] = field(default_factory=list[str])

    def tell(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Add an event that happens now."""
        self.events.append(Event(self.elapsed, text, tone))

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    @property
    def count(self) -> str:
        """How many signatures or blocks there were, in words."""
        return f"{len(self.answered)} {self.unit}" + ("" if len(self.answered) == 1 else "s")

    @property
    def progress(self) -> float:
        """How much of the show is over, from 0 to 1 and beyond."""
        return 0.0 if self.signing_since is None else (time.monotonic() - self.signing_since) / self.length

    @property
    def crashed(self) -> bool:
        """Whether the signer has been killed."""
        return self.last_before_crash is not None

    @property
    def went_on(self) -> bool:
        """Whether the chain has gone on after the kill."""
        return self.gap is not None

    @property
    def heights(self) -> int:
        """How many heights the chain has gone through."""
        return self.height - self.first_height + 1 if self.first_height else 0

    @property
    def latency(self) -> Distribution:
        """Percentiles of the latencies, in ms."""
        return Distribution.of(self.latencies)

    def advance(self, height: int, at: float) -> None:
        """The chain got a signature or block at this height, at this moment."""
        self.first_height = self.first_height or height
        self.height = max(self.height, height)
        if self.last_before_crash is not None and self.gap is None and height >= self.resumes_at:
            self.gap = at - self.last_before_crash
            self.tell(f"the chain goes on at height {height}, after {self.gap * 1e3:.0f} ms", Tone.GOOD)
        self.answered.append(at)
