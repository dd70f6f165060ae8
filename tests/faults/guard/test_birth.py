"""Every way in which a home can look at a start: state file, the operator's word, born marker and guard, crossed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from itertools import product
from pathlib import Path

import pytest

from cmkms.errors import OperatorError
from cmkms.guard.birth import GuardRefusedError, GuardSite, OpenedGuard, Unborn, open_guard
from cmkms.guard.born import BornMarker, MarkerError, read_marker, render_marker
from cmkms.guard.decide import Accepted, Conflict, Refused, Sealed, Verdict
from cmkms.guard.disk import PosixDisk
from cmkms.guard.file import GuardFile
from cmkms.guard.generation import NO_GENERATION, GenerationId, Member, next_generation
from cmkms.guard.hrs import NEVER
from cmkms.guard.record import GuardRecord
from cmkms.guard.released import load_released, store_released
from cmkms.guard.state_file import SignState, StateFileError
from tests.unit.guard.world import (
    CHAIN,
    CLOCKS,
    IDENTITY,
    KEY_HASH,
    NONCE,
    NOW,
    OTHER_KEY,
    Clock,
    hrs,
    make_site,
    precommit,
    prevote,
    put_state,
    request,
    signed,
)

DISK = PosixDisk()
STORED = precommit(50)
"""What the guard of the table holds, at 50/0/3."""


class State(Enum):
    ABSENT = "no state file"
    ZERO = "height 0"
    EMPTY = "an empty file"
    NO_BYTES = "at the guard, without sign-bytes"
    EQUAL = "at the guard, with its bytes"
    OTHER_BYTES = "at the guard, with other bytes"
    BELOW = "below the guard"
    ABOVE = "above the guard"


class Marker(Enum):
    ABSENT = "no marker"
    OURS = "the guard's marker"
    ANOTHERS = "another guard's marker"
    ROTTEN = "a marker that cannot be read"


class There(Enum):
    ABSENT = "no guard"
    UNARMED = "an unarmed guard"
    ARMED = "an armed guard"
    ROTTEN = "a rotten guard"


class Outcome(Enum):
    ARMED = "armed"
    UNBORN = "unborn"
    FUSED = "fused"
    REFUSED = "refused"


STATES = {
    State.ZERO: SignState(NEVER),
    State.NO_BYTES: SignState(hrs(50, 0, 3)),
    State.EQUAL: signed(STORED),
    State.OTHER_BYTES: signed(precommit(50, number=2)),
    State.BELOW: signed(precommit(49)),
    State.ABOVE: signed(precommit(51)),
}


def member(nonce: bytes = NONCE) -> Member:
    return Member("node-0", IDENTITY, nonce)


def first_generation(nonce: bytes = NONCE) -> GenerationId:
    return next_generation(CHAIN, KEY_HASH, NO_GENERATION, (member(nonce),))


def write_marker(site: GuardSite, nonce: bytes = NONCE, *, generation: GenerationId | None = None) -> None:
    path = site.home.born_marker(CHAIN)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    marker = BornMarker(generation or first_generation(nonce), NO_GENERATION.hash, (member(nonce),))
    path.write_bytes(render_marker(marker, CHAIN))


def write_guard(site: GuardSite, *, armed: bool) -> None:
    site.path.parent.mkdir(mode=0o700, exist_ok=True)
    record = GuardRecord(CHAIN, "node-0", KEY_HASH, NONCE, first_generation(), 7, armed, hrs(50, 0, 3), STORED, NOW)
    GuardFile.create(DISK, site.path, record)


def lay_out(site: GuardSite, state: State, marker: Marker, there: There) -> None:
    if state is State.EMPTY:
        site.state_file.write_bytes(b"")
    elif state is not State.ABSENT:
        put_state(site, STATES[state])
    if marker is Marker.OURS:
        write_marker(site)
    elif marker is Marker.ANOTHERS:
        write_marker(site, b"another's nonce!")
    elif marker is Marker.ROTTEN:
        write_marker(site)
        site.home.born_marker(CHAIN).write_bytes(b"{")
    if there is not There.ABSENT:
        write_guard(site, armed=there is not There.UNARMED)
    if there is There.ROTTEN:
        site.path.write_bytes(bytes(16384))


def expected(state: State, *, never_signed: bool, marker: Marker, there: There) -> Outcome:
    """The table, written out from the design. The order is that of the questions an operator would ask."""
    if marker is Marker.ROTTEN:
        return Outcome.REFUSED  # what was born here is not known
    if there is There.ROTTEN:
        return Outcome.FUSED
    if there is There.ABSENT:
        return Outcome.REFUSED if marker is not Marker.ABSENT else expected_birth(state, never_signed=never_signed)
    if marker is Marker.ANOTHERS:
        return Outcome.REFUSED  # copied or restored
    if state in {State.EMPTY, State.ABOVE, State.NO_BYTES, State.OTHER_BYTES}:
        return Outcome.REFUSED  # it knows, or may know, of a signature that the guard does not hold
    return Outcome.ARMED


def expected_birth(state: State, *, never_signed: bool) -> Outcome:
    match state, never_signed:
        case State.ABSENT, True:
            return Outcome.ARMED
        case State.ABSENT, False:
            return Outcome.UNBORN
        case State.EMPTY, _:
            return Outcome.REFUSED
        case _, True:
            return Outcome.REFUSED  # two words that contradict each other
        case _, False:
            return Outcome.ARMED


@dataclass(frozen=True)
class Found:
    outcome: Outcome
    record: GuardRecord | None
    answer: Verdict | None


def start(site: GuardSite, *, never_signed: bool = False) -> Found:
    try:
        opened = open_guard(site, DISK, never_signed=never_signed, clocks=CLOCKS)
    except (GuardRefusedError, StateFileError, MarkerError):
        return Found(Outcome.REFUSED, None, None)
    if isinstance(opened, Unborn):
        assert "--never-signed" in opened.waiting_for
        return Found(Outcome.UNBORN, None, None)
    assert isinstance(opened, OpenedGuard)
    try:
        record = opened.guard.record
        answer = opened.guard.accept(request(precommit(50, number=2), opened.generation))
        return Found(Outcome.FUSED if opened.guard.fuse.blown else Outcome.ARMED, record, answer)
    finally:
        opened.guard.close()


TABLE = list(product(State, (False, True), Marker, There))


@pytest.mark.parametrize(("state", "never_signed", "marker", "there"), TABLE)
def test_a_start_is_what_the_table_says(
    tmp_path: Path, state: State, never_signed: bool, marker: Marker, there: There
) -> None:
    site = make_site(tmp_path)
    lay_out(site, state, marker, there)
    found = start(site, never_signed=never_signed)
    assert found.outcome is expected(state, never_signed=never_signed, marker=marker, there=there)
    if there is There.ARMED and found.answer is not None:
        assert found.answer == Conflict(STORED)
    if found.outcome is Outcome.ARMED and there is There.ABSENT and state is not State.ABSENT:
        assert found.record is not None
        assert found.record.hrs >= STATES[state].hrs
    if found.outcome is Outcome.FUSED:
        assert isinstance(found.answer, Refused)
    if found.outcome is Outcome.ARMED:
        assert not site.state_file.exists()
        assert start(site, never_signed=never_signed).outcome is Outcome.ARMED
    if found.outcome is Outcome.REFUSED:
        assert start(site, never_signed=never_signed).outcome is Outcome.REFUSED


@pytest.fixture
def site(tmp_path: Path) -> GuardSite:
    return make_site(tmp_path)


def born(site: GuardSite, *, never_signed: bool = False, clock: Clock | None = None) -> OpenedGuard:
    opened = open_guard(site, DISK, never_signed=never_signed, clocks=(clock or Clock()).clocks)
    assert isinstance(opened, OpenedGuard)
    return opened


class TestBirthFromAStateFile:
    def test_what_was_signed_last_is_held_and_can_be_repeated_only_byte_for_byte(self, site: GuardSite) -> None:
        put_state(site, signed(STORED))
        opened = born(site)
        assert opened.guard.accept(request(precommit(50, number=2), opened.generation)) == Conflict(STORED)
        assert opened.guard.accept(request(STORED, opened.generation)) == Accepted(advances=False)

    def test_a_point_without_bytes_becomes_a_seal(self, site: GuardSite) -> None:
        put_state(site, SignState(hrs(50, 0, 3)))
        opened = born(site)
        assert opened.guard.accept(request(STORED, opened.generation)) == Sealed(hrs(50, 0, 3))

    def test_the_last_signature_is_kept_for_whoever_repeats_the_request(self, site: GuardSite) -> None:
        put_state(site, signed(STORED))
        born(site).guard.close()
        assert load_released(site) == signed(STORED)

    def test_the_file_is_renamed_by_the_height_it_was_imported_at(self, site: GuardSite) -> None:
        put_state(site, signed(STORED))
        born(site).guard.close()
        aside = site.state_file.with_name("priv_validator_state.json.imported-at-50")
        assert aside.exists()

    def test_its_age_and_floor_are_told(self, site: GuardSite) -> None:
        put_state(site, signed(precommit(50, at=NOW - 3 * 86400)))
        notes = " ".join(born(site).notes)
        assert "50/0/3" in notes
        assert "3 days" in notes

    def test_its_age_lifts_the_ceiling(self, site: GuardSite) -> None:
        put_state(site, signed(precommit(50, at=NOW - 86400)))
        assert born(site).guard.ceiling() == 50 + 100 * 86400

    @pytest.mark.parametrize("at", [NOW + 10**6, -62135596800], ids=["of the future", "of year 1"])
    def test_a_strange_time_in_it_is_harmless(self, site: GuardSite, at: int) -> None:
        put_state(site, signed(precommit(50, at=at)))
        record = born(site).guard.record
        assert record is not None
        assert 0 <= record.accepted_at <= NOW

    def test_one_that_says_height_zero_is_taken_at_its_word_with_a_warning(self, site: GuardSite) -> None:
        put_state(site, SignState(NEVER))
        assert "NEVER signed" in " ".join(born(site).notes)

    def test_one_of_another_key_is_refused(self, site: GuardSite) -> None:
        put_state(site, signed(STORED, OTHER_KEY))
        with pytest.raises(StateFileError, match="another validator"):
            open_guard(site, DISK)
        assert not site.path.exists()

    def test_never_signed_beside_it_is_a_contradiction(self, site: GuardSite) -> None:
        put_state(site, SignState(NEVER))
        with pytest.raises(GuardRefusedError, match="contradict"):
            open_guard(site, DISK, never_signed=True)
        assert not site.path.exists()


class TestAfterBirth:
    def test_each_birth_has_a_nonce_and_a_generation_of_its_own(self, tmp_path: Path) -> None:
        opened = [born(make_site(tmp_path / name), never_signed=True) for name in ("a", "b")]
        assert opened[0].generation != opened[1].generation
        assert opened[0].generation.number == opened[1].generation.number == 1

    def test_a_request_of_an_earlier_guard_is_refused(self, tmp_path: Path) -> None:
        one, two = (born(make_site(tmp_path / name), never_signed=True) for name in ("a", "b"))
        assert isinstance(two.guard.accept(request(STORED, one.generation)), Refused)

    def test_never_signed_is_told_to_be_taken_out_of_the_command(self, site: GuardSite) -> None:
        born(site, never_signed=True).guard.close()
        assert "Remove it" in " ".join(born(site, never_signed=True).notes)

    def test_a_lost_guard_is_refused_with_the_way_out(self, site: GuardSite) -> None:
        born(site, never_signed=True).guard.close()
        site.path.unlink()
        for never_signed in (False, True):
            with pytest.raises(GuardRefusedError, match=r"lost.*guard replace"):
                open_guard(site, DISK, never_signed=never_signed)

    def test_a_guard_of_another_birth_in_its_place_is_refused(self, tmp_path: Path) -> None:
        one, two = make_site(tmp_path / "a"), make_site(tmp_path / "b")
        for site in (one, two):
            born(site, never_signed=True).guard.close()
        two.path.write_bytes(one.path.read_bytes())
        with pytest.raises(GuardRefusedError, match="do not belong together"):
            open_guard(two, DISK)

    @pytest.mark.parametrize(
        ("changed", "why"),
        [
            ({"member_id": "node-1"}, "replica 'node-0'"),
            ({"identity": bytes(32)}, "another identity"),
            ({"pub_key": OTHER_KEY.pub_key}, "another consensus key"),
            ({"key_type": "secp256k1"}, "another consensus key"),
        ],
        ids=["replica", "identity", "key", "key type"],
    )
    def test_a_guard_under_another_configuration_is_refused(
        self, site: GuardSite, changed: dict[str, object], why: str
    ) -> None:
        born(site, never_signed=True).guard.close()
        with pytest.raises(GuardRefusedError, match=why):
            open_guard(replace(site, **changed), DISK)  # type: ignore[arg-type]

    def test_a_guard_of_another_chain_is_refused(self, site: GuardSite) -> None:
        born(site, never_signed=True).guard.close()
        other = replace(site, chain_id="other-1")
        site.path.parent.rename(other.path.parent)
        with pytest.raises(GuardRefusedError, match="chain 'guarded-1'"):
            open_guard(other, DISK)

    def test_a_missing_marker_is_written_anew_for_a_guard_that_was_born_here(self, site: GuardSite) -> None:
        born(site, never_signed=True).guard.close()
        site.home.born_marker(CHAIN).unlink()
        born(site).guard.close()
        assert read_marker(site.home.born_marker(CHAIN)) is not None

    def test_without_marker_and_with_another_identity_it_is_refused(self, site: GuardSite) -> None:
        born(site, never_signed=True).guard.close()
        site.home.born_marker(CHAIN).unlink()
        with pytest.raises(GuardRefusedError, match="no born marker"):
            open_guard(replace(site, identity=bytes(32)), DISK)

    def test_a_state_file_above_the_guard_names_the_command(self, site: GuardSite) -> None:
        born(site, never_signed=True).guard.close()
        put_state(site, signed(STORED))
        with pytest.raises(GuardRefusedError, match="cmkms state import"):
            open_guard(site, DISK)

    def test_a_state_file_with_other_bytes_at_the_guards_own_point_is_never_set_aside(self, site: GuardSite) -> None:
        """Another signer has signed this very point: repeating our bytes there would be the second signature."""
        put_state(site, signed(STORED))
        born(site).guard.close()
        put_state(site, signed(precommit(50, number=2)))
        with pytest.raises(GuardRefusedError, match="cmkms state import"):
            open_guard(site, DISK)
        assert site.state_file.exists()

    def test_a_state_file_at_a_seal_is_set_aside(self, site: GuardSite) -> None:
        put_state(site, SignState(hrs(50, 0, 3)))
        born(site).guard.close()
        put_state(site, signed(precommit(50, number=2)))
        opened = born(site)
        assert isinstance(opened.guard.accept(request(precommit(50, number=2), opened.generation)), Sealed)

    def test_a_guard_restored_from_a_copy_is_refused_by_the_signature_that_left_since(self, site: GuardSite) -> None:
        opened = born(site, never_signed=True)
        copy = site.path.read_bytes()
        opened.guard.accept(request(STORED, opened.generation))
        opened.guard.close()
        store_released(site, DISK, signed(STORED))
        site.path.write_bytes(copy)
        with pytest.raises(GuardRefusedError, match=r"signature at 50/0/3.*guard replace .*--above HEIGHT"):
            open_guard(site, DISK)

    def test_a_key_that_has_signed_here_is_not_born_below_it(self, site: GuardSite) -> None:
        site.path.parent.mkdir(mode=0o700)
        store_released(site, DISK, signed(STORED))
        with pytest.raises(GuardRefusedError, match="the word that it began by was wrong"):
            open_guard(site, DISK, never_signed=True)
        assert not site.path.exists()
        put_state(site, signed(STORED))
        born(site).guard.close()

    def test_the_watermark_and_the_bytes_outlive_a_restart(self, site: GuardSite) -> None:
        first = born(site, never_signed=True)
        assert first.guard.accept(request(prevote(3), first.generation)) == Accepted(advances=True)
        first.guard.close()
        second = born(site)
        assert second.guard.accept(request(prevote(3, number=2), second.generation)) == Conflict(prevote(3))

    @pytest.mark.parametrize("what", ["chain id", "replica id"])
    def test_a_name_that_does_not_fit_the_record_is_refused_before_anything_is_born(
        self, site: GuardSite, what: str
    ) -> None:
        long = replace(site, **({"chain_id": "x" * 51} if what == "chain id" else {"member_id": "m" * 33}))  # type: ignore[arg-type]
        with pytest.raises(OperatorError, match=what):
            open_guard(long, DISK, never_signed=True)
        assert not long.path.exists()
