"""What can befall a file, byte by byte, and what a start may do then: refuse in clear words, or know all it knew.

The cases are enumerated here, opened by several openers at once, and judged by what they acknowledged before. A case
that accepts other bytes at an acknowledged place, forgets, crashes or is silent is a fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tests.faults.disks.homes import CONFIG, FUSE, SoundHome
from tests.faults.disks.opener import CRASHED, Opened, Opener

__all__ = ["KINDS", "Bench", "Case", "Found", "every"]

Change = Callable[[bytes, int], bytes]


def _cut(data: bytes, at: int) -> bytes:
    return data[:at]


def _flip(bit: int) -> Change:
    def flip(data: bytes, at: int) -> bytes:
        return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]

    return flip


def _zero(data: bytes, at: int) -> bytes:
    return data[:at] + b"\0" + data[at + 1 :]


def _drop(data: bytes, at: int) -> bytes:
    return data[:at] + data[at + 1 :]


KINDS: Final[dict[str, Change]] = {
    "cut at": _cut,
    # The lowest bit makes another digit of a digit: what is damaged so still looks like what it was.
    "lowest bit flipped at": _flip(0x01),
    "highest bit flipped at": _flip(0x80),
    "zero at": _zero,
    "one byte lost at": _drop,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One file of a home with other bytes; None: without it."""

    name: str
    what: str
    data: bytes | None


def every(home: SoundHome, name: str, kind: str, step: int = 1) -> Iterator[Case]:
    """Damage a file of this home at every byte, or at every so many."""
    data = home.files[name]
    for at in range(0, len(data), step):
        yield Case(name, f"{kind} {at}", KINDS[kind](data, at))


@dataclass(slots=True)
class Found:
    """What came of many cases: how many of each outcome, and every fault in words."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])

    @property
    def cases(self) -> int:
        """How many there were."""
        return self.outcomes.total()


class Bench:
    """Some openers with a copy of each home of their own. Close it."""

    def __init__(self, folder: Path, width: int = 2) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(width)
        self._openers: SimpleQueue[tuple[int, Opener]] = SimpleQueue()
        self._width = width
        for number in range(width):
            self._openers.put((number, Opener()))
        self._homes = 0

    def judge(self, home: SoundHome, cases: Iterable[Case], *, sound: str = "kept") -> Found:
        """Open every case once. The unchanged home comes first and last, with what is expected of it as the outcome.

        Raises RuntimeError where that is not so.
        """
        self._homes += 1
        home.restore()
        copies = [home.copy(self._folder / f"home-{self._homes}-{number}") for number in range(self._width)]
        unchanged = Case(CONFIG, "unchanged", home.files.get(CONFIG))
        found = Found()
        todo = [unchanged, *cases, unchanged]
        for case, outcome, fault in self._pool.map(self._try, repeat(copies), todo):
            if case is unchanged and outcome != sound:
                raise RuntimeError(f"the undamaged home: {outcome}, {fault}")
            if case is unchanged:
                continue
            found.outcomes[outcome] += 1
            if fault:
                found.faults.append(f"{case.name}, {case.what}: {fault}")
        return found

    def close(self) -> None:
        """End the openers."""
        self._pool.shutdown()
        for _ in range(self._width):
            self._openers.get()[1].close()

    def _try(self, copies: list[SoundHome], case: Case) -> tuple[Case, str, str]:
        number, opener = self._openers.get()
        try:
            home = copies[number]
            home.restore()
            path = home.home / case.name
            if case.data is None:
                path.unlink()
            else:
                path.write_bytes(case.data)
            opened = opener.open(home.home, home.question)
            return case, *_judged(opened, home, case)
        finally:
            self._openers.put((number, opener))


def _judged(opened: Opened, home: SoundHome, case: Case) -> tuple[str, str]:
    """The outcome, and the fault in it if there is one."""
    if opened.code == CRASHED or "Traceback" in opened.said:
        return "crashed", opened.said
    if opened.accepted_other:
        return "forgot", "other bytes were accepted at an acknowledged place"
    if opened.armed:
        return ("kept", "") if opened.kept else ("forgot", "the acknowledged bytes are not known any more")
    outcome = opened.without_guard if not opened.code else "refused"
    return outcome, "" if _is_clear(opened.said, home, case) else f"what is said is not clear: {opened.said!r}"


def _is_clear(said: str, home: SoundHome, case: Case) -> bool:
    """It names the file that is damaged, or what that file says: a configuration is read before it is doubted.

    The reason in a fuse's marker is whatever was written there.
    """
    if case.name == FUSE:
        return bool(said)
    names = [str(home.home / case.name)]
    if case.name == CONFIG:
        names += ["the configuration", "peer list", "nothing tells what this key has signed", "waiting for"]
    return any(name in said for name in names)
