"""A change of generation of one chain, as one replica lives through it: holds, moves, seals, arms, and tells others.

What comes next is `guard/change.py`'s; here it is done. A change that has not begun is forgotten after a while, so that
no proposal, whoever made it, keeps a chain from signing for long; one that has begun never is.

A guard is lowered only where the operator of this very replica has consented: no other replica's word is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from cmkms.errors import DiskError
from cmkms.guard.change import (
    Armed,
    Change,
    ChangeStep,
    Hold,
    Move,
    Seal,
    Superseded,
    left_behind,
    majority,
    next_change_step,
)
from cmkms.guard.claims import GuardPhase
from cmkms.guard.founding import Candidate
from cmkms.guard.generation import Electorate, GenerationId
from cmkms.guard.guard import Guard
from cmkms.peers.messages import Message, Propose
from cmkms.replica.neighbours import Neighbours

__all__ = ["DRAIN_SECONDS", "FORGET_SECONDS", "Changing", "Subject"]

DRAIN_SECONDS: Final = 1.0
"""How long what is under way may take to finish; a signature takes a millisecond where a majority answers."""
FORGET_SECONDS: Final = 3.0
"""When a change that nobody has begun is forgotten: within the 5 s that a node waits for its signature."""
YIELD_SECONDS: Final = 1.0
"""From taking an agreement back to the next one. By then nobody believes the former: a link that is silent for so long
is at its end. Without it two replicas could each move for the change that the other had just let go."""
CONSENT_SECONDS: Final = 600.0
"""How long an operator has to give the same word on every replica before a watermark is lowered."""
TELL_AGAIN_SECONDS: Final = 0.5
"""How often the driver tells those that do not follow."""
REMIND_SECONDS: Final = 5.0
"""How often everybody else tells one that missed a change; it hears of it at once when it connects."""
_MOST_STEPS: Final = 4
"""A change takes three steps at one replica."""


class Subject(Protocol):
    """The chain whose guards change."""

    @property
    def chain_id(self) -> str:
        """Its id."""
        ...

    @property
    def guard(self) -> Guard | None:
        """The own guard; None where it is refused."""
        ...

    @property
    def candidate(self) -> Candidate:
        """The own guard, as its claim tells of it."""
        ...

    @property
    def electorate(self) -> Electorate | None:
        """The guards that are asked now; None while the chain is not born."""
        ...

    @property
    def drained(self) -> bool:
        """Whether nothing is proposed to the guards that they have not decided."""
        ...

    def hold(self, why: str) -> None:
        """Propose nothing from now on; what comes waits."""
        ...

    def go_on(self) -> None:
        """Propose again what waits."""
        ...

    def follow(self, change: Change) -> None:
        """Ask the guards of the new generation from now on, and go on."""
        ...


class Changing:
    """The change that this replica knows of, if there is one: proposed, begun, or the last that was done."""

    def __init__(
        self,
        subject: Subject,
        neighbours: Neighbours,
        send: Callable[[str, Message], bool],
        clock: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self._subject = subject
        self._neighbours = neighbours
        self._send = send
        self._clock = clock
        self._log = log
        self._change: Change | None = None
        self._after: GenerationId | None = None
        self._set(subject.guard.change if subject.guard is not None else None)
        self._since = clock()
        self._driver = False
        self._agreed = False
        self._holding = False
        self._consent = (b"", 0.0)
        self._asked_for = b""
        self._due: dict[str, float] = {}
        self._yielded = b""
        self._agrees_from = 0.0
        self.why = ""
        """What the change waits for, for people; empty while there is none under way."""
        self.forgotten = ""
        """Why the last change was forgotten before it began; empty while none was."""

    @property
    def under_way(self) -> bool:
        """Whether there is a change that this replica does not follow yet."""
        electorate = self._subject.electorate
        return self._after is not None and (electorate is None or electorate.generation != self._after)

    @property
    def agrees(self) -> bytes:
        """The hash of the generation that this replica is ready to begin; empty if there is none."""
        return self._after.hash if self._agreed and self._after is not None and self.under_way else b""

    @property
    def left_behind(self) -> list[str]:
        """The members of the known change that are not known to be armed in it."""
        return [] if self._change is None else left_behind(self._change, self._everyone())

    @property
    def change(self) -> Change | None:
        """The change that is under way here, or that the own guard has yet to follow."""
        change = self._change
        return change if change is not None and (self.under_way or self._lags(change)) else None

    def consent(self, generation: bytes) -> None:
        """The operator of this replica lets its guard be lowered for the generation of that hash, for a while."""
        self._consent = generation, self._clock() + CONSENT_SECONDS

    def propose(self, change: Change, *, driver: bool) -> str:
        """Take a change to heart; returns why not. The `driver` is the replica whose operator asked for it."""
        if change == self._change:
            self._driver |= driver
            return ""
        if why := self._misfit(change):
            return why
        if not self._is_agreed_to(change):
            self._tell_of_consent(change)
            return f"its operator has not agreed here: {_how_to_lower(change)}"
        if self._goes_before_ours(change):
            # Two operators at once. Everybody lets go the same one of the two, and then follows the other.
            self._forget(f"another operator began one at the same time, to {_ids(change)}")
        if why := self._in_the_way(change):
            return why
        self._set(change)
        self._since, self._agreed, self._driver = self._clock(), False, driver
        self._due.clear()
        self.forgotten = ""
        lowered = {} if change.lowers_to is None else {"lowers_to": str(change.lowers_to)}
        self._log.warning(
            "a change of generation",
            chain=self._subject.chain_id,
            to=str(change.after),
            members=_ids(change),
            **lowered,
        )
        return ""

    def step(self) -> bool:
        """Go on as far as the claims of the others allow; returns whether the own claim changed."""
        changed = False
        for _ in range(_MOST_STEPS):
            change, after = self._change, self._after
            if change is None or after is None or not (self.under_way or self._lags(change)):
                break
            if not self._step(change, after):
                break
            changed = True
        return changed

    def tell(self) -> None:
        """Tell those of the change who do not follow it yet: of one that has begun, or that this replica drives."""
        change, now = self._change, self._clock()
        after = self._after
        if change is None or after is None or not (self._driver or self._movers(after)):
            return
        for member, one in self._neighbours.candidates(self._subject.chain_id).items():
            if one.claim.agrees == after.hash or one.claim.generation.number >= after.number:
                continue
            if now >= self._due.get(member, now):
                self._due[member] = now + (TELL_AGAIN_SECONDS if self._driver else REMIND_SECONDS)
                self._send(member, Propose(change))

    def peer_up(self, member: str) -> None:
        """A replica is there (again): it is told at once."""
        self._due.pop(member, None)

    # ---------------------------------------------------------------------------------------------------------- inside

    def _set(self, change: Change | None) -> None:
        # The generation is worked out once: it takes hashes, and is looked at many times a second.
        self._change, self._after = change, change.after if change is not None else None

    def _misfit(self, change: Change) -> str:
        """Say why this change is none that could follow here; empty if it could."""
        claim, electorate = self._subject.candidate.claim, self._subject.electorate
        if (change.chain_id, change.key_hash) != (self._subject.chain_id, claim.key_hash):
            return "it is of another chain or key"
        newest = max(claim.generation.number, electorate.generation.number if electorate is not None else 0)
        after = change.after
        movers = self._movers(after)
        if after.number < newest or (after.number == newest and not movers):
            return f"generation {after.number} is over, or was begun with other members"
        if not movers and electorate is not None and change.before != electorate.generation:
            return f"it does not follow generation {electorate.generation.number}, which is in force"
        return ""

    def _is_agreed_to(self, change: Change) -> bool:
        """Whether it needs no word of this replica's operator, or has it, or a majority of those that leave has begun.

        One replica's word that it has begun holds up nobody whose operator knows nothing of it.
        """
        after = change.after
        return self._movers(after) >= majority(len(change.leaving)) or self._may_lower(change, after)

    def _outdoes_ours(self, change: Change) -> bool:
        """Whether it is of a later generation than the one under way here, or has begun at more guards."""
        after, ours = change.after, self._after
        return ours is None or after.number > ours.number or self._movers(after) > self._movers(ours)

    def _goes_before_ours(self, change: Change) -> bool:
        """Whether ours, proposed at the same time and not begun yet, is the one of the two that is let go."""
        ours = self._after
        if ours is None or not self.under_way or self._outdoes_ours(change):
            return False
        return change.after.hash < ours.hash and not self._movers(ours)

    def _in_the_way(self, change: Change) -> str:
        """Say what keeps this replica from agreeing to it just now; empty if nothing does."""
        known, after = self._change, change.after
        if known is not None and self.under_way:
            return "" if self._outdoes_ours(change) else f"another change is under way, to {_ids(known)}"
        if not self._movers(after) and after.hash != self._yielded and self._clock() < self._agrees_from:
            return "another change was let go a moment ago: in a second"
        return ""

    def _tell_of_consent(self, change: Change) -> None:
        """Say once, to the operator of this replica, that others wait for a word that only they can give."""
        generation = change.after.hash
        if self._asked_for != generation:
            self._asked_for = generation
            self._log.warning(
                "another replica asks to lower the watermark, and this one's operator has not agreed",
                chain=change.chain_id,
                lowers_to=str(change.lowers_to),
                what_to_do=_how_to_lower(change),
            )

    def _movers(self, after: GenerationId) -> int:
        """How many guards are known to have entered the new generation: with the first, the change has begun."""
        return sum(one.claim.has_entered(after) for one in self._everyone())

    def _everyone(self) -> tuple[Candidate, ...]:
        return (self._subject.candidate, *self._neighbours.candidates(self._subject.chain_id).values())

    def _step(self, change: Change, after: GenerationId) -> bool:
        """Take one step; returns whether another may follow."""
        if self.under_way and not self._movers(after) and self._clock() - self._since > FORGET_SECONDS:
            self._forget(self.why or "the other replicas did not agree in time")
            return True
        agreed = self.under_way and self._hold_still()
        mine, others = self._subject.candidate, self._neighbours.candidates(self._subject.chain_id)
        holder, _ = self._neighbours.holder()
        step = next_change_step(change, mine, others, agreed=self._agreed, holder=holder)
        if isinstance(step, Move | Seal) and not self._may_lower(change, after):
            step = Hold(f"the operator has not agreed to lower this guard: {_how_to_lower(change)}")
        try:
            return self._take(change, after, step) or agreed
        except DiskError as error:
            self.why = str(error)
            return agreed

    def _take(self, change: Change, after: GenerationId, step: ChangeStep) -> bool:
        guard, chain = self._subject.guard, self._subject.chain_id
        match step:
            case Move() if guard is not None:
                guard.move(change)
                self._log.warning("this guard left its generation", chain=chain, generation=change.number)
                return True
            case Seal(hrs=hrs, accepted_at=accepted_at) if guard is not None:
                guard.seal(change, hrs, accepted_at)
                guard.arm_sealed()
                self._log.warning("this guard answers for", chain=chain, generation=str(after), sealed=str(hrs))
                if self.under_way:
                    self._follow(change)
                return True
            case Armed():
                self._follow(change)
            case Superseded():
                self._set(None)
                self._let_go()
            case Hold(why=why):
                if self.under_way:
                    self.why = why
                    if self._is_in_force(after):
                        self._follow(change)
            case _:
                pass
        return False

    def _may_lower(self, change: Change, after: GenerationId) -> bool:
        """Whether this change lowers nothing, or the operator here has agreed; a guard that has moved was let go."""
        if change.lowers_to is None or self._subject.candidate.claim.has_entered(after):
            return True
        generation, until = self._consent
        return generation == after.hash and self._clock() < until

    def _lags(self, change: Change) -> bool:
        """Whether the change is followed already, and the own guard has yet to be sealed and armed for it."""
        own, after = self._subject.candidate, self._after
        waits = own.claim.phase in {GuardPhase.UNBOUND, GuardPhase.BOUND}
        late = change.lowers_to is not None and own.claim.phase is GuardPhase.ARMED and own.claim.generation != after
        return (waits or late) and change.joins(own.member)

    def _is_in_force(self, after: GenerationId) -> bool:
        """Whether a member answers for the new generation: then the old one has no majority any more."""
        return any(one.claim.answers_for(after) for one in self._everyone())

    def _hold_still(self) -> bool:
        """Begin nothing new, and agree once what was under way is finished; returns whether that is so just now."""
        if not self._holding:
            self._holding = True
            self._subject.hold("a change of generation is under way")
        if self._agreed or not (self._subject.drained or self._clock() - self._since > DRAIN_SECONDS):
            return False
        self._agreed = True
        return True

    def _follow(self, change: Change) -> None:
        self._holding = self._agreed = self._driver = False
        self.why = ""
        self._subject.follow(change)

    def _forget(self, why: str) -> None:
        self._log.warning(
            "a change of generation is forgotten, nothing was changed", chain=self._subject.chain_id, why=why
        )
        self.forgotten = why
        self._yielded = self._after.hash if self._after is not None else b""
        self._agrees_from = self._clock() + YIELD_SECONDS
        self._set(None)
        self._let_go()

    def _let_go(self) -> None:
        was = self._holding
        self._holding = self._agreed = self._driver = False
        self.why = ""
        if was:
            self._subject.go_on()


def _how_to_lower(change: Change) -> str:
    lowered = change.lowers_to
    height = 0 if lowered is None else lowered.height
    return f"`cmkms cluster lower {change.chain_id} --to {height}` has to be run on every replica"


def _ids(change: Change) -> str:
    return ", ".join(member.id for member in change.members)
