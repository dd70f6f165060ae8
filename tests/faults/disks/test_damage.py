"""Every file of a home, cut at every byte and damaged at every byte: a start refuses in clear words, or knows it all.

One test for each file and kind of damage, with the number of its cases. The everyday bytes of the guard's padding and
of the configuration's comments, other kinds of damage, and a second home are left to the long mode.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.faults.disks.damage import KINDS, Bench, Case, Found, every
from tests.faults.disks.homes import CHAIN, CONFIG, FUSE, GUARD, RELEASED, STATE, SoundHome

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

RESULT: Final = Path(__file__).parents[3] / "docs" / "proof" / "disks.json"

IDENTITY: Final = "priv/identity_key.json"
KEY: Final = "priv/priv_validator_key.json"
MARKER: Final = f"priv/born/{CHAIN}.json"
NOTES: Final = ("data/@lock", "data/@term", f"data/{CHAIN}/founders.json", RELEASED)
"""What costs nothing but comfort when it is lost."""
SMALL: Final = (CONFIG, IDENTITY, KEY, MARKER, *NOTES)

BLOCK: Final = 4096
RECORD: Final = 512
EVERYDAY: Final = ("cut at", "lowest bit flipped at")

ALLOWED: Final = {
    CONFIG: {"refused", "kept", "waits for its birth"},
    IDENTITY: {"refused", "kept"},
    KEY: {"refused", "kept"},
    # Another number of the generation: the hash is right, so the others are known, and may go on without this guard.
    MARKER: {"refused", "kept", "guard refused"},
    GUARD: {"fuse blown", "kept"},
    **{name: {"kept"} for name in NOTES},
}
"""What may come of damage to each file."""


def check(found: Found, name: str, cases: int) -> None:
    """No fault in any of so many cases, and no outcome that does not belong to this file."""
    assert found.faults == []
    assert found.outcomes.keys() <= ALLOWED[name], found.outcomes
    assert found.cases == cases


@pytest.fixture(scope="session")
def terse(of_three: SoundHome) -> SoundHome:
    """The same home without comments in its configuration: they are most of it, and say nothing to the signer."""
    lines = of_three.files[CONFIG].decode().splitlines(keepends=True)
    return of_three.changed({CONFIG: "".join(line for line in lines if line[0] not in "#\n").encode()})


def test_a_home_holds_nothing_that_is_not_damaged_here(of_three: SoundHome, alone: SoundHome) -> None:
    assert set(of_three.files) == {*SMALL, GUARD}
    assert set(alone.files) <= set(of_three.files)


@pytest.mark.parametrize("kind", EVERYDAY)
@pytest.mark.parametrize("name", SMALL)
def test_a_small_file_damaged_at_every_byte(bench: Bench, terse: SoundHome, name: str, kind: str) -> None:
    found = bench.judge(terse, every(terse, name, kind))
    check(found, name, len(terse.files[name]))


def test_the_guard_cut_at_every_64th_byte_and_around_every_block(bench: Bench, of_three: SoundHome) -> None:
    data = of_three.files[GUARD]
    edges = {edge + by for edge in range(0, len(data), BLOCK) for by in (-1, 0, 1, RECORD - 1, RECORD, RECORD + 1)}
    lengths = sorted({*range(0, len(data), 64), *edges} & set(range(len(data))))
    found = bench.judge(of_three, [Case(GUARD, f"cut at {length}", data[:length]) for length in lengths])
    check(found, GUARD, len(lengths))
    assert set(found.outcomes) == {"fuse blown"}


def test_the_guard_damaged_at_every_byte_of_every_record(bench: Bench, of_three: SoundHome) -> None:
    cases = [case for at, case in enumerate(every(of_three, GUARD, EVERYDAY[1])) if at % BLOCK < RECORD]
    found = bench.judge(of_three, cases)
    check(found, GUARD, 4 * RECORD)
    assert set(found.outcomes) == {"kept"}, "each record has a copy"


@pytest.mark.parametrize("name", [*SMALL, GUARD])
def test_a_file_of_nothing_but_zeros_as_a_power_cut_may_leave_it(bench: Bench, of_three: SoundHome, name: str) -> None:
    check(bench.judge(of_three, [Case(name, "zeros", bytes(len(of_three.files[name])))]), name, 1)


@pytest.mark.parametrize("name", [*SMALL, GUARD])
def test_a_file_that_is_gone(bench: Bench, of_three: SoundHome, name: str) -> None:
    found = bench.judge(of_three, [Case(name, "gone", None)])
    assert found.faults == []
    if name == GUARD:
        # Never made anew and armed by itself: the others know that it was born.
        assert set(found.outcomes) <= {"guard refused", "waits for its birth"}
    else:
        assert set(found.outcomes) == {"kept" if name in NOTES else "refused"}


@pytest.mark.parametrize("kind", EVERYDAY)
def test_the_marker_of_a_blown_fuse_damaged_at_every_byte_leaves_it_blown(
    bench: Bench, of_three: SoundHome, kind: str
) -> None:
    marker = json.dumps({"reason": "its disk failed", "since": 1_700_000_000.5}, indent=2).encode()
    fused = of_three.changed({FUSE: marker})
    found = bench.judge(fused, every(fused, FUSE, kind), sound="fuse blown")
    assert found.faults == []
    assert found.outcomes == {"fuse blown": len(marker)}


@pytest.mark.parametrize("kind", EVERYDAY)
def test_the_state_that_a_birth_begins_with_damaged_at_every_byte(bench: Bench, alone: SoundHome, kind: str) -> None:
    born = [GUARD, MARKER, RELEASED, f"data/{CHAIN}/founders.json"]
    released = json.loads(alone.files[RELEASED] or b"")
    # What CometBFT keeps, without what only this replica's own note says.
    state = json.dumps({name: value for name, value in released.items() if name != "generation"}, indent=2).encode()
    unborn = alone.changed({STATE: state} | dict.fromkeys(born))
    found = bench.judge(unborn, every(unborn, STATE, kind))
    assert found.faults == []
    assert found.outcomes.keys() <= {"refused", "kept"}
    assert found.cases == len(unborn.files[STATE])


@pytest.mark.parametrize("kind", EVERYDAY)
def test_the_home_of_a_replica_alone_damaged_at_every_seventh_byte(bench: Bench, alone: SoundHome, kind: str) -> None:
    for name in sorted(set(alone.files) - {GUARD}):
        found = bench.judge(alone, every(alone, name, kind, 7))
        check(found, name, len(range(0, len(alone.files[name]), 7)))


def test_an_older_guard_is_refused_by_what_was_released(bench: Bench, alone: SoundHome) -> None:
    found = bench.judge(alone, [Case(GUARD, "older", alone.older_guard)])
    assert found.outcomes == {"refused": 1}


def test_a_home_that_forgets_is_told_apart(bench: Bench, alone: SoundHome) -> None:
    """A guard restored from yesterday, with nothing left that speaks against it: a fault to the judge."""
    forgetful = alone.changed({RELEASED: None})
    found = bench.judge(forgetful, [Case(GUARD, "older", alone.older_guard)])
    assert found.outcomes == {"forgot": 1}
    assert found.faults == [f"{GUARD}, older: other bytes were accepted at an acknowledged place"]


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_every_kind_of_damage_at_every_byte_of_every_file(bench: Bench, of_three: SoundHome, alone: SoundHome) -> None:
    """The long mode: nothing left out. Its counts stand in docs/proof/disks.json."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    faults: list[str] = []
    for whose, home in (("one of three", of_three), ("a replica alone", alone)):
        for name, data in sorted(home.files.items()):
            for kind in KINDS:
                found = bench.judge(home, every(home, name, kind))
                assert found.cases == len(data)
                counts.setdefault(f"{whose}: {name}", {})[kind] = dict(sorted(found.outcomes.items()))
                faults += found.faults
    cases = sum(sum(outcomes.values()) for kinds in counts.values() for outcomes in kinds.values())
    RESULT.parent.mkdir(exist_ok=True)
    result = json.dumps({"cases": cases, "faults": faults, "outcomes": counts}, indent=2)
    RESULT.write_text(result + "\n", encoding="utf-8")
    assert faults == []
