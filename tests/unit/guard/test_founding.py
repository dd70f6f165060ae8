"""What a replica does next for a birth of several: rule by rule, and what it tells its operator."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmkms.guard.agreed_floor import agreed_floor
from cmkms.guard.claims import NO_FLOOR, FloorClaim, FloorKind, GuardClaim, GuardPhase, refused_claim
from cmkms.guard.founding import Agree, Arm, Bind, Born, Candidate, FoundingStep, Stuck, Wait, next_step
from cmkms.guard.generation import NO_GENERATION, GenerationId, Member, birth_digest, first_generation
from cmkms.guard.hrs import HRS, NEVER
from tests.unit.guard.world import CHAIN, KEY_HASH, NOW, hrs, precommit, prevote

NAMES = ("node-0", "node-1", "node-2")
NEVER_SIGNED = FloorClaim(FloorKind.NEVER_SIGNED, NEVER, None, 0)
HIGH = FloorClaim(FloorKind.STATE, hrs(50, 0, 3), precommit(50), NOW)


def identity(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def nonce(name: str) -> bytes:
    return name.encode().ljust(16)


MEMBERS = tuple(Member(name, identity(name), nonce(name)) for name in NAMES)
GENERATION = first_generation(CHAIN, KEY_HASH, *MEMBERS)


def unbound(name: str, floor: FloorClaim = NEVER_SIGNED, agrees: bytes = b"") -> Candidate:
    claim = GuardClaim(CHAIN, KEY_HASH, GuardPhase.UNBOUND, NO_GENERATION, nonce(name), 1, NEVER, floor, agrees)
    return Candidate(name, identity(name), claim)


def bound(
    name: str, at: HRS = NEVER, sign_bytes: bytes | None = None, generation: GenerationId = GENERATION
) -> Candidate:
    floor = FloorClaim(FloorKind.STATE if at != NEVER else FloorKind.NEVER_SIGNED, at, sign_bytes, 0)
    agrees = birth_digest(generation, at, sign_bytes, 0)
    claim = GuardClaim(CHAIN, KEY_HASH, GuardPhase.BOUND, generation, nonce(name), 2, at, floor, agrees)
    return Candidate(name, identity(name), claim)


def armed(name: str, generation: GenerationId = GENERATION) -> Candidate:
    claim = GuardClaim(CHAIN, KEY_HASH, GuardPhase.ARMED, generation, nonce(name), 3, hrs(9, 0, 3), NO_FLOOR)
    return Candidate(name, identity(name), claim)


def with_claim(one: Candidate, **changes: object) -> Candidate:
    return replace(one, claim=replace(one.claim, **changes))  # type: ignore[arg-type]


def fused(one: Candidate) -> Candidate:
    return with_claim(one, phase=GuardPhase.FUSED, reason="EIO")


def anew(one: Candidate) -> Candidate:
    return with_claim(one, nonce=b"another nonce...")


def step(mine: Candidate, *others: Candidate, known: tuple[Member, ...] = ()) -> FoundingStep:
    return next_step(CHAIN, NAMES, mine, {other.member_id: other for other in others}, known=known)


def digest_of(*all_of_them: Candidate) -> bytes:
    mine, *others = all_of_them
    done = step(mine, *others)
    assert isinstance(done, Agree)
    return done.digest


def agreeing(*all_of_them: Candidate) -> tuple[Candidate, ...]:
    digest = digest_of(*all_of_them)
    return tuple(with_claim(one, agrees=digest) for one in all_of_them)


def stuck(done: FoundingStep) -> str:
    assert isinstance(done, Stuck)
    return done.what_to_do


def waiting(done: FoundingStep) -> str:
    assert isinstance(done, Wait)
    return done.why


class TestAgreeing:
    def test_alone_of_three_it_waits_and_nothing_is_fixed(self) -> None:
        why = waiting(step(unbound("node-0")))
        assert why == "waiting for node-1 (not connected) and node-2 (not connected); nothing is fixed yet"

    def test_while_one_is_missing_it_says_which_and_how_far_the_others_are(self) -> None:
        here = {"node-1": unbound("node-1")}
        done = next_step(CHAIN, NAMES, unbound("node-0"), here, absent={"node-2": "never seen"})
        assert waiting(done) == "waiting for node-2 (never seen); node-0 and node-1 agree; nothing is fixed yet"

    def test_all_work_out_the_same_proposal_whatever_the_order_they_are_seen_in(self) -> None:
        everyone = [unbound("node-0"), unbound("node-1", HIGH), unbound("node-2", NO_FLOOR)]
        everyone[0] = unbound("node-0", NO_FLOOR)
        assert len({digest_of(*order) for order in permutations(everyone)}) == 1

    def test_until_all_others_announce_it_nothing_is_bound(self) -> None:
        everyone = agreeing(*(unbound(name) for name in NAMES))
        for late in (1, 2):
            others = list(everyone[1:])
            others[late - 1] = unbound(NAMES[late])
            done = step(everyone[0], *others)
            assert isinstance(done, Agree)
            assert NAMES[late] in done.why

    def test_then_it_binds_whether_or_not_it_has_announced_it_itself(self) -> None:
        everyone = agreeing(*(unbound(name) for name in NAMES))
        for mine in (everyone[0], unbound("node-0")):
            done = step(mine, *everyone[1:])
            assert isinstance(done, Bind)
            assert (done.generation, done.members) == (GENERATION, MEMBERS)
            assert (done.hrs, done.sign_bytes, done.accepted_at) == (NEVER, None, 0)

    def test_one_that_is_bound_to_it_already_has_agreed(self) -> None:
        _, second, _ = agreeing(*(unbound(name) for name in NAMES))
        assert isinstance(step(unbound("node-0", NO_FLOOR), second, bound("node-2")), Bind)

    def test_another_peer_list_is_another_proposal(self) -> None:
        everyone = agreeing(*(unbound(name) for name in NAMES))
        here = {one.member_id: one for one in everyone[1:]} | {"node-3": unbound("node-3")}
        assert isinstance(next_step(CHAIN, (*NAMES, "node-3"), everyone[0], here), Agree)

    def test_replicas_that_are_not_in_the_list_count_for_nothing(self) -> None:
        assert "node-2" in waiting(step(unbound("node-0"), unbound("node-1"), unbound("node-9")))


class TestWhereToBegin:
    def floors(self, *floors: FloorClaim) -> FoundingStep:
        everyone = [unbound(name, floor) for name, floor in zip(NAMES, floors, strict=True)]
        first = step(*everyone)
        if not isinstance(first, Agree):
            return first
        mine, *others = (with_claim(one, agrees=first.digest) for one in everyone)
        return step(mine, *others)

    def point(self, *floors: FloorClaim) -> tuple[HRS, bytes | None, int]:
        done = self.floors(*floors)
        assert isinstance(done, Bind)
        return done.hrs, done.sign_bytes, done.accepted_at

    def test_one_state_is_enough_for_all(self) -> None:
        assert self.point(NO_FLOOR, HIGH, NO_FLOOR) == (hrs(50, 0, 3), precommit(50), NOW)

    def test_the_highest_state_wins_with_its_own_time(self) -> None:
        low = FloorClaim(FloorKind.STATE, hrs(49, 0, 3), precommit(49), NOW + 9)
        assert self.point(low, HIGH, low) == (hrs(50, 0, 3), precommit(50), NOW)

    def test_of_one_point_the_latest_time_counts(self) -> None:
        assert self.point(HIGH, replace(HIGH, accepted_at=NOW + 5), NO_FLOOR)[2] == NOW + 5

    @pytest.mark.parametrize("other", [precommit(50, number=2), precommit(50, at=3), None])
    def test_other_bytes_at_the_highest_point_become_a_seal(self, other: bytes | None) -> None:
        assert self.point(HIGH, replace(HIGH, sign_bytes=other), HIGH) == (hrs(50, 0, 3), None, NOW)

    def test_other_bytes_below_it_do_not(self) -> None:
        below = (
            FloorClaim(FloorKind.STATE, hrs(49, 0, 3), precommit(49), 0),
            FloorClaim(FloorKind.STATE, hrs(49, 0, 3), precommit(49, number=2), 0),
        )
        assert self.point(*below, HIGH)[1] == precommit(50)

    def test_the_word_of_one_that_it_never_signed_is_enough(self) -> None:
        assert self.point(NO_FLOOR, NEVER_SIGNED, NO_FLOOR) == (NEVER, None, 0)

    def test_a_state_and_the_word_that_it_never_signed_contradict_each_other_by_name(self) -> None:
        said = stuck(self.floors(NO_FLOOR, HIGH, NEVER_SIGNED))
        assert said.startswith("by node-2, this key has never signed on guarded-1, but node-1 has a state at 50/0/3")

    def test_that_is_told_before_all_are_there(self) -> None:
        assert "one of them is wrong" in stuck(step(unbound("node-0"), unbound("node-1", HIGH)))

    def test_where_nobody_knows_it_says_what_to_do(self) -> None:
        said = waiting(self.floors(NO_FLOOR, NO_FLOOR, NO_FLOOR))
        assert "priv_validator_state.json" in said
        assert "--never-signed guarded-1" in said
        assert "none of them knows" in waiting(step(unbound("node-0", NO_FLOOR), unbound("node-1", NO_FLOOR)))

    @pytest.mark.parametrize(
        "bad",
        [
            replace(HIGH, hrs=hrs(51, 0, 3)),
            replace(HIGH, hrs=NEVER, sign_bytes=None),
            replace(HIGH, sign_bytes=prevote(50)),
            replace(HIGH, sign_bytes=precommit(50, chain="other-1")),
            replace(HIGH, sign_bytes=b"\0" * 40),
            replace(HIGH, sign_bytes=b"\0" * 233),
            replace(HIGH, accepted_at=-1),
            replace(HIGH, accepted_at=2**63),
        ],
    )
    def test_a_state_that_no_guard_can_hold_is_refused_by_the_name_of_who_gives_it(self, bad: FloorClaim) -> None:
        assert "the state that node-1 gives" in stuck(self.floors(NO_FLOOR, bad, NO_FLOOR))


def point(height: int, number: int, at: int) -> FloorClaim:
    return FloorClaim(FloorKind.STATE, hrs(height, 0, 3), None if number == 0 else precommit(height, number=number), at)


points = st.builds(
    point,
    st.integers(1, 2),
    st.integers(0, 2),
    st.integers(0, 3),
)


@given(st.lists(points, min_size=1, max_size=5), st.data())
def test_a_floor_joined_with_what_went_into_it_is_the_same_floor(floors: list[FloorClaim], data: st.DataObject) -> None:
    joined = agreed_floor(floors)
    assert joined is not None
    again = FloorClaim(FloorKind.STATE, joined.hrs, joined.sign_bytes, joined.accepted_at)
    some = data.draw(st.lists(st.sampled_from(floors)))
    assert agreed_floor([*some, again]) == joined
    assert agreed_floor(reversed(floors)) == joined


class TestArming:
    def test_it_arms_when_all_others_are_bound_to_the_same_birth(self) -> None:
        assert step(*(bound(name) for name in NAMES)) == Arm(GENERATION, MEMBERS)

    def test_while_one_is_not_it_waits_for_it(self) -> None:
        assert "waiting for node-2 to bind" in waiting(step(bound("node-0"), bound("node-1"), unbound("node-2")))
        assert waiting(step(bound("node-0"), bound("node-1"))) == (
            "waiting for node-2 (not connected); node-0 and node-1 are bound"
        )

    def test_one_that_is_armed_in_it_is_proof_enough(self) -> None:
        assert step(bound("node-0"), armed("node-2"), known=MEMBERS) == Arm(GENERATION, MEMBERS)
        assert step(bound("node-0"), armed("node-2"), unbound("node-1")) == Arm(GENERATION, MEMBERS)

    def test_even_where_a_third_has_lost_its_file_since(self) -> None:
        assert step(bound("node-0"), armed("node-1"), anew(unbound("node-2")), known=MEMBERS) == Arm(
            GENERATION, MEMBERS
        )

    def test_having_forgotten_its_members_it_waits_to_see_them_again(self) -> None:
        assert "see node-1 (not connected) once more" in waiting(step(bound("node-0"), armed("node-2")))

    def test_where_they_can_not_be_seen_again_only_a_change_of_generation_helps(self) -> None:
        said = stuck(step(bound("node-0"), armed("node-1"), anew(unbound("node-2"))))
        assert "change of generation" in said

    def test_an_armed_guard_is_born(self) -> None:
        assert step(armed("node-0"), unbound("node-1")) == Born()


class TestWhatCannotBeFinished:
    restart = "cmkms cluster birth --restart --home HOME guarded-1"

    def test_one_that_came_back_with_another_file(self) -> None:
        for known in ((), MEMBERS):
            said = stuck(step(bound("node-0"), bound("node-1"), anew(unbound("node-2")), known=known))
            assert f"stop node-0 and node-1, run there: {self.restart}" in said

    def test_where_the_members_are_remembered_it_is_named(self) -> None:
        said = stuck(step(bound("node-0"), bound("node-1"), anew(unbound("node-2")), known=MEMBERS))
        assert "node-2 came back with another" in said

    def test_one_that_came_back_with_another_key_is_told_to_mend_that(self) -> None:
        other = with_claim(unbound("node-2"), key_hash=bytes(32))
        assert "node-2 has another consensus key" in stuck(step(bound("node-0"), bound("node-1"), other))

    def test_one_that_now_gives_a_higher_state(self) -> None:
        low = (hrs(49, 0, 3), precommit(49))
        said = stuck(step(bound("node-0", *low), bound("node-1", *low), unbound("node-2", HIGH)))
        assert "node-2 would now begin elsewhere" in said
        assert self.restart in said
        assert self.restart in stuck(step(unbound("node-2", HIGH), bound("node-0", *low), bound("node-1", *low)))

    def test_it_sees_that_itself(self) -> None:
        said = stuck(step(anew(unbound("node-2")), bound("node-0"), bound("node-1")))
        assert f"stop node-0 and node-1, run there: {self.restart}" in said

    def test_one_that_came_back_with_another_identity(self) -> None:
        other = replace(unbound("node-2"), identity=bytes(32))
        assert self.restart in stuck(step(bound("node-0"), bound("node-1"), other, known=MEMBERS))

    def test_two_that_are_bound_to_different_births(self) -> None:
        elsewhere = bound("node-1", generation=GenerationId(1, bytes(32)))
        said = stuck(step(bound("node-0"), elsewhere, unbound("node-2")))
        assert "node-1 is bound to generation 1:00000000" in said
        assert self.restart in said

    def test_two_that_are_bound_to_begin_at_different_points(self) -> None:
        assert self.restart in stuck(
            step(bound("node-0"), bound("node-1", hrs(50, 0, 3), precommit(50)), bound("node-2"))
        )

    @pytest.mark.parametrize("floor", [HIGH, replace(HIGH, sign_bytes=None)])
    def test_one_that_now_says_the_key_has_signed_more(self, floor: FloorClaim) -> None:
        assert self.restart in stuck(step(bound("node-0"), bound("node-1"), unbound("node-2", floor)))
        assert self.restart in stuck(step(unbound("node-2", floor), bound("node-0"), bound("node-1")))

    def test_nobody_is_told_to_begin_anew_while_a_missing_one_may_be_armed(self) -> None:
        """An armed one would let this guard arm; to set its file aside would lose a member for good."""
        done = step(bound("node-0"), anew(unbound("node-1")), known=MEMBERS)
        assert "waiting for node-2" in waiting(done)
        assert "waiting for node-0" in waiting(step(unbound("node-2", HIGH), bound("node-1")))

    @pytest.mark.parametrize("mine", [anew(unbound("node-0")), bound("node-0", generation=GenerationId(1, bytes(32)))])
    def test_a_guard_that_an_armed_generation_does_not_name_is_lost(self, mine: Candidate) -> None:
        said = stuck(step(mine, armed("node-1"), armed("node-2")))
        assert said.startswith("node-1 and node-2 are armed in generation")
        assert "node-0 is no member" in said
        assert "the others go on without it" in said


class TestWhoCannotBeMembersTogether:
    def test_another_key_is_named(self) -> None:
        said = stuck(step(unbound("node-0"), with_claim(unbound("node-1"), key_hash=bytes(32))))
        assert "node-1 has another consensus key" in said

    def test_the_same_identity_is_a_copied_home(self) -> None:
        copied = replace(unbound("node-2"), identity=identity("node-1"))
        said = stuck(step(unbound("node-0"), unbound("node-1"), copied))
        assert said.startswith("node-1 and node-2 have the same identity")

    def test_the_same_file_is_one_too(self) -> None:
        copied = with_claim(unbound("node-1"), nonce=nonce("node-0"))
        assert stuck(step(unbound("node-0"), copied)).startswith("node-0 and node-1 have the same guard file")

    def test_two_that_refuse_their_guards_have_no_file_in_common(self) -> None:
        refused = [Candidate(name, identity(name), refused_claim(CHAIN, b"", "it is lost")) for name in NAMES[1:]]
        assert "node-1 cannot use its guard: it is lost" in waiting(step(unbound("node-0"), *refused))


class TestBlownFuses:
    def test_an_unbound_one_is_waited_for_with_its_reason(self) -> None:
        said = waiting(step(unbound("node-0"), unbound("node-1"), fused(unbound("node-2"))))
        assert "node-2 cannot use its guard: EIO. It was bound to nothing yet: mend its disk" in said

    def test_one_that_was_bound_does_not_keep_the_others_from_arming(self) -> None:
        assert step(bound("node-0"), bound("node-1"), fused(bound("node-2"))) == Arm(GENERATION, MEMBERS)

    def test_nor_from_binding(self) -> None:
        _, second, _ = agreeing(*(unbound(name) for name in NAMES))
        assert isinstance(step(unbound("node-0"), second, fused(bound("node-2"))), Bind)

    def test_one_that_was_armed_is_proof(self) -> None:
        assert step(bound("node-0"), fused(armed("node-1")), known=MEMBERS) == Arm(GENERATION, MEMBERS)

    def test_one_that_is_bound_to_a_birth_that_fails_needs_a_new_home(self) -> None:
        said = stuck(step(bound("node-0"), fused(bound("node-1")), anew(unbound("node-2"))))
        assert "stop node-0, run there" in said
        assert "new homes with cmkms init for those whose fuse is blown (node-1)" in said

    def test_the_own_one_says_its_reason_and_what_to_do(self) -> None:
        assert "EIO. It was bound to nothing yet: mend its disk" in stuck(step(fused(unbound("node-0"))))
        assert "EIO. It becomes a member by a change of generation" in stuck(step(fused(bound("node-0"))))

    def test_one_that_is_refused_says_why(self) -> None:
        refused = with_claim(unbound("node-0"), phase=GuardPhase.REFUSED, reason="it is lost")
        assert stuck(step(refused)) == "it is lost"


def test_five_are_born_like_three() -> None:
    names = tuple(f"node-{number}" for number in range(5))
    everyone = {name: unbound(name, NO_FLOOR) for name in names[1:]} | {"node-0": unbound("node-0", HIGH)}

    def next_of(name: str) -> FoundingStep:
        return next_step(CHAIN, names, everyone[name], {one: everyone[one] for one in names if one != name})

    digests = {name: next_of(name) for name in names}
    assert len({step.digest for step in digests.values() if isinstance(step, Agree)}) == 1
    for name, done in digests.items():
        assert isinstance(done, Agree)
        everyone[name] = with_claim(everyone[name], agrees=done.digest)
    binds = {name: next_of(name) for name in names}
    first = binds["node-0"]
    assert isinstance(first, Bind)
    assert all(step == first for step in binds.values())
    floor = FloorClaim(FloorKind.STATE, first.hrs, first.sign_bytes, first.accepted_at)
    for name in names:
        everyone[name] = with_claim(
            everyone[name], phase=GuardPhase.BOUND, generation=first.generation, hrs=first.hrs, floor=floor
        )
    assert {name: next_of(name) for name in names} == dict.fromkeys(names, Arm(first.generation, first.members))
