"""What one replica does next for a change of generation, and what an operator may plan."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from cmkms.errors import BrokenInvariantError
from cmkms.guard.change import Armed, Change, ChangeStep, Hold, Move, Seal, Superseded, left_behind, next_change_step
from cmkms.guard.change_plan import NoPlan, Plan, plan_change, plan_lowering
from cmkms.guard.claims import NO_FLOOR, FloorClaim, FloorKind, GuardClaim, GuardPhase, refused_claim
from cmkms.guard.decide import Accepted, Refused, RefusedBecause, Sealed
from cmkms.guard.founding import Candidate
from cmkms.guard.generation import NO_GENERATION, Electorate, GenerationId, Member, first_generation
from cmkms.guard.hrs import HRS, NEVER
from tests.unit.guard.test_guard import Setup
from tests.unit.guard.world import CHAIN, IDENTITY, KEY_HASH, NONCE, NOW, hrs, precommit, prevote, record, request

NAMES = ("node-0", "node-1", "node-2")
AT = hrs(5, 0, 3)


def member(name: str, file: int = 0) -> Member:
    """A replica with its `file`-th guard file."""
    digest = hashlib.sha256(f"{name} {file}".encode()).digest()
    return Member(name, hashlib.sha256(name.encode()).digest(), digest[:16])


OLD = tuple(member(name) for name in NAMES)
NEW = (*OLD[:2], member("node-2", 1))
"""node-2 has lost its file."""
FIRST = first_generation(CHAIN, KEY_HASH, *OLD)
CHANGE = Change(CHAIN, KEY_HASH, 1, NO_GENERATION.hash, OLD, NEW)


def one(
    who: Member,
    phase: GuardPhase,
    generation: GenerationId = FIRST,
    at: HRS = AT,
    *,
    agrees: bytes = b"",
    accepted_at: int = 0,
) -> Candidate:
    floor = FloorClaim(FloorKind.STATE, at, None, accepted_at) if accepted_at else NO_FLOOR
    claim = GuardClaim(CHAIN, KEY_HASH, phase, generation, who.nonce, 7, at, floor, agrees)
    return Candidate(who.id, who.identity, claim)


def armed(who: Member, at: HRS = AT, *, agrees: bool = True) -> Candidate:
    return one(who, GuardPhase.ARMED, at=at, agrees=CHANGE.after.hash if agrees else b"")


def fresh(who: Member, *, agrees: bool = True) -> Candidate:
    return one(who, GuardPhase.UNBOUND, NO_GENERATION, NEVER, agrees=CHANGE.after.hash if agrees else b"")


def moved(who: Member, at: HRS = AT, change: Change = CHANGE) -> Candidate:
    return one(who, GuardPhase.BOUND, change.after, at, accepted_at=NOW)


def step(
    mine: Candidate, *others: Candidate, change: Change = CHANGE, agreed: bool = True, holder: str = ""
) -> ChangeStep:
    return next_change_step(change, mine, {who.member_id: who for who in others}, agreed=agreed, holder=holder)


def held(found: ChangeStep) -> str:
    assert isinstance(found, Hold), found
    return found.why


class TestBeforeTheFirstMove:
    def test_when_all_agree_an_old_guard_moves(self) -> None:
        assert step(armed(OLD[0]), armed(OLD[1]), fresh(NEW[2])) == Move()

    def test_not_before_this_replica_has_finished_what_is_under_way(self) -> None:
        assert held(step(armed(OLD[0]), armed(OLD[1]), fresh(NEW[2]), agreed=False)) == "finishing what is under way"

    def test_not_while_another_member_does_not_agree(self) -> None:
        assert "node-1 to agree" in held(step(armed(OLD[0]), armed(OLD[1], agrees=False), fresh(NEW[2])))

    def test_not_while_the_lease_holder_does_not_whoever_it_is(self) -> None:
        stranger = replace(fresh(member("node-9"), agrees=False))
        assert step(armed(OLD[0]), armed(OLD[1]), fresh(NEW[2]), stranger) == Move()
        assert "node-9" in held(step(armed(OLD[0]), armed(OLD[1]), fresh(NEW[2]), stranger, holder="node-9"))

    def test_not_without_a_new_member(self) -> None:
        assert "node-2, whose guard is new" in held(step(armed(OLD[0]), armed(OLD[1])))

    def test_a_new_member_with_yet_another_file_is_not_it(self) -> None:
        assert "node-2, whose guard is new" in held(step(armed(OLD[0]), armed(OLD[1]), fresh(member("node-2", 2))))

    def test_not_without_a_majority_of_the_old_guards(self) -> None:
        five = tuple(member(f"node-{number}") for number in range(5))
        change = Change(CHAIN, KEY_HASH, 1, NO_GENERATION.hash, five, five[:3])
        before, after = change.before, change.after.hash
        three = [one(who, GuardPhase.ARMED, before, agrees=after) for who in five[:3]]
        assert step(*three, change=change) == Move()
        assert "2 of the 3 guards are there that must leave" in held(step(*three[:2], change=change))

    def test_a_replica_whose_guard_is_out_of_order_holds_nobody_up(self) -> None:
        broken = Candidate("node-2", OLD[2].identity, refused_claim(CHAIN, KEY_HASH, "EIO"))
        change = replace(CHANGE, members=(*OLD[:2], OLD[2]))
        mine, other = (
            replace(armed(who), claim=replace(armed(who).claim, agrees=change.after.hash)) for who in OLD[:2]
        )
        assert step(mine, other, broken, change=change) == Move()


class TestAfterTheFirstMove:
    def test_whoever_hears_of_it_follows_without_any_agreement(self) -> None:
        assert step(armed(OLD[0]), moved(OLD[1]), agreed=False) == Move()

    def test_one_that_claims_it_without_being_a_member_of_the_old_generation_is_nobody(self) -> None:
        stranger = moved(member("node-1", 5))
        assert isinstance(step(armed(OLD[0]), stranger, agreed=False), Hold)

    def test_nor_is_one_with_another_identity_than_the_members(self) -> None:
        other = replace(moved(OLD[1]), identity=IDENTITY)
        assert isinstance(step(armed(OLD[0]), other, agreed=False), Hold)

    def test_one_that_moved_waits_for_a_majority(self) -> None:
        assert held(step(moved(OLD[0]), armed(OLD[1]))) == "1 of 2 needed guards have left generation 1 (node-0)"

    def test_a_majority_seals_at_the_highest_of_them(self) -> None:
        assert step(moved(OLD[0]), moved(OLD[1], hrs(6))) == Seal(hrs(6), NOW)
        assert step(moved(OLD[0], hrs(9)), moved(OLD[1])) == Seal(hrs(9), NOW)

    def test_a_new_guard_seals_at_theirs(self) -> None:
        assert step(fresh(NEW[2]), moved(OLD[0]), moved(OLD[1], hrs(6))) == Seal(hrs(6), NOW)

    def test_one_that_is_armed_already_counts_as_moved(self) -> None:
        assert step(fresh(NEW[2]), moved(OLD[0]), one(OLD[1], GuardPhase.ARMED, CHANGE.after, hrs(8))) == Seal(
            hrs(8), NOW
        )

    def test_the_new_ones_own_word_is_none_of_them(self) -> None:
        joined = one(NEW[2], GuardPhase.ARMED, CHANGE.after, hrs(8))
        assert isinstance(step(moved(OLD[0]), joined), Hold)

    def test_one_whose_fuse_is_blown_is_none_of_them(self) -> None:
        fused = one(OLD[1], GuardPhase.FUSED, CHANGE.after)
        assert isinstance(step(moved(OLD[0]), fused), Hold)

    def test_one_that_missed_it_joins_under_the_seal_without_moving(self) -> None:
        assert step(armed(OLD[0], hrs(3)), moved(OLD[1], hrs(6)), moved(OLD[2], hrs(5))) == Seal(hrs(6), NOW)

    def test_one_that_moved_to_a_change_without_a_majority_joins_the_one_that_has_it(self) -> None:
        other = replace(CHANGE, members=(OLD[0], OLD[1], member("node-2", 2)))
        assert step(moved(OLD[0], change=other), moved(OLD[1]), moved(OLD[2])) == Seal(AT, NOW)

    def test_one_that_comes_late_joins_those_who_are_armed_when_those_who_left_are_gone(self) -> None:
        joined = (OLD[0], member("node-3"), member("node-4"))
        change = Change(CHAIN, KEY_HASH, 1, NO_GENERATION.hash, OLD, joined)
        two = [
            one(who, GuardPhase.ARMED, change.after, hrs(height, 0, 3))
            for who, height in zip(joined[:2], (7, 9), strict=True)
        ]
        late = one(joined[2], GuardPhase.UNBOUND, NO_GENERATION, NEVER)
        assert step(late, *two, change=change) == Seal(hrs(9, 0, 3), 0)
        # One replica's word is not enough: a liar's would let new guards begin while the old ones sign on.
        assert "1 of 2 needed guards" in held(step(late, two[0], change=change))
        strange = one(member("node-3", 1), GuardPhase.ARMED, change.after)
        assert "1 of 2 needed guards" in held(step(late, two[0], strange, change=change))

    def test_one_that_is_no_member_of_the_new_generation_stays_as_it_is(self) -> None:
        change = replace(CHANGE, members=OLD[:1])
        assert isinstance(step(moved(OLD[1], change=change), moved(OLD[0], change=change), change=change), Hold)

    def test_one_that_is_bound_to_a_birth_never_joins(self) -> None:
        """Others may count it as bound, and arm."""
        bound = one(NEW[2], GuardPhase.BOUND, first_generation(CHAIN, KEY_HASH, NEW[2]), NEVER)
        assert isinstance(step(bound, moved(OLD[0]), moved(OLD[1])), Hold)

    def test_armed_it_is_done(self) -> None:
        assert step(one(OLD[0], GuardPhase.ARMED, CHANGE.after), moved(OLD[1])) == Armed()

    @pytest.mark.parametrize("generation", [GenerationId(3, bytes(32)), GenerationId(2, bytes(32))])
    def test_one_that_is_armed_elsewhere_never_comes_back(self, generation: GenerationId) -> None:
        past = one(OLD[0], GuardPhase.ARMED, generation)
        assert step(past, moved(OLD[1]), moved(OLD[2])) == Superseded()

    def test_who_is_left_behind_is_told(self) -> None:
        there = [one(OLD[0], GuardPhase.ARMED, CHANGE.after), moved(OLD[1]), fresh(NEW[2])]
        assert left_behind(CHANGE, there) == ["node-1", "node-2"]


LOWERED = replace(CHANGE, members=OLD, lowers_to=NEVER)
"""The chain began anew; the guards stay."""


def ready(who: Member, at: HRS = AT) -> Candidate:
    return one(who, GuardPhase.ARMED, at=at, agrees=LOWERED.after.hash)


class TestLowering:
    def test_it_is_another_generation_than_that_of_the_same_members_without_it(self) -> None:
        assert LOWERED.after.number == 2
        assert len({replace(LOWERED, lowers_to=to).after for to in (None, NEVER, hrs(1))}) == 3

    def test_the_generation_after_it_links_to_it(self) -> None:
        following = Change(CHAIN, KEY_HASH, 2, LOWERED.link, OLD, NEW)
        assert following.before == LOWERED.after

    def test_all_guards_must_be_there_and_agree(self) -> None:
        assert step(*(ready(who) for who in OLD), change=LOWERED) == Move()
        assert "node-2: a watermark is lowered by all" in held(step(*(ready(who) for who in OLD[:2]), change=LOWERED))
        late = one(OLD[2], GuardPhase.ARMED)
        assert "node-2 to agree" in held(step(ready(OLD[0]), ready(OLD[1]), late, change=LOWERED))

    def test_sealed_is_where_the_operator_said_whatever_anybody_tells(self) -> None:
        others = (moved(OLD[1], NEVER, LOWERED), moved(OLD[2], hrs(7), LOWERED))
        assert step(moved(OLD[0], NEVER, LOWERED), *others, change=LOWERED) == Seal(NEVER, NOW)
        assert step(ready(OLD[0], hrs(9)), *others, change=LOWERED) == Seal(NEVER, NOW)

    def lowering(self, *candidates: Candidate, to: HRS = NEVER) -> Plan | NoPlan:
        electorate = Electorate(CHAIN, KEY_HASH, FIRST, OLD)
        return plan_lowering(electorate, NO_GENERATION.hash, to, {who.member_id: who for who in candidates})

    def test_it_is_planned_for_the_guards_that_there_are(self) -> None:
        found = planned(self.lowering(*(armed(who) for who in OLD)))
        assert found.change == LOWERED
        assert (found.kept, found.new, found.away, found.dropped) == (NAMES, (), (), ())

    @pytest.mark.parametrize("gone", [None, one(OLD[2], GuardPhase.FUSED), fresh(member("node-2", 1))])
    def test_not_without_one_of_them(self, gone: Candidate | None) -> None:
        here = [armed(who) for who in OLD[:2]]
        assert "node-2. Bring them back" in no_plan(self.lowering(*here, *([gone] if gone else [])))

    def test_not_to_where_they_stand_or_above(self) -> None:
        for to in (AT, hrs(6)):
            assert "nothing to lower" in no_plan(self.lowering(*(armed(who) for who in OLD), to=to))


def plan(*candidates: Candidate, wanted: tuple[str, ...] = NAMES, present: tuple[Member, ...] = OLD) -> Plan | NoPlan:
    generation = first_generation(CHAIN, KEY_HASH, *present)
    electorate = Electorate(CHAIN, KEY_HASH, generation, present)
    return plan_change(electorate, NO_GENERATION.hash, wanted, {who.member_id: who for who in candidates})


def planned(found: Plan | NoPlan) -> Plan:
    assert isinstance(found, Plan), found
    return found


def no_plan(found: Plan | NoPlan) -> str:
    assert isinstance(found, NoPlan), found
    return found.why


class TestPlans:
    def test_a_file_made_anew(self) -> None:
        found = planned(plan(armed(OLD[0]), armed(OLD[1]), fresh(NEW[2])))
        assert found.change == CHANGE
        assert (found.kept, found.new, found.away, found.dropped) == (("node-0", "node-1"), ("node-2",), (), ())

    def test_the_order_in_which_members_are_named_means_nothing(self) -> None:
        everyone = (armed(OLD[0]), armed(OLD[1]), fresh(NEW[2]))
        assert planned(plan(*everyone, wanted=NAMES[::-1])).change == CHANGE

    def test_a_machine_replaced_by_one_with_another_name(self) -> None:
        new = member("node-7")
        found = planned(plan(armed(OLD[0]), armed(OLD[1]), fresh(new), wanted=("node-0", "node-1", "node-7")))
        assert (found.new, found.dropped) == (("node-7",), ("node-2",))

    def test_a_member_that_is_away_stays_one_with_the_file_that_it_had(self) -> None:
        five = tuple(member(f"node-{number}") for number in range(5))
        generation = first_generation(CHAIN, KEY_HASH, *five)
        here = [one(who, GuardPhase.ARMED, generation) for who in five[:3]]
        again = member("node-3", 1)
        found = planned(plan(*here, fresh(again), wanted=tuple(who.id for who in five), present=five))
        assert found.change.members == (*five[:3], again, five[4])
        assert found.away == ("node-4",)

    def test_the_same_guards_are_no_change(self) -> None:
        assert "these very guards already" in no_plan(plan(*(armed(who) for who in OLD)))

    def test_a_new_member_must_be_there(self) -> None:
        assert "node-3 is not connected" in no_plan(plan(*(armed(who) for who in OLD), wanted=(*NAMES, "node-3")))

    def test_without_a_majority_of_the_old_guards_nothing_is_known(self) -> None:
        why = no_plan(plan(armed(OLD[0]), fresh(member("node-1", 1)), fresh(NEW[2])))
        assert "1 of the 3 guards of generation 1" in why

    def test_without_a_majority_of_the_new_ones_nothing_would_be_signed(self) -> None:
        five = (*NAMES, "node-3", "node-4")
        present = tuple(member(name) for name in five)
        generation = first_generation(CHAIN, KEY_HASH, *present)
        here = [one(who, GuardPhase.ARMED, generation) for who in present[:3]]
        why = no_plan(plan(*here, wanted=("node-0", "node-3", "node-4"), present=present))
        assert "only 1 of 3 members of the new generation" in why

    @pytest.mark.parametrize(
        ("generation", "phase", "what"),
        [
            (GenerationId(4, bytes(32)), GuardPhase.ARMED, "cmkms guard replace"),
            (GenerationId(1, bytes(32)), GuardPhase.BOUND, "cmkms cluster birth --restart"),
        ],
    )
    def test_a_file_that_is_not_new_names_the_command(
        self, generation: GenerationId, phase: GuardPhase, what: str
    ) -> None:
        stale = one(member("node-2", 1), phase, generation)
        assert what in no_plan(plan(armed(OLD[0]), armed(OLD[1]), stale))

    def test_another_key(self) -> None:
        other = fresh(NEW[2])
        other = replace(other, claim=replace(other.claim, key_hash=bytes(32)))
        assert "another consensus key" in no_plan(plan(armed(OLD[0]), armed(OLD[1]), other))

    def test_two_members_with_one_identity(self) -> None:
        copy = replace(fresh(NEW[2]), identity=OLD[0].identity)
        assert "the same identity" in no_plan(plan(armed(OLD[0]), armed(OLD[1]), copy))


class TestAGuardThroughIt:
    """node-0, whose file is that of `world.record`."""

    mine = Member("node-0", IDENTITY, NONCE)

    @pytest.fixture
    def change(self) -> Change:
        return Change(CHAIN, KEY_HASH, 1, NO_GENERATION.hash, (self.mine, *OLD[1:]), (self.mine, *NEW[1:]))

    @pytest.fixture
    def setup(self, change: Change) -> Setup:
        found = Setup(replace(record(AT, precommit(5)), generation=change.before))
        found.guard.write_marker = lambda _record, _previous, _members: None
        return found

    def ask(self, setup: Setup, sign_bytes: bytes, generation: GenerationId) -> object:
        return setup.guard.accept(replace(request(sign_bytes), generation=generation))

    def test_moved_it_answers_for_neither(self, setup: Setup, change: Change) -> None:
        setup.guard.move(change)
        for generation in (change.before, change.after):
            answer = self.ask(setup, precommit(6), generation)
            assert isinstance(answer, Refused)
            assert answer.because in {RefusedBecause.NOT_ARMED, RefusedBecause.GENERATION}
        assert setup.guard.members == change.members

    def test_moved_and_left_out_it_still_agrees_to_the_change_after_that(self, setup: Setup, change: Change) -> None:
        """Its replica may hold the lease, and then the next change waits for its word: found with real processes."""
        setup.guard.move(replace(change, members=NEW[1:]))
        assert setup.guard.claim(CHAIN, KEY_HASH, agrees=b"x" * 32).agrees == b"x" * 32

    def test_it_moves_once(self, setup: Setup, change: Change) -> None:
        setup.guard.move(change)
        with pytest.raises(BrokenInvariantError, match="cannot leave it so"):
            setup.guard.move(replace(change, members=OLD))

    def test_sealed_and_armed_it_answers_above_the_seal_only(self, setup: Setup, change: Change) -> None:
        setup.guard.move(change)
        setup.guard.seal(change, hrs(7, 0, 2), NOW)
        setup.guard.arm_sealed()
        assert self.ask(setup, prevote(7), change.after) == Sealed(hrs(7, 0, 2))
        assert isinstance(self.ask(setup, precommit(7), change.after), Accepted)
        assert isinstance(self.ask(setup, precommit(8), change.before), Refused)

    def test_a_seal_below_its_own_watermark_is_at_its_own_and_strict(self, setup: Setup, change: Change) -> None:
        setup.guard.move(change)
        setup.guard.seal(change, hrs(2), NOW)
        setup.guard.arm_sealed()
        assert self.ask(setup, precommit(5), change.after) == Sealed(AT)

    def test_lowered_it_signs_again_what_it_has_signed_before_and_nothing_below_the_seal(
        self, setup: Setup, change: Change
    ) -> None:
        end = hrs(2, 0, 3)
        lowered = replace(change, lowers_to=end)
        setup.guard.move(lowered)
        assert setup.guard.record is not None
        assert (setup.guard.record.hrs, setup.guard.record.sign_bytes) == (end, None)
        setup.guard.seal(lowered, end, NOW)
        setup.guard.arm_sealed()
        assert self.ask(setup, precommit(2), lowered.after) == Sealed(end)
        assert isinstance(self.ask(setup, precommit(3), lowered.after), Accepted)
        assert isinstance(self.ask(setup, precommit(9), change.before), Refused)

    def test_one_that_missed_the_lowering_is_lowered_as_it_joins(self, setup: Setup, change: Change) -> None:
        lowered = replace(change, lowers_to=NEVER)
        setup.guard.seal(lowered, hrs(9), NOW)
        assert setup.guard.record is not None
        assert setup.guard.record.hrs == NEVER

    def test_a_lowered_guard_is_never_armed_for_the_same_members_without_that_word(
        self, setup: Setup, change: Change
    ) -> None:
        setup.guard.seal(replace(change, lowers_to=NEVER), NEVER, NOW)
        setup.guard.arm_sealed()
        with pytest.raises(BrokenInvariantError, match="is past"):
            setup.guard.seal(change, AT, NOW)

    def test_sealed_again_it_only_rises(self, setup: Setup, change: Change) -> None:
        setup.guard.move(change)
        for at in (hrs(7), hrs(6), hrs(7)):
            setup.guard.seal(change, at, NOW)
        assert setup.guard.record is not None
        assert setup.guard.record.hrs == hrs(7)

    def test_it_does_not_arm_without_a_seal(self, setup: Setup, change: Change) -> None:
        setup.guard.move(change)
        with pytest.raises(BrokenInvariantError, match="not sealed"):
            setup.guard.arm_sealed()

    def test_another_file_is_not_sealed_for_it(self, setup: Setup, change: Change) -> None:
        with pytest.raises(BrokenInvariantError, match="no member"):
            setup.guard.seal(replace(change, members=OLD), AT, NOW)

    def test_armed_in_a_generation_it_never_goes_back(self, setup: Setup, change: Change) -> None:
        later = replace(change, number=5)
        setup.guard.seal(later, hrs(9), NOW)
        setup.guard.arm_sealed()
        with pytest.raises(BrokenInvariantError, match="is past"):
            setup.guard.seal(change, hrs(9), NOW)

    def test_bound_to_a_birth_it_is_not_sealed(self, change: Change) -> None:
        founders = (self.mine, OLD[1])
        bound = first_generation(CHAIN, KEY_HASH, *founders)
        setup = Setup(replace(record(NEVER), armed=False, generation=bound))
        with pytest.raises(BrokenInvariantError, match="bound to the birth"):
            setup.guard.seal(change, hrs(9), NOW)
