"""Several homes in one process that give birth to their guards together: real files, real claims, no network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from cmkms.guard.birth import GuardSite, OpenedGuard, UnarmedGuard, after_arming, open_guard
from cmkms.guard.claims import NO_FLOOR, FloorClaim, GuardPhase
from cmkms.guard.disk import Disk, PosixDisk
from cmkms.guard.founding import Agree, Arm, Bind, Candidate, FoundingStep, next_step
from cmkms.guard.guard import Guard
from tests.unit.guard.world import CHAIN, CLOCKS, KEY_HASH, make_site

__all__ = ["NAMES", "Replica", "make_homes", "run_together", "start_all", "stop_all"]

NAMES = ("node-0", "node-1", "node-2")
ENDS_AT_LAST = 20
"""Rounds of a birth; it takes four."""


def make_homes(path: Path) -> tuple[GuardSite, ...]:
    sites: list[GuardSite] = []
    for name in NAMES:
        (path / name).mkdir(parents=True)
        identity = hashlib.sha256(name.encode()).digest()
        sites.append(make_site(path / name, member=name, identity=identity, members=NAMES))
    return tuple(sites)


class Replica:
    """One running replica, as far as a birth is concerned."""

    def __init__(self, site: GuardSite, disk: Disk | None = None, *, never_signed: bool = False) -> None:
        self.site = site
        self.disk = disk or PosixDisk()
        opened = open_guard(site, self.disk, never_signed=never_signed, clocks=CLOCKS)
        assert isinstance(opened, OpenedGuard | UnarmedGuard)
        self.guard: Guard = opened.guard
        self.floor: FloorClaim = opened.floor if isinstance(opened, UnarmedGuard) else NO_FLOOR
        self.agrees = b""
        self.said: FoundingStep | None = None

    @property
    def candidate(self) -> Candidate:
        claim = self.guard.claim(CHAIN, KEY_HASH, floor=self.floor, agrees=self.agrees)
        return Candidate(self.site.member_id, self.site.identity, claim)

    @property
    def armed(self) -> bool:
        return self.guard.phase is GuardPhase.ARMED

    def look(self, others: Iterable[Candidate]) -> None:
        """Do what is to be done next, given those that are connected."""
        here = {one.member_id: one for one in others if one.member_id != self.site.member_id}
        done = next_step(CHAIN, self.site.members, self.candidate, here, known=self.guard.members)
        self.said = done
        self.agrees = done.digest if isinstance(done, Agree) else b""
        match done:
            case Bind():
                self.guard.bind(done.generation, done.members, done.hrs, done.sign_bytes, done.accepted_at)
            case Arm(members=members):
                self.guard.arm(members)
                after_arming(self.site, self.disk, self.guard)
            case _:
                return

    def stop(self) -> None:
        self.guard.close()


def start_all(
    sites: tuple[GuardSite, ...], *, first_disk: Disk | None = None, never_signed: bool = False
) -> list[Replica]:
    """Start them all; node-0 on a disk of its own, if one is given, and with the operator's word, if it is."""
    return [
        Replica(site, first_disk if number == 0 else None, never_signed=never_signed and number == 0)
        for number, site in enumerate(sites)
    ]


def run_together(replicas: list[Replica]) -> None:
    """Let all see each other until nothing changes any more."""
    for _ in range(ENDS_AT_LAST):
        before = [one.candidate for one in replicas]
        for one in replicas:
            one.look([other.candidate for other in replicas])
        if [one.candidate for one in replicas] == before:
            return
    raise AssertionError("the birth never comes to rest")


def stop_all(replicas: Iterable[Replica]) -> None:
    for one in replicas:
        one.stop()
