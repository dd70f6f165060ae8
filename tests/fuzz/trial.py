"""One decoder on trial: what it is, what it may answer, and whether it kept to that for so many inputs.

A decoder parses its input, or raises one of the errors that its module documents. It may do nothing else: no other
exception, no long thought, no more memory than a fixed multiple of what it was given.
"""

from __future__ import annotations

import re
import signal
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import FrameType
from typing import Final

from tests.fuzz.mutation import MAX_INPUT_BYTES, Mutator

__all__ = ["Decoder", "Failure", "Verdict", "judge", "run"]

_MAX_CPU_SECONDS: Final = 1.0
"""For one input of at most 24 KiB. The slowest takes some milliseconds; a busy machine and its garbage the rest."""
_HOPELESS_SECONDS: Final = 10.0
"""An input that takes so long is broken off."""
_MEMORY_EVERY: Final = 64
"""Tracing allocations takes five times as long: one input in so many is traced, and every one that is kept."""
_MEMORY_FLOOR: Final = 1024 * 1024
_MEMORY_FACTOR: Final = 64
"""Python's objects take some 50 bytes for each small field of a message. A length that lies asks for gigabytes."""
_MAX_OUTCOME: Final = 120
_MOST_KEPT: Final = 400

Entry = Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class Decoder:
    """One way in. `entry` hands it an input, checks what is promised of the result, and says in a word what it was.

    `covers` are the functions that turn bytes or files into values there, as `module:function`. `permitted` are the
    errors that the module documents. `corpus` makes the valid samples; `tokens` are pieces of the format, and `text`
    says that it is text. `share` is how many inputs it gets of what others get: some take a hundred times as long.
    `memory` is what it may use, in bytes, however short the input is.
    """

    name: str
    covers: tuple[str, ...]
    entry: Entry
    corpus: Callable[[], Sequence[bytes]]
    permitted: tuple[type[Exception], ...]
    tokens: tuple[bytes, ...] = ()
    text: bool = False
    share: float = 1.0
    memory: int = _MEMORY_FLOOR


@dataclass(frozen=True, slots=True)
class Failure:
    """An input that a decoder did not take as it should, and how."""

    data: bytes
    why: str


@dataclass(slots=True)
class Verdict:
    """What came of one decoder's inputs."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    failures: list[Failure] = field(default_factory=list[Failure])


class _HopelessError(BaseException):
    """One input takes for ever. No Exception: what is on trial must not catch it."""


def run(decoder: Decoder, seed: int, inputs: int, until: Callable[[], bool] = lambda: False) -> Verdict:
    """Try the corpus itself and then `inputs` mutations of it, or fewer if `until` says that time is up."""
    corpus = list(decoder.corpus())
    mutator = Mutator(Random(f"{decoder.name} {seed}"), corpus, decoder.tokens, text=decoder.text)
    verdict = Verdict()
    kept = 0
    for number in range(len(corpus) + inputs):
        data = corpus[number] if number < len(corpus) else mutator.draw()
        known = len(verdict.outcomes)
        # The first inputs import what is imported late, which is no memory of theirs.
        judge(decoder, data, verdict, trace=number >= len(corpus) and number % _MEMORY_EVERY == 0)
        if len(verdict.outcomes) > known and kept < _MOST_KEPT and number >= len(corpus):
            kept += 1
            mutator.keep(data)
        if until():
            break
    return verdict


def judge(decoder: Decoder, data: bytes, verdict: Verdict, *, trace: bool = True) -> None:
    """Try one input, and write down what came of it."""
    verdict.inputs += 1
    if trace:
        tracemalloc.start()
    began = time.thread_time()
    try:
        with _broken_off_when_hopeless():
            outcome = f"read: {decoder.entry(data)}"
    except decoder.permitted as error:
        outcome = f"{type(error).__name__}: {_shape(error)}"
    except _HopelessError:
        outcome = _fail(verdict, data, f"took longer than {_HOPELESS_SECONDS:g} s")
    except Exception as error:  # noqa: BLE001 - whatever else comes out is what is looked for
        outcome = _fail(verdict, data, f"{type(error).__name__}: {error}")
    took = time.thread_time() - began
    if trace:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        if peak > decoder.memory + _MEMORY_FACTOR * len(data):
            _fail(verdict, data, f"{peak} bytes of memory for {len(data)} bytes of input")
    elif took > _MAX_CPU_SECONDS:
        _fail(verdict, data, f"{took:.2f} s of a processor for {len(data)} bytes")
    verdict.outcomes[outcome] += 1


def _fail(verdict: Verdict, data: bytes, why: str) -> str:
    verdict.failures.append(Failure(data[:MAX_INPUT_BYTES], why))
    return f"FAILED: {why[:_MAX_OUTCOME]}"


def _shape(error: Exception) -> str:
    """An error's text without what the input has put into it: two inputs that fail alike are one outcome."""
    text = str(error).splitlines()[0] if str(error) else ""
    text = re.sub(r"'[^']*'|\"[^\"]*\"|/\S+", "…", text)
    return re.sub(r"-?\b[0-9a-f]+\b", "#", text)[:_MAX_OUTCOME]


@contextmanager
def _broken_off_when_hopeless() -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise _HopelessError

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, _HOPELESS_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
