"""An honest quorum in memory whose decisions fall when the test says so, a clock that stands still, a key that counts.

Honest: it accepts one message for each height/round/step and never goes back, by rules of its own that were written
from the design and not from the guard's code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from dataclasses import replace as changed

from cmkms.guard.decide import Conflict, Held, Regression
from cmkms.guard.hrs import HRS, Step
from cmkms.guard.quorum import Granted, Outcome
from cmkms.keys import Ed25519Key
from cmkms.privval import parse_sign_bytes
from cmkms.signing import Answer, Dispatch, Signer, Waiter
from cmkms.signing.signer import SignRequest
from tests.unit.signing.messages import CHAIN, KEY, at


@dataclass(slots=True)
class Proposed:
    """One proposal that nobody has decided yet."""

    sign_bytes: bytes
    adopt_held: bool
    decided: Callable[[Outcome], None]


class DelayedQuorum:
    """Implements `cmkms.guard.quorum.Quorum`: proposals wait in `pending` until `decide` is called."""

    def __init__(self, waiting_for: str = "") -> None:
        self.pending: list[Proposed] = []
        self.proposed: list[bytes] = []
        self.granted: set[bytes] = set()
        self.forgotten: list[HRS] = []
        self.waiting_for = waiting_for
        self._hrs: HRS | None = None
        self._accepted = b""

    def propose(self, sign_bytes: bytes, *, adopt_held: bool, decided: Callable[[Outcome], None]) -> None:
        self.proposed.append(sign_bytes)
        self.pending.append(Proposed(sign_bytes, adopt_held, decided))

    def forget(self, hrs: HRS) -> None:
        """Remember that nobody waits any more; what is pending may be decided all the same."""
        self.forgotten.append(hrs)

    def decide(self, index: int = 0) -> Outcome:
        """Let the fate of one pending proposal be known, by what was accepted so far."""
        one = self.pending.pop(index)
        outcome = self._outcome(one)
        if isinstance(outcome, Granted):
            self.granted.add(outcome.sign_bytes)
        one.decided(outcome)
        return outcome

    def end_with(self, outcome: Outcome) -> None:
        """End the oldest proposal in a way that this quorum does not come to by itself."""
        self.pending.pop(0).decided(outcome)

    def accept(self, sign_bytes: bytes) -> None:
        """Have accepted something before, for somebody else."""
        message = parse_sign_bytes(sign_bytes)
        self._hrs = HRS(message.height, message.round, Step.of(message.type))
        self._accepted = sign_bytes

    def _outcome(self, one: Proposed) -> Outcome:
        asked = parse_sign_bytes(one.sign_bytes)
        hrs = HRS(asked.height, asked.round, Step.of(asked.type))
        if self._hrs is None or hrs > self._hrs:
            self._hrs, self._accepted = hrs, one.sign_bytes
            return Granted(one.sign_bytes)
        if hrs < self._hrs:
            return Regression(self._hrs)
        if self._accepted == one.sign_bytes:
            return Granted(one.sign_bytes)
        held = parse_sign_bytes(self._accepted)
        if changed(held, timestamp=at(0)) != changed(asked, timestamp=at(0)):
            return Conflict(self._accepted)
        return Granted(self._accepted) if one.adopt_held else Held(self._accepted)


@dataclass(eq=False, slots=True)
class Alarm:
    """One timer of a `StillClock`."""

    due: float
    ring: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class StillClock:
    """A clock that moves when it is told to; `later` is the timer that a Signer takes."""

    def __init__(self) -> None:
        self.now = 0.0
        self._alarms: list[Alarm] = []

    def later(self, delay: float, callback: Callable[[], None], /) -> Alarm:
        alarm = Alarm(self.now + delay, callback)
        self._alarms.append(alarm)
        return alarm

    @property
    def armed(self) -> int:
        """How many timers are neither cancelled nor over."""
        return sum(not alarm.cancelled for alarm in self._alarms)

    def advance(self, seconds: float) -> None:
        """Let time pass; what is due rings, in order, each at its own time."""
        end = self.now + seconds
        while due := [alarm for alarm in self._alarms if alarm.due <= end]:
            alarm = min(due, key=lambda one: one.due)
            self._alarms.remove(alarm)
            if not alarm.cancelled:
                self.now = max(self.now, alarm.due)
                alarm.ring()
        self.now = end


class CountingKey:
    """A real key that keeps what it was asked to sign, in order."""

    def __init__(self, key: Ed25519Key = KEY) -> None:
        self._key = key
        self.type_name = key.type_name
        self.pub_key = key.pub_key
        self.address = key.address
        self.signed: list[bytes] = []

    def sign(self, sign_bytes: bytes) -> bytes:
        self.signed.append(sign_bytes)
        return self._key.sign(sign_bytes)


@dataclass(slots=True)
class Asked:
    """One request handed to a signer, and every answer that came back."""

    waiter: Waiter
    answers: list[Answer]

    @property
    def answer(self) -> Answer:
        (only,) = self.answers
        return only


def ask(signer: Signer | Dispatch, request: SignRequest) -> Asked:
    answers: list[Answer] = []
    waiter = Waiter(request, answers.append)
    signer.submit(waiter)
    return Asked(waiter, answers)


@dataclass(slots=True)
class Bench:
    """Signer and dispatch of a replica that holds the lease, with everything around them in the test's hand."""

    quorum: DelayedQuorum = field(default_factory=DelayedQuorum)
    clock: StillClock = field(default_factory=StillClock)
    key: CountingKey = field(default_factory=CountingKey)
    refuse_after: float | None = None
    signer: Signer = field(init=False)
    dispatch: Dispatch = field(init=False)

    def __post_init__(self) -> None:
        self.signer = Signer(CHAIN, self.key, self.quorum)
        self.dispatch = Dispatch(CHAIN, self.signer, self.clock.later, refuse_after=self.refuse_after)

    def ask(self, request: SignRequest) -> Asked:
        return ask(self.dispatch, request)

    def withdraw(self, asked: Asked) -> None:
        """Let the node of a request hang up."""
        self.dispatch.withdraw(asked.waiter)
