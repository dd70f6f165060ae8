"""Every state that real coordinators and guards can get into, on a network that forgets nothing.

Whatever was ever sent stays deliverable for ever, to whom it was sent, any number of times: so delay, loss, reordering
and duplication are all inside. A replica may die at any step, its coordinator and its guard at once.

Each coordinator and each guard is the real object, driven once for every state that it can be in and everything that
can happen to it there; what it did is noted, and the search over all of them together goes by the notes.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, cast

from cmkms.guard.accepting import MAX_TERM, GuardService
from cmkms.guard.majority import MajorityQuorum
from cmkms.guard.quorum import Granted, Outcome
from cmkms.guard.rpc import Accept, Answered, Peek, Peeked
from tests.unit.guard.board import MemoryGuard, electorate_of, members_of, record_of
from tests.unit.guard.world import CHAIN

__all__ = ["Explored", "Model", "State", "Wanted"]

_RINGS: Final = 5
"""How often a timer rings until nothing new comes of it any more."""
_PLAIN: Final = (int, str, bytes, bool, float, type(None), Enum)

Event = tuple[Any, ...]
_T = TypeVar("_T")


class Wanted(NamedTuple):
    """A replica that takes the lease, in which term, and what its nodes ask for one after the other."""

    member: int
    term: int
    sign_bytes: tuple[bytes, ...]


class State(NamedTuple):
    """One state of everything: numbers into the notes. Messages are bits: what was ever sent is there for ever."""

    coordinators: tuple[int, ...]
    guards: tuple[int, ...]
    questions: int = 0
    answers: int = 0
    dead: int = 0


def standing_still() -> float:
    """Show no time: what is only measured makes no two states of one."""
    return 0.0


def any_term() -> int:
    """Believe in every term. Named, as the notes are pickled."""
    return MAX_TERM


class Wire:
    """The port and the timer of one coordinator: what it sends is collected, and its timer rings when it is told to."""

    def __init__(self) -> None:
        self.out: list[tuple[str, Accept | Peek]] = []
        self.alarms: list[Callable[[], None]] = []

    def ask(self, member: str, message: Accept | Peek) -> bool:
        self.out.append((member, message))
        return True

    def later(self, delay: float, callback: Callable[[], None], /) -> Wire:
        assert delay > 0
        self.alarms.append(callback)
        return self

    def cancel(self) -> None:
        self.alarms.clear()

    def ring(self) -> None:
        alarms, self.alarms = self.alarms, []
        for alarm in alarms:
            alarm()


class Outcomes(list[Outcome]):
    """What proposals ended with; called by the quorum."""

    def __call__(self, outcome: Outcome) -> None:
        self.append(outcome)


@dataclass
class Coordinator:
    """The quorum of one replica, and what it is told to propose once it leads."""

    wanted: Wanted
    quorum: MajorityQuorum
    wire: Wire
    outcomes: Outcomes = field(default_factory=Outcomes)
    leads: bool = False
    rested: bool = False

    def lead(self) -> None:
        """Take the lease, with requests in hand."""
        self.leads = True
        self.quorum.lead(self.wanted.term)
        for sign_bytes in self.wanted.sign_bytes:
            self.quorum.propose(sign_bytes, adopt_held=True, decided=self.outcomes)

    def rest(self) -> None:
        self.rested = True
        self.quorum.rest()

    def ring(self) -> None:
        self.wire.ring()

    def hear(self, name: str, identity: bytes, answer: Answered | Peeked) -> None:
        self.quorum.answered(name, identity, answer)


def freeze(value: object) -> Hashable:
    """Return what `value` remembers, as something to compare by. Wires are no memory."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, dict):
        return frozenset((freeze(key), freeze(item)) for key, item in cast("dict[object, object]", value).items())
    if isinstance(value, set | frozenset):
        return frozenset(freeze(item) for item in cast("Iterable[object]", value))
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in cast("Iterable[object]", value))
    if isinstance(value, Wire):
        return len(value.alarms)
    if callable(value):
        return None
    if is_dataclass(value):
        return tuple(freeze(getattr(value, one.name)) for one in fields(value))
    return tuple(freeze(item) for _, item in sorted(vars(value).items()))


