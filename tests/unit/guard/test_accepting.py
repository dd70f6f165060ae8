"""One guard as coordinators see it: its answers echo what was asked; a peek of a later term silences earlier ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmkms.guard.accepting import GuardService
from cmkms.guard.decide import Accepted, Conflict, Held, Refused, RefusedBecause, Regression, Sealed
from cmkms.guard.generation import NO_GENERATION, GenerationId
from cmkms.guard.record import GuardRecord
from cmkms.guard.rpc import Accept, Outranked, Peek, digest_of
from cmkms.privval import SignBytesError
from tests.unit.guard.board import MemoryGuard, generation_of, member, record_of
from tests.unit.guard.world import CHAIN, KEY_HASH, hrs, precommit, prevote

OURS = member(0)
GENERATION = generation_of(3)
STORED = precommit(5)


class Unreadable:
    """A guard of whose file nothing can be read."""

    record: GuardRecord | None = None
    blown = "both copies of the newest record are damaged"

    def accept(self, _asked: object) -> Refused:
        return Refused(RefusedBecause.FUSE, self.blown)


@pytest.fixture
def guard() -> MemoryGuard:
    return MemoryGuard(record_of(OURS, 3, hrs(5, 0, 3), STORED))


@pytest.fixture
def service(guard: MemoryGuard) -> GuardService:
    return GuardService(CHAIN, guard)


def accept(sign_bytes: bytes, *, rpc: int = 7, term: int = 1, generation: GenerationId = GENERATION) -> Accept:
    return Accept(rpc, term, CHAIN, KEY_HASH, generation, sign_bytes)


def peek(*, rpc: int = 8, term: int = 1) -> Peek:
    return Peek(rpc, term, CHAIN)


class TestAccept:
    @pytest.mark.parametrize(
        ("asked", "verdict"),
        [
            (precommit(6), Accepted(advances=True)),
            (STORED, Accepted(advances=False)),
            (precommit(5, at=7), Held(STORED)),
            (precommit(5, number=2), Conflict(STORED)),
            (prevote(5), Regression(hrs(5, 0, 3))),
        ],
    )
    def test_the_verdict_is_the_guards(self, service: GuardService, asked: bytes, verdict: object) -> None:
        assert service.accept(accept(asked)).verdict == verdict

    def test_a_seal_is_told(self, service: GuardService, guard: MemoryGuard) -> None:
        guard.seal(hrs(6, 0, 3))
        assert service.accept(accept(precommit(6))).verdict == Sealed(hrs(6, 0, 3))

    def test_an_answer_echoes_what_it_answers(self, service: GuardService) -> None:
        answer = service.accept(accept(precommit(6), rpc=99))
        assert (answer.rpc, answer.chain_id, answer.generation) == (99, CHAIN, GENERATION)
        assert (answer.hrs, answer.digest) == (hrs(6, 0, 3), digest_of(precommit(6)))

    def test_a_refusal_echoes_the_generation_that_was_asked_and_not_its_own(self, service: GuardService) -> None:
        other = GenerationId(2, bytes(32))
        answer = service.accept(accept(precommit(6), generation=other))
        assert answer.generation == other
        assert isinstance(answer.verdict, Refused)
        assert answer.verdict.because is RefusedBecause.GENERATION

    def test_an_answer_carries_the_files_nonce_and_the_sequence_that_is_durable_now(
        self, service: GuardService, guard: MemoryGuard
    ) -> None:
        before = guard.record.sequence
        assert service.accept(accept(precommit(6))).sequence == before + 1
        repeat = service.accept(accept(precommit(6)))
        assert (repeat.nonce, repeat.sequence) == (OURS.nonce, before + 1)

    def test_another_chain_is_refused_even_if_the_bytes_are_of_this_one(
        self, service: GuardService, guard: MemoryGuard
    ) -> None:
        answer = service.accept(replace(accept(precommit(6)), chain_id="other-1"))
        assert answer.verdict == Refused(RefusedBecause.CHAIN)
        assert guard.record.hrs == hrs(5, 0, 3)

    def test_bytes_of_another_chain_are_refused_even_under_this_ones_name(
        self, service: GuardService, guard: MemoryGuard
    ) -> None:
        answer = service.accept(accept(precommit(6, chain="other-1")))
        assert answer.verdict == Refused(RefusedBecause.CHAIN)
        assert guard.record.hrs == hrs(5, 0, 3)

    def test_another_key_is_refused(self, service: GuardService) -> None:
        answer = service.accept(replace(accept(precommit(6)), key_hash=bytes(32)))
        assert answer.verdict == Refused(RefusedBecause.KEY)

    @pytest.mark.parametrize("garbage", [b"", b"\x00", b"\xff" * 40])
    def test_bytes_without_a_height_are_the_askers_error(self, service: GuardService, garbage: bytes) -> None:
        with pytest.raises((SignBytesError, ValueError)):
            service.accept(accept(garbage))

    def test_a_guard_that_cannot_be_read_refuses_and_names_no_file(self) -> None:
        answer = GuardService(CHAIN, Unreadable()).accept(accept(precommit(6)))
        assert answer.verdict == Refused(RefusedBecause.FUSE, Unreadable.blown)
        assert (answer.nonce, answer.sequence) == (bytes(16), 0)


class TestPeek:
    def test_a_peek_tells_the_durable_watermark_and_changes_nothing(
        self, service: GuardService, guard: MemoryGuard
    ) -> None:
        before = guard.record
        peeked = service.peek(peek(rpc=12, term=3))
        assert (peeked.rpc, peeked.term, peeked.chain_id) == (12, 3, CHAIN)
        assert (peeked.hrs, peeked.sign_bytes, peeked.usable) == (hrs(5, 0, 3), STORED, True)
        assert (peeked.generation, peeked.nonce, peeked.sequence) == (GENERATION, OURS.nonce, before.sequence)
        assert guard.record == before

    def test_a_seal_shows_no_bytes(self, service: GuardService, guard: MemoryGuard) -> None:
        guard.seal(hrs(6, 0, 3))
        assert service.peek(peek()).sign_bytes is None

    @pytest.mark.parametrize("trouble", ["unarmed", "fused"])
    def test_a_guard_that_would_accept_nothing_is_not_usable(
        self, service: GuardService, guard: MemoryGuard, trouble: str
    ) -> None:
        if trouble == "unarmed":
            guard.record = replace(guard.record, armed=False)
        else:
            guard.blown = "the disk failed"
        assert not service.peek(peek()).usable

    def test_a_guard_that_cannot_be_read_is_not_usable_and_of_no_generation(self) -> None:
        peeked = GuardService(CHAIN, Unreadable()).peek(peek())
        assert not peeked.usable
        assert peeked.generation == NO_GENERATION
        assert peeked.sign_bytes is None


class TestTerms:
    """A hint, no part of safety: it keeps a late message of a former holder from splitting the votes."""

    def test_accepts_of_an_earlier_term_than_a_peek_are_ignored(
        self, service: GuardService, guard: MemoryGuard
    ) -> None:
        service.peek(peek(term=5))
        assert service.accept(accept(precommit(6), term=4)).verdict == Outranked(5)
        assert guard.record.hrs == hrs(5, 0, 3)

    @pytest.mark.parametrize("term", [5, 6])
    def test_accepts_of_that_term_and_of_later_ones_are_decided(self, service: GuardService, term: int) -> None:
        service.peek(peek(term=5))
        assert service.accept(accept(precommit(6), term=term)).verdict == Accepted(advances=True)

    def test_even_a_repeat_of_what_it_holds_is_ignored(self, service: GuardService) -> None:
        service.peek(peek(term=5))
        assert service.accept(accept(STORED, term=4)).verdict == Outranked(5)

    def test_a_late_peek_of_an_earlier_term_does_not_lower_it(self, service: GuardService) -> None:
        service.peek(peek(term=5))
        service.peek(peek(term=3))
        assert service.accept(accept(precommit(6), term=4)).verdict == Outranked(5)

    def test_an_accept_alone_outranks_nobody(self, service: GuardService) -> None:
        service.accept(accept(precommit(6), term=9))
        assert service.accept(accept(precommit(7), term=1)).verdict == Accepted(advances=True)

    def test_an_answer_by_rank_echoes_the_question_too(self, service: GuardService) -> None:
        service.peek(peek(term=5))
        answer = service.accept(accept(precommit(6), rpc=3, term=4))
        assert (answer.rpc, answer.hrs, answer.digest) == (3, hrs(6, 0, 3), digest_of(precommit(6)))

    def test_a_term_that_no_election_has_reached_outranks_nobody(self, guard: MemoryGuard) -> None:
        """One replica out of its mind must not keep the guards from all others for good."""
        newest = 5
        service = GuardService(CHAIN, guard, lambda: newest)
        service.peek(peek(term=2**62))
        assert service.accept(accept(precommit(6), term=5)).verdict == Accepted(advances=True)
        assert service.accept(accept(precommit(7), term=4)).verdict == Outranked(5)

    def test_a_term_that_is_heard_of_later_outranks_from_then_on(self, guard: MemoryGuard) -> None:
        terms = [4]
        service = GuardService(CHAIN, guard, lambda: terms[-1])
        service.peek(peek(term=5))
        terms.append(5)
        assert service.accept(accept(precommit(6), term=4)).verdict == Outranked(5)
