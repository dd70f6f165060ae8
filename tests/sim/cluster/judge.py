"""Who watches the simulated cluster: every record on a disk, every signature that is made, every answer to a node.

It keeps its own book of what each guard has durably accepted, read from the disks by the harness' reader, and holds
everything against that book. It takes no word of the replicas: not what a verdict says, nor what is a repeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from cmkms.guard import hrs as product
from cmkms.harness.guard_files import Watermark
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Oracle, Rule
from cmkms.harness.values import HRS
from cmkms.keys import Ed25519Key
from cmkms.privval import encode_request
from cmkms.signing import Answer, Rejected, RejectedBecause
from cmkms.signing.signer import SignRequest
from cmkms.validators.reply import encode_answer
from tests.sim.cluster.reading import Asked, SignedBytes, described, extension_place, read_request, read_signed, shown
from tests.sim.cluster.story import Story
from tests.unit.signing.messages import CHAIN, KEY

__all__ = ["Judge", "WatchedKey"]

_PRECOMMIT = 3
_NEVER_TOLD = {
    RejectedBecause.INTERNAL,
    RejectedBecause.UNDECODABLE,
    RejectedBecause.UNKNOWN_CHAIN,
    RejectedBecause.OUTAGE,
}
"""What no node of these tests is ever answered: they ask for what can be asked, and outages are no answers."""


@dataclass(eq=False, slots=True)
class _Book:
    """What one replica's guards have durably held.

    `accepted`: by place and generation, the bytes; `by_file`: the same by place and file, whatever the generation.
    """

    accepted: dict[HRS, dict[bytes, bytes]] = field(default_factory=dict[HRS, dict[bytes, bytes]])
    by_file: dict[tuple[HRS, bytes], bytes] = field(default_factory=dict[tuple[HRS, bytes], bytes])
    last: Watermark | None = None
    rolled_back: bool = False


class Judge:
    """`names` are all replicas. A broken promise is kept in `violations`, and raised where it is found."""

    def __init__(self, names: tuple[str, ...], story: Story) -> None:
        self._names = names
        self._size = len(names)
        self._all = names
        self._members: dict[bytes, tuple[str, ...]] = {}
        self._story = story
        self._answers = Oracle([CHAIN])
        self._books: dict[str, _Book] = {}
        self._asked: set[bytes] = set()
        self._numbers: dict[bytes, int] = {}
        self._highest_of: dict[int, HRS] = {}
        self._signed_at: dict[HRS, float] = {}
        self.signed: dict[product.HRS, bytes] = {}
        """Every place that has a signature, in the product's words for the sake of whoever asks about it."""
        self.watches_guards = False
        """Whether a guard that goes backwards is condemned at once, or only for what comes of it."""
        self._signed: dict[HRS, bytes] = {}
        self.released: dict[HRS, bytes] = {}
        """What nodes have received, by place."""
        self.rejected: list[Rejected] = []
        self.answers = 0
        self.requests = 0
        self.violations: list[str] = []

    def condemn(self, why: str) -> None:
        """Something that must never happen has happened."""
        self.violations.append(why)
        self._story.tell("judge", f"VIOLATION: {why}")
        raise AssertionError(why)

    def expect(self, generation: bytes, names: tuple[str, ...]) -> None:
        """An operator begins a change of generation: these will be the guards of the one with that hash, and no others.

        From the first of them that answers for it, it is theirs to say what can be signed.
        """
        self._members[generation] = names

    # ---------------------------------------------------------------------------------------------------------- guards

    def durable(self, name: str, stored: Watermark) -> None:
        """This is on the disk of a guard now, after a sync."""
        book = self._books.setdefault(name, _Book())
        before, hrs = book.last, stored.hrs
        book.last = stored
        self._numbers[stored.generation_hash] = stored.generation
        if stored.member != name or stored.chain_id != CHAIN:
            self.condemn(f"{name} keeps a record of {stored.member} for {stored.chain_id}")
        if not stored.armed:
            return
        if stored.generation_hash in self._members:
            self._names = self._members[stored.generation_hash]
            self._size = len(self._names)
        same_file = before is not None and before.nonce == stored.nonce
        if self.watches_guards and same_file and before is not None and not book.rolled_back:
            if hrs < before.hrs or stored.sequence < before.sequence or stored.generation < before.generation:
                self.condemn(f"the guard of {name} went from {before.hrs} back to {hrs}")
            if before.generation == stored.generation != 0 and before.generation_hash != stored.generation_hash:
                self.condemn(f"the guard of {name} changed its members, and not its generation")
        self._check_seal(name, stored)
        if stored.sign_bytes is None:
            return
        book.accepted.setdefault(hrs, {}).setdefault(stored.generation_hash, stored.sign_bytes)
        if book.by_file.setdefault((hrs, stored.nonce), stored.sign_bytes) != stored.sign_bytes:
            self.condemn(f"the guard of {name} accepted two messages at {hrs}")

    def _check_seal(self, name: str, stored: Watermark) -> None:
        """Whoever answers for a generation stands above all that was signed by the ones before."""
        former = [hrs for number, hrs in self._highest_of.items() if number < stored.generation]
        if former and stored.hrs < max(former):
            self.condemn(f"{name} answers for generation {stored.generation} at {stored.hrs}, below {max(former)}")

    def rolled_back(self, name: str) -> None:
        """An operator has put an old file back: what it says of itself is no fault of the guard's."""
        self._books.setdefault(name, _Book()).rolled_back = True

    def marks(self, names: Collection[str]) -> list[Watermark | None]:
        """What the guards of these held last."""
        return [book.last if (book := self._books.get(name)) is not None else None for name in names]

    @property
    def highest(self) -> HRS | None:
        """The highest place that was ever signed."""
        return max(self._signed, default=None)

    # ------------------------------------------------------------------------------------------------------ signatures

    def signature(self, name: str, sign_bytes: bytes) -> None:
        """A replica is about to sign this."""
        said = read_signed(sign_bytes)
        if sign_bytes not in self._asked:
            self.condemn(f"{name} signs what no node has asked for, at {said.hrs if said else 'an extension'}")
        if said is None:
            self._extension(name, sign_bytes)
            return
        hrs = said.hrs
        if hrs not in self._signed:
            self.signed[product.HRS(hrs.height, hrs.round, product.Step(hrs.step))] = sign_bytes
            self._signed_at[hrs] = self._story.events.now
            self._story.tell(name, f"SIGNS {hrs} {shown(sign_bytes)}")
        if self._signed.setdefault(hrs, sign_bytes) != sign_bytes:
            self.condemn(f"two messages are signed at {hrs}: {shown(self._signed[hrs])} and {shown(sign_bytes)}")
        behind = Counter(
            generation
            for book in self._books.values()
            for generation, held in book.accepted.get(hrs, {}).items()
            if held == sign_bytes
        )
        sizes = {generation: len(self._members.get(generation, self._all)) for generation in behind}
        signing = [generation for generation, size in sizes.items() if behind[generation] > size // 2]
        if not signing:
            most = " or ".join(f"{behind[one]} of {sizes[one]}" for one in behind) or f"0 of {self._size}"
            self.condemn(f"{name} signs at {hrs} with {most} disks behind it")
        self._note_generation(hrs, max(signing, key=lambda one: behind[one]))

    def _note_generation(self, hrs: HRS, generation: bytes) -> None:
        """By which generation this is signed; the later ones must be sealed above it."""
        number = self._numbers[generation]
        self._highest_of[number] = max(self._highest_of.get(number, hrs), hrs)
        for name, book in self._books.items():
            if book.last is not None and book.last.armed:
                self._check_seal(name, book.last)

    def _extension(self, name: str, sign_bytes: bytes) -> None:
        """Whoever asked for it has, or is about to have, the precommit of that place: it is signed already."""
        hrs = HRS(*extension_place(sign_bytes), _PRECOMMIT)
        precommit = read_signed(self._signed[hrs]) if hrs in self._signed else None
        if precommit is None or precommit.is_nil:
            self.condemn(f"{name} signs an extension at {hrs}, where no precommit for a block is signed")

    # --------------------------------------------------------------------------------------------------------- answers

    def asked(self, node: str, request: SignRequest) -> Asked:
        """A node asks for this for the first time."""
        wanted = read_request(encode_request(request))
        self._asked |= {wanted.sign_bytes, wanted.extension_bytes}
        self.requests += 1
        self._story.tell(node, f"asks for {described(wanted.sign_bytes)}")
        return wanted

    def answer(self, node: str, request: SignRequest, asked_at: float, now: float, answer: Answer) -> None:
        """A node has its answer."""
        self.answers += 1
        encoded = encode_request(request)
        wanted = read_request(encoded).sign_bytes
        said = read_signed(wanted)
        assert said is not None
        if isinstance(answer, Rejected):
            self._story.tell(node, f"is refused {said.hrs}: {answer.because.name}, {answer.description}")
            self.rejected.append(answer)
            self._refusal(node, answer, wanted, said)
        else:
            self._story.tell(node, f"has its signature at {said.hrs} after {now - asked_at:.3f} s")
            self.released[said.hrs] = self._signed.get(said.hrs, b"")
        seen = Observation(node, 0, asked_at, now, KEY.pub_key, encoded, encode_answer(request, answer))
        # A node that lags behind may be given a signature once more that was there when it asked.
        repeated = self._signed_at.get(said.hrs, now) < asked_at
        allowed: set[Rule] = {Rule.WENT_BACK, Rule.AFTER_PRECOMMIT} if repeated else set()
        for violation in self._answers(seen):
            if violation.rule not in allowed:
                self.condemn(str(violation))

    def _refusal(self, node: str, answer: Rejected, wanted: bytes, said: SignedBytes) -> None:
        """An error is final for what was asked, so it must be true: nothing can get a majority there any more."""
        if answer.because in _NEVER_TOLD:
            self.condemn(f"{node} is told {answer.because.name}: {answer.description}")
        # Amid a change the next generation's guards are not sealed yet; they will be, above all that was signed.
        passed = self.highest is not None and said.hrs < self.highest
        if not passed and self._could_win(wanted, said, self._names):
            self.condemn(f"{node} is refused {said.hrs} ({answer.because.name}), which could still be signed")

    def decidable(self, wanted: bytes, names: Collection[str]) -> bool:
        """Whether the guards of these are enough to sign this, or to say that nobody ever will.

        What is asked for at one place is decided one after the other: what could be waits for what cannot be.
        """
        said = read_signed(wanted)
        assert said is not None
        there = {mark.sign_bytes for mark in self.marks(names) if mark is not None and mark.hrs == said.hrs}
        return all(self._settled(one, names) for one in {wanted, *there} if one is not None)

    def _settled(self, wanted: bytes, names: Collection[str]) -> bool:
        said = read_signed(wanted)
        assert said is not None
        others = self._size - len(names)
        return self._could_win(wanted, said, names) or not self._could_win(wanted, said, names, free=others)

    def _could_win(self, wanted: bytes, said: SignedBytes, names: Collection[str], *, free: int = 0) -> bool:
        """Whether a majority could have one message that answers this request: of these guards, and `free` more."""
        marks = self.marks(names)
        free += sum(mark is None or mark.hrs < said.hrs for mark in marks)
        there = Counter(mark.sign_bytes for mark in marks if mark is not None and mark.hrs == said.hrs)
        candidates = {wanted}
        if said.is_vote:
            candidates |= {held for held in there if held is not None and _same_vote(held, said)}
        return free + max(there[one] for one in candidates) > self._size // 2

    # ------------------------------------------------------------------------------------------------------------- end

    def last_look(self, stored: dict[str, Watermark | None]) -> None:
        """When all is over: a majority of what lies on the disks is at or above all that was signed."""
        highest = self.highest
        if highest is None:
            return
        above = [name for name, mark in stored.items() if mark is not None and mark.armed and mark.hrs >= highest]
        if len(above) <= self._size // 2:
            self.condemn(f"{highest} was signed, and only {above} of {self._size} guards stand there or above")


def _same_vote(held: bytes, said: SignedBytes) -> bool:
    other = read_signed(held)
    return other is not None and other.content == said.content


class WatchedKey:
    """The key of every replica; whatever it signs is judged first."""

    def __init__(self, name: str, judge: Callable[[str, bytes], None], key: Ed25519Key = KEY) -> None:
        self._name = name
        self._judge = judge
        self._key = key
        self.type_name = key.type_name
        self.pub_key = key.pub_key
        self.address = key.address

    def sign(self, sign_bytes: bytes) -> bytes:
        self._judge(self._name, sign_bytes)
        return self._key.sign(sign_bytes)
