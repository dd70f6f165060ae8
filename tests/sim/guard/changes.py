"""Guards of one key through changes of generation, with everything against them that a network and a disk can do.

The guards are real, on simulated disks. Every claim and every acceptance that was ever told stays deliverable for ever,
in any order, to anyone; processes die at any operation of their disk, power goes, files are lost and made anew,
operators begin changes at the same time. Whoever a coordinator is, it counts what it likes of what was ever answered.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from cmkms.errors import DiskError
from cmkms.guard.change import Armed, Change, ChangeStep, Move, Seal, next_change_step
from cmkms.guard.change_plan import NoPlan, plan_change
from cmkms.guard.claims import GuardClaim
from cmkms.guard.decide import Accepted, AcceptRequest
from cmkms.guard.file import GuardFile
from cmkms.guard.founding import Candidate
from cmkms.guard.fuse import Fuse
from cmkms.guard.generation import NO_GENERATION, Electorate, Member, first_generation
from cmkms.guard.guard import Guard
from cmkms.guard.hrs import HRS, NEVER
from cmkms.guard.record import GuardRecord
from tests.sim.guard.disk import Killed, SimulatedDisk
from tests.unit.guard.world import CHAIN, CLOCKS, KEY_HASH, prevote

__all__ = ["Host", "World"]

GUARD = Path("/simulated/guard")
FUSE = Path("/simulated/fuse.json")
BLOCKS = 2


@dataclass
class Host:
    """One machine with one guard file at a time."""

    name: str
    random: Random
    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    guard: Guard | None = None
    nonces: int = 0
    change: Change | None = None
    """The change that its replica follows."""

    @property
    def identity(self) -> bytes:
        return hashlib.sha256(self.name.encode()).digest()

    def fresh(self) -> Member:
        """Make a new, empty file."""
        self.nonces += 1
        nonce = hashlib.sha256(f"{self.name} {self.nonces}".encode()).digest()[:16]
        self.disk = SimulatedDisk()
        record = GuardRecord(CHAIN, self.name, KEY_HASH, nonce, NO_GENERATION, 0, False, NEVER, None, 0)  # noqa: FBT003
        member = Member(self.name, self.identity, nonce)
        GuardFile.create(self.disk, GUARD, record)
        self.guard, self.change = None, None
        return member

    def start(self) -> None:
        """Begin a life, if there is none."""
        if self.guard is not None:
            return
        try:
            fuse = Fuse(self.disk, FUSE)
            self.guard = Guard(GUARD, GuardFile.open(self.disk, GUARD), fuse, CLOCKS, change=self.change)
            self.guard.write_marker = lambda _record, _previous, _members: self.disk.passes()
            self.guard.write_change = self._keep
        except Killed:
            self.died()
        except DiskError:
            self.guard = None

    def died(self) -> None:
        self.guard = None
        self.disk.kill()

    def cut_power(self) -> None:
        self.guard = None
        self.disk.cut_power(lambda: self.random.random() < 0.5)

    def _keep(self, change: Change) -> None:
        self.disk.passes()
        self.change = change

    def claim(self) -> GuardClaim | None:
        return None if self.guard is None else self.guard.claim(CHAIN, KEY_HASH, agrees=self._agrees)

    @property
    def _agrees(self) -> bytes:
        return b"" if self.change is None else self.change.after.hash


class World:
    """Hosts, and all that was ever told."""

    def __init__(self, seed: int, *, hosts: int = 5, members: int = 3) -> None:
        self.random = Random(seed)
        self.hosts = {f"g{number}": Host(f"g{number}", Random(seed + number)) for number in range(hosts)}
        self.claims: dict[str, list[GuardClaim]] = defaultdict(list)
        self.accepted: dict[tuple[bytes, HRS, bytes], set[str]] = defaultdict(set)
        self.generations: dict[bytes, tuple[Electorate, bytes]] = {}
        self.released: dict[HRS, bytes] = {}
        self.story: list[str] = []
        self.armed_at: set[int] = {1}
        self.height = 1
        self.lateness = self.random.choice((0.0, 0.2, 0.5))
        self.refused: Counter[str] = Counter()
        self._begin(members)

    def _begin(self, members: int) -> None:
        born = tuple(host.fresh() for host in list(self.hosts.values())[:members])
        for host in list(self.hosts.values())[members:]:
            host.fresh()
        generation = first_generation(CHAIN, KEY_HASH, *born)
        self._know(Electorate(CHAIN, KEY_HASH, generation, born), NO_GENERATION.hash)
        for host in self.hosts.values():
            host.start()
            guard = host.guard
            assert guard is not None
            if any(member.id == host.name for member in born):
                guard.bind(generation, born, NEVER, None, 0)
                guard.arm(born)
            self.tell(host)

    def _know(self, electorate: Electorate, previous: bytes) -> None:
        self.generations[electorate.generation.hash] = (electorate, previous)

    # ---------------------------------------------------------------------------------------------------- what happens

    def tell(self, host: Host) -> None:
        """What a replica says now can be heard for ever."""
        claim = host.claim()
        if claim is not None:
            self.claims[host.name].append(claim)

    def accept(self, host: Host) -> None:
        """Some coordinator of some generation asks for some bytes."""
        newest = list(self.generations.values())
        electorate, _ = self.random.choice(newest[-3:] if self.random.random() < 0.8 else newest)
        height = self.height + (self.random.random() < 0.1)
        sign_bytes = prevote(height, number=self.random.randint(1, BLOCKS))
        guard = host.guard
        if guard is None:
            return
        request = AcceptRequest.of(KEY_HASH, electorate.generation, sign_bytes)
        verdict = guard.accept(request)
        record = guard.record
        if isinstance(verdict, Accepted) and record is not None:
            key = (electorate.generation.hash, request.hrs, sign_bytes)
            # An answer carries the nonce; a coordinator counts members of its generation, one answer each.
            if any((one.id, one.nonce) == (host.name, record.nonce) for one in electorate.members):
                self.accepted[key].add(host.name)
            block = sign_bytes[20:24].hex()
            self.story.append(f"{host.name} accepts {request.hrs} block {block} in {electorate.generation}")
            self._release(electorate, request.hrs, sign_bytes)

    def _release(self, electorate: Electorate, hrs: HRS, sign_bytes: bytes) -> None:
        who = self.accepted[electorate.generation.hash, hrs, sign_bytes]
        if len(who) > len(electorate.members) // 2:
            first = self.released.setdefault(hrs, sign_bytes)
            assert first == sign_bytes, ("two messages are signed", hrs, self.story[-60:])

    def look(self, host: Host) -> dict[str, Candidate]:
        """What this replica believes of the others: of each, something that it said at some time."""
        found: dict[str, Candidate] = {}
        for name, told in self.claims.items():
            if name != host.name and told and self.random.random() < 0.8:
                late = self.random.random() < self.lateness
                claim = self.random.choice(told[-12:]) if late else told[-1]
                found[name] = Candidate(name, self.hosts[name].identity, claim)
        return found

    def propose(self) -> None:
        """An operator plans a change, by what some replica believes."""
        host = self.random.choice(list(self.hosts.values()))
        claim = host.claim()
        if claim is None:
            return
        electorate, previous = self.random.choice(list(self.generations.values())[-2:])
        present = [member.id for member in electorate.members]
        wanted = tuple(self._wish(present))
        everyone = self.look(host) | {host.name: Candidate(host.name, host.identity, claim)}
        plan = plan_change(electorate, previous, wanted, everyone)
        if isinstance(plan, NoPlan):
            self.refused[plan.why[:40]] += 1
            return
        change = plan.change
        self._know(Electorate(CHAIN, KEY_HASH, change.after, change.members), change.before.hash)
        self.story.append(f"{host.name} proposes {change.before} -> {change.after} of {', '.join(wanted)}")
        for one in self.hosts.values():
            if self.random.random() < 0.8:
                self.follow(one, change)

    def _wish(self, present: list[str]) -> list[str]:
        """The same with one made anew, one replaced, two more, or two fewer."""
        others = sorted(set(self.hosts) - set(present))
        roll = self.random.random()
        if roll < 0.25 and others:
            return [*self.random.sample(present, len(present) - 1), self.random.choice(others)]
        if roll < 0.4 and len(others) > 1:
            return present + self.random.sample(others, 2)
        if roll < 0.55 and len(present) > 2:
            return self.random.sample(present, len(present) - 2)
        return present

    def follow(self, host: Host, change: Change) -> None:
        """A replica hears of a change."""
        if host.guard is not None:
            host.change = change
            self.tell(host)

    def step(self, host: Host) -> None:
        """A replica does what comes next for the change that it follows."""
        guard, change = host.guard, host.change
        claim = host.claim()
        if guard is None or change is None or claim is None:
            return
        mine = Candidate(host.name, host.identity, claim)
        step = next_change_step(change, mine, self.look(host), agreed=self.random.random() < 0.9, holder="")
        try:
            self.take(guard, change, step)
        except DiskError:
            return
        if isinstance(step, Move | Seal):
            self.story.append(f"{host.name}: {step} towards {change.after}")
        if isinstance(step, Armed | Seal):
            self.armed_at.add(change.after.number)

    def take(self, guard: Guard, change: Change, step: ChangeStep) -> None:
        match step:
            case Move():
                guard.move(change)
            case Seal(hrs=hrs, accepted_at=accepted_at):
                guard.seal(change, hrs, accepted_at)
                guard.arm_sealed()
            case _:
                pass

    def lose(self, host: Host) -> None:
        """Its file is gone, or its operator gives it up; a new one is made."""
        self.story.append(f"{host.name} loses its guard")
        host.fresh()
        host.start()
        self.tell(host)

    def happen(self) -> None:
        """Something, anything."""
        host = self.random.choice(list(self.hosts.values()))
        host.start()
        roll = self.random.random()
        if roll < 0.01:
            host.disk.kill_at = host.disk.operations + self.random.randint(1, 6)
        elif roll < 0.02:
            host.cut_power()
            return
        if self.random.random() < 0.004:
            self.height += 1
        try:
            if roll < 0.45:
                self.accept(host)
            elif roll < 0.51:
                self.propose()
            elif roll < 0.54:
                self.follow(host, self._some_change())
            elif roll < 0.555:
                self.lose(host)
            else:
                self.step(host)
            self.tell(host)
        except Killed:
            host.died()

    def _some_change(self) -> Change:
        """A change that somebody once proposed, as another replica would tell of it."""
        known = [host.change for host in self.hosts.values() if host.change is not None]
        if not known:
            electorate, previous = next(iter(self.generations.values()))
            return Change(CHAIN, KEY_HASH, 1, previous, electorate.members, electorate.members)
        return self.random.choice(known)

    def live(self, steps: int) -> None:
        for _ in range(steps):
            self.happen()
