"""Bugs on the way back: who is told what, and what a signature is said to be over."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from cmkms.privval import SignedMsgType, SignVoteRequest
from cmkms.signing import Answer, dispatch, signer
from cmkms.signing.answers import Rejected, RejectedBecause, SignedVote
from cmkms.signing.dispatch import Dispatch
from cmkms.signing.signer import Signer, SignRequest, Waiter
from tests.sim.mutations.bug import SeededBug, swapped
from tests.sim.mutations.profiles import CUT_LINKS, RESTARTS

__all__ = ["ANSWERING"]


@contextmanager
def answer_goes_to_another_connection() -> Generator[None]:
    conclude = Dispatch._conclude

    def to_the_first(one: Dispatch, errand: Any, answer: Answer) -> None:
        first = next(iter(one._errands.values()), errand)
        errand.waiter.answer, first.waiter.answer = first.waiter.answer, errand.waiter.answer
        conclude(one, errand, answer)

    with swapped(Dispatch, "_conclude", to_the_first):
        yield


@contextmanager
def extension_for_nil() -> Generator[None]:
    def wants(request: SignRequest) -> bool:
        return isinstance(request, SignVoteRequest) and request.vote.type is SignedMsgType.PRECOMMIT

    with swapped(signer, "wants_extension", wants), swapped(dispatch, "wants_extension", wants):
        yield


@contextmanager
def extension_is_shared() -> Generator[None]:
    answer_all = signer._answer_all

    def shared(flight: Any, answer: Any) -> None:
        made: list[bytes] = []

        def first(waiter: Waiter) -> Answer:
            one: Answer = answer(waiter)
            if not isinstance(one, SignedVote) or not one.extension_signature:
                return one
            made.append(one.extension_signature)
            return SignedVote(one.vote, one.signature, made[0], one.replayed)

        answer_all(flight, first)

    with swapped(signer, "_answer_all", shared):
        yield


@contextmanager
def signs_what_was_asked() -> Generator[None]:
    sign = Signer._sign

    def asked(one: Signer, flight: Any, granted: bytes) -> tuple[bytes, bool]:
        sign(one, flight, granted)
        return one._key.sign(flight.sign_bytes), False

    with swapped(Signer, "_sign", asked):
        yield


@contextmanager
def repeat_is_known_by_its_place() -> Generator[None]:
    repeat = Signer.repeat

    def by_place(one: Signer, request: SignRequest, sign_bytes: bytes) -> Answer | None:
        released = one.released
        if released is not None and released.hrs == signer.canonical(request)[0]:
            sign_bytes = released.sign_bytes or sign_bytes
        return repeat(one, request, sign_bytes)

    with swapped(Signer, "repeat", by_place):
        yield


@contextmanager
def proposals_share_a_flight() -> Generator[None]:
    begin = signer._Flight.__init__

    def as_a_vote(flight: Any, hrs: Any, sign_bytes: bytes, is_vote: bool, *rest: Any) -> None:
        begin(flight, hrs, sign_bytes, True, *rest)  # noqa: FBT003 - the very value that is wrong

    with swapped(signer._Flight, "__init__", as_a_vote):
        yield


@contextmanager
def trouble_is_an_answer() -> Generator[None]:
    later = Dispatch._try_again_later

    def refuse(one: Dispatch) -> None:
        later(one)
        for errand in tuple(one._errands.values()):
            if errand.inner is None and errand.way is None:
                one._conclude(errand, Rejected(RejectedBecause.OUTAGE, "no majority answers"))

    with swapped(Dispatch, "_try_again_later", refuse):
        yield


ANSWERING = (
    SeededBug("answer on another connection", "the reply for one waiter goes to another",
              "a late result is never sent on another request or connection", answer_goes_to_another_connection,
              CUT_LINKS, pinned=3),
    SeededBug("sign an extension for nil", "the extension of a nil precommit is signed",
              "vote extensions only after the non-nil precommit was released", extension_for_nil, CUT_LINKS),
    SeededBug("share an extension", "whoever shares a flight gets the first one's extension signature",
              "sign the requester's own extension", extension_is_shared, CUT_LINKS, pinned=3),
    SeededBug("sign what was asked", "the bytes of the flight are signed, and not those that were granted",
              "HELD: answer with the stored timestamp", signs_what_was_asked, RESTARTS, pinned=2),
    SeededBug("know a repeat by its place", "what is asked at the last released place is answered with its signature",
              "a byte-identical repeat is answered from it", repeat_is_known_by_its_place, CUT_LINKS),
    SeededBug("let proposals share a flight", "a proposal is answered with the signature of one with another time",
              "for proposals: identical bytes are answered, another timestamp is an error", proposals_share_a_flight,
              CUT_LINKS),
    SeededBug("tell a node of an outage", "a request that has no way now is refused",
              "transient trouble is never answered with an error by default", trouble_is_an_answer, RESTARTS),
)  # fmt: skip
