"""Births of several guards, searched exhaustively over the real `next_step`: old claims, overlaps, homes made anew.

Safety: of all files that ever were, those that are armed are of one birth, unless every single home was made anew.
Liveness: what is left alone ends armed; what cannot, says so, and what it says helps.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from cmkms.guard.claims import FloorClaim
from cmkms.guard.founding import Bind, Born, Stuck
from tests.sim.guard.foundings import (
    LOW,
    NEVER_SIGNED,
    NOTHING,
    OTHER,
    STATE,
    File,
    Founding,
    Home,
    fair_run,
    made_anew,
    moves,
    started_over,
)

MOST_STATES = 400_000
"""A search that finds more has lost its bounds."""


def reachable(members: int, successors: Callable[[Founding], Iterable[Founding]]) -> set[Founding]:
    first: Founding = (Home(),) * members
    seen, queue = {first}, deque([first])
    while queue:
        for after in successors(queue.popleft()):
            if after not in seen:
                seen.add(after)
                queue.append(after)
        assert len(seen) < MOST_STATES
    return seen


def armed_files(state: Founding) -> Counter[Bind]:
    """How many files were ever armed in each birth; where it begins is part of a birth."""
    return Counter(file.bound for home in state for file in home.files if file.bound is not None and file.armed)


def births(state: Founding) -> int:
    return len(armed_files(state))


def births_with_a_majority(state: Founding) -> int:
    return sum(armed > len(state) // 2 for armed in armed_files(state).values())


def search(members: int, floors: tuple[FloorClaim, ...], *, files: int, homes: int) -> set[Founding]:
    """Search all births in which up to `homes` homes are made anew."""

    def successors(state: Founding) -> Iterable[Founding]:
        yield from moves(state, floors)
        yield from made_anew(state, files=files, homes=homes)

    return reachable(members, successors)


def search_started_over(members: int, *, files: int, armed_lost: int) -> set[Founding]:
    """Search all births in which unarmed guards are started over, and up to `armed_lost` armed ones lost."""

    def successors(state: Founding) -> Iterable[Founding]:
        yield from moves(state, (NEVER_SIGNED,))
        yield from started_over(state, files=files, armed_lost=armed_lost)

    return reachable(members, successors)


@pytest.mark.parametrize(
    ("members", "floors", "files", "homes"),
    [
        (2, (NEVER_SIGNED,), 3, 1),
        (3, (NEVER_SIGNED,), 2, 2),
        (3, (NEVER_SIGNED, NOTHING), 1, 0),
        (3, (STATE, LOW, OTHER), 1, 0),
        (2, (STATE, OTHER), 2, 1),
        (2, (NEVER_SIGNED, STATE, NOTHING), 2, 1),
    ],
)
def test_only_one_birth_is_ever_armed_and_all_in_it_begin_at_one_point(
    members: int, floors: tuple[FloorClaim, ...], files: int, homes: int
) -> None:
    states = search(members, floors, files=files, homes=homes)
    assert max(births(state) for state in states) == 1
    assert any(all(home.file.armed for home in state) for state in states)


@pytest.mark.parametrize(("members", "armed_lost"), [(2, 0), (3, 1)])
def test_started_over_at_any_time_only_one_birth_ever_has_a_majority(members: int, armed_lost: int) -> None:
    """As long as no more than a minority of armed guards is lost: a majority made anew is outside the promise."""
    states = search_started_over(members, files=2, armed_lost=armed_lost)
    assert max(births_with_a_majority(state) for state in states) == 1


def test_only_where_every_home_was_made_anew_a_second_birth_is_armed() -> None:
    """That cannot be seen from inside; it is why a birth asks for a state file or `--never-signed`."""
    states = search(2, (NEVER_SIGNED,), files=2, homes=2)
    twice = [state for state in states if births(state) > 1]
    assert twice
    assert all(len(home.files) > 1 for state in twice for home in state)


@pytest.mark.parametrize("floors", [(NEVER_SIGNED,) * 3, (STATE, NOTHING, NOTHING), (STATE, OTHER, LOW)])
def test_left_alone_every_birth_ends_with_all_armed(floors: tuple[FloorClaim, ...]) -> None:
    """Whatever crashes and old claims have led to, as long as every home stays what it is."""
    states = reachable(3, lambda state: settled_moves(state, floors))
    assert len(states) > 8
    for state in states:
        end, said = fair_run(state, floors)
        assert all(home.file.armed for home in end)
        assert said == (Born(),) * 3


def settled_moves(state: Founding, floors: tuple[FloorClaim, ...]) -> Iterable[Founding]:
    """Moves in which each home gives its own floor, and no other."""
    for after in moves(state, tuple(dict.fromkeys(floors))):
        if all(file.bound is None or begins_where_all_do(file, floors) for home in after for file in home.files):
            yield after


def begins_where_all_do(file: File, floors: tuple[FloorClaim, ...]) -> bool:
    assert file.bound is not None
    highest = max(floor.hrs for floor in floors)
    distinct = {floor.sign_bytes for floor in floors if floor.hrs == highest}
    latest = max(floor.accepted_at for floor in floors if floor.hrs == highest)
    sign_bytes = distinct.pop() if len(distinct) == 1 else None
    return (file.bound.hrs, file.bound.sign_bytes, file.bound.accepted_at) == (highest, sign_bytes, latest)


def test_whatever_a_new_home_led_to_it_ends_armed_or_says_what_to_do_and_that_helps() -> None:
    floors = (NEVER_SIGNED,) * 3
    ends: set[str] = set()
    for state in search(3, (NEVER_SIGNED,), files=2, homes=2):
        end, said = fair_run(state, floors)
        if all(home.file.armed for home in end):
            ends.add("armed")
            continue
        assert any(isinstance(step, Stuck) for step in said)
        if any(home.file.armed for home in end):
            # Who is not armed is no member, or must be seen by one that has forgotten its members: another generation.
            texts = [step.what_to_do for step in said if isinstance(step, Stuck)]
            assert all("change of generation" in text for text in texts)
            ends.add("a change of generation")
            continue
        assert all("cluster birth --restart" in step.what_to_do for step in said if isinstance(step, Stuck))
        anew = tuple(
            replace(home, files=(*home.files, File())) if home.file.bound is not None else home for home in end
        )
        again, _ = fair_run(anew, floors)
        assert all(home.file.armed for home in again)
        ends.add("started over")
    assert ends == {"armed", "a change of generation", "started over"}
