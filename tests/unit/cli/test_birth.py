"""`cmkms cluster birth`: it shows how far a guard has come, and begins its birth anew when the chain id is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmkms.guard.birth import UnarmedGuard, open_guard
from cmkms.guard.disk import PosixDisk
from cmkms.home import Home
from tests.unit.cli.conftest import CHAIN, Operator


@pytest.fixture
def begun(operator: Operator) -> Operator:
    """An operator of one of three replicas, whose first start has made an unbound guard."""
    peers = [f"--peer=node-{number}=127.0.0.1:943{number}" for number in range(3)]
    assert operator.init("--id", "node-0", *peers).code == 0
    assert operator.at_home("key", "generate").code == 0
    opened = open_guard(operator.loaded().site, PosixDisk(), never_signed=True)
    assert isinstance(opened, UnarmedGuard)
    opened.guard.close()
    return operator


def guard_file(operator: Operator) -> Path:
    return Home(operator.home).guard_file(CHAIN)


def test_it_begins_anew_and_keeps_the_old_file(begun: Operator) -> None:
    ran = begun.at_home("cluster", "birth", "--restart", typed=f"{CHAIN}\n")
    assert ran.code == 0
    assert "set aside as guard.restarted-at-" in ran.out
    assert "every other replica" in ran.err
    assert not guard_file(begun).exists()
    assert [path for path in guard_file(begun).parent.iterdir() if path.name.startswith("guard.restarted-at-")]


@pytest.mark.parametrize("flag", ["--yes", "--confirm"])
def test_the_chain_id_can_be_given(begun: Operator, flag: str) -> None:
    assert begun.at_home("cluster", "birth", CHAIN, "--restart", flag, CHAIN).code == 0


def test_without_the_chain_id_nothing_is_changed(begun: Operator) -> None:
    ran = begun.at_home("cluster", "birth", "--restart", typed="yes\n")
    assert (ran.code, "nothing was changed" in ran.err) == (2, True)
    assert guard_file(begun).exists()


def test_by_itself_it_only_shows_how_far_the_guard_has_come(begun: Operator) -> None:
    ran = begun.at_home("cluster", "birth")
    assert ran.code == 0
    assert ran.out.startswith(f"{CHAIN}: unbound\n{CHAIN}: not born yet: bound to nothing until node-0, node-1, node-2")
    assert guard_file(begun).exists()


def test_an_armed_guard_is_refused(ready: Operator) -> None:
    ready.give_birth()
    ran = ready.at_home("cluster", "birth", "--restart", "--yes", CHAIN)
    assert (ran.code, "never starts over" in ran.err) == (2, True)
    assert guard_file(ready).exists()
