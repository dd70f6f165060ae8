"""Three homes born together, on real files: the whole way, killed at every disk operation, and begun anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cmkms.guard.birth import GuardSite
from cmkms.guard.born import read_marker
from cmkms.guard.claims import GuardPhase
from cmkms.guard.decide import Accepted
from cmkms.guard.disk import PosixDisk
from cmkms.guard.founding import Born, Stuck, Wait
from cmkms.guard.inspection import inspect_guard
from cmkms.guard.offline import restart_birth
from cmkms.guard.released import load_released
from tests.faults.guard.mortal import MortalDisk, in_a_process_that_dies
from tests.faults.guard.together import Replica, make_homes, run_together, start_all, stop_all
from tests.unit.guard.world import CHAIN, precommit, put_state, request, signed

STORED = precommit(50)
ENDS_AT_LAST = 200
Prepare = Callable[[tuple[GuardSite, ...]], None]


@pytest.fixture
def sites(tmp_path: Path) -> tuple[GuardSite, ...]:
    return make_homes(tmp_path)


def born(sites: tuple[GuardSite, ...], *, never_signed: bool = False) -> list[Replica]:
    replicas = start_all(sites, never_signed=never_signed)
    run_together(replicas)
    assert [one.said for one in replicas] == [Born()] * 3, [one.said for one in replicas]
    generations = {one.guard.record.generation for one in replicas if one.guard.record}
    assert len(generations) == 1
    return replicas


def accepts(replica: Replica, sign_bytes: bytes) -> bool:
    assert replica.guard.record is not None
    return isinstance(replica.guard.accept(request(sign_bytes, replica.guard.record.generation)), Accepted)


def test_the_word_of_one_is_enough_and_all_end_armed_in_one_generation(sites: tuple[GuardSite, ...]) -> None:
    replicas = born(sites, never_signed=True)
    assert all(accepts(one, precommit(1)) for one in replicas)
    stop_all(replicas)
    stop_all(born(sites))


def test_one_state_is_where_all_begin_and_its_signature_stays_with_who_gave_it(sites: tuple[GuardSite, ...]) -> None:
    put_state(sites[1], signed(STORED))
    replicas = born(sites)
    assert not any(accepts(one, precommit(50, number=2)) for one in replicas)
    assert [load_released(site) for site in sites] == [None, signed(STORED), None]
    assert not sites[1].state_file.exists()
    stop_all(replicas)


def test_two_states_of_one_point_with_other_bytes_seal_it(sites: tuple[GuardSite, ...]) -> None:
    put_state(sites[0], signed(STORED))
    put_state(sites[2], signed(precommit(50, number=2)))
    replicas = born(sites)
    for one in replicas:
        assert not accepts(one, STORED)
        assert not accepts(one, precommit(50, number=2))
        assert accepts(one, precommit(51))
    assert not sites[0].state_file.exists()
    assert not sites[2].state_file.exists()
    stop_all(replicas)


def test_started_minutes_apart_nothing_is_fixed_before_the_last_is_there(sites: tuple[GuardSite, ...]) -> None:
    replicas = start_all(sites, never_signed=True)
    run_together(replicas[:2])
    assert [one.guard.phase for one in replicas] == [GuardPhase.UNBOUND] * 3
    assert isinstance(replicas[0].said, Wait)
    assert "node-0 and node-1 agree; nothing is fixed yet" in replicas[0].said.why
    run_together(replicas)
    assert all(one.armed for one in replicas)
    stop_all(replicas)


def test_a_home_made_anew_before_anything_is_bound_is_just_another_file(
    sites: tuple[GuardSite, ...], tmp_path: Path
) -> None:
    stop_all(start_all(sites, never_signed=True))
    stop_all(born((make_homes(tmp_path / "anew")[0], *sites[1:]), never_signed=True))


def test_a_home_made_anew_after_binding_is_told_and_begun_anew_by_the_command(
    sites: tuple[GuardSite, ...], tmp_path: Path
) -> None:
    replicas = start_all(sites, never_signed=True)
    for one in replicas[:2]:
        # Only these two come as far as binding.
        one.look([other.candidate for other in replicas])
    replicas[2].look([other.candidate for other in replicas])
    for one in replicas[:2]:
        one.look([other.candidate for other in replicas])
    assert [one.guard.phase for one in replicas[:2]] == [GuardPhase.BOUND] * 2
    stop_all(replicas)
    anew = (*sites[:2], make_homes(tmp_path / "anew")[2])
    replicas = start_all(anew, never_signed=True)
    run_together(replicas)
    for one in replicas:
        assert isinstance(one.said, Stuck)
        assert "stop node-0 and node-1, run there: cmkms cluster birth --restart" in one.said.what_to_do
    stop_all(replicas)
    for site in anew[:2]:
        restart_birth(site, PosixDisk())
    stop_all(born(anew, never_signed=True))


def test_a_home_made_anew_after_birth_is_told_that_it_is_lost_and_the_others_stay_armed(
    sites: tuple[GuardSite, ...], tmp_path: Path
) -> None:
    stop_all(born(sites, never_signed=True))
    anew = (make_homes(tmp_path / "anew")[0], *sites[1:])
    replicas = start_all(anew, never_signed=True)
    run_together(replicas)
    assert isinstance(replicas[0].said, Stuck)
    assert "the others go on without it" in replicas[0].said.what_to_do
    assert replicas[0].guard.phase is GuardPhase.UNBOUND
    assert [one.armed for one in replicas[1:]] == [True, True]
    stop_all(replicas)


def deaths(path: Path, prepare: Prepare, *, never_signed: bool) -> Iterator[tuple[GuardSite, ...]]:
    """Give the homes after node-0 was killed at its first disk operation of a birth, its second, and so on."""
    for dies_at in range(1, ENDS_AT_LAST):
        sites = make_homes(path / str(dies_at))
        prepare(sites)

        def work(sites: tuple[GuardSite, ...] = sites, dies_at: int = dies_at) -> None:
            replicas = start_all(sites, first_disk=MortalDisk(dies_at), never_signed=never_signed)
            run_together(replicas)
            assert replicas[0].armed
            if accepts(replicas[0], precommit(51)):
                (sites[0].home.path / "ledger").write_bytes(precommit(51))

        killed = in_a_process_that_dies(work)
        yield sites
        if not killed:
            assert dies_at > 30, "a birth has more operations"
            return
    pytest.fail("the birth never ended")


def nothing(_: tuple[GuardSite, ...]) -> None:
    """No state is given."""


def give_a_state(sites: tuple[GuardSite, ...]) -> None:
    put_state(sites[0], signed(STORED))


@pytest.mark.parametrize("prepare", [nothing, give_a_state])
def test_killed_at_any_disk_operation_a_birth_goes_on(tmp_path: Path, prepare: Prepare) -> None:
    """The others live on or start again; nobody has to be told anything, and nothing that was given is forgotten."""
    never_signed = prepare is nothing
    reached: set[str] = set()
    for sites in deaths(tmp_path, prepare, never_signed=never_signed):
        reached.add(inspect_guard(sites[0]).state)
        replicas = born(sites, never_signed=never_signed)
        if not never_signed:
            assert not any(accepts(one, precommit(50, number=2)) for one in replicas)
            assert not sites[0].state_file.exists()
            assert load_released(sites[0]) == signed(STORED)
        if (sites[0].home.path / "ledger").exists():
            assert not accepts(replicas[0], precommit(51, number=2))
        stop_all(replicas)
        for site in sites:
            assert inspect_guard(site).problems == ()
            assert read_marker(site.home.born_marker(CHAIN)) is not None
    assert reached == {"missing", "unbound", "bound", "armed"}
