"""A change of generation of one chain, as one replica lives through it: holds, moves, seals, arms, and tells others.

What comes next is `guard/change.py`'s; here it is done. A change that has not begun is forgotten after a while, so that
no proposal, whoever made it, keeps a chain from signing for long; one that has begun never is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from cmkms.errors import DiskError
from cmkms.guard.change import Armed, Change, Hold, Move, Seal, Superseded, left_behind, next_change_step
from cmkms.guard.claims import GuardClaim, GuardPhase
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
    def claim(self) -> GuardClaim:
        """What this replica tells of its guard."""
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
        me: str,
        identity: bytes,
        neighbours: Neighbours,
        send: Callable[[str, Message], bool],
        clock: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self._subject = subject
        self._me = me
        self._identity = identity
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
        self._due: dict[str, float] = {}
        self.why = ""
        """What the change waits for, for people; empty while there is none under way."""
        self.forgotten = ""
        """Why the last change was forgotten before it began; empty while none was."""

    @property
    def change(self) -> Change | None:
        """The change that is known."""
        return self._change

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
        return [] if self._change is None else left_behind(self._change, self._candidates().values())

    def propose(self, change: Change, *, driver: bool) -> str:
        """Take a change to heart; returns why not. The `driver` is the replica whose operator asked for it."""
        if change == self._change:
            self._driver |= driver
            return ""
        if why := self._objection(change):
            return why
        self._set(change)
        self._since, self._agreed, self._driver = self._clock(), False, driver
        self._due.clear()
        self.forgotten = ""
        self._log.warning(
            "a change of generation", chain=self._subject.chain_id, to=str(change.after), members=_ids(change)
        )
        return ""

    def step(self) -> bool:
        """Go on as far as the claims of the others allow; returns whether the own claim changed."""
        changed = False
        for _ in range(_MOST_STEPS):
            if (change := self._change) is None or not (self.under_way or self._lags(change)) or not self._step(change):
                break
            changed = True
        return changed

    def tell(self) -> None:
        """Tell those of the change who do not follow it yet: of one that has begun, or that this replica drives."""
        change, now = self._change, self._clock()
        if change is None or not (self._driver or self._has_begun(change)):
            return
        for one in self._neighbours:
            claim = one.guards.get(self._subject.chain_id)
            if claim is None or claim.agrees == change.after.hash or claim.generation.number >= change.after.number:
                continue
            if now >= self._due.get(one.member, now):
                self._due[one.member] = now + (TELL_AGAIN_SECONDS if self._driver else REMIND_SECONDS)
                self._send(one.member, Propose(change))

    def peer_up(self, member: str) -> None:
        """A replica is there (again): it is told at once."""
        self._due.pop(member, None)

    # ---------------------------------------------------------------------------------------------------------- inside

    def _set(self, change: Change | None) -> None:
        # The generation is worked out once: it takes hashes, and is looked at many times a second.
        self._change, self._after = change, change.after if change is not None else None

    def _objection(self, change: Change) -> str:
        """Say why this change is not for us, or not now."""
        claim, electorate = self._subject.claim, self._subject.electorate
        if (change.chain_id, change.key_hash) != (self._subject.chain_id, claim.key_hash):
            return "it is of another chain or key"
        newest = max(claim.generation.number, electorate.generation.number if electorate is not None else 0)
        after, movers = change.after, self._movers(change)
        if after.number < newest or (after.number == newest and not movers):
            return f"generation {after.number} is over, or was begun with other members"
        if not movers and electorate is not None and change.before != electorate.generation:
            return f"it does not follow generation {electorate.generation.number}, which is in force"
        known = self._change
        if known is None or not self.under_way or change.number > known.number or movers > self._movers(known):
            return ""
        return f"another change is under way, to {_ids(known)}"

    def _has_begun(self, change: Change) -> bool:
        """Whether any guard is known to have moved."""
        return self._movers(change) > 0

    def _movers(self, change: Change) -> int:
        """How many guards are known to have entered the new generation."""
        after = change.after
        return sum(
            one.claim.generation == after and one.claim.phase in {GuardPhase.BOUND, GuardPhase.ARMED}
            for one in self._candidates().values()
        )

    def _candidates(self) -> dict[str, Candidate]:
        found = {
            one.member: Candidate(one.member, one.identity, claim)
            for one in self._neighbours
            if (claim := one.guards.get(self._subject.chain_id)) is not None
        }
        found[self._me] = Candidate(self._me, self._identity, self._subject.claim)
        return found

    def _step(self, change: Change) -> bool:
        """Take one step; returns whether another may follow."""
        if self.under_way and not self._has_begun(change) and self._clock() - self._since > FORGET_SECONDS:
            self._forget()
            return True
        agreed = self.under_way and self._hold_still()
        everyone = self._candidates()
        mine = everyone.pop(self._me)
        holder, _ = self._neighbours.holder()
        step = next_change_step(change, mine, everyone, agreed=self._agreed, holder=holder)
        try:
            return self._take(change, step) or agreed
        except DiskError as error:
            self.why = str(error)
            return agreed

    def _take(self, change: Change, step: object) -> bool:
        guard, chain = self._subject.guard, self._subject.chain_id
        match step:
            case Move() if guard is not None:
                guard.move(change)
                self._log.warning("this guard left its generation", chain=chain, generation=change.number)
                return True
            case Seal(hrs=hrs, accepted_at=accepted_at) if guard is not None:
                guard.seal(change, hrs, accepted_at)
                guard.arm_sealed()
                self._log.warning("this guard answers for", chain=chain, generation=str(change.after), sealed=str(hrs))
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
                    if self._is_in_force(change):
                        self._follow(change)
            case _:
                pass
        return False

    def _lags(self, change: Change) -> bool:
        """Whether the change is followed already, and the own guard has yet to be sealed and armed for it."""
        own = self._subject.claim
        member = (self._me, self._identity, own.nonce)
        return own.phase in {GuardPhase.UNBOUND, GuardPhase.BOUND} and member in {
            (one.id, one.identity, one.nonce) for one in change.members
        }

    def _is_in_force(self, change: Change) -> bool:
        """Whether a member answers for the new generation: then the old one has no majority any more."""
        return any(
            one.claim.phase is GuardPhase.ARMED and one.claim.generation == change.after
            for one in self._candidates().values()
        )

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

    def _forget(self) -> None:
        self._log.warning(
            "a change of generation is forgotten, nothing was changed", chain=self._subject.chain_id, why=self.why
        )
        self.forgotten = self.why or "the other replicas did not agree in time"
        self._set(None)
        self._let_go()

    def _let_go(self) -> None:
        was = self._holding
        self._holding = self._agreed = self._driver = False
        self.why = ""
        if was:
            self._subject.go_on()


def _ids(change: Change) -> str:
    return ", ".join(member.id for member in change.members)
