"""Bugs of a guard's decision: what it answers to a request beside its watermark."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

from cmkms.guard import decide, file, guard, majority
from cmkms.guard.decide import Accepted, AcceptRequest, Conflict, GuardState, Regression, Verdict
from cmkms.guard.record import GuardRecord
from cmkms.signing import dispatch, signer
from tests.sim.mutations.bug import SeededBug, swapped
from tests.sim.mutations.profiles import CUT_LINKS, RESTARTS

__all__ = ["DECIDING", "decided_otherwise", "lax_file"]


@contextmanager
def decided_otherwise(change: Callable[[GuardState, AcceptRequest, Verdict], Verdict]) -> Generator[None]:
    def otherwise(state: GuardState, request: AcceptRequest) -> Verdict:
        return change(state, request, decide.decide(state, request))

    with swapped(guard, "decide", otherwise):
        yield


@contextmanager
def lax_file() -> Generator[None]:
    """Open the second lock, too: the file's own check of what is written, which would end the process."""
    strict = file._not_a_successor

    def lax(older: GuardRecord, newer: GuardRecord) -> str:
        why = strict(older, newer)
        return "" if "went backwards" in why or "other sign-bytes" in why else why

    with swapped(file, "_not_a_successor", lax):
        yield


@contextmanager
def compares_heights_only() -> Generator[None]:
    def by_height(state: GuardState, request: AcceptRequest, verdict: Verdict) -> Verdict:
        same = request.hrs.height == state.hrs.height and request.sign_bytes != state.sign_bytes
        return Accepted(advances=True) if same and isinstance(verdict, Regression | Conflict) else verdict

    with lax_file(), decided_otherwise(by_height):
        yield


@contextmanager
def answers_below() -> Generator[None]:
    def below(_state: GuardState, _request: AcceptRequest, verdict: Verdict) -> Verdict:
        return Accepted(advances=False) if isinstance(verdict, Regression) else verdict

    with decided_otherwise(below):
        yield


@contextmanager
def takes_another_block() -> Generator[None]:
    def another(_state: GuardState, _request: AcceptRequest, verdict: Verdict) -> Verdict:
        return Accepted(advances=False) if isinstance(verdict, Conflict) else verdict

    with decided_otherwise(another):
        yield


@contextmanager
def overwrites_another_block() -> Generator[None]:
    def another(_state: GuardState, _request: AcceptRequest, verdict: Verdict) -> Verdict:
        return Accepted(advances=True) if isinstance(verdict, Conflict) else verdict

    with lax_file(), decided_otherwise(another):
        yield


@contextmanager
def everything_differs_only_in_the_timestamp() -> Generator[None]:
    def always(_one: bytes, _other: bytes) -> bool:
        return True

    with ExitStack() as stack:
        for module in (decide, majority, signer, dispatch):
            stack.enter_context(swapped(module, "differ_only_in_timestamp", always))
        yield


DECIDING = (
    SeededBug("compare height only", "within its height, a guard accepts any round, step and block",
              "lower HRS: REGRESSION; same HRS, anything else: CONFLICT", compares_heights_only, CUT_LINKS),
    SeededBug("answer below", "a guard accepts what lies below its watermark", "lower HRS: REGRESSION", answers_below,
              CUT_LINKS),
    SeededBug("accept another block", "a guard accepts other bytes at its watermark, and keeps the former",
              "same HRS, anything else: CONFLICT", takes_another_block, CUT_LINKS),
    SeededBug("overwrite another block", "a guard takes other bytes at its watermark in the place of the former",
              "same HRS, anything else: CONFLICT", overwrites_another_block, CUT_LINKS),
    SeededBug("adopt a conflicting block", "bytes that differ in the block are taken for a variant in time",
              "HELD only where nothing but the timestamp differs; the coordinator compares the stored bytes itself",
              everything_differs_only_in_the_timestamp, RESTARTS),
)  # fmt: skip
