"""What happened, in order: faults, leases, requests, answers and signatures, for whoever has to find out why."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from tests.sim.cluster.events import Events

__all__ = ["Story"]


@dataclass
class Story:
    """Every line is (seconds since the beginning, who, what). `folder`, where all lies, is another for each run."""

    events: Events
    folder: str
    lines: list[tuple[float, str, str]] = field(default_factory=list[tuple[float, str, str]])

    def tell(self, who: str, what: str) -> None:
        self.lines.append((self.events.now, who, what.replace(self.folder, "")))

    def last(self, count: int) -> list[str]:
        return [f"{at:9.4f} s  {who:<8}  {what}" for at, who, what in self.lines[-count:]]

    @property
    def digest(self) -> str:
        """Two runs that tell the same, tell it with the same digest."""
        return hashlib.sha256("\n".join(f"{at!r} {who} {what}" for at, who, what in self.lines).encode()).hexdigest()
