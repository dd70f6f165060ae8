"""kill -9 at every disk operation of a birth, an acceptance, an import and a replacement, by real processes.

Whatever was signed before the kill is written to a ledger of its own first, as a validator would have seen it; after
the kill the home either goes on and never contradicts the ledger, or refuses with the command that helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cmkms.guard.birth import GuardRefusedError, GuardSite, OpenedGuard, open_guard
from cmkms.guard.decide import Accepted
from cmkms.guard.disk import Disk, PosixDisk
from cmkms.guard.inspection import inspect_guard
from cmkms.guard.offline import import_state
from cmkms.guard.replacement import plan_replacement, replace_guard
from cmkms.guard.state_file import SignState, render_state
from tests.faults.guard.mortal import MortalDisk, in_a_process_that_dies
from tests.unit.guard.world import CLOCKS, hrs, make_site, precommit, put_state, request, signed

ENDS_AT_LAST = 200
"""No work here has as many operations: a loop that gets there is a test that never ends its work."""

DISK = PosixDisk()
Work = Callable[[GuardSite, Disk], None]


def started(site: GuardSite, disk: Disk = DISK, *, never_signed: bool = False) -> OpenedGuard:
    opened = open_guard(site, disk, never_signed=never_signed, clocks=CLOCKS)
    assert isinstance(opened, OpenedGuard)
    assert opened.guard.fuse.blown is None
    return opened


def ask(opened: OpenedGuard, sign_bytes: bytes) -> bool:
    return isinstance(opened.guard.accept(request(sign_bytes, opened.generation)), Accepted)


def ledger(site: GuardSite) -> Path:
    return site.home.path / "ledger"


def asks_and_notes(site: GuardSite, opened: OpenedGuard, sign_bytes: bytes) -> None:
    if ask(opened, sign_bytes):
        ledger(site).write_bytes(sign_bytes)


def deaths(tmp_path: Path, prepare: Callable[[GuardSite], None], work: Work) -> Iterator[GuardSite]:
    """Give the home after `work` was killed at its first operation, its second, and so on, and after all of it."""
    for dies_at in range(1, ENDS_AT_LAST):
        site = make_site(tmp_path / str(dies_at))
        prepare(site)
        killed = in_a_process_that_dies(lambda site=site, dies_at=dies_at: work(site, MortalDisk(dies_at)))  # type: ignore[misc]
        yield site
        if not killed:
            assert dies_at > 3, "the work has hardly an operation"
            return
    pytest.fail("the work never ended")


def holds_its_word(site: GuardSite, opened: OpenedGuard, height: int) -> None:
    """Ask for another block at the height in question, after what left the guard before, if anything did."""
    left = ledger(site).read_bytes() if ledger(site).exists() else None
    other = precommit(height, number=2)
    accepted = ask(opened, other)
    if left is not None:
        assert not accepted, "signed twice"


def test_a_birth_by_the_operators_word_goes_on_or_begins_again(tmp_path: Path) -> None:
    def work(site: GuardSite, disk: Disk) -> None:
        asks_and_notes(site, started(site, disk, never_signed=True), precommit(1))

    for site in deaths(tmp_path, lambda _: None, work):
        opened = started(site, never_signed=True)
        holds_its_word(site, opened, 1)
        opened.guard.close()
        started(site).guard.close()


def test_a_birth_from_a_state_file_never_forgets_it(tmp_path: Path) -> None:
    def prepare(site: GuardSite) -> None:
        put_state(site, signed(precommit(50)))

    def work(site: GuardSite, disk: Disk) -> None:
        asks_and_notes(site, started(site, disk), precommit(51))

    for site in deaths(tmp_path, prepare, work):
        opened = started(site)
        assert not site.state_file.exists()
        assert not ask(opened, precommit(50, number=2))
        holds_its_word(site, opened, 51)
        opened.guard.close()


def test_an_acceptance_is_there_or_was_never_answered(tmp_path: Path) -> None:
    def prepare(site: GuardSite) -> None:
        opened = started(site, never_signed=True)
        assert ask(opened, precommit(50))
        opened.guard.close()

    def work(site: GuardSite, disk: Disk) -> None:
        opened = started(site, disk)
        for height in (51, 52, 53):
            asks_and_notes(site, opened, precommit(height))

    for site in deaths(tmp_path, prepare, work):
        opened = started(site)
        noted = request(ledger(site).read_bytes()).hrs.height if ledger(site).exists() else 50
        assert opened.guard.record is not None
        assert opened.guard.record.hrs.height in {noted, noted + 1}
        assert not ask(opened, precommit(noted, number=2))
        opened.guard.close()


def test_an_import_has_raised_or_can_be_given_again(tmp_path: Path) -> None:
    def given(site: GuardSite) -> Path:
        return site.home.path / "given.json"

    def prepare(site: GuardSite) -> None:
        started(site, never_signed=True).guard.close()
        given(site).write_bytes(render_state(SignState(hrs(60, 0, 3))))

    def work(site: GuardSite, disk: Disk) -> None:
        import_state(site, disk, given(site), clocks=CLOCKS)
        ledger(site).write_bytes(precommit(60))

    for site in deaths(tmp_path, prepare, work):
        if ledger(site).exists():
            opened = started(site)
            holds_its_word(site, opened, 60)
            opened.guard.close()
        else:
            assert import_state(site, DISK, given(site), clocks=CLOCKS).after == hrs(60, 0, 3)


@pytest.mark.parametrize("old", ["sound", "lost"])
def test_a_replacement_is_done_or_the_home_says_how_to_go_on(tmp_path: Path, old: str) -> None:
    def prepare(site: GuardSite) -> None:
        opened = started(site, never_signed=True)
        assert ask(opened, precommit(50))
        opened.guard.close()
        if old == "lost":
            site.path.unlink()

    def work(site: GuardSite, disk: Disk) -> None:
        replace_guard(site, disk, plan_replacement(site, 60))
        ledger(site).write_bytes(precommit(60))

    for site in deaths(tmp_path, prepare, work):
        try:
            opened = started(site)
        except GuardRefusedError as error:
            assert "guard replace" in str(error)  # noqa: PT017 - both ends are right, each with its own checks
            assert not ledger(site).exists()
            replace_guard(site, DISK, plan_replacement(site, 60))
            opened = started(site)
        assert not ask(opened, precommit(50, number=2))
        if ledger(site).exists():
            assert not ask(opened, precommit(60))
            assert not ask(opened, precommit(60, number=2))
        opened.guard.close()
        assert inspect_guard(site).problems == ()


def test_a_replacement_killed_between_two_names_does_not_forget_what_the_old_guard_held(tmp_path: Path) -> None:
    """The old file has left its place, the new one has not taken it: a lower point must not slip through."""

    def prepare(site: GuardSite) -> None:
        opened = started(site, never_signed=True)
        assert ask(opened, precommit(50))
        opened.guard.close()

    def work(site: GuardSite, disk: Disk) -> None:
        replace_guard(site, disk, plan_replacement(site, 60))

    between = 0
    for site in deaths(tmp_path, prepare, work):
        if not site.path.exists():
            between += 1
            with pytest.raises(GuardRefusedError, match="too low"):
                plan_replacement(site, 49)
    assert between
