"""`cmkms guard`, `state` and `chain`: what an operator does to the memory of a stopped signer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cmkms.guard.lock import HomeLock
from cmkms.home import Home
from tests.unit.cli.conftest import CHAIN, Operator


@pytest.fixture
def born(ready: Operator) -> Operator:
    """An operator of a replica that ran once."""
    ready.give_birth()
    return ready


def state_file(directory: Path, height: int, round_: int = 0, step: int = 3) -> str:
    path = directory / f"state-{height}-{round_}-{step}.json"
    path.write_text(json.dumps({"height": str(height), "round": round_, "step": step}))
    return str(path)


def shown(operator: Operator) -> dict[str, Any]:
    guards: list[dict[str, Any]] = json.loads(operator.at_home("guard", "show", "-o", "json").out)
    assert len(guards) == 1
    return guards[0]


def point(operator: Operator) -> tuple[object, object, object]:
    guard = shown(operator)
    return guard["height"], guard["round"], guard["step"]


class TestShow:
    def test_a_guard_that_is_not_born_is_shown_as_such(self, ready: Operator) -> None:
        guard = shown(ready)
        assert (guard["chain_id"], guard["height"], guard["problems"]) == (CHAIN, None, ["not born yet"])

    def test_a_born_guard_shows_its_watermark(self, born: Operator) -> None:
        guard = shown(born)
        assert (guard["height"], guard["round"], guard["step"], guard["armed"]) == (0, 0, 0, True)
        assert guard["problems"] == []

    def test_people_get_the_same_in_lines(self, born: Operator) -> None:
        lines = born.at_home("guard", "show", CHAIN).out.splitlines()
        assert [line.split()[0] for line in lines] == list(shown(born))
        assert ["armed", "yes"] in [line.split() for line in lines]

    @pytest.mark.parametrize(("height", "sealed"), [(0, "no"), (100, "yes")])
    def test_a_guard_that_never_signed_is_not_called_sealed(
        self, born: Operator, tmp_path: Path, height: int, sealed: str
    ) -> None:
        if height:
            born.at_home("state", "import", CHAIN, state_file(tmp_path, height))
        lines = [line.split() for line in born.at_home("guard", "show").out.splitlines()]
        assert ["height", str(height)] in lines
        assert ["sealed", sealed] in lines

    def test_an_unknown_chain_is_refused_with_those_there_are(self, born: Operator) -> None:
        ran = born.at_home("guard", "show", "other")
        assert (ran.code, ran.err) == (2, f"cmkms: no chain 'other' in the configuration; it has {CHAIN}\n")

    def test_it_works_beside_a_running_signer(self, born: Operator) -> None:
        lock = HomeLock(Home(born.home), "a running signer")
        try:
            assert born.at_home("guard", "show").code == 0
            assert born.at_home("state", "show").code == 0
            assert born.at_home("guard", "verify").code == 0
        finally:
            lock.close()


class TestVerify:
    def test_a_good_guard(self, born: Operator) -> None:
        ran = born.at_home("guard", "verify")
        assert (ran.code, ran.out) == (0, f"{CHAIN}: good, at 0/0/0\n")

    def test_one_that_is_not_born(self, ready: Operator) -> None:
        ran = ready.at_home("guard", "verify")
        assert (ran.code, ran.out) == (1, f"{CHAIN}: not born yet\n")

    def test_a_lost_one(self, born: Operator) -> None:
        Home(born.home).guard_file(CHAIN).unlink()
        ran = born.at_home("guard", "verify")
        assert (ran.code, "is lost: " in ran.out) == (1, True)

    def test_a_fused_one(self, born: Operator) -> None:
        Home(born.home).fuse_file(CHAIN).write_text('{"reason": "fdatasync failed", "since": 1.0}')
        ran = born.at_home("guard", "verify")
        assert (ran.code, "the fuse is blown: fdatasync failed" in ran.out) == (1, True)
        assert "BLOWN: fdatasync failed" in born.at_home("guard", "show").out


class TestState:
    def test_it_is_shown(self, born: Operator, tmp_path: Path) -> None:
        born.at_home("state", "import", CHAIN, state_file(tmp_path, 100, 2, 1))
        assert born.at_home("state", "show").out.startswith(f"{CHAIN}: 100/2/1 (height/round/step), sealed")
        assert json.loads(born.at_home("state", "show", "-o", "json").out) == [
            {"chain_id": CHAIN, "height": 100, "round": 2, "step": 1, "sealed": True}
        ]

    def test_of_a_guard_that_never_signed_no_seal_is_told(self, born: Operator) -> None:
        assert born.at_home("state", "show").out == f"{CHAIN}: 0/0/0 (height/round/step)\n"

    def test_before_birth_it_is_said_that_there_is_none(self, ready: Operator) -> None:
        assert ready.at_home("state", "show").out == f"{CHAIN}: not born yet\n"
        (row,) = json.loads(ready.at_home("state", "show", "-o", "json").out)
        assert row["height"] is None

    def test_import_raises(self, born: Operator, tmp_path: Path) -> None:
        ran = born.at_home("state", "import", CHAIN, state_file(tmp_path, 100))
        assert (ran.code, "raised from 0/0/0 to 100/0/3, sealed" in ran.out) == (0, True)
        assert point(born) == (100, 0, 3)

    def test_import_never_lowers(self, born: Operator, tmp_path: Path) -> None:
        born.at_home("state", "import", CHAIN, state_file(tmp_path, 100))
        assert born.at_home("state", "import", CHAIN, state_file(tmp_path, 99)).code == 2
        assert point(born) == (100, 0, 3)

    def test_importing_the_same_again_changes_nothing(self, born: Operator, tmp_path: Path) -> None:
        born.at_home("state", "import", CHAIN, state_file(tmp_path, 100))
        ran = born.at_home("state", "import", CHAIN, state_file(tmp_path, 100))
        assert (ran.code, "stood at 100/0/3 already" in ran.out) == (0, True)

    def test_a_missing_file_is_named(self, born: Operator, tmp_path: Path) -> None:
        ran = born.at_home("state", "import", CHAIN, str(tmp_path / "none.json"))
        assert (ran.code, ran.err) == (2, f"cmkms: {tmp_path}/none.json: no such file\n")

    def test_a_running_signer_is_named(self, born: Operator, tmp_path: Path) -> None:
        lock = HomeLock(Home(born.home), "cmkms start --id node-0")
        try:
            ran = born.at_home("state", "import", CHAIN, state_file(tmp_path, 100))
        finally:
            lock.close()
        assert (ran.code, "in use by cmkms start --id node-0" in ran.err) == (1, True)
        assert point(born) == (0, 0, 0)

    def test_export_is_what_a_plain_node_goes_on_from(self, born: Operator, tmp_path: Path) -> None:
        born.at_home("state", "import", CHAIN, state_file(tmp_path, 100))
        ran = born.at_home("state", "export", CHAIN)
        assert json.loads(ran.out) == {"height": "100", "round": 0, "step": 3}
        assert "Take the key away" in ran.err

    def test_export_needs_no_chain_where_only_one_is_configured(self, born: Operator, tmp_path: Path) -> None:
        born.at_home("state", "import", CHAIN, state_file(tmp_path, 100))
        assert json.loads(born.at_home("state", "export").out)["height"] == "100"

    def test_export_writes_a_new_file_and_overwrites_none(self, born: Operator, tmp_path: Path) -> None:
        target = tmp_path / "out.json"
        assert born.at_home("state", "export", CHAIN, "--to", str(target)).code == 0
        content = target.read_bytes()
        assert json.loads(content)["height"] == "0"
        ran = born.at_home("state", "export", CHAIN, "--to", str(target))
        assert (ran.code, "is not overwritten" in ran.err) == (2, True)
        assert target.read_bytes() == content


class TestReplace:
    def lose(self, operator: Operator) -> None:
        Home(operator.home).guard_file(CHAIN).unlink()

    def test_a_lost_guard_is_replaced_above_a_height(self, born: Operator) -> None:
        self.lose(born)
        ran = born.at_home("guard", "replace", CHAIN, "--above", "500", typed=f"{CHAIN}\n")
        assert ran.code == 0
        assert "nothing at or below it is ever signed again" in ran.err
        assert (shown(born)["height"], shown(born)["sealed"], shown(born)["generation"]) == (500, True, 2)
        assert born.at_home("guard", "verify").code == 0

    def test_from_a_state_file(self, born: Operator, tmp_path: Path) -> None:
        self.lose(born)
        ran = born.at_home("guard", "replace", CHAIN, "--from-state", state_file(tmp_path, 70), "--confirm", CHAIN)
        assert (ran.code, point(born)) == (0, (70, 0, 3))

    def test_another_id_typed_changes_nothing(self, born: Operator) -> None:
        self.lose(born)
        ran = born.at_home("guard", "replace", CHAIN, "--above", "500", typed="yes\n")
        assert (ran.code, "nothing was changed" in ran.err) == (2, True)
        assert shown(born)["height"] is None

    def test_another_id_as_confirmation_changes_nothing(self, born: Operator) -> None:
        before = shown(born)
        ran = born.at_home("guard", "replace", CHAIN, "--above", "500", "--confirm", "yes")
        assert (ran.code, "nothing was changed" in ran.err) == (2, True)
        assert shown(born) == before

    @pytest.mark.parametrize("how", [(), ("--above", "5", "--from-state", "x")])
    def test_how_far_the_key_has_signed_is_said_once(self, born: Operator, how: tuple[str, ...]) -> None:
        ran = born.at_home("guard", "replace", CHAIN, *how)
        assert (ran.code, "either --from-state FILE or --above HEIGHT" in ran.err) == (2, True)

    def test_below_the_readable_record_is_refused(self, born: Operator, tmp_path: Path) -> None:
        born.at_home("state", "import", CHAIN, state_file(tmp_path, 100))
        ran = born.at_home("guard", "replace", CHAIN, "--above", "99", "--confirm", CHAIN)
        assert (ran.code, "stands at 100/0/3, above 99/" in ran.err) == (2, True)

    @pytest.mark.parametrize("height", ["0", "-1", "x", "9223372036854775808"])
    def test_what_is_no_height_is_refused(self, born: Operator, height: str) -> None:
        assert born.at_home("guard", "replace", CHAIN, f"--above={height}", "--confirm", CHAIN).code == 2


class TestAllowHeight:
    def test_it_lifts_the_ceiling_and_not_the_watermark(self, born: Operator, tmp_path: Path) -> None:
        born.at_home("state", "import", CHAIN, state_file(tmp_path, 100))
        ran = born.at_home("chain", "allow-height", CHAIN, "5000000")
        assert (ran.code, ran.out) == (0, f"{CHAIN}: heights up to 5000000 are allowed now\n")
        assert (point(born), shown(born)["allowed_height"]) == ((100, 0, 3), 5000000)

    def test_without_a_guard_it_is_refused(self, ready: Operator) -> None:
        ran = ready.at_home("chain", "allow-height", CHAIN, "5")
        assert (ran.code, "has no guard yet" in ran.err) == (2, True)

    @pytest.mark.parametrize("height", ["0", "x", "9223372036854775808"])
    def test_what_is_no_height_is_refused(self, born: Operator, height: str) -> None:
        assert born.at_home("chain", "allow-height", CHAIN, height).code == 2