class _Machine:
    """One real object and the notes on it: what becomes of it, and what it sends, in each state at each event."""

    def __init__(self, first: object, drive: Callable[[Any, Event], list[int]]) -> None:
        self._drive = drive
        self._states: dict[Hashable, int] = {freeze(first): 0}
        self._blobs = [pickle.dumps(first)]
        self._steps: dict[tuple[int, Event], tuple[int, int]] = {}

    def at(self, state: int) -> Any:
        """The object as it is in a state; the caller's to change."""
        return pickle.loads(self._blobs[state])  # noqa: S301 - made here

    def step(self, state: int, event: Event) -> tuple[int, int]:
        """The state after an event, and the messages that were sent, as bits."""
        known = self._steps.get((state, event))
        if known is None:
            one = self.at(state)
            sent = sum(1 << number for number in self._drive(one, event))
            key = freeze(one)
            if key not in self._states:
                self._states[key] = len(self._blobs)
                self._blobs.append(pickle.dumps(one))
            known = self._steps[state, event] = self._states[key], sent
        return known


class Explored(NamedTuple):
    """What a search found. `complete` False: the limit ended it."""

    states: dict[State, State | None]
    edges: int
    complete: bool


class Model:
    """Replicas `node-0` ... with a guard each; some of them coordinate, in terms of their own."""

    def __init__(
        self,
        size: int,
        wanted: list[Wanted],
        *,
        quorum: type[MajorityQuorum] = MajorityQuorum,
        service: type[GuardService] = GuardService,
    ) -> None:
        self.members = members_of(size)
        self.wanted = wanted
        self.quorum = size // 2 + 1
        self._questions: list[tuple[int, int, Accept | Peek]] = []
        self._answers: list[tuple[int, int, Answered | Peeked]] = []
        self._numbers: dict[object, int] = {}
        self._read: dict[object, Any] = {}
        self._coordinators = [
            _Machine(self._coordinator(number, one, quorum), partial(self._coordinate, number))
            for number, one in enumerate(wanted)
        ]
        self._guards = [
            _Machine(
                service(CHAIN, MemoryGuard(record_of(one, size)), any_term),
                self._guard,
            )
            for one in self.members
        ]

    def _coordinator(self, number: int, one: Wanted, quorum: type[MajorityQuorum]) -> Coordinator:
        wire = Wire()
        size = len(self.members)
        me, first_rpc = self.members[one.member].id, 1000 * (number + 1)
        counts = quorum(me, electorate_of(size), wire, wire.later, first_rpc=first_rpc, clock=standing_still)
        for other in self.members:
            counts.peer_up(other.id)
        return Coordinator(one, counts, wire)

    # ------------------------------------------------------------------------------------------------ what happens

    def _coordinate(self, number: int, one: Coordinator, event: Event) -> list[int]:
        match event:
            case ("hear", int(bit)):
                _, name, answer = self._answers[bit]
                member = self.members[name]
                one.hear(member.id, member.identity, answer)
            case (str(what),):
                getattr(one, what)()
            case _:
                raise AssertionError(event)
        # A count of what is of no account: it would make two states of one.
        one.quorum.strays = 0
        names = [member.id for member in self.members]
        sent = [(number, names.index(name), message) for name, message in one.wire.out]
        one.wire.out.clear()
        return [self._number(self._questions, question) for question in sent]

    def _guard(self, service: GuardService, event: Event) -> list[int]:
        bit: int = event[0]
        number, name, message = self._questions[bit]
        answer = service.accept(message) if isinstance(message, Accept) else service.peek(message)
        return [self._number(self._answers, (number, name, answer))]

    def _number(self, kept: list[Any], message: Any) -> int:
        key = (kept is self._questions, message)
        if key not in self._numbers:
            self._numbers[key] = len(kept)
            kept.append(message)
        return self._numbers[key]

    # ------------------------------------------------------------------------------------------------------- search

    def first(self) -> State:
        return State((0,) * len(self.wanted), (0,) * len(self.members))

    def act(self, state: State, number: int, event: Event) -> State:
        """Let something happen to a coordinator."""
        after, sent = self._coordinators[number].step(state.coordinators[number], event)
        coordinators = _put(state.coordinators, number, after)
        return state._replace(coordinators=coordinators, questions=state.questions | sent)

    def handle(self, state: State, bit: int) -> State:
        """Let a guard take a question."""
        name = self._questions[bit][1]
        after, sent = self._guards[name].step(state.guards[name], (bit,))
        return state._replace(guards=_put(state.guards, name, after), answers=state.answers | sent)

    def exchange(self, state: State, bit: int) -> State:
        """Let a guard take a question, and its answer arrive at once."""
        number, name, _ = self._questions[bit]
        after, sent = self._guards[name].step(state.guards[name], (bit,))
        state = state._replace(guards=_put(state.guards, name, after))
        if self.is_dead(state, self.wanted[number].member):
            return state
        return self.act(state, number, ("hear", sent.bit_length() - 1))

    def die(self, state: State, member: int) -> State:
        return state._replace(dead=state.dead | 1 << member)

    @staticmethod
    def is_dead(state: State, member: int) -> bool:
        return bool(state.dead >> member & 1)

    def deliverable(self, state: State) -> Iterator[int]:
        """Questions to guards that live."""
        for bit in _bits(state.questions):
            if not self.is_dead(state, self._questions[bit][1]):
                yield bit

    def deliveries(self, state: State) -> Iterator[State]:
        """Every question to a living guard taken, every answer to a living coordinator heard, each by itself."""
        for bit in self.deliverable(state):
            yield self.handle(state, bit)
        for bit in _bits(state.answers):
            number = self._answers[bit][0]
            if not self.is_dead(state, self.wanted[number].member):
                yield self.act(state, number, ("hear", bit))

    def question(self, bit: int) -> Accept | Peek:
        return self._questions[bit][2]

    def drained(self, state: State, number: int) -> State:
        """Let one coordinator's questions be answered by the living, and let its timer ring, to the end."""
        for _ in range(_RINGS):
            done = 0
            while fresh := [bit for bit in self.deliverable(state) if not done >> bit & 1]:
                for bit in fresh:
                    done |= 1 << bit
                    if self._questions[bit][0] == number:
                        state = self.exchange(state, bit)
            state = self.act(state, number, ("ring",))
        return state

    def explore(
        self,
        after: Callable[[State], Iterator[State]],
        check: Callable[[State], None],
        *,
        first: State,
        limit: int = 2_000_000,
    ) -> Explored:
        """Search breadth first. `after` says what may come of a state; `check` is called once for each state."""
        seen: dict[State, State | None] = {first: None}
        queue, edges = [first], 0
        for state in queue:
            if len(seen) > limit:
                return Explored(seen, edges, complete=False)
            for other in after(state):
                edges += 1
                if other not in seen:
                    seen[other] = state
                    check(other)
                    queue.append(other)
        return Explored(seen, edges, complete=True)

    # ------------------------------------------------------------------------------------------------------- reading

    def leads(self, state: State, number: int) -> bool:
        at = state.coordinators[number]
        return self._once(("leads", number, at), lambda: bool(self._coordinators[number].at(at).leads))

    def granted(self, state: State) -> set[bytes]:
        """All that was ever granted, by anybody: a signature over each may have left."""
        return set[bytes]().union(*(self._granted(number, at) for number, at in enumerate(state.coordinators)))

    def held(self, state: State) -> tuple[bytes | None, ...]:
        """What each guard holds."""
        return tuple(self._held(number, at) for number, at in enumerate(state.guards))

    def _granted(self, number: int, at: int) -> frozenset[bytes]:
        def read() -> frozenset[bytes]:
            outcomes = self._coordinators[number].at(at).outcomes
            return frozenset(one.sign_bytes for one in outcomes if isinstance(one, Granted))

        return self._once(("granted", number, at), read)

    def _held(self, number: int, at: int) -> bytes | None:
        def read() -> bytes | None:
            service: GuardService = self._guards[number].at(at)
            record = service._guard.record
            return None if record is None else record.sign_bytes

        return self._once(("held", number, at), read)

    def _once(self, key: object, read: Callable[[], _T]) -> _T:
        if key not in self._read:
            self._read[key] = read()
        kept: _T = self._read[key]
        return kept


def _put(values: tuple[int, ...], at: int, value: int) -> tuple[int, ...]:
    return (*values[:at], value, *values[at + 1 :])


def _bits(number: int) -> Iterator[int]:
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low
