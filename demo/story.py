"""What has happened so far in a demo: written by whoever drives it, read by whoever shows it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum

from cmkms.harness.latency import Distribution

__all__ = ["Event", "Outage", "ReplicaLine", "ReplicaState", "Story", "Tone"]


class Tone(StrEnum):
    """How an event feels; the values are rich styles."""

    PLAIN = "default"
    GOOD = "green"
    BAD = "bold red"
    CRASH = "bold yellow"


class ReplicaState(StrEnum):
    """What a replica does, in words for the reader."""

    STARTING = "starting"
    UP = "up"
    KILLED = "killed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth a line: seconds since the beginning, text, tone."""

    at: float
    text: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class ReplicaLine:
    """One replica at a glance. `serves`: the node is connected to it; `watermark`: its guard's height/round/step."""

    id: str
    state: ReplicaState
    pid: int | None = None
    holds_lease: bool = False
    serves: bool = False
    watermark: str = ""


@dataclass(slots=True)
class Outage:
    """One replica taken away, and what that cost the validator.

    `cost` is the longest time (s) that the chain stood still for one answer, or one block, from the blow until the
    first answer at height `resumes_at` or above after the replica was gone (`over`).
    """

    label: str
    resumes_at: int = 0
    over: bool = False
    cost: float = 0.0
    settled: bool = False


@dataclass(slots=True)
class Story:
    """The demo so far.

    `length` is how long the chain shall run (s), from `signing_since` on (CLOCK_MONOTONIC, as all moments here).
    `answered` holds the moments of signatures or blocks, `latencies` the milliseconds they took,
    `verified` how many signatures were verified independently, `violations` what the oracle holds against them,
    `broken` whatever else went wrong.
    """

    title: str
    chain_id: str
    validator: str
    length: float
    began: float = field(default_factory=time.monotonic)
    signing_since: float | None = None
    events: list[Event] = field(default_factory=list[Event])
    replicas: tuple[ReplicaLine, ...] = ()
    outages: list[Outage] = field(default_factory=list[Outage])
    answered: list[float] = field(default_factory=list[float])
    latencies: list[float] = field(default_factory=list[float])
    first_height: int = 0
    height: int = 0
    unit: str = "signature"
    cost_unit: str = "the longest wait for an answer"
    measured_by: str = "as the node waits"
    verified: int = 0
    refusals: int = 0
    double_signs: int = 0
    violations: list[str] = field(default_factory=list[str])
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
    def holder(self) -> str:
        """Who holds the lease; empty if nobody is known to."""
        return next((replica.id for replica in self.replicas if replica.holds_lease), "")

    @property
    def went_on(self) -> bool:
        """Whether a replica was taken away, and the chain has gone on each time."""
        return bool(self.outages) and all(outage.settled for outage in self.outages)

    @property
    def good(self) -> bool:
        """Whether every promise was kept so far, and the chain survived."""
        return self.went_on and not (self.violations or self.broken or self.double_signs)

    @property
    def heights(self) -> int:
        """How many heights the chain has gone through."""
        return self.height - self.first_height + 1 if self.first_height else 0

    @property
    def latency(self) -> Distribution:
        """Percentiles of the latencies, in ms."""
        return Distribution.of(self.latencies)

    def waited(self, seconds: float) -> None:
        """The chain stood still for so long: outages that are not settled are charged with it."""
        for outage in self.outages:
            if not outage.settled:
                outage.cost = max(outage.cost, seconds)

    def advance(self, height: int, at: float, waited: float) -> None:
        """The chain got a signature or block at this height, at this moment, after `waited` seconds."""
        self.first_height = self.first_height or height
        self.height = max(self.height, height)
        self.answered.append(at)
        self.waited(waited)
        for outage in self.outages:
            if outage.over and not outage.settled and height >= outage.resumes_at:
                outage.settled = True
                cost = f"{self.cost_unit}: {outage.cost * 1e3:.0f} ms"
                self.tell(f"the chain goes on at height {height}; {cost}", Tone.GOOD)
