"""A node that asks the cluster for signatures, over one connection at a time, as CometBFT does.

It asks for one thing at a time, waits 5 s for its answer, hangs up then and asks for the very same on its next
connection. An error is final for what was asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from cmkms.guard.hrs import HRS, Step
from cmkms.signing import Answer, Rejected, Waiter
from cmkms.signing.signer import SignRequest, canonical
from tests.sim.cluster.confusion import Place, confused
from tests.sim.cluster.events import Events, Scheduled
from tests.sim.cluster.hosts import Host
from tests.sim.cluster.judge import Judge
from tests.sim.cluster.lives import Process
from tests.unit.signing.messages import BLOCK_A, precommit, prevote, proposal

__all__ = ["Asked", "Chain", "Sentry"]

READ_SECONDS = 5.0
RECONNECT_SECONDS = 0.1
WIRE_SECONDS = 0.0001
_KEPT = 40


@dataclass
class Chain:
    """What the nodes of one validator agree on: where the chain is. `said`: what any of them has asked of late."""

    place: HRS = field(default_factory=lambda: HRS(10, 0, Step.PROPOSE))
    said: deque[SignRequest] = field(default_factory=lambda: deque(maxlen=_KEPT))

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
    """One request until its answer. `at` is when it was asked first, `tried_at` last, at the replica `of`."""

    request: SignRequest
    at: float
    sign_bytes: bytes = b""
    answer: Answer | None = None
    answered_at: float = 0.0
    tries: int = 0
    tried_at: float = 0.0
    of: Process | None = None
    swallowed: bool = False
    """The network has lost the question or its answer, and the node does not know."""

    @property
    def signed(self) -> bool:
        return self.answer is not None and not isinstance(self.answer, Rejected)

    @property
    def took(self) -> float:
        return self.answered_at - self.at


@dataclass(eq=False)
class _Call:
    """One request on one connection. It is answered once at most, and never once its connection is known to be gone."""

    process: Process
    judge: Judge
    deliver: Callable[[Answer], None]
    answers: int = 0
    withdrawn: bool = False

    def arrive(self, waiter: Waiter) -> None:
        """It reaches the replica, unless the node has hung up before."""
        if not self.withdrawn:
            self.process.chain.dispatch.submit(waiter)

    def answer(self, answer: Answer) -> None:
        host = self.process.host
        self.answers += 1
        if self.answers > 1:
            self.judge.condemn(f"{host.name} answers one request twice")
        if self.withdrawn:
            self.judge.condemn(f"{host.name} answers on a connection that is gone")
        lag = host.lag

        def leave() -> None:
            # Amid a slow write nothing has left yet.
            if self.process.alive or not lag:
                self.deliver(answer)

        host.events.later(lag + WIRE_SECONDS, leave)

    def withdraw(self, waiter: Waiter) -> None:
        def gone() -> None:
            self.withdrawn = True
            self.process.chain.dispatch.withdraw(waiter)

        self.process.run(gone, self)


@dataclass
class Sentry:
    """`unreachable` are replicas whose connection to this node is cut. `busy`: it goes on asking by itself.

    `told` is who watches. `strange`: how often it asks for what no sane node would. `patience`: after how long it hangs
    up.
    """

    name: str
    hosts: dict[str, Host]
    events: Events
    random: Random
    chain: Chain
    told: Judge
    pace: float = 0.05
    strange: float = 0.1
    patience: float = READ_SECONDS
    connected: str = ""
    unreachable: set[str] = field(default_factory=set[str])
    busy: bool = False
    asked: list[Asked] = field(default_factory=list[Asked])
    hung_up: int = 0
    _process: Process | None = None
    _now: Asked | None = None
    _waiter: Waiter | None = None
    _call: _Call | None = None
    _deadline: Scheduled | None = None

    # ------------------------------------------------------------------------------------------------------- requests

    def begin(self) -> None:
        """Ask on and on: proposal, prevote, precommit, and what else a confused node may ask."""
        self.busy = True
        self._next()

    def ask(self, request: SignRequest) -> Asked:
        """Ask for one thing now."""
        assert self._now is None, "a node asks one thing at a time"
        wanted = self.told.asked(self.name, request)
        self.chain.said.append(request)
        self._now = Asked(request, self.events.now, wanted.sign_bytes)
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

    @property
    def waiting(self) -> Asked | None:
        """What waits for its answer on a connection that works, as far as the node knows."""
        asked = self._now if self._waiter is not None else None
        return None if asked is None or asked.swallowed else asked

    def _next(self) -> None:
        if self.busy and self._now is None:
            self.ask(self._choose())

    def _choose(self) -> SignRequest:
        """What the chain needs next, at this node's own time; now and then what only a confused node asks."""
        place = self.chain.place
        seconds = int(self.events.now * 10) % 50 + (0 if self.name == "sentry-0" else 1)
        at = Place(place.height, place.round, place.step, seconds, self.name.encode())
        if self.random.random() < self.strange:
            return confused(self.random, at, tuple(self.chain.said))
        if place.step is Step.PROPOSE:
            return proposal(place.height, place.round, BLOCK_A, seconds)
        if place.step is Step.PREVOTE:
            return prevote(place.height, place.round, BLOCK_A, seconds)
        return precommit(place.height, place.round, BLOCK_A, seconds, extension=self.name.encode())

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
        asked.tried_at, asked.of, asked.swallowed = self.events.now, process, self.connected in self.unreachable
        call = self._call = _Call(process, self.told, lambda answer: self._answered(asked, waiter, answer))
        self._waiter = waiter = Waiter(asked.request, call.answer, hang_up=lambda: self._told_to_go(waiter))
        self._deadline = self.events.later(self.patience, self._broken)
        if not asked.swallowed:
            self.events.later(WIRE_SECONDS, lambda: process.run(lambda: call.arrive(waiter), call))

    def _answered(self, asked: Asked, waiter: Waiter, answer: Answer) -> None:
        if self._waiter is not waiter:
            return
        if self.connected in self.unreachable:
            asked.swallowed = True
            return
        self._waiter = self._now = self._call = None
        if self._deadline is not None:
            self._deadline.cancel()
        asked.answer, asked.answered_at = answer, self.events.now
        self.told.answer(self.name, asked.request, asked.at, self.events.now, answer)
        hrs, _ = canonical(asked.request)
        (self.chain.signed if asked.signed else self.chain.refused)(hrs)
        if self.busy:
            self.events.later(self.random.uniform(0.5, 1.5) * self.pace, self._next)

    def _told_to_go(self, waiter: Waiter) -> None:
        self.events.later(WIRE_SECONDS, lambda: self._hang_up(waiter))

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
        process, waiter, call = self._process, self._waiter, self._call
        self._process = self._waiter = self._call = None
        if process is not None:
            process.nodes -= 1
            if waiter is not None and call is not None:
                call.withdraw(waiter)

    def _turn_to_the_next(self) -> None:
        """Every replica keeps a connection in the node's backlog: the one after the last is next."""
        names = sorted(self.hosts)
        at = names.index(self.connected) if self.connected else -1
        for step in range(1, len(names) + 1):
            name = names[(at + step) % len(names)]
            if self.hosts[name].process is not None and name not in self.unreachable:
                self.connect(name)
                return
