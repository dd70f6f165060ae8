"""A node that asks the cluster for signatures, over one connection at a time, as CometBFT does.

It asks for one thing at a time, waits 5 s for its answer, hangs up then and asks for the very same on its next
connection. An error is final for what was asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from cmkms.guard.hrs import HRS, Step
from cmkms.signing import Answer, Rejected, Waiter
from cmkms.signing.signer import SignRequest, canonical
from tests.sim.cluster.events import Events, Scheduled
from tests.sim.cluster.hosts import Host, Process
from tests.unit.signing.messages import BLOCK_A, BLOCK_B, NIL, precommit, prevote, proposal

__all__ = ["Asked", "Chain", "Sentry"]

READ_SECONDS = 5.0
RECONNECT_SECONDS = 0.1
Told = Callable[[str, SignRequest, float, float, Answer], None]


@dataclass
class Chain:
    """What the nodes of one validator agree on: where the chain is."""

    place: HRS = field(default_factory=lambda: HRS(10, 0, Step.PROPOSE))

    def signed(self, at: HRS) -> None:
        """A node has its signature at `at`: the chain goes on to the next step, or height."""
        if at >= self.place:
            last = at.step is Step.PRECOMMIT
            self.place = HRS(at.height + 1, 0, Step.PROPOSE) if last else HRS(at.height, at.round, Step(at.step + 1))

    def refused(self, at: HRS) -> None:
        """A node was refused at `at`: it goes on in the next round."""
        if at >= self.place:
            self.place = HRS(at.height, at.round + 1, Step.PROPOSE)


@dataclass(eq=False)
class Asked:
    """One request until its answer. `at` is when it was asked first."""

    request: SignRequest
    at: float
    answer: Answer | None = None
    answered_at: float = 0.0
    tries: int = 0

    @property
    def signed(self) -> bool:
        return self.answer is not None and not isinstance(self.answer, Rejected)

    @property
    def took(self) -> float:
        return self.answered_at - self.at


@dataclass
class Sentry:
    """`unreachable` are replicas whose connection to this node is cut. `busy`: it goes on asking by itself."""

    name: str
    hosts: dict[str, Host]
    events: Events
    random: Random
    chain: Chain
    told: Told
    pace: float = 0.05
    strange: float = 0.1
    connected: str = ""
    unreachable: set[str] = field(default_factory=set[str])
    busy: bool = False
    asked: list[Asked] = field(default_factory=list[Asked])
    hung_up: int = 0
    _process: Process | None = None
    _now: Asked | None = None
    _waiter: Waiter | None = None
    _deadline: Scheduled | None = None

    # ------------------------------------------------------------------------------------------------------- requests

    def begin(self) -> None:
        """Ask on and on: proposal, prevote, precommit, and what else a confused node may ask."""
        self.busy = True
        self._next()

    def ask(self, request: SignRequest) -> Asked:
        """Ask for one thing now."""
        assert self._now is None, "a node asks one thing at a time"
        self._now = Asked(request, self.events.now)
        self.asked.append(self._now)
        self._try()
        return self._now

    def give_up(self) -> SignRequest | None:
        """Do not ask any more for what was asked for in vain; returns it."""
        asked, self._now = self._now, None
        if self._deadline is not None:
            self._deadline.cancel()
        self._leave()
        return asked.request if asked is not None else None

    @property
    def waits(self) -> bool:
        return self._now is not None

    def _next(self) -> None:
        if self.busy and self._now is None:
            self.ask(self._choose())

    def _choose(self) -> SignRequest:
        """What the chain needs next, at this node's own time; now and then a repeat, an older one or another block."""
        if self.asked and self.random.random() < self.strange / 2:
            return self.random.choice(self.asked[-3:]).request
        place = self.chain.place
        seconds = int(self.events.now * 10) % 50 + (0 if self.name == "sentry-0" else 1)
        block = BLOCK_A if self.random.random() > self.strange else self.random.choice((BLOCK_B, NIL))
        if place.step is Step.PROPOSE:
            return proposal(place.height, place.round, BLOCK_B if block is NIL else block, seconds)
        if place.step is Step.PREVOTE:
            return prevote(place.height, place.round, block, seconds)
        extension = b"" if block is NIL else self.name.encode()
        return precommit(place.height, place.round, block, seconds, extension=extension)

    # ----------------------------------------------------------------------------------------------------- connections

    def connect(self, name: str) -> None:
        """Use the connection to this replica from now on."""
        self._leave()
        process = self.hosts[name].process
        if process is not None and name not in self.unreachable:
            self.connected, self._process = name, process
            process.nodes += 1

    def reconnect(self) -> None:
        """The connection broke."""
        if self._process is not None:
            self._broken()

    def lost(self, process: Process) -> None:
        """A process is gone, and its sockets with it."""
        if self._process is process:
            self._broken()

    def _try(self) -> None:
        if self._now is None:
            return
        if self._process is None:
            self._turn_to_the_next()
        process = self._process
        if process is None:
            self.events.later(RECONNECT_SECONDS, self._try)
            return
        asked = self._now
        asked.tries += 1
        self._waiter = waiter = Waiter(
            asked.request,
            lambda answer: self._answered(asked, waiter, answer),
            hang_up=lambda: self._hang_up(waiter),
        )
        self._deadline = self.events.later(READ_SECONDS, self._broken)
        self.events.later(0.0001, lambda: process.submit(waiter))

    def _answered(self, asked: Asked, waiter: Waiter, answer: Answer) -> None:
        if self._waiter is not waiter:
            return
        self._waiter = self._now = None
        if self._deadline is not None:
            self._deadline.cancel()
        asked.answer, asked.answered_at = answer, self.events.now
        self.told(self.name, asked.request, asked.at, self.events.now, answer)
        hrs, _ = canonical(asked.request)
        (self.chain.signed if asked.signed else self.chain.refused)(hrs)
        if self.busy:
            self.events.later(self.random.uniform(0.5, 1.5) * self.pace, self._next)

    def _hang_up(self, waiter: Waiter) -> None:
        if self._waiter is waiter:
            self.hung_up += 1
            self._broken()

    def _broken(self) -> None:
        """The connection is gone: ask for the same on the next one."""
        if self._deadline is not None:
            self._deadline.cancel()
        last = self.connected
        self._leave()
        self.connected = last
        self.events.later(RECONNECT_SECONDS, self._try_elsewhere)

    def _try_elsewhere(self) -> None:
        if self._now is not None and self._waiter is None:
            self._turn_to_the_next()
            self._try()

    def _leave(self) -> None:
        process, waiter = self._process, self._waiter
        self._process = self._waiter = None
        if process is not None:
            process.nodes -= 1
            if waiter is not None:
                process.withdraw(waiter)

    def _turn_to_the_next(self) -> None:
        """Every replica keeps a connection in the node's backlog: the one after the last is next."""
        names = sorted(self.hosts)
        at = names.index(self.connected) if self.connected else -1
        for step in range(1, len(names) + 1):
            name = names[(at + step) % len(names)]
            if self.hosts[name].process is not None and name not in self.unreachable:
                self.connect(name)
                return
