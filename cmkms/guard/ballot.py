"""What is asked for at one height/round/step, what each guard said to it, and what can still come of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cmkms.guard.decide import Conflict, Held, Refused, Regression, Sealed, Verdict
from cmkms.guard.hrs import HRS
from cmkms.guard.quorum import Outcome, Split
from cmkms.guard.rpc import digest_of

__all__ = ["Ballot", "preferred"]


@dataclass(eq=False, slots=True)
class Ballot:
    """What is asked for at one HRS, and what each guard said to it. It counts nothing: `MajorityQuorum` does."""

    hrs: HRS
    asked: bytes
    adopt_held: bool
    decided: Callable[[Outcome], None]
    sign_bytes: bytes
    """What the guards are asked to accept: `asked`, or what one of them holds in its place."""
    digest: bytes = b""
    asked_at: float = 0.0
    begun: bool = False
    questions: dict[str, int] = field(default_factory=dict[str, int])
    """The number under which each member was asked, until it answers: who is asked again is asked the same."""
    accepted: set[str] = field(default_factory=set[str])
    holds: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Members that hold a variant of this vote, or proposal, with another timestamp than `sign_bytes`."""
    against: dict[str, Verdict] = field(default_factory=dict[str, Verdict])
    """Members that will never accept any variant, by what they said."""

    def forget(self, member: str) -> None:
        """What this member said counts no more."""
        self.accepted.discard(member)
        self.holds.pop(member, None)
        self.against.pop(member, None)

    def open_anew(self) -> None:
        """Forget what was said to it: whoever accepted something says so again."""
        self.begun, self.sign_bytes = False, self.asked
        self.accepted.clear()
        self.holds.clear()
        self.against.clear()

    def variant_that_can_win(self, members: int, quorum: int) -> bytes | None:
        """Return the held bytes that a majority could still accept: the most held, then the smallest."""
        if not self.adopt_held:
            return None
        silent = members - len(self.accepted) - len(self.holds) - len(self.against)
        holders = Counter(self.holds.values())
        winnable = [held for held in self.holds.values() if holders[held] + silent >= quorum]
        return preferred(winnable) if winnable else None

    def change_to(self, sign_bytes: bytes) -> None:
        """Ask for other bytes in its place. Those who accepted the former hold them, and will say so."""
        former = dict.fromkeys(self.accepted, self.sign_bytes)
        self.holds = {member: held for member, held in (self.holds | former).items() if held != sign_bytes}
        self.accepted = set()
        self.sign_bytes = sign_bytes

    def why_never(self) -> Outcome:
        """Say why it can never be granted, once that is so: the first of the guards' words, in order of weight."""
        for kind in (Conflict, Sealed, Regression, Refused):
            for verdict in self.against.values():
                if isinstance(verdict, kind):
                    return verdict
        if not self.adopt_held:
            return Held(preferred(self.holds.values()))
        shown = dict.fromkeys(self.accepted, self.sign_bytes) | self.holds
        return Split("; ".join(f"{member} holds {digest_of(held)[:4].hex()}" for member, held in sorted(shown.items())))


def preferred(candidates: Iterable[bytes]) -> bytes:
    """Of several variants, the most held, then the smallest: every coordinator chooses the same."""
    counted = Counter(candidates)
    return min(counted, key=lambda sign_bytes: (-counted[sign_bytes], sign_bytes))
